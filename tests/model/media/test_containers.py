import io
from pathlib import Path

import pytest
from PIL import Image

from model.content import Modality
from model.encoder import Limits
from model.errors import ContentError
from model.media.containers import check_container, sniff


def test_kinds_are_told_by_their_first_bytes(png_bytes: bytes, ogg_bytes: bytes, mp4_bytes: bytes) -> None:
    assert sniff(png_bytes) == "png"
    assert sniff(ogg_bytes) == "ogg"
    assert sniff(mp4_bytes) == "mp4"
    assert sniff(b"\0\0\0\x20ftypavif" + bytes(40)) == "avif"
    assert sniff(b"RIFF\0\0\0\0AVI ") == "avi"
    assert sniff(b"%PDF-1.7") == "pdf"
    assert sniff(b"hello") is None
    assert sniff(b"") is None


@pytest.mark.parametrize("modality", [Modality.IMAGE, Modality.AUDIO, Modality.VIDEO])
def test_foreign_bytes_are_refused_with_what_was_found_and_what_is_accepted(modality: Modality) -> None:
    for data, found in ((b"%PDF-1.7 ...", "pdf"), (b"", "no known format"), (b"<svg></svg>", "no known format")):
        with pytest.raises(ContentError, match=found) as caught:
            check_container(data, modality, Limits())
        assert caught.value.code == f"{modality}_unsupported"


def test_a_picture_sent_as_sound_is_refused(png_bytes: bytes) -> None:
    with pytest.raises(ContentError, match=r"holds png.*accepted: wav, flac, ogg, mp3") as caught:
        check_container(png_bytes, Modality.AUDIO, Limits())
    assert caught.value.code == "audio_unsupported"


def test_bytes_are_limited_first(png_bytes: bytes) -> None:
    assert check_container(png_bytes, Modality.IMAGE, Limits(max_media_bytes=len(png_bytes))) == "png"
    with pytest.raises(ContentError) as caught:
        check_container(png_bytes, Modality.IMAGE, Limits(max_media_bytes=len(png_bytes) - 1))
    assert (caught.value.code, caught.value.limit) == ("image_too_large", "max_media_bytes")


def test_a_gif_is_picture_and_video() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "GIF")
    for modality in (Modality.IMAGE, Modality.VIDEO):
        assert check_container(buffer.getvalue(), modality, Limits()) == "gif"


def test_no_file_name_is_needed(tmp_path: Path, png_bytes: bytes) -> None:
    path = tmp_path / "picture.wav"
    path.write_bytes(png_bytes)
    assert sniff(path.read_bytes()) == "png"
