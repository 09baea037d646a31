"""A pretended CUDA device: finds on any machine what would fail, wait or not fit on a real one.

Tensors on it hold one in main memory. Python sees ``cuda:0``; what mixes devices, asks for numpy or draws from the
wrong generator fails or differs as it would there, and results can be compared with those of the processor. Every
reading of a value is noted (a real device has to be waited for), and every byte that lies there. With ``shapes_from``
large tensors of floats hold no numbers, only shapes: so memory can be counted at sizes that no processor could compute.

What it does not show: time, workspaces of libraries (cuBLAS, cuDNN), fragments of the allocator, kernels that a real
device lacks. Attention outside of packed sequences is computed from its parts, so it is counted too high.
"""

import math
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

from benchmarks import emulated_kernels as kernels

SEEN = torch.device("cuda", 0)
BACKEND = "emulated"
BLOCK = 512  # bytes; CUDA's allocator rounds up to it
HARDWARE = "NVIDIA H200"
aten = torch.ops.aten


class OnDevice(Tensor):
    """A tensor on the pretended device; ``held`` is the one in main memory."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "OnDevice":
        """Wrap ``held``."""
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=_backend(),
        )
        made.held = held
        return made  # type: ignore[no-any-return]

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute."""
        return _present().run(func, args, dict(kwargs or {}))

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """What Python sees."""
        return SEEN

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        """As on the real one."""
        return True

    def tolist(self) -> Any:
        """By way of the processor."""
        return self.detach().cpu().tolist()

    def __reduce_ex__(self, protocol: Any) -> Any:
        """A checkpoint holds numbers, not where they lay."""
        return self.detach().cpu().__reduce_ex__(protocol)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        """Without a look at the values, which would count as one."""
        return f"OnDevice(shape={tuple(self.shape)}, dtype={self.dtype})"


@cache
def _backend() -> torch.device:
    """What the core of torch takes it for: a backend written in Python."""
    from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

    class Module(_DummyBackendModule):
        def is_available(self) -> bool:
            return bool(_ACTIVE)

        def get_amp_supported_dtype(self) -> list[torch.dtype]:
            return [torch.bfloat16, torch.float16]

    torch.ones((), requires_grad=True).backward()  # autograd starts now, so without a thread for this device
    _setup_privateuseone_for_python_backend(BACKEND, backend_module=Module())
    kernels.register_autocast()
    return torch.device(BACKEND, 0)


