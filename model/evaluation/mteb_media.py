"""Sound and clips of mteb tasks as encoded bytes, so that a model sees what serving would see.

mteb hands over decoder objects of torchcodec, which needs FFmpeg's libraries and often a CUDA build of torch. Where it
is missing, datasets refuses to open such columns at all; we decode with our own readers and only want the bytes.
"""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.content import Modality
from model.errors import ContentError
from model.media.containers import ALLOWED, sniff

STORED = "_hf_encoded"  # where datasets keeps on a decoder what it decodes


def media_bytes(modality: Modality, cell: Any) -> bytes:
    """Encoded bytes of one cell: bytes, what datasets stores, a PIL image, samples, or a decoder of torchcodec.

    Raises:
        ContentError: the cell is none of these, or a clip of which only decoded frames are left.
    """
    if isinstance(cell, bytes):
        return cell
    if modality is Modality.IMAGE and hasattr(cell, "save"):
        return png(cell)
    stored = cell if isinstance(cell, Mapping) else getattr(cell, STORED, {})
    data = stored_bytes(stored)
    if modality is Modality.AUDIO and (data is None or sniff(data) not in ALLOWED[modality]):
        if "array" in stored:
            return wav(np.asarray(stored["array"]), int(stored["sampling_rate"]))
        if hasattr(cell, "get_all_samples"):
            samples = cell.get_all_samples()
            return wav(np.asarray(samples.data).T, int(samples.sample_rate))
    if data is None:
        raise ContentError(
            f"a {modality} cell of type {type(cell).__name__} is not supported; give encoded bytes",
            code="malformed_part",
        )
    return data


def stored_bytes(stored: Mapping[str, Any]) -> bytes | None:
    """Bytes that datasets stores for a cell, read from its local file where it stores a path alone."""
    data, path = stored.get("bytes"), stored.get("path")
    if data is None and path is not None and Path(path).is_file():
        return Path(path).read_bytes()
    return data


def png(picture: Any) -> bytes:
    """A PIL image, losslessly."""
    buffer = BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def wav(samples: NDArray[Any], rate: int) -> bytes:
    """Samples [N] or [N, channels] as a WAV of floats."""
    import soundfile

    buffer = BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def hand_over_stored_media() -> None:
    """Let datasets hand sound and clips over as they are stored, for this process, where torchcodec does not work.

    Where it does, nothing changes: :func:`media_bytes` finds the same bytes on its decoders.
    """
    if torchcodec_works():
        return
    from datasets import Audio, Video

    Audio.decode_example = Video.decode_example = _as_stored
    Audio.encode_example = _encoded_sound


def torchcodec_works() -> bool:
    """Whether torchcodec is installed and finds FFmpeg's libraries."""
    try:
        import torchcodec.decoders  # type: ignore[import-not-found, unused-ignore] # noqa: F401
    except (ImportError, RuntimeError, OSError):
        return False
    return True


def _as_stored(_: Any, value: Any, token_per_repo_id: Any = None) -> Any:
    return value


def _encoded_sound(_: Any, value: Any) -> dict[str, Any]:
    """What datasets does with torchcodec for what an audio column may be made of."""
    if isinstance(value, bytes | bytearray):
        return {"bytes": bytes(value), "path": None}
    if isinstance(value, str | Path):
        return {"bytes": None, "path": str(value)}
    if isinstance(value, Mapping) and "array" in value:
        return {"bytes": wav(np.asarray(value["array"], dtype=np.float32).T, value["sampling_rate"]), "path": None}
    if isinstance(value, Mapping) and (value.get("bytes") is not None or value.get("path") is not None):
        return {"bytes": value.get("bytes"), "path": value.get("path")}
    raise ValueError(f"a sound needs bytes, a path or samples, got {type(value).__name__}")
