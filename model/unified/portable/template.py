"""An Omnivec unified encoder for plain sentence-transformers: every modality of the model, and any mixture of them.

This file was written when the model was saved. It needs torch, transformers, tokenizers, safetensors, PIL and numpy
and nothing of Omnivec; most of it is the library's own code, put together by ``model/unified/portable``. Encoded sound
also needs soundfile and soxr, encoded clips av, and PDFs pypdfium2 (drawn by a confined process of its own).

    model = SentenceTransformer(path, trust_remote_code=True)
    model.encode(["a red fox", PIL.Image.open("fox.png"), ("the same in blue", PIL.Image.open("fox.png"))])
    model.encode([{"audio": {"array": samples, "sampling_rate": 16000}}, {"video": Path("fox.mp4")}])

A text is a string, even one that looks like a path. ``{"image": ...}``, ``{"audio": ...}``, ``{"video": ...}`` and
``{"document": ...}`` take encoded bytes, the path of a file, or what was decoded before. A tuple, or
``{"parts": [...]}``, holds the parts of one input in their order.

Shape legend: N inputs, L sequence positions, K media tokens of one modality, B tower inputs, T tokens per input,
G cells, C channels, H trunk width, D dimensions.
"""

# ruff: noqa: F821 (names of the library's code, which comes above)
# mypy: ignore-errors
from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn
from torch.nn.functional import normalize


def missing(name: str) -> ImportError:
    """What callers get when an optional library is not there."""
    return ImportError(f"these encoded media need {name}: pip install {name}, or decode them yourself and send arrays")


