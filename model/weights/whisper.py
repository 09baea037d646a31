"""Conversion of a Whisper encoder from CTranslate2 variables to the names of our tower (transformers' names)."""

import re

import numpy as np
from numpy.typing import NDArray

from model.errors import ArtifactError
from model.towers.config import WhisperConfig
from model.weights.ctranslate2 import read_ctranslate2

Array = NDArray[np.float32]
NORM = {"gamma": "weight", "beta": "bias"}
LAYER = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "self_attention/linear_1": "self_attn.out_proj",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}
LAYER_NAME = re.compile(r"layer_(\d+)/(.+)")
STACKED = "self_attention/linear_0"


def convert_whisper(data: bytes) -> tuple[WhisperConfig, dict[str, Array]]:
    """Read a CTranslate2 Whisper model and return its encoder: config and fp32 state dict.

    Raises:
        ArtifactError: the file is unreadable or lacks the encoder.
    """
    variables = read_ctranslate2(data)
    encoder = {name[len("encoder/") :]: array for name, array in variables.items() if name.startswith("encoder/")}
    try:
        config = _config(encoder)
        state: dict[str, Array] = {}
        for name, array in encoder.items():
            if name != "num_heads":
                state |= _rename(name, array.astype(np.float32))
    except KeyError as error:
        raise ArtifactError(f"the Whisper weights hold no encoder that we know: {error} is missing") from error
    return config, state


def _config(encoder: dict[str, NDArray[np.generic]]) -> WhisperConfig:
    width, mel_bands, _ = encoder["conv1/weight"].shape
    return WhisperConfig(
        mel_bands=mel_bands,
        width=width,
        layers=len({match[1] for match in map(LAYER_NAME.match, encoder) if match}),
        heads=int(encoder["num_heads"]),
        feed_forward=encoder["layer_0/ffn/linear_0/weight"].shape[0],
        max_positions=encoder["position_encodings/encodings"].shape[0],
    )


def _rename(name: str, array: Array) -> dict[str, Array]:
    module, _, leaf = name.rpartition("/")
    leaf = NORM.get(leaf, leaf)
    if module == "position_encodings":
        return {"embed_positions.weight": array}
    layer = LAYER_NAME.fullmatch(module)
    if layer is None:
        return {f"{module}.{leaf}": array}
    prefix, part = f"layers.{layer[1]}", layer[2]
    if part != STACKED:
        return {f"{prefix}.{LAYER[part]}.{leaf}": array}
    query, key, value = np.split(array, 3)
    rows = {f"{prefix}.self_attn.q_proj.{leaf}": query, f"{prefix}.self_attn.v_proj.{leaf}": value}
    if leaf == "weight":  # Whisper's key projection has no bias; CTranslate2 stores zeros
        rows[f"{prefix}.self_attn.k_proj.weight"] = key
    return rows
