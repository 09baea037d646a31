"""Contents to batches: checks limits, decodes, tokenises, lays parts out in their order. Numpy only, thread-safe.

Shape legend: N contents, L sequence positions, K media tokens of one modality, B tower inputs, T tokens per input.

Truncation policy: each text part, its prefix included, is cut at its end to ``max_text_tokens``, or refused with
``truncate: error``; the text layer of a page is cut to ``document.page_text_tokens``; media are never cut, a content
whose sequence exceeds ``limits.max_tokens`` is refused.

The trunk's special tokens stand around a content that holds text (be it the text layer of a document), as in the
trunk's own training. A content of media alone keeps the first only: without it a one-token picture does not train at
all (measured: the loss stays at the logarithm of the batch), while the last one would cost a third of the work on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from tokenizers import Tokenizer

from model.content import Content, Modality, Part
from model.encoder import MOST_CHARACTERS_PER_TOKEN
from model.errors import ArtifactError, CapabilityError, ContentError
from model.features import FeatureStore
from model.prompts import prompted_parts
from model.unified.batch import Array, MediaTokens, TowerCall, UnifiedBatch, Unit
from model.unified.config import UnifiedConfig
from model.unified.media import Count, MediaReader


@dataclass
class _Plan:
    """Where the units of one modality go."""

    units: list[Unit] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)


class Preprocessor:
    """Turns contents into batches for one configuration."""

    def __init__(self, config: UnifiedConfig, tokenizer_json: str, modalities: frozenset[Modality]) -> None:
        self.config = config
        self.modalities = modalities
        self.tokenizer_json = tokenizer_json
        self.tokenizer = Tokenizer.from_str(tokenizer_json)
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.bos, self.eos = self._special_ids()
        self.reader = MediaReader(config, self._ids)

    def __reduce__(self) -> tuple[type["Preprocessor"], tuple[UnifiedConfig, str, frozenset[Modality]]]:
        return Preprocessor, (self.config, self.tokenizer_json, self.modalities)

    def __call__(self, contents: Sequence[Content], store: FeatureStore | None = None) -> UnifiedBatch:
        """Build a batch of N contents, decoding each distinct part once; see ``Encoder.preprocess`` for errors."""
        sequences: list[list[int]] = []
        plans: dict[str, _Plan] = {}
        units: dict[tuple[Modality, str], list[Unit]] = {}
        for row, content in enumerate(contents):
            sequences.append(self._lay_out(row, content, store, plans, units))
        longest = max(len(s) for s in sequences)
        token_ids_NL = np.zeros((len(sequences), longest), dtype=np.int64)
        mask_NL = np.zeros_like(token_ids_NL)
        for row, ids in enumerate(sequences):
            token_ids_NL[row, : len(ids)] = ids
            mask_NL[row, : len(ids)] = 1
        media = {name: _collate(plan) for name, plan in plans.items()}
        return UnifiedBatch(token_ids_NL, mask_NL, media)

    def count_tokens(self, content: Content, store: FeatureStore | None = None) -> dict[Modality, int]:
        """Exact tokens by modality; the special tokens (two with text in the content, else one) count as text.

        The sound of a clip counts as video, and the text layer of a document as document.
        """
        counts = {Modality.TEXT: 1}
        has_text = Modality.TEXT in content.modalities
        for part in self._checked_parts(content):
            if part.modality is Modality.TEXT:
                tokens = len(self._text_ids(part.text or ""))
            else:
                known = store is not None and store.has(part)
                count = Count(store.count(part)) if store is not None and known else self.reader.count(part)
                tokens = count.media + count.text
                has_text |= count.text > 0
            counts[part.modality] = counts.get(part.modality, 0) + tokens
        counts[Modality.TEXT] += has_text
        return counts

    def _lay_out(
        self,
        row: int,
        content: Content,
        store: FeatureStore | None,
        plans: dict[str, _Plan],
        units: dict[tuple[Modality, str], list[Unit]],
    ) -> list[int]:
        ids = [self.bos]
        has_text = Modality.TEXT in content.modalities
        for part in self._checked_parts(content):
            if part.modality is Modality.TEXT:
                ids += self._text_ids(part.text or "")
                continue
            key = (part.modality, part.digest)  # the same GIF may be a picture and a clip
            if key not in units:
                units[key] = self._units(part, store)
            for unit in units[key]:
                plan = plans.setdefault(unit.tower, _Plan())
                plan.units.append(unit)
                plan.rows.append(row)
                plan.columns.append(len(ids))
                ids += [0] * unit.tokens
                ids += unit.ids
                has_text |= bool(unit.ids)
        if has_text:
            ids.append(self.eos)
        if len(ids) > self.config.limits.max_tokens:
            raise ContentError(
                f"the content has {len(ids)} tokens, more than max_tokens={self.config.limits.max_tokens}; "
                "send fewer or shorter parts",
                code="too_many_tokens",
                limit="max_tokens",
            )
        return ids

    def _units(self, part: Part, store: FeatureStore | None) -> list[Unit]:
        if store is None or not store.has(part):
            return self.reader.units(part)
        units = []
        for tower, inputs in store.items(part):
            first = 0
            for features_TGC in inputs:
                units.append(Unit(tower, tokens=len(features_TGC), first=first, features=features_TGC))
                first += len(features_TGC) if tower == Modality.VIDEO.value else 0
        return units

    def _checked_parts(self, content: Content) -> tuple[Part, ...]:
        limits = self.config.limits
        if len(content.parts) > limits.max_parts:
            raise ContentError(
                f"the content has {len(content.parts)} parts, more than max_parts={limits.max_parts}",
                code="too_many_parts",
                limit="max_parts",
            )
        for part in content.parts:
            if part.modality not in self.modalities:
                raise CapabilityError(
                    f"this model embeds {', '.join(sorted(self.modalities))}; a part is {part.modality}"
                )
            if part.data is not None and len(part.data) > limits.max_media_bytes:
                raise ContentError(
                    f"a {part.modality} part has {len(part.data)} bytes, more than max_media_bytes="
                    f"{limits.max_media_bytes}",
                    code=f"{part.modality}_too_large",
                    limit="max_media_bytes",
                )
        return prompted_parts(content, self.config.prompts)

    def _text_ids(self, value: str) -> list[int]:
        limit = self.config.max_text_tokens
        if len(value) > limit * MOST_CHARACTERS_PER_TOKEN:
            if self.config.truncate == "error":
                raise ContentError(
                    f"a text has {len(value)} characters with its prefix, too many for max_text_tokens={limit}, and "
                    "this model cuts nothing (truncate=error): send it in pieces",
                    code="text_too_long",
                    limit="max_text_tokens",
                )
            value = value[: limit * MOST_CHARACTERS_PER_TOKEN]
        ids = self._ids(value)
        if len(ids) > limit and self.config.truncate == "error":
            raise ContentError(
                f"a text has {len(ids)} tokens with its prefix, more than max_text_tokens={limit}, and this model cuts "
                "nothing (truncate=error): send it in pieces",
                code="text_too_long",
                limit="max_text_tokens",
            )
        return ids[:limit]

    def _ids(self, value: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(value, add_special_tokens=False).ids
        return ids

    def _special_ids(self) -> tuple[int, int]:
        plain: list[int] = self.tokenizer.encode("a", add_special_tokens=False).ids
        ids: list[int] = self.tokenizer.encode("a", add_special_tokens=True).ids
        if ids[1:-1] != plain:
            raise ArtifactError(
                f"the tokenizer makes {ids} of {plain}; a trunk's tokenizer must put one special token before a text "
                "and one after it: set its post_processor so (in tokenizer.json)"
            )
        return ids[0], ids[-1]


def _collate(plan: _Plan) -> MediaTokens:
    """Number the tokens of one modality and group tower inputs of equal shape into calls."""
    starts = np.cumsum([0, *(u.tokens for u in plan.units)])
    total = int(starts[-1])
    position_K, row_K, column_K = (np.empty(total, dtype=np.int64) for _ in range(3))
    features_KGC: Array | None = None
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, unit in enumerate(plan.units):
        span = slice(int(starts[i]), int(starts[i + 1]))
        steps = np.arange(unit.tokens)
        position_K[span] = unit.first + steps
        row_K[span] = plan.rows[i]
        column_K[span] = plan.columns[i] + steps
        if unit.features is not None:
            if features_KGC is None:
                features_KGC = np.zeros((total, *unit.features.shape[1:]), dtype=np.float32)
            features_KGC[span] = unit.features
        elif unit.inputs is not None:
            groups.setdefault(unit.inputs.shape, []).append(i)
    calls = tuple(_call(plan.units, members, starts) for members in groups.values())
    return MediaTokens(features_KGC, position_K, row_K, column_K, calls)


def _call(units: list[Unit], members: list[int], starts: np.ndarray[tuple[int], np.dtype[np.int64]]) -> TowerCall:
    inputs = np.stack([found for i in members if (found := units[i].inputs) is not None])
    tokens_BT = np.stack([np.arange(starts[i], starts[i + 1]) for i in members])
    return TowerCall(inputs, tokens_BT)