class Library:
    """A library that only encoded media of some kind need, imported when it is first used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> object:
        try:
            return getattr(import_module(self._name), attribute)
        except (ImportError, OSError) as error:  # OSError: the package is there, the library inside it is not
            raise missing(self._name) from error


# LIBRARY

# Kind of sound tower -> what it hears, and the samples at 16 kHz for each place of that.
HEARS = {"whisper": ("log_mel", 160), "waveform": ("waveform", 1), "spectrogram": ("fbank", 160)}


class OmnivecUnified(nn.Module):
    """Input module of sentence-transformers: inputs to ``sentence_embedding`` [N, D], unit length."""

    def __init__(self, config: dict, tokenizer: Tokenizer, states: dict) -> None:
        super().__init__()
        self.config = settings(config)
        self.tokenizer = tokenizer
        tokenizer.no_padding()
        tokenizer.no_truncation()
        trunk = build_trunk(config["trunk"], max_tokens=config["limits"]["max_tokens"])
        self.head = nn.Linear(trunk.width, config["dimensions"][0])  # first: it tells the precision to the outside
        self.table, self.trunk = trunk.table, trunk.model
        for name in ("table", "trunk", "head"):
            getattr(self, name).load_state_dict(states[name])
        projected = {key.split(".")[0] for key in states.get("projectors", ())}
        self.projectors = nn.ModuleDict({name: projector_of(states["projectors"], name) for name in sorted(projected)})
        self.frontends = nn.ModuleDict(_frontends(self.config, frozenset(map(Modality, projected))))
        for name, frontend in self.frontends.items():
            frontend.tower.load_state_dict(states["audio_tower" if name == AUDIO else "image_tower"])
        ids = tokenizer.encode("a", add_special_tokens=True).ids
        self.bos, self.eos = ids[0], ids[-1]
        self.max_seq_length = config["limits"]["max_tokens"]
        self.eval()

    @property
    def modalities(self) -> list:
        """What sentence-transformers may send; it does not know documents, which come through all the same."""
        return [TEXT, *self.frontends, "message"] if self.frontends else [TEXT]

    def get_embedding_dimension(self) -> int:
        """Dimensions D of the vectors."""
        return self.config.dimensions[0]

    get_sentence_embedding_dimension = get_embedding_dimension

    def preprocess(self, inputs: list, prompt: str | None = None, **_: object) -> dict:
        """Tokenise and decode N inputs; ``prompt`` goes before an input that starts with text."""
        reader = MediaReader(self.config, self._ids)
        plans = {}
        sequences = [self._lay_out(i, parts_of(value), prompt or "", reader, plans) for i, value in enumerate(inputs)]
        ids_NL = torch.zeros(len(sequences), max(map(len, sequences)), dtype=torch.long)
        mask_NL = torch.zeros_like(ids_NL)
        for row, ids in enumerate(sequences):
            ids_NL[row, : len(ids)] = torch.tensor(ids)
            mask_NL[row, : len(ids)] = 1
        features = {"input_ids": ids_NL, "attention_mask": mask_NL, "modality": TEXT}
        for name, plan in plans.items():
            media = _collate(plan)
            place = {"position": media.position_K, "row": media.row_K, "column": media.column_K}
            for i, call in enumerate(media.calls):
                place |= {f"{i}.inputs": call.inputs, f"{i}.tokens": call.tokens_BT}
            features |= {f"{name}.{key}": torch.from_numpy(value) for key, value in place.items()}
        return features

    def tokenize(self, texts: list, **kwargs: object) -> dict:
        """Older name of :meth:`preprocess`."""
        return self.preprocess(texts, **kwargs)

    def _lay_out(self, row: int, parts: list, prompt: str, reader: MediaReader, plans: dict) -> list:
        limits = self.config.limits
        if len(parts) > limits.max_parts:
            raise ContentError(
                f"an input has {len(parts)} parts; at most {limits.max_parts} are accepted",
                code="too_many_parts",
                limit="max_parts",
            )
        ids, has_text = [self.bos], any(kind == TEXT for kind, _ in parts)
        for i, (kind, value) in enumerate(parts):
            if kind == TEXT:
                ids += self._text_ids((prompt if i == 0 else "") + value)
                continue
            needed = IMAGE if kind == DOCUMENT else kind
            if needed not in self.frontends:
                raise CapabilityError(f"this model embeds {', '.join([TEXT, *self.frontends])}; a part is {kind}")
            for unit in read_media(kind, value, reader):
                plan = plans.setdefault(unit.tower, _Plan())
                plan.units.append(unit)
                plan.rows.append(row)
                plan.columns.append(len(ids))
                ids += [0] * unit.tokens
                ids += unit.ids
                has_text |= bool(unit.ids)
        if has_text:
            ids.append(self.eos)
        if len(ids) > limits.max_tokens:
            raise ContentError(
                f"an input has {len(ids)} tokens; at most {limits.max_tokens} are accepted",
                code="too_many_tokens",
                limit="max_tokens",
            )
        return ids

    def _text_ids(self, value: str) -> list:
        _check_unicode(value)
        ids, limit = self._ids(value), self.config.max_text_tokens
        if len(ids) > limit and self.config.truncate == "error":
            raise ContentError(
                f"a text has {len(ids)} tokens with its prefix; at most {limit} are accepted and none are cut",
                code="text_too_long",
                limit="max_text_tokens",
            )
        return ids[:limit]

    def _ids(self, value: str) -> list:
        return self.tokenizer.encode(value, add_special_tokens=False).ids

    def forward(self, features: dict, **_: object) -> dict:
        """Add ``sentence_embedding`` [N, D] to the features."""
        kind = self.head.weight.dtype
        embeds_NLH = self.table(features["input_ids"]).to(kind)
        for name in self.frontends:
            if f"{name}.row" in features:
                place_2K = (features[f"{name}.row"], features[f"{name}.column"])
                embeds_NLH = embeds_NLH.index_put(place_2K, self._media_tokens(name, features).to(kind))
        mask_NL = features["attention_mask"]
        states_NLH = self.trunk(inputs_embeds=embeds_NLH, attention_mask=mask_NL).last_hidden_state
        weights_NL1 = mask_NL.unsqueeze(-1).to(kind)
        pooled_NH = (states_NLH * weights_NL1).sum(1) / weights_NL1.sum(1)
        features["sentence_embedding"] = normalize(self.head(pooled_NH), dim=-1)
        return features

    def _media_tokens(self, name: str, features: dict) -> torch.Tensor:
        """Tower and projector: tokens [K, H] of one modality."""
        position_K, cells_KGC, calls = features[f"{name}.position"], None, 0
        while (inputs := features.get(f"{name}.{calls}.inputs")) is not None:
            cells_BTGC = self.frontends[name](inputs.to(self.head.weight.dtype))
            if cells_KGC is None:
                cells_KGC = cells_BTGC.new_zeros(len(position_K), *cells_BTGC.shape[2:])
            index = features[f"{name}.{calls}.tokens"].flatten()
            cells_KGC = cells_KGC.index_put((index,), cells_BTGC.flatten(0, 1))
            calls += 1
        return self.projectors[name](cells_KGC, position_K)

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
        files = ("table", "trunk", "head", "projectors", "image_tower", "audio_tower")
        found = {name: directory / f"{name}.safetensors" for name in files}
        states = {name: load_file(path) for name, path in found.items() if path.is_file()}
        return cls(config, Tokenizer.from_file(str(directory / "tokenizer.json")), states)

    def save(self, output_path: str, *_: object, **__: object) -> None:
        """Refuse: only the library writes artifacts."""
        raise NotImplementedError("train and save this model with Omnivec, whose artifacts carry digests and exports")


def settings(document: dict) -> SimpleNamespace:
    """The configuration with what the library derives from it."""
    config = attributes(document)
    config.token_samples = round(config.audio.token_seconds * SAMPLE_RATE)
    if config.audio_tower is not None:
        tower = config.audio_tower
        tower.input, tower.step_samples = HEARS[tower.kind]
        if tower.kind == "spectrogram":
            tower.mel_bands = int(tower.model.get("num_mel_bins", 128))
    return config


def attributes(value: object) -> object:
    """A JSON document with its objects' keys as attributes, but for the configurations of transformers models."""
    if isinstance(value, dict):
        return SimpleNamespace(**{k: v if k == "model" else attributes(v) for k, v in value.items()})
    return tuple(map(attributes, value)) if isinstance(value, list) else value


def build_tower(config: SimpleNamespace) -> nn.Module:
    """A tower of one of the kinds that this file holds."""
    return TOWERS[config.kind](config)


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
