"""The work of the export step: ONNX graphs checked against torch, drift reference, ranges, model card, digests.

Shape legend: N contents, D dimensions.
"""

import json
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from components.export.config import ExportConfig
from model.errors import ArtifactError

if TYPE_CHECKING:
    from model.encoder import Encoder


def run(config: ExportConfig, *, model: Path, dataset: Path, output: Path) -> dict[str, float]:
    """Write ``model`` with its exports to ``output``.

    Args:
        config: thresholds and sample sizes.
        model: artifact directory in torch form.
        dataset: accepted shards, whose held-out splits give the contents to compare and the drift reference.
        output: artifact to write: ``model`` plus ``onnx/``, ``reference.parquet``, ``quantization.json`` (ranges of
            ``int8`` and ``uint8`` outputs, calibrated on the contents of the reference) and ``README.md``.

    Returns:
        Scalars: lowest cosine of each kind, megabytes of the graphs, rows of the reference.

    Raises:
        ArtifactError: a kind falls below ``minimum_cosine``; the message names it.
    """
    from components.export.card import model_card
    from components.export.int8 import export_int8, text_pairs
    from components.export.parity import lowest_cosine
    from components.serve_check.traffic import held_out
    from data.corpus import Corpus
    from model.artifact import load_encoder
    from model.encoding import encode_contents
    from model.integrity import write_digests
    from model.quantize import calibrate, save_quantizer
    from model.unified.storage import clone_artifact
    from serving.drift.reference import build_reference

    clone_artifact(model, output)
    encoder = load_encoder(output)
    served, sizes = exported_form(encoder, output)
    corpus = Corpus(dataset, splits=("test", "validation"))
    compared = held_out(corpus, config.parity_per_kind, encoder=encoder)
    cosines = {kind: lowest_cosine(encoder, served, contents) for kind, contents in compared.items()}
    document: dict[str, Any] = {"cosine": cosines, "minimum": config.minimum_cosine, "bytes": sizes}
    if bad := {k: v for k, v in cosines.items() if v < config.minimum_cosine}:
        raise ArtifactError(
            f"the exported form differs from torch: lowest cosine {bad}, the rule is >= {config.minimum_cosine}"
        )
    if config.int8 and sizes:
        pairs = text_pairs(corpus, config.int8_pairs)
        document["int8"] = export_int8(
            encoder,
            served,
            output,
            compared=compared,
            pairs=pairs,
            maximum_loss=config.int8_maximum_loss,
            weight_bits=config.int8_weight_bits,
        )
        sizes = {**sizes, **document["int8"]["bytes"]}
    parity = output / ("onnx/parity.json" if sizes else "parity.json")
    parity.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    # Validation rows, not test rows: the serving check draws its traffic from the test split.
    pools = held_out(corpus, config.reference_per_kind, encoder=encoder, split="validation")
    reference = list(chain.from_iterable(pools.values()))
    vectors_ND = encode_contents(encoder if not sizes else served, reference, desc="drift reference")
    build_reference(reference, vectors_ND, output / "reference.parquet", encoder=encoder)
    sample = {"split": "validation", "contents": {kind: len(contents) for kind, contents in pools.items()}}
    save_quantizer(calibrate(vectors_ND, encoder.dimensions), output, {"calibrated_on": sample})
    (output / "README.md").write_text(model_card(output, cosines, sizes, document.get("int8")), encoding="utf-8")
    write_digests(output)
    scalars: dict[str, Any] = {f"cosine/{kind}": value for kind, value in cosines.items()}
    if (loss := document.get("int8", {}).get("loss")) is not None:
        scalars["int8_loss"] = loss
    return {**scalars, "onnx_megabytes": round(sum(sizes.values()) / 1e6, 1), "reference_rows": len(reference)}


def exported_form(encoder: "Encoder", output: Path) -> tuple["Encoder", dict[str, int]]:
    """The form in which others will run the model, to be compared with ``encoder``, and the sizes of its ONNX graphs.

    Of a unified encoder these are its graphs. The sentence_transformer family has none: it is served with torch, and
    what others run is the library itself on the artifact.
    """
    from model.artifact import load_encoder
    from model.sentence_transformer.encoder import SentenceTransformerEncoder
    from model.sentence_transformer.plain import PlainLibrary
    from model.unified.encoder import UnifiedEncoder
    from model.unified.onnx_export import export_onnx

    if isinstance(encoder, SentenceTransformerEncoder):
        return cast("Encoder", PlainLibrary(encoder, output)), {}
    sizes = export_onnx(cast("UnifiedEncoder", encoder), output / "onnx")
    return load_encoder(output, backend="onnx"), sizes
