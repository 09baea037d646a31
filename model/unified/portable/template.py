"""An Omnivec unified encoder for plain sentence-transformers: text, pictures, and any mixture of them.

This file was written when the model was saved. It needs torch, transformers, tokenizers, safetensors, PIL and numpy
and nothing of Omnivec; its first part is the library's own code, put together by ``model/unified/portable``.

    model = SentenceTransformer(path, trust_remote_code=True)
    model.encode(["a red fox", PIL.Image.open("fox.png"), ("the same in blue", PIL.Image.open("fox.png"))])

A text is a string; a picture is a PIL image, its encoded bytes, or ``{"image": ...}``; a tuple, or
``{"parts": [...]}``, holds the parts of one input in their order. Sound and clips need the library itself.

Shape legend: N inputs, L sequence positions, K media tokens, P pictures, T tokens per picture, G cells, C channels,
H trunk width, D dimensions.
"""

# ruff: noqa: F821 (names of the library's code, which comes above)
# mypy: ignore-errors
from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn
from torch.nn.functional import normalize

# LIBRARY

TEXT, IMAGE = "text", "image"
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")


class OmnivecUnified(nn.Module):
    """Input module of sentence-transformers: inputs to ``sentence_embedding`` [N, D], unit length."""

    def __init__(self, config: dict, tokenizer: Tokenizer, states: dict) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        trunk = build_trunk(config["trunk"], max_tokens=config["limits"]["max_tokens"])
        self.head = nn.Linear(trunk.width, config["dimensions"][0])  # first: it tells the precision to the outside
        self.table, self.trunk = trunk.table, trunk.model
        for name in ("table", "trunk", "head"):
            getattr(self, name).load_state_dict(states[name])
        self.frontend = self.projector = None
        if "image_tower" in states:
            tower = TOWERS[config["image_tower"]["kind"]](settings(config["image_tower"]))
            tower.load_state_dict(states["image_tower"])
            shape = config["image"]
            self.frontend = PictureFrontend(tower, cells=shape["cells"], tokens_side=shape["tokens_side"])
            self.projector = projector_of(states["projectors"], IMAGE)
        ids = tokenizer.encode("a", add_special_tokens=True).ids
        self.bos, self.eos = ids[0], ids[-1]
        self.max_seq_length = config["limits"]["max_tokens"]
        self.eval()

    @property
    def modalities(self) -> list:
        """What sentence-transformers may send."""
        return [TEXT] if self.frontend is None else [TEXT, IMAGE, (TEXT, IMAGE), (IMAGE, TEXT), "message"]

    def get_embedding_dimension(self) -> int:
        """Dimensions D of the vectors."""
        return self.config["dimensions"][0]

    get_sentence_embedding_dimension = get_embedding_dimension

    def preprocess(self, inputs: list, prompt: str | None = None, **_: object) -> dict:
        """Tokenise and decode N inputs; ``prompt`` goes before an input that starts with text."""
        sequences, pictures, places = [], [], []
        for row, value in enumerate(inputs):
            sequences.append(self._lay_out(row, parts_of(value), prompt or "", pictures, places))
        longest = max(map(len, sequences))
        ids_NL = torch.zeros(len(sequences), longest, dtype=torch.long)
        mask_NL = torch.zeros_like(ids_NL)
        for row, ids in enumerate(sequences):
            ids_NL[row, : len(ids)] = torch.tensor(ids)
            mask_NL[row, : len(ids)] = 1
        features = {"input_ids": ids_NL, "attention_mask": mask_NL, "modality": TEXT}
        if pictures:
            pixels_P3SS = np.stack(pictures).transpose(0, 3, 1, 2)
            features["pixels"] = torch.from_numpy(np.ascontiguousarray(pixels_P3SS, dtype=np.float32))
            features["places"] = torch.tensor(places)
        return features

    def tokenize(self, texts: list, **kwargs: object) -> dict:
        """Older name of :meth:`preprocess`."""
        return self.preprocess(texts, **kwargs)

    def _lay_out(self, row: int, parts: list, prompt: str, pictures: list, places: list) -> list:
        if len(parts) > self.config["limits"]["max_parts"]:
            raise ValueError(
                f"an input has {len(parts)} parts; at most {self.config['limits']['max_parts']} are accepted"
            )
        ids = [self.bos]
        for i, (kind, value) in enumerate(parts):
            if kind == TEXT:
                text = (prompt if i == 0 else "") + value
                ids += self.tokenizer.encode(text, add_special_tokens=False).ids[: self.config["max_text_tokens"]]
                continue
            if self.frontend is None:
                raise ValueError("this model was saved without a tower for pictures: send text")
            pictures.append(read_picture(value, self.config["image"]["size"], self.config["limits"]))
            tokens = self.config["image"]["tokens_side"] ** 2
            places += [(row, len(ids) + t) for t in range(tokens)]
            ids += [0] * tokens
        if any(kind == TEXT for kind, _ in parts):
            ids.append(self.eos)
        if len(ids) > self.config["limits"]["max_tokens"]:
            raise ValueError(
                f"an input has {len(ids)} tokens; at most {self.config['limits']['max_tokens']} are accepted"
            )
        return ids

    def forward(self, features: dict, **_: object) -> dict:
        """Add ``sentence_embedding`` [N, D] to the features."""
        kind = self.head.weight.dtype
        embeds_NLH = self.table(features["input_ids"]).to(kind)
        if "pixels" in features:
            cells_KGC = self.frontend(features["pixels"].to(kind)).flatten(0, 1)
            tokens = self.config["image"]["tokens_side"] ** 2
            position_K = torch.arange(tokens, device=cells_KGC.device).repeat(len(features["pixels"]))
            rows_K, columns_K = features["places"].T
            embeds_NLH = embeds_NLH.index_put((rows_K, columns_K), self.projector(cells_KGC, position_K).to(kind))
        mask_NL = features["attention_mask"]
        states_NLH = self.trunk(inputs_embeds=embeds_NLH, attention_mask=mask_NL).last_hidden_state
        weights_NL1 = mask_NL.unsqueeze(-1).to(kind)
        pooled_NH = (states_NLH * weights_NL1).sum(1) / weights_NL1.sum(1)
        features["sentence_embedding"] = normalize(self.head(pooled_NH), dim=-1)
        return features

    @classmethod
    def load(cls, model_name_or_path: str, *_: object, **kwargs: object) -> OmnivecUnified:
        """Read a local artifact, or one in a hub's cache."""
        directory = Path(model_name_or_path)
        if not directory.is_dir():
            from huggingface_hub import snapshot_download

            names = ("revision", "token", "local_files_only", "cache_folder")
            given = {"cache_dir" if n == "cache_folder" else n: kwargs[n] for n in names if kwargs.get(n) is not None}
            directory = Path(snapshot_download(model_name_or_path, **given))
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        files = ("table", "trunk", "head", "projectors", "image_tower")
        found = {name: directory / f"{name}.safetensors" for name in files}
        states = {name: load_file(path) for name, path in found.items() if path.is_file()}
        return cls(config, Tokenizer.from_file(str(directory / "tokenizer.json")), states)

    def save(self, output_path: str, *_: object, **__: object) -> None:
        """Refuse: only the library writes artifacts."""
        raise NotImplementedError("train and save this model with Omnivec, whose artifacts carry digests and exports")


