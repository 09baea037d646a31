"""Which processors may run int8 graphs whose weights take all bits."""

from pathlib import Path

import pytest

from model.processor import adds_in_32_bits


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", "fpu avx2 avx512f", False),
        ("x86_64", "fpu avx512f avx512_vnni", True),
        ("AMD64", "fpu avx2 avx_vnni", True),
        ("aarch64", None, True),
        ("x86_64", None, False),
    ],
)
def test_vnni_or_no_x86(
    machine: str, flags: str | None, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    if flags is not None:
        cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t: x\n")
    monkeypatch.setattr("model.processor.CPUINFO", cpuinfo)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert adds_in_32_bits() is expected
