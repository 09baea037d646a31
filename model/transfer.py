"""Batches in page-locked memory, from which an accelerator copies while the processor goes on.

Batches are numpy arrays for the sake of serving; an array may lie in page-locked memory like a tensor, and a tensor
made from it knows that it does.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

M = TypeVar("M")


def to_accelerator(model: M, number: int = 0) -> M:
    """``model`` on accelerator ``number`` where torch has any; what is no torch module stays as it is."""
    if torch.cuda.is_available() and isinstance(model, torch.nn.Module):
        model.to(torch.device("cuda", number))
    return model


@contextmanager
def accelerated(model: M, number: int = 0) -> Iterator[M]:
    """``model`` on accelerator ``number`` for a while, see :func:`to_accelerator`; then in main memory again."""
    try:
        yield to_accelerator(model, number)
    finally:
        if torch.cuda.is_available() and isinstance(model, torch.nn.Module):
            model.to("cpu")
            torch.cuda.empty_cache()


def pinned(value: Any, pin: Callable[[Tensor], Tensor] = Tensor.pin_memory) -> Any:
    """A copy of ``value`` whose arrays and tensors are page-locked; types, shapes and numbers stay.

    Args:
        value: dataclasses, mappings, tuples and lists of numpy arrays, tensors and anything else, which is kept.
        pin: copies a tensor into page-locked memory.
    """
    if isinstance(value, Tensor):
        return pin(value) if value.device.type == "cpu" else value
    if isinstance(value, np.ndarray):
        # The array keeps the tensor alive, so its memory is not given to others while it is in use.
        return pin(torch.from_numpy(value if value.flags.writeable else value.copy())).numpy() if value.size else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changes = {f.name: pinned(getattr(value, f.name), pin) for f in dataclasses.fields(value) if f.init}
        return dataclasses.replace(value, **changes)
    if isinstance(value, Mapping):
        return {name: pinned(item, pin) for name, item in value.items()}
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        return type(value)(pinned(item, pin) for item in value)
    return value


def on_device(array: np.ndarray[Any, Any], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """An array as a tensor on ``device``; from page-locked memory the processor does not wait for the copy.

    The type is changed on the device: before the copy it would cost processor time and leave page-locked memory.
    """
    moved = torch.from_numpy(array).to(device, non_blocking=True)
    return moved if dtype is None else moved.to(dtype)
