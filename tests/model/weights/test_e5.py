import struct

import numpy as np
import pytest

from model.errors import ArtifactError
from model.weights.e5 import EMBEDDINGS, LAYER, dequantise_q4, read_e5

HIDDEN, LAYERS, FEED_FORWARD, POSITIONS = 32, 2, 64, 8
PIECES = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁wörd", -1.5), ("s", -2.5)]
MATRICES = {"q": (32, 32), "k": (32, 32), "v": (32, 32), "ao": (32, 32), "fi": (64, 32), "fo": (32, 64)}


def quantise_q4(values: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Pack rows of a multiple of 32 values and return the bytes and what they stand for."""
    blocks = values.reshape(-1, 32)
    scales = (np.abs(blocks).max(axis=1) / 7).astype(np.float16)
    levels = np.clip(np.round(blocks / scales.astype(np.float32)[:, None]), -8, 7)
    nibbles = (levels + 8).astype(np.uint8)
    packed = nibbles[:, :16] | nibbles[:, 16:] << 4
    raw = b"".join(s.tobytes() + row.tobytes() for s, row in zip(scales, packed, strict=True))
    return raw, (levels * scales.astype(np.float32)[:, None]).reshape(values.shape).astype(np.float32)


def tensors(rng: np.random.Generator) -> dict[str, np.ndarray]:
    made = {
        "emb.word": (len(PIECES), HIDDEN),
        "emb.pos": (POSITIONS, HIDDEN),
        "emb.type": (2, HIDDEN),
        "emb.ln.w": (HIDDEN,),
        "emb.ln.b": (HIDDEN,),
    }
    for layer in range(LAYERS):
        for part in LAYER:
            rows = MATRICES.get(part, (HIDDEN,))[0]
            made[f"l{layer}.{part}.w"] = MATRICES.get(part, (HIDDEN,))
            made[f"l{layer}.{part}.b"] = (rows,)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in made.items()}


def write_e5(values: dict[str, np.ndarray]) -> tuple[bytes, dict[str, np.ndarray]]:
    """A file in the packed format, and the values that it stands for."""
    blob = b"".join(piece.encode() for piece, _ in PIECES)
    offsets = np.cumsum([0, *(len(piece.encode()) for piece, _ in PIECES)]).astype("<u4")
    head = b"E5S1" + struct.pack("<I7ifi", 1, HIDDEN, LAYERS, 2, FEED_FORWARD, len(PIECES), POSITIONS, 2, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, len(blob)) + offsets.tobytes()
    head += np.array([score for _, score in PIECES], "<f4").tobytes() + blob + struct.pack("<iI", 1, 5) + b"12345"
    packed, meant = {}, {}
    for name, array in values.items():
        is_packed = name == "emb.word" or (name.split(".")[1] in MATRICES and name.endswith(".w"))
        packed[name], meant[name] = quantise_q4(array) if is_packed else (array.tobytes(), array)
        packed[name] = (int(is_packed), packed[name])
    directory_size = 4 + sum(2 + len(name) + 21 for name in packed)
    directory, body, start = struct.pack("<i", len(packed)), b"", len(head) + directory_size
    for name, (kind, raw) in packed.items():
        entry = struct.pack("<BIQQ", kind, values[name].size, start + len(body), len(raw))
        directory += struct.pack("<H", len(name)) + name.encode() + entry
        body += raw
    return head + directory + body, meant


def test_every_tensor_and_the_vocabulary_come_back() -> None:
    data, meant = write_e5(tensors(np.random.default_rng(0)))
    parsed = read_e5(data)
    assert parsed.vocabulary.pieces == PIECES
    assert (parsed.vocabulary.bos, parsed.vocabulary.pad, parsed.vocabulary.eos) == (0, 1, 2)
    assert len(parsed.state) == len(meant)
    for name, ours in EMBEDDINGS.items():
        np.testing.assert_array_equal(parsed.state[ours], meant[name])
    np.testing.assert_array_equal(parsed.state["encoder.layer.1.output.dense.weight"], meant["l1.fo.w"])
    np.testing.assert_array_equal(parsed.state["encoder.layer.0.attention.self.key.bias"], meant["l0.k.b"])


def test_transformers_accepts_names_shapes_and_config() -> None:
    import torch
    from transformers import BertConfig, BertModel

    parsed = read_e5(write_e5(tensors(np.random.default_rng(0)))[0])
    config = {name: value for name, value in parsed.config.items() if name != "model_type"}
    trunk = BertModel(BertConfig(**config), add_pooling_layer=False)
    trunk.load_state_dict({name: torch.tensor(array) for name, array in parsed.state.items()})
    assert trunk.config.layer_norm_eps == 1e-12


def test_nibbles_are_split_low_then_high() -> None:
    raw = np.float16(0.5).tobytes() + bytes([0x21 + i % 2 for i in range(16)])
    values = dequantise_q4(raw)
    np.testing.assert_array_equal(values[:4], [-3.5, -3.0, -3.5, -3.0])
    np.testing.assert_array_equal(values[16:], -3.0)


@pytest.mark.parametrize("length", [10, 60, 120, 600, 5000])
def test_a_cut_file_is_refused(length: int) -> None:
    data, _ = write_e5(tensors(np.random.default_rng(0)))
    assert length < len(data)
    with pytest.raises(ArtifactError, match="damaged"):
        read_e5(data[:length])


def test_another_format_is_refused() -> None:
    with pytest.raises(ArtifactError, match="GGUF"):
        read_e5(b"GGUF" + bytes(100))
