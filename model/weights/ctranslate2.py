"""Reader of CTranslate2 binary model files, version 6, without the CTranslate2 library.

Layout: u32 version, string spec, u32 revision, u32 count; per variable a string name, u8 rank, u32 dimensions, u8 type,
u32 byte size, bytes; then aliases. A string is a u16 length with its terminating zero, and the characters.
"""

import struct

import numpy as np
from numpy.typing import NDArray

from model.errors import ArtifactError

VERSION = 6
TYPES: dict[int, str] = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}


def read_ctranslate2(data: bytes) -> dict[str, NDArray[np.generic]]:
    """Parse all variables: name -> array.

    Raises:
        ArtifactError: another version or type, or the bytes are cut short.
    """
    try:
        return _read(data)
    except (struct.error, ValueError, KeyError, UnicodeDecodeError) as error:
        raise ArtifactError(f"the CTranslate2 file of {len(data)} bytes is unreadable: {error}") from error


def _read(data: bytes) -> dict[str, NDArray[np.generic]]:
    (version,) = struct.unpack_from("<I", data)
    if version != VERSION:
        raise ValueError(f"binary version {version}, expected {VERSION}")
    _, at = _string(data, 4)
    _, count = struct.unpack_from("<II", data, at)
    at += 8
    variables: dict[str, NDArray[np.generic]] = {}
    for _ in range(count):
        name, at = _string(data, at)
        rank = data[at] if at < len(data) else 0
        shape = struct.unpack_from(f"<{rank}I", data, at + 1)
        kind, size = struct.unpack_from("<BI", data, at + 1 + 4 * rank)
        at += 6 + 4 * rank
        dtype = np.dtype(TYPES[kind])
        variables[name] = np.frombuffer(data, dtype, size // dtype.itemsize, at).reshape(shape)
        at += size
    return variables


def _string(data: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<H", data, at)
    end = at + 2 + length
    return data[at + 2 : end].rstrip(b"\0").decode(), end