@dataclass
class Emulation:
    """What happened on the device.

    Attributes:
        shapes_from: floats of at least so many elements hold no numbers; all hold some when empty.
        waits: operations for which the processor would wait, with the line of ours that asked for them.
        bytes_now: what lies on the device.
        peak: the most of that since :meth:`restart`.
    """

    shapes_from: int | None = None
    waits: list[str] = field(default_factory=list)
    bytes_now: int = 0
    peak: int = 0
    random_state: Tensor = field(default_factory=lambda: torch.Generator().manual_seed(1).get_state())
    _sizes: dict[int, int] = field(default_factory=dict)
    _pinned: set[int] = field(default_factory=set)

    def restart(self) -> int:
        """Forget the peak and the waits; returns what lies there now."""
        self.waits.clear()
        self.peak = self.bytes_now
        return self.bytes_now

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """One operation of torch below autograd and autocast."""
        leaves: list[Tensor] = []
        held_args, held = kernels.each_tensor((args, kwargs), partial(_held, leaves))
        here = [leaf for leaf in leaves if isinstance(leaf, OnDevice)]
        if func is aten._local_scalar_dense.default and here:
            self._wait(func)
            return _value(here[0].held)
        asked = kwargs.get("device")
        there = bool(here) if asked is None else kernels.named(asked)
        if here and not _crosses(func):
            _refuse_mixed(func, leaves)
        if here and (not there or _depends_on_values(func, args)):
            self._wait(func)
        if asked is not None:
            held["device"] = torch.device("cpu")
        shapes = any((leaf.held if isinstance(leaf, OnDevice) else leaf).is_meta for leaf in leaves)
        found = self._compute(func, held_args, held, there=there, shapes=shapes)
        if not there:
            return found
        wrapped = kernels.each_tensor(found, self._wrapped)
        return return_and_correct_aliasing(func, args, kwargs, wrapped)

    def _compute(self, func: Any, args: Any, kwargs: dict[str, Any], *, there: bool, shapes: bool) -> Any:
        if there and not shapes and self.shapes_from is not None and _makes_floats(func, args, kwargs):
            shapes = _size(args) >= self.shapes_from
        if shapes:
            args, kwargs = kernels.each_tensor((args, kwargs), _shape)
            if "device" in kwargs:
                kwargs["device"] = torch.device("meta")
            return kernels.SHAPES.get(func, func)(*args, **kwargs)
        run = partial(kernels.KERNELS.get(func, func), *args, **kwargs)
        if there and torch.Tag.nondeterministic_seeded in func.tags and kwargs.get("generator") is None:
            return self._drawn(run)
        return run()

    def _drawn(self, draw: Callable[[], Any]) -> Any:
        """From the generator of the device."""
        kept = torch.get_rng_state()
        torch.set_rng_state(self.random_state)
        try:
            return draw()
        finally:
            self.random_state = torch.get_rng_state()
            torch.set_rng_state(kept)

    def _wrapped(self, held: Tensor) -> OnDevice:
        storage = held.untyped_storage()
        key = storage._cdata
        if key not in self._sizes:
            size = -(-storage.nbytes() // BLOCK) * BLOCK
            self._sizes[key] = size
            self.bytes_now += size
            self.peak = max(self.peak, self.bytes_now)
            weakref.finalize(storage, self._freed, key)
        return OnDevice(held)

    def _freed(self, key: int) -> None:
        self.bytes_now -= self._sizes.pop(key)

    def _wait(self, func: Any) -> None:
        frame = sys._getframe()
        while frame.f_back is not None and not _is_ours(frame.f_code.co_filename):
            frame = frame.f_back
        self.waits.append(f"{func} at {frame.f_code.co_filename}:{frame.f_lineno}")

    def pin(self, tensor: Tensor) -> Tensor:
        """A copy that counts as page-locked."""
        made = tensor.clone()
        self._pinned.add(made.data_ptr())
        return made

    def is_pinned(self, tensor: Tensor) -> bool:
        """Whether :meth:`pin` made it."""
        return tensor.data_ptr() in self._pinned


def _is_ours(filename: str) -> bool:
    return not any(part in filename for part in ("site-packages", "/lib/python", "/emulated", "<"))


def _crosses(func: Any) -> bool:
    """Copies are made from one device to another."""
    return func in (aten._to_copy.default, aten.copy_.default, aten._foreach_copy_.default)


def _refuse_mixed(func: Any, leaves: list[Tensor]) -> None:
    """As CUDA does; it is stricter about index tensors, which CUDA copies to the device while the processor waits."""
    apart = [leaf for leaf in leaves if not isinstance(leaf, OnDevice)]
    scalars = torch.Tag.pointwise in func.tags or (func.namespace == "aten" and "_foreach" in func.__name__)
    if bad := [leaf for leaf in apart if leaf.ndim or not (scalars or func in kernels.TAKES_SCALARS)]:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {SEEN} and cpu! "
            f"({func}, a tensor of shape {tuple(bad[0].shape)} and type {bad[0].dtype})"
        )


def _depends_on_values(func: Any, args: Any) -> bool:
    """Whether the size of the result depends on values, as of an index by booleans: CUDA asks for it."""
    if func in (aten.index.Tensor, aten.index_put.default, aten.index_put_.default):
        return any(index is not None and index.dtype == torch.bool for index in args[1])
    return torch.Tag.dynamic_output_shape in func.tags


def _value(held: Tensor) -> Any:
    if not held.is_meta:
        return held.item()
    return {torch.bool: True}.get(held.dtype, 1.0 if held.is_floating_point() else 1)


