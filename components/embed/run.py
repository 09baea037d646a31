"""Offline embedding: many inputs to one file of vectors; bad inputs are set aside with their reasons.

Shape legend: N items, D dimensions.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from components.embed.about import state_digest, write_about
from components.embed.config import EmbedConfig
from components.embed.inputs import Source, find_sources, read_source
from components.embed.output import Parts, Row
from model.content import Content, Modality
from model.encoder import Encoder
from model.errors import CapabilityError, ContentError, DataError
from model.quantize import Quantizer


def run(
    config: EmbedConfig,
    *,
    inputs: Sequence[Path],
    model: Path,
    output: Path,
    known: Mapping[str, Row] = MappingProxyType({}),
) -> dict[str, int]:
    """Embed files, folders and JSON lines into ``output`` (``.parquet``, ``.jsonl`` or ``.npy``).

    Interrupted, it goes on from its last save when it is called with the same arguments.

    Args:
        config: how.
        inputs: what.
        model: directory of an artifact.
        output: file to write, in one move at the end; what it is stands beside it (``components.embed.about``).
        known: rows that need not be made again, by id.

    Returns:
        Counts: inputs, embedded, skipped (listed in ``<output>.skipped.jsonl``), resumed, reused.

    Raises:
        DataError: an input path does not exist or there is nothing to embed.
        ConfigError: the dimension or the format is not one, the artifact has no ranges for such codes, or ``output``
            has an unfinished run of other inputs.
        ArtifactError: ``model`` cannot be loaded.
    """
    from model.artifact import load_encoder
    from model.integrity import artifact_digest
    from model.matryoshka import check_dimension
    from model.progress import progress
    from model.quantize import load_quantizer

    sources = find_sources(inputs)
    if not sources:
        raise DataError(f"nothing to embed in {', '.join(map(str, inputs))}")
    encoder = load_encoder(model, backend=config.backend, threads=1)
    dimension = check_dimension(config.dimension or encoder.dimensions[0], encoder.dimensions)
    quantizer = load_quantizer(model)
    quantizer.check(config.output_dtype, dimension)
    states = hashlib.sha256("\0".join(map(state_digest, sources)).encode()).hexdigest()[:16]
    plan = {"model": artifact_digest(model), "config": config.digest(), "inputs": states}
    parts = Parts(output, plan)
    chunks = [sources[i : i + config.items_per_part] for i in range(0, len(sources), config.items_per_part)]
    resumed = sum(len(chunk) for number, chunk in enumerate(chunks) if number in parts)
    for number, chunk in progress(list(enumerate(chunks)), desc="embed", unit="part"):
        if number not in parts:
            made = [source for source in chunk if source.id not in known]
            rows = {row.id: row for row in embed_sources(encoder, made, config, dimension, quantizer)}
            parts.write(number, [known[source.id] if source.id in known else rows[source.id] for source in chunk])

    def describe() -> None:
        write_about(output, sources, inputs, config, *identity(model, config))

    skipped = parts.finish(len(chunks), dimension, config.output_dtype, describe)
    return {
        "inputs": len(sources),
        "embedded": len(sources) - skipped,
        "skipped": skipped,
        "resumed": resumed,
        "reused": sum(source.id in known for source in sources),
    }


def identity(model: Path, config: EmbedConfig) -> tuple[str, str | None]:
    """Vector space of an artifact, and the digest of the ranges of its codes where ``config`` asks for such codes.

    Raises:
        ArtifactError: ``model`` is no artifact.
    """
    from model.quantize import RANGED, load_quantizer
    from serving.engine import vector_space_id

    return vector_space_id(model), load_quantizer(model).digest if config.output_dtype in RANGED else None


def embed_sources(
    encoder: Encoder, sources: Sequence[Source], config: EmbedConfig, dimension: int, quantizer: Quantizer
) -> list[Row]:
    """One row per source, in order; a bad source costs nobody else their vector."""
    from model.encoding import batch_cost, each_batch, plan_batches
    from model.matryoshka import truncate

    rows: dict[str, Row] = {}
    good: list[tuple[Source, Content, dict[Modality, int]]] = []
    for source in sources:
        try:
            content = read_source(source, config.task, encoder.limits)
            good.append((source, content, encoder.count_tokens(content)))
        except (ContentError, CapabilityError) as error:
            rows[source.id] = _refused(source, error)
    batches = list(plan_batches([batch_cost(tokens) for _, _, tokens in good], config.max_batch_tokens))
    contents = ([good[i][1] for i in members] for members in batches)
    for members, results in zip(batches, each_batch(encoder, contents), strict=True):
        for i, result in zip(members, results, strict=True):
            source, content, tokens = good[i]
            if isinstance(result, Exception):
                rows[source.id] = _refused(source, result)
            else:
                vector = quantizer(truncate(result[None], dimension), config.output_dtype)[0].tolist()
                rows[source.id] = Row(source.id, content.kind, sum(tokens.values()), vector)
    return [rows[source.id] for source in sources]


def _refused(source: Source, error: Exception) -> Row:
    return Row(source.id, code=getattr(error, "code", "capability_missing"), reason=str(error))
