import struct

import numpy as np
import pytest
import torch

from model.errors import ArtifactError
from model.towers.config import WhisperConfig
from model.towers.whisper import Whisper
from model.weights.ctranslate2 import read_ctranslate2
from model.weights.whisper import convert_whisper

CONFIG = WhisperConfig(width=8, layers=2, heads=2, feed_forward=16, max_positions=10)


def string(value: str) -> bytes:
    return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"


def write_ctranslate2(variables: dict[str, np.ndarray], version: int = 6) -> bytes:
    """The binary format, half precision for everything but integers."""
    data = struct.pack("<I", version) + string("WhisperSpec") + struct.pack("<II", 3, len(variables))
    for name, array in variables.items():
        kind, stored = (1, array) if array.dtype == np.int8 else (4, array.astype(np.float16))
        data += string(name) + bytes([array.ndim]) + struct.pack(f"<{array.ndim}I", *array.shape)
        data += struct.pack("<BI", kind, stored.nbytes) + stored.tobytes()
    return data + struct.pack("<I", 0)


def variables_of(tower: Whisper) -> dict[str, np.ndarray]:
    """What the package stores for ``tower``: q, k, v stacked with a zero bias for k, norms as gamma and beta."""
    state = {name: tensor.numpy() for name, tensor in tower.state_dict().items()}
    width = tower.config.width
    made = {"encoder/num_heads": np.array(tower.config.heads, dtype=np.int8), "decoder/embeddings/weight": np.zeros(3)}
    made["encoder/position_encodings/encodings"] = state["embed_positions.weight"]
    for conv in ("conv1", "conv2"):
        made |= {f"encoder/{conv}/{leaf}": state[f"{conv}.{leaf}"] for leaf in ("weight", "bias")}
    norms = {"encoder/layer_norm": "layer_norm"}
    for i in range(tower.config.layers):
        ours, theirs = f"layers.{i}", f"encoder/layer_{i}"
        norms[f"{theirs}/self_attention/layer_norm"] = f"{ours}.self_attn_layer_norm"
        norms[f"{theirs}/ffn/layer_norm"] = f"{ours}.final_layer_norm"
        q, k, v = (state[f"{ours}.self_attn.{p}_proj.weight"] for p in "qkv")
        made[f"{theirs}/self_attention/linear_0/weight"] = np.concatenate([q, k, v])
        biases = state[f"{ours}.self_attn.q_proj.bias"], np.zeros(width), state[f"{ours}.self_attn.v_proj.bias"]
        made[f"{theirs}/self_attention/linear_0/bias"] = np.concatenate(biases)
        for leaf in ("weight", "bias"):
            made[f"{theirs}/self_attention/linear_1/{leaf}"] = state[f"{ours}.self_attn.out_proj.{leaf}"]
            made[f"{theirs}/ffn/linear_0/{leaf}"] = state[f"{ours}.fc1.{leaf}"]
            made[f"{theirs}/ffn/linear_1/{leaf}"] = state[f"{ours}.fc2.{leaf}"]
    for theirs, ours in norms.items():
        made |= {f"{theirs}/gamma": state[f"{ours}.weight"], f"{theirs}/beta": state[f"{ours}.bias"]}
    return made


def tower() -> Whisper:
    torch.manual_seed(0)
    made = Whisper(CONFIG)
    for parameter in made.parameters():
        parameter.data = torch.randn_like(parameter).half().float()  # so that half precision loses nothing
    return made.eval()


def test_the_encoder_comes_back_exactly() -> None:
    original = tower()
    config, state = convert_whisper(write_ctranslate2(variables_of(original)))
    assert config == CONFIG
    assert set(state) == set(original.state_dict())
    for name, tensor in original.state_dict().items():
        np.testing.assert_array_equal(state[name], tensor.numpy(), err_msg=name)


def test_a_model_without_encoder_is_refused() -> None:
    with pytest.raises(ArtifactError, match="conv1/weight"):
        convert_whisper(write_ctranslate2({"decoder/embeddings/weight": np.zeros(3)}))


def test_other_versions_and_cut_files_are_refused() -> None:
    data = write_ctranslate2(variables_of(tower()))
    with pytest.raises(ArtifactError, match="version 5, expected 6"):
        read_ctranslate2(write_ctranslate2({}, version=5))
    for length in (2, 20, 100, len(data) // 2):
        with pytest.raises(ArtifactError, match="unreadable"):
            read_ctranslate2(data[:length])
