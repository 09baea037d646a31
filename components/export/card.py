"""The model card that travels with the artifact."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEMPLATE = """---
license: other
tags: [embedding, multimodal, matryoshka]
---
# Omnivec unified encoder

One network and one vector space for {modalities}, and any interleaving of them.

- **Dimensions**: {dimensions} (Matryoshka prefixes; renormalise after truncation).
- **Trunk**: {layers} layers, {width} wide; at most {max_tokens} tokens a content, {text_tokens} a text part.
- **Tokens**: {image_tokens} a picture ({image_size} px), 1 a video frame (at most {frames}, {video_size} px{stills}),
  1 per {audio_seconds} s of sound.
- **Precision**: float32; the word embedding table is stored in half precision.

## Where the weights come from
{notices}

## Training
{stages}

## Exports
ONNX graphs agree with torch: lowest cosine by kind {cosines}. Sizes: {sizes}.{int8}

## Limits of use
Trained in minutes on drawings, stamps, short spoken captions, synthetic clips and software documentation: it shows the
whole chain, it is no general-purpose model. Evaluation with intervals is in the run that registered this version.
"""


WHOLE_TEMPLATE = """---
license: other
library_name: sentence-transformers
tags: [embedding, matryoshka]
---
# Omnivec model of the sentence_transformer family

Fine-tuned from `{source}`, whose licence and limits of use hold here too.

- **Use**: `SentenceTransformer(path)` of sentence-transformers gives the vectors that Omnivec serves. Lowest cosine
  between the two by kind: {cosines}.
- **Dimensions**: {dimensions} (Matryoshka prefixes; renormalise after truncation). **Weights**: {dtype}.
- **Clips**: `{video}` (`frames` shows sampled frames as pictures). **Prompts**: `{prompts}`.

## Training
{stages}
"""


def model_card(
    artifact: Path, cosines: Mapping[str, float], sizes: Mapping[str, int], int8: Mapping[str, Any] | None = None
) -> str:
    """Markdown card of the artifact in ``artifact``; ``int8`` is what ``components.export.int8`` measured."""
    from model.artifact import artifact_kind
    from model.unified.config import UnifiedConfig
    from model.weights.sources import PACKAGES

    if artifact_kind(artifact) == "sentence_transformer":
        return _whole_model_card(artifact, cosines)
    config = UnifiedConfig.parse(artifact / "config.json")
    notices = [f"- {p.notice}" for p in PACKAGES.values()] if config.source == "packages" else [f"- {config.source}"]
    return TEMPLATE.format(
        modalities=", ".join(sorted(config.modalities)),
        dimensions=", ".join(map(str, config.dimensions)),
        layers=config.trunk["num_hidden_layers"],
        width=config.trunk["hidden_size"],
        max_tokens=config.limits.max_tokens,
        text_tokens=config.max_text_tokens,
        image_tokens=config.image.tokens_side**2,
        image_size=config.image.size,
        frames=config.video.max_frames,
        video_size=config.video.size,
        stills=f", of which {config.video.stills} as pictures besides" if config.video.stills else "",
        audio_seconds=config.audio.token_seconds,
        notices="\n".join(notices),
        stages=_stages(artifact),
        cosines=", ".join(f"{kind} {value:.6f}" for kind, value in cosines.items()),
        sizes=", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in sizes.items()),
        int8=_int8(int8),
    )


def _whole_model_card(artifact: Path, cosines: Mapping[str, float]) -> str:
    """Card of a model of the sentence_transformer family."""
    from model.sentence_transformer.storage import read_settings

    config = read_settings(artifact)
    return WHOLE_TEMPLATE.format(
        source=config.source,
        dimensions=", ".join(map(str, config.dimensions)),
        dtype=config.dtype,
        video=config.video,
        prompts=json.dumps(config.prompts, ensure_ascii=False),
        stages=_stages(artifact),
        cosines=", ".join(f"{kind} {value:.6f}" for kind, value in cosines.items()),
    )


def _int8(measured: Mapping[str, Any] | None) -> str:
    if measured is None:
        return ""
    cosines = ", ".join(f"{kind} {value:.4f}" for kind, value in measured["cosine"].items())
    scores = ", ".join(f"{task} {s['fp32']:.4f} -> {s['int8']:.4f}" for task, s in measured["ndcg_at_10"].items())
    left_out = f" ({measured['left_out']})" if "left_out" in measured else ""
    return f"\n\nint8 graphs{left_out}: lowest cosine to torch by kind {cosines}. nDCG@10, fp32 -> int8: {scores}."


def _stages(artifact: Path) -> str:
    lines = []
    for name in ("stage.json", "soup.json"):
        if (artifact / name).is_file():
            document = json.loads((artifact / name).read_text(encoding="utf-8"))
            lines.append(f"- `{name}`: {json.dumps(document)[:1500]}")
    return "\n".join(lines) or "- none: these are initial weights"
