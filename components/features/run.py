"""The work of the features step: frozen towers over every distinct media item of the dataset, once."""

from pathlib import Path
from typing import cast

from components.features.config import FeaturesConfig


def run(config: FeaturesConfig, *, dataset: Path, model: Path, output: Path) -> dict[str, float]:
    """Write the feature store of ``dataset`` under the towers of ``model`` to ``output``.

    Only the unified family has towers of its own; of another family the store is empty.

    Returns:
        Scalars: number of media items stored.

    Raises:
        DataError: ``dataset`` holds no shards.
        ArtifactError: ``model`` is no artifact.
    """
    from data.corpus import distinct_media
    from model.artifact import artifact_kind, load_encoder
    from model.features import build_features, write_index
    from model.transfer import accelerated
    from model.unified.encoder import UnifiedEncoder

    if artifact_kind(model) != "unified":
        write_index(output, towers="", modalities=[], items={})
        return {"media": 0, "stored": 0}
    encoder = cast("UnifiedEncoder", load_encoder(model))
    parts = list(distinct_media(dataset))
    with accelerated(encoder):
        stored = build_features(encoder, parts, output, batch_units=config.batch_units)
    return {"media": len(parts), "stored": stored}