def settings(value: object) -> object:
    """A JSON document with its objects' keys as attributes, but for the configurations of transformers models."""
    if isinstance(value, dict):
        return SimpleNamespace(**{k: v if k == "model" else settings(v) for k, v in value.items()})
    return tuple(map(settings, value)) if isinstance(value, list) else value


def projector_of(states: dict, name: str) -> Projector:
    """The projector of one modality; its shape is that of its weights."""
    own = {key.split(".", 1)[1]: value for key, value in states.items() if key.split(".")[0] == name}
    reduced, channels = own["reduce.weight"].shape
    hidden, joined = own["hidden.weight"].shape
    shape = {"channels": channels, "cells": joined // reduced, "positions": len(own["position.weight"])}
    width = len(own["out.weight"])
    projector = Projector(**shape, reduced=reduced, hidden=hidden, width=width, dropout=0.0)
    projector.load_state_dict(own)
    return projector


def parts_of(value: object) -> list:
    """(kind, value) of each part of one input."""
    if isinstance(value, str):
        return [(TEXT, value)]
    if isinstance(value, bytes | Image.Image):
        return [(IMAGE, value)]
    if isinstance(value, tuple | list):
        return [part for item in value for part in parts_of(item)]
    if isinstance(value, dict):
        if "role" in value and isinstance(value.get("content"), str | list):
            return parts_of(value["content"])
        kinds = [kind for kind in value if kind in (TEXT, IMAGE, "parts")]
        if kinds and set(value) <= {*kinds, "type"} and not isinstance(value.get(IMAGE), str):
            return [part for kind in kinds for part in parts_of(value[kind])]
    raise ValueError(
        f"an input of type {type(value).__name__} is neither text nor picture; this file embeds those two and their "
        "mixtures, sound and clips need Omnivec itself"
    )


def read_picture(value: bytes | Image.Image, size: int, limits: dict) -> np.ndarray:
    """Picture to a white square [S, S, 3]."""
    picture = value
    if isinstance(value, bytes):
        if len(value) > limits["max_media_bytes"]:
            raise ValueError(f"a picture has {len(value)} bytes; at most {limits['max_media_bytes']} are accepted")
        picture = Image.open(io.BytesIO(value), formats=FORMATS)
    if picture.width * picture.height > limits["max_image_pixels"]:
        raise ValueError(f"a picture has {picture.size} pixels; at most {limits['max_image_pixels']} are accepted")
    if isinstance(value, bytes):
        picture.draft("RGB", (2 * size, 2 * size))  # a JPEG can be decoded at a reduced scale
    return fit_square(ImageOps.exif_transpose(picture), size)
