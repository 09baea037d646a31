"""Large arrays on their way from a worker to the trainer: in memory that both see, rather than through a pipe.

A pipe hands over 64 KiB at a time, and both sides copy; for pictures that took longer than to decode them (measured).
Here a worker writes an array into anonymous memory and sends a handle to it. Such memory has no name, so it goes with
the last process that holds it, however that ends, and it is no part of ``/dev/shm``, which containers keep small.
"""

import os
import sys
from multiprocessing import reduction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

LARGE = 2**16
"""Bytes from which an array goes by memory: what fits into a pipe at once is faster through the pipe."""


def send_by_memory() -> None:
    """From now on this process sends large arrays so, where the system can (Linux)."""
    if sys.platform == "linux":
        reduction.ForkingPickler.register(np.ndarray, reduced)


def reduced(array: NDArray[Any]) -> Any:
    """How to pickle an array for a process that runs at the same time, as ``copyreg`` wants it."""
    if array.nbytes < LARGE or array.dtype.hasobject:
        return array.__reduce_ex__(4)
    try:
        handle = _written(array)
    except OSError:  # no memory or no descriptors left: an error here would be lost, and the trainer wait for ever
        return array.__reduce_ex__(4)
    return _received, (handle, array.nbytes, array.dtype, array.shape)


def _written(array: NDArray[Any]) -> Any:
    descriptor = os.memfd_create("omnivec-batch")
    try:
        left = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        while left:
            left = left[os.write(descriptor, left) :]
        return reduction.DupFd(descriptor)
    finally:
        os.close(descriptor)


def _received(handle: Any, size: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    descriptor = handle.detach()
    try:
        # Unlike the module mmap, torch keeps no descriptor open beside the mapping: a large batch has many arrays.
        memory = torch.from_file(f"/proc/self/fd/{descriptor}", shared=True, size=size, dtype=torch.uint8)
    finally:
        os.close(descriptor)
    array: NDArray[Any] = memory.numpy().view(dtype).reshape(shape)
    return array
