"""The unified encoder: towers -> projectors -> one shared bidirectional trunk -> mean pool -> head -> L2.

Shape legend: N contents, L sequence positions, K media tokens, G cells, C channels, H trunk width, D dimensions.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from model.content import Content, Modality
from model.encoder import Limits
from model.features import FeatureStore, digest_of_towers
from model.towers import build_tower
from model.transfer import on_device
from model.unified.batch import MediaTokens, UnifiedBatch
from model.unified.config import UnifiedConfig
from model.unified.frontends import PictureFrontend, SoundFrontend
from model.unified.packed import PACKABLE, Packing, attention_name, run_packed
from model.unified.preprocess import Preprocessor
from model.unified.projector import Projector
from model.unified.trunk import build_trunk


class UnifiedEncoder(nn.Module):
    """Any mix of text, image, audio and video parts to one unit vector of D dimensions.

    The form follows Gemini Embedding (arXiv 2503.07891, 2605.27295): all tokens in one bidirectional sequence, mean
    pooling, a linear head, Matryoshka prefixes. The word embedding table stays frozen in half precision: it holds most
    parameters of a multilingual trunk and is only ever looked up.
    """

    def __init__(self, config: UnifiedConfig, tokenizer_json: str, *, modalities: frozenset[Modality] | None = None):
        super().__init__()
        self.config = config
        self.modalities = config.modalities & (modalities or config.modalities) | {Modality.TEXT}
        attention = attention_name(config.trunk.get("model_type", ""))
        trunk = build_trunk(config.trunk, max_tokens=config.limits.max_tokens, attention=attention)
        self.table, self.trunk = trunk.table, trunk.model
        self.head = nn.Linear(trunk.width, config.dimensions[0])
        self.frontends = nn.ModuleDict(_frontends(config, config.towers(self.modalities)))
        self.projectors = nn.ModuleDict(_projectors(config, config.towers(self.modalities), self.table.embedding_dim))
        self.preprocessor = Preprocessor(config, tokenizer_json, self.modalities)
        self.features: FeatureStore | None = None
        nn.init.eye_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.frontends.requires_grad_(False)

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in; the vectors are float32 whatever it is."""
        return self.head.weight.dtype

    @property
    def limits(self) -> Limits:
        """Limits that ``preprocess`` enforces."""
        return self.config.limits

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Matryoshka dimensions, largest first."""
        return self.config.dimensions

    @property
    def tasks(self) -> frozenset[str]:
        """Named tasks that have a prefix."""
        return frozenset(self.config.prompts)

    def count_tokens(self, content: Content) -> dict[Modality, int]:
        """Exact number of tokens of each modality."""
        return self.preprocessor.count_tokens(content, self.features)

    def use_features(self, store: FeatureStore | None) -> None:
        """Take tower features from ``store`` where it has them (only valid while the towers are frozen).

        Raises:
            ArtifactError: the store was made by other towers.
        """
        if store is not None:
            store.check(self.tower_digest())
        self.features = store

    def tower_digest(self) -> str:
        """Identity of the frozen towers with their preprocessing: the key of feature stores."""
        return digest_of_towers(self)

    def preprocess(self, contents: Sequence[Content]) -> UnifiedBatch:
        """Decode, tokenise and collate contents (see ``Encoder.preprocess`` for errors)."""
        return self.preprocessor(contents, self.features)

    def forward(self, batch: UnifiedBatch) -> Tensor:
        """Map a batch to unit vectors [N, D]."""
        return self.finish(self.pool(batch))

    def finish(self, pooled_NH: Tensor) -> Tensor:
        """Head and L2 norm: pooled states [N, H] to unit vectors [N, D]."""
        return normalize(self.head(pooled_NH).float(), dim=-1)

    def pool(self, batch: UnifiedBatch, *, packed: bool | None = None) -> Tensor:
        """Trunk and mean pooling: a batch to pooled states [N, H].

        Args:
            batch: what ``preprocess`` made.
            packed: whether the trunk runs without padding (see ``model.unified.packed``); by default wherever there
                is padding and the trunk allows it.

        Raises:
            ConfigError: ``packed`` is asked for with a trunk that only works padded.
        """
        full = bool(batch.mask_NL.all())
        if packed is None:
            packed = self.trunk.config.model_type in PACKABLE and not full
        device = self.head.weight.device
        if packed:
            packing = Packing.of(batch.mask_NL, device)
            embeds_TH = self.table(packing.token_ids(batch)).to(self.dtype)
            for name, media in batch.media.items():
                place = packing.slots(media.row_K, media.column_K)
                embeds_TH = embeds_TH.index_put((place,), self.media_tokens(name, media).to(embeds_TH.dtype))
            return packing.mean(run_packed(self.trunk, embeds_TH, packing))
        embeds_NLH = self.table(on_device(batch.token_ids_NL, device)).to(self.dtype)
        for name, media in batch.media.items():
            tokens_KH = self.media_tokens(name, media)
            place_2K = (on_device(media.row_K, device), on_device(media.column_K, device))
            embeds_NLH = embeds_NLH.index_put(place_2K, tokens_KH.to(embeds_NLH.dtype))
        return self.pool_embeds(embeds_NLH, on_device(batch.mask_NL, device), full=full)

    def pool_embeds(self, embeds_NLH: Tensor, mask_NL: Tensor, *, full: bool = False, **options: Tensor) -> Tensor:
        """Run the trunk, with ``options`` of its own, and average over the positions that ``mask_NL`` keeps.

        A trunk that is not told that they are all (``full``) asks the device for it, and waits for the answer.
        """
        mask = None if full else mask_NL
        states_NLH = self.trunk(inputs_embeds=embeds_NLH, attention_mask=mask, **options).last_hidden_state
        weights_NL1 = mask_NL.unsqueeze(-1).to(states_NLH.dtype)
        pooled_NH: Tensor = (states_NLH * weights_NL1).sum(1) / weights_NL1.sum(1)
        return pooled_NH

    def media_tokens(self, name: str, media: MediaTokens) -> Tensor:
        """Tower (where features are not given) and projector: tokens [K, H] of one modality."""
        device = self.head.weight.device
        positions_K = on_device(media.position_K, device)
        known_KGC = media.features_KGC
        features_KGC = None if known_KGC is None else on_device(known_KGC, device, self.dtype)
        for call in media.calls:
            cells_BTGC = self.frontends[name](on_device(call.inputs, device, self.dtype))
            if features_KGC is None:
                features_KGC = cells_BTGC.new_zeros(len(positions_K), *cells_BTGC.shape[2:])
            index = on_device(call.tokens_BT.reshape(-1), device)
            features_KGC = features_KGC.index_put((index,), cells_BTGC.flatten(0, 1))
        assert features_KGC is not None
        tokens_KH: Tensor = self.projectors[name](features_KGC, positions_K)
        return tokens_KH

    def save(self, directory: Path) -> None:
        """Write the artifact."""
        from model.unified.storage import save_unified

        save_unified(self, directory)

    @classmethod
    def load(cls, directory: Path, *, modalities: frozenset[Modality] | None = None) -> Self:
        """Read an artifact; towers outside ``modalities`` are neither built nor read."""
        from model.unified.storage import load_unified

        return cast("Self", load_unified(cls, directory, modalities))


def _frontends(config: UnifiedConfig, modalities: frozenset[Modality]) -> dict[str, nn.Module]:
    found: dict[str, nn.Module] = {}
    if config.image_tower is not None and modalities & {Modality.IMAGE, Modality.VIDEO}:
        tower = build_tower(config.image_tower)
        if Modality.IMAGE in modalities:
            found["image"] = PictureFrontend(tower, cells=config.image.cells, tokens_side=config.image.tokens_side)
        if Modality.VIDEO in modalities:
            found["video"] = PictureFrontend(tower, cells=config.video.cells, tokens_side=1)
    if config.audio_tower is not None and Modality.AUDIO in modalities:
        steps = config.token_samples // config.audio_tower.step_samples
        found["audio"] = SoundFrontend(build_tower(config.audio_tower), cells=config.audio.cells, steps_per_token=steps)
    return found


def _projectors(config: UnifiedConfig, modalities: frozenset[Modality], width: int) -> dict[str, nn.Module]:
    image, video, audio = config.image, config.video, config.audio
    shapes = {
        Modality.IMAGE: (config.image_tower, (image.cells // image.tokens_side) ** 2, image.tokens_side**2),
        Modality.VIDEO: (config.image_tower, video.cells**2, video.max_frames),
        Modality.AUDIO: (config.audio_tower, audio.cells, round(audio.window_seconds / audio.token_seconds)),
    }
    return {
        modality.value: Projector(
            channels=tower.features,
            cells=cells,
            positions=positions,
            reduced=config.projector_reduced,
            hidden=config.projector_hidden,
            width=width,
            dropout=config.projector_dropout.get(modality, 0.0),
        )
        for modality, (tower, cells, positions) in shapes.items()
        if modality in modalities and tower is not None
    }
