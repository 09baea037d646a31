"""Any model of sentence-transformers as an encoder.

Shape legend: N contents, L sequence positions, D dimensions.
"""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers.utils import is_torchvision_available

from model.content import Content, Modality
from model.encoder import Limits
from model.errors import CapabilityError, ConfigError, ContentError, OmnivecError
from model.sentence_transformer.batch import Group, GroupedBatch
from model.sentence_transformer.config import SentenceTransformerConfig
from model.sentence_transformer.inputs import Abilities, InputMaker, Item
from model.sentence_transformer.tokens import tokens_of_rows

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from model.training.config import LoraConfig

COUNTS_KEPT = 100_000
MAX_TOKENS = 8192
NAMES = {m.value: m for m in (Modality.TEXT, Modality.IMAGE, Modality.AUDIO, Modality.VIDEO)}


class SentenceTransformerEncoder(nn.Module):
    """Wraps a loaded model; its parameters are named ``model.<module>...``, so ``trainable: {model: 1.0e-5}`` is all.

    Contents of different kinds never share a forward pass, which keeps a vector free of its neighbours.
    """

    def __init__(
        self,
        model: "SentenceTransformer",
        config: SentenceTransformerConfig,
        modalities: frozenset[Modality] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self._lock = threading.Lock()  # fast tokenizers may not be called by two threads at once
        self._counts: dict[str, dict[Modality, int]] = {}
        abilities = _abilities(model, config, modalities)
        self.modalities = abilities.modalities
        own = min(model.max_seq_length or MAX_TOKENS, MAX_TOKENS)
        self.limits = config.limits or Limits(max_tokens=own)
        model.max_seq_length = min(self.limits.max_tokens, own)
        prompts = config.prompts if config.prompts is not None else {k: v or "" for k, v in model.prompts.items()}
        self.config = config.model_copy(update={"limits": self.limits, "prompts": prompts})
        self.inputs = InputMaker(self.config, self.limits, abilities)
        if not config.dimensions:
            self.config = self.config.model_copy(update={"dimensions": (self._width(),)})

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_counts": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "_lock": threading.Lock()})  # type: ignore[no-untyped-call]

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Matryoshka dimensions, largest first."""
        return self.config.dimensions

    @property
    def tasks(self) -> frozenset[str]:
        """Named tasks that have a prefix."""
        return frozenset(self.config.prompts or ())

    def combines(self, modalities: Sequence[Modality]) -> bool:
        """Whether parts of these modalities can be one content."""
        return self.inputs.combines([m.value for m in modalities])

    def count_tokens(self, content: Content) -> dict[Modality, int]:
        """Exact number of tokens by modality, after the processor; those of a content seen before are remembered."""
        if content.digest not in self._counts:
            self.preprocess([content])
        return dict(self._counts[content.digest])

    def preprocess(self, contents: Sequence[Content]) -> GroupedBatch:
        """Decode and tokenise; see ``Encoder.preprocess`` for errors."""
        items = [self.inputs(content) for content in contents]
        members: dict[tuple[Any, ...], list[int]] = {}
        for row, item in enumerate(items):
            members.setdefault(item.key, []).append(row)
        groups = []
        for rows in members.values():
            features = self._features([items[row] for row in rows])
            counts = tokens_of_rows(self.model, features, [items[row].pictures for row in rows])
            self._note([contents[row] for row in rows], counts)
            groups.append(Group(tuple(rows), features))
        return GroupedBatch(tuple(groups), len(contents))

    def forward(self, batch: GroupedBatch) -> Tensor:
        """Map a batch to unit vectors [N, D]."""
        device = next(self.model.parameters()).device
        found: list[Tensor] = []
        order: list[int] = []
        for group in batch.groups:
            given = group.features.items()
            features = {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in given}
            found.append(self.model(features)["sentence_embedding"].float())
            order += group.rows
        vectors_ND = normalize(torch.cat(found), dim=-1)
        places_N = torch.empty(len(order), dtype=torch.long)
        places_N[torch.tensor(order)] = torch.arange(len(order))
        unit_ND: Tensor = vectors_ND[places_N.to(vectors_ND.device)]
        return unit_ND

    def add_lora(self, lora: "LoraConfig", seed: int) -> int:
        """Put LoRA adapters into the transformer; returns how many layers got one."""
        from model.sentence_transformer.lora import add_lora

        return add_lora(self.model[0].model, lora, seed)

    def merge_lora(self) -> None:
        """Merge adapters, if there are any, into the weights."""
        from model.sentence_transformer.lora import merge_lora

        merge_lora(self.model[0].model)

    def merged_state(self) -> dict[str, Tensor]:
        """Weights of the adapted layers as they will be after the merge, by parameter name of this module."""
        from model.sentence_transformer.lora import merged_state

        return {f"model.0.model.{name}": tensor for name, tensor in merged_state(self.model[0].model).items()}

    def save(self, directory: Path) -> None:
        """Write the artifact; adapters are merged first."""
        from model.sentence_transformer.storage import save_model

        self.merge_lora()
        save_model(self.model, self.config, directory)

    @classmethod
    def load(cls, directory: Path, *, modalities: frozenset[Modality] | None = None) -> Self:
        """Read an artifact; towers that the model can do without and that are not wanted are not loaded."""
        from model.sentence_transformer.storage import load_model, read_settings

        config = read_settings(directory)
        return cls(load_model(directory, config, modalities), config, modalities).eval()

    def _features(self, items: Sequence[Item]) -> dict[str, Any]:
        clips = [entry for item in items for entry in item.video_metadata]
        settings: dict[str, Any] = {}
        if not items[0].text_only:
            settings["text"] = {"truncation": False}
        if clips:
            settings["video"] = {"video_metadata": clips, "do_sample_frames": False}
        try:
            with self._lock:
                found = self.model[0].preprocess([item.value for item in items], processing_kwargs=settings)
        except OmnivecError:
            raise
        except Exception as error:  # processors raise many kinds for what they cannot take
            raise ContentError(f"the processor of this model refuses the content: {error}", code="refused") from error
        return dict(found)

    def _note(self, contents: Sequence[Content], counts: Sequence[Mapping[Modality, int]]) -> None:
        if len(self._counts) >= COUNTS_KEPT:
            self._counts = {}
        for content, count in zip(contents, counts, strict=True):
            total = sum(count.values())
            if total > self.limits.max_tokens and content.modalities != {Modality.TEXT}:
                raise ContentError(
                    f"the content has {total} tokens, more than max_tokens={self.limits.max_tokens}; send fewer or "
                    "shorter parts",
                    code="too_many_tokens",
                    limit="max_tokens",
                )
            self._counts[content.digest] = dict(count)

    def _width(self) -> int:
        width = self.model.get_embedding_dimension()
        if width is None:
            raise ConfigError("the width of this model's vectors is unknown: set model.encoder.dimensions")
        return int(width)


def _abilities(
    model: "SentenceTransformer", config: SentenceTransformerConfig, wanted: frozenset[Modality] | None
) -> Abilities:
    """What the model takes, from its modality configuration and from what is installed."""
    known = model.modalities
    messages = "message" in known
    found = {NAMES[name] for name in known if isinstance(name, str) and name in NAMES}
    settings = model[0].config
    for modality, entry in ((Modality.IMAGE, "vision_config"), (Modality.AUDIO, "audio_config")):
        if entry in vars(settings) and getattr(settings, entry) is None:
            found -= {modality, Modality.VIDEO} if modality is Modality.IMAGE else {modality}
    if config.video == "frames":
        found = found | {Modality.VIDEO} if messages and Modality.IMAGE in found else found - {Modality.VIDEO}
    elif not is_torchvision_available():
        found -= {Modality.VIDEO}
    if not found:
        raise CapabilityError(f"none of text, image, audio and video is among what this model takes: {known}")
    processor = model[0].processor
    return Abilities(
        modalities=frozenset(found & (wanted | {Modality.TEXT}) if wanted else found),
        messages=messages,
        combinations=frozenset(frozenset(name) for name in known if isinstance(name, tuple)),
        sample_rate=int(getattr(getattr(processor, "feature_extractor", processor), "sampling_rate", 16_000)),
        control_tokens=tuple(t for t in getattr(processor, "all_special_multimodal_tokens", ()) if isinstance(t, str)),
    )