def _shape(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_meta else tensor.to("meta")


def _makes_floats(func: Any, args: Any, kwargs: Mapping[str, Any]) -> bool:
    if func is aten._to_copy.default:
        return (kwargs.get("dtype") or args[0].dtype).is_floating_point
    made = kwargs.get("dtype") or (args[0].dtype if args and isinstance(args[0], Tensor) else torch.get_default_dtype())
    return func.namespace == "aten" and func.__name__.split(".")[0] in kernels.FACTORIES and made.is_floating_point


def _size(args: Any) -> int:
    """Elements of what is made: the shape is the first argument that is no tensor, or that of the tensor."""
    shape = next(
        (arg for arg in args if isinstance(arg, (list, tuple))), args[0].shape if isinstance(args[0], Tensor) else ()
    )
    return math.prod(shape)


def _held(leaves: list[Tensor], tensor: Tensor) -> Tensor:
    leaves.append(tensor)
    return tensor.held if isinstance(tensor, OnDevice) else tensor


class _Below(TorchDispatchMode):
    """Sees operations without a tensor of the device, too: those that make one."""

    def __init__(self, emulation: Emulation) -> None:
        super().__init__()
        self.emulation = emulation

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.emulation.run(func, args, dict(kwargs or {}))


class _Above(TorchFunctionMode):
    """Turns the device that Python names into the one that the core of torch knows."""

    def __init__(self, emulation: Emulation) -> None:
        super().__init__()
        self.emulation = emulation

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.pin_memory:
            return self.emulation.pin(args[0])
        if func is Tensor.is_pinned:
            return self.emulation.is_pinned(args[0])
        if func is Tensor.numpy and isinstance(args[0], OnDevice):
            raise TypeError(f"can't convert {SEEN} device type tensor to numpy. Use Tensor.cpu() first.")
        if func is torch.as_tensor and isinstance(args[0], Tensor):
            func = Tensor.to
        if func in (torch.tensor, torch.as_tensor) and kernels.named(kwargs.get("device")):
            return func(*args, **{**kwargs, "device": "cpu"}).to(_backend())
        if func is Tensor.cuda:
            return args[0].to(_backend())
        if func is Tensor.to:
            args = tuple(_known(arg) for arg in args)
        if "device" in kwargs and func is not torch.device:
            kwargs["device"] = _known(kwargs["device"])
        return func(*args, **kwargs)


def _known(device: Any) -> Any:
    """The device as the core of torch knows it; anything else as it is."""
    return _backend() if isinstance(device, (torch.device, str)) and kernels.named(device) else device


_ACTIVE: list[Emulation] = []


def _present() -> Emulation:
    if not _ACTIVE:
        raise RuntimeError("a tensor of the pretended device outlived it")
    return _ACTIVE[-1]


@contextmanager
def accelerator(*, shapes_from: int | None = None) -> Iterator[Emulation]:
    """Pretend that this machine has one CUDA device, for this thread."""
    _backend()
    emulation = Emulation(shapes_from)
    swapped = torch.__future__.get_swap_module_params_on_conversion()
    with ExitStack() as stack:
        for place, changes in _pretended(emulation).items():
            for name, value in changes.items():
                stack.enter_context(mock.patch(f"{place}.{name}", value, create=True))
        torch.__future__.set_swap_module_params_on_conversion(True)  # a parameter stays the object that it is
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, swapped)
        _ACTIVE.append(emulation)
        stack.callback(_ACTIVE.pop)
        stack.enter_context(torch.autograd.set_multithreading_enabled(False))  # backward in this thread, where we look
        stack.enter_context(_Below(emulation))
        stack.enter_context(_Above(emulation))
        yield emulation


def _pretended(emulation: Emulation) -> dict[str, dict[str, Any]]:
    """What torch says of its devices."""
    from torch.utils import _foreach_utils

    def seed(value: int) -> None:
        emulation.random_state = torch.Generator().manual_seed(int(value) + 1).get_state()

    def put(state: Tensor, device: Any = None) -> None:
        emulation.random_state = state.clone()

    def nothing(*_: Any, **__: Any) -> None:
        return None

    cuda = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "_lazy_init": nothing,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": nothing,
        "synchronize": nothing,
        "empty_cache": nothing,
        "get_device_name": lambda *_: HARDWARE,
        "get_device_capability": lambda *_: (9, 0),
        "reset_peak_memory_stats": lambda *_: emulation.restart(),
        "memory_allocated": lambda *_: emulation.bytes_now,
        "max_memory_allocated": lambda *_: emulation.peak,
        "get_rng_state": lambda *_: emulation.random_state.clone(),
        "set_rng_state": put,
        "manual_seed": seed,
        "manual_seed_all": seed,
    }
    return {
        "torch.cuda": cuda,
        "torch": {
            "Generator": kernels.Generator,
            "inference_mode": kernels.inference_mode,
            "autocast": kernels.Autocast,
            "is_autocast_enabled": kernels.is_autocast_enabled,
            "get_autocast_dtype": kernels.get_autocast_dtype,
        },
        "torch.amp": {"autocast": kernels.Autocast},
        "torch.amp.autocast_mode": {"autocast": kernels.Autocast},
        "torch.utils._foreach_utils": {
            "_foreach_supported_types": [*_foreach_utils._foreach_supported_types, OnDevice]
        },
        "torch.optim.optimizer": {"_foreach_supported_types": [*_foreach_utils._foreach_supported_types, OnDevice]},
    }
