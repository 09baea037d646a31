"""What the processor can do."""

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
X86 = ("x86_64", "amd64", "i386", "i686")
VNNI = frozenset({"avx512_vnni", "avx_vnni"})


def adds_in_32_bits() -> bool:
    """Whether ONNX Runtime adds products of 8-bit numbers in 32 bits here, as any processor but an x86 without VNNI.

    Source: onnxruntime.ai/docs/performance/model-optimizations/quantization.html, on ``reduce_range``. An x86 that does
    not tell (no ``/proc/cpuinfo``) counts as one without.
    """
    if platform.machine().lower() not in X86:
        return True
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return not VNNI.isdisjoint(flags.split())
