"""What the pretended device of :mod:`benchmarks.emulated` does in another way than the processor.

Mixed precision casts what CUDA casts, and attention over packed sequences computes what its kernel documents.

Shape legend: T tokens, A heads, B heads of keys and values, E width of a head.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

BACKEND = "emulated"
_REAL_AUTOCAST = torch.autocast
_REAL_ENABLED, _REAL_DTYPE = torch.is_autocast_enabled, torch.get_autocast_dtype
_LIBRARIES: list[torch.library.Library] = []
_CACHE: dict[int, tuple[Tensor, Tensor]] = {}
aten = torch.ops.aten

FACTORIES = frozenset(
    {"empty", "empty_strided", "zeros", "ones", "full", "rand", "randn", "new_empty", "new_zeros", "new_ones"}
    | {"new_full", "new_empty_strided"}
)
# Beside pointwise ones, operations that take a scalar tensor of the processor.
TAKES_SCALARS = frozenset({aten.index_put.default, aten.index_put_.default, aten.fill_.Tensor})

# Of CUDA's lists (docs.pytorch.org, "Autocast Op Reference") what the project uses.
LOWER = ("linear", "matmul", "mm", "mv", "addmm", "bmm", "baddbmm", "conv1d", "conv2d", "scaled_dot_product_attention")
FULL = ("layer_norm", "native_layer_norm", "group_norm", "exp", "log", "reciprocal", "rsqrt", "cosine_similarity",
        "pow.Tensor_Scalar", "softmax.int", "log_softmax.int", "sum", "sum.dim_IntList", "cumsum", "prod",
        "norm.Scalar", "norm.ScalarOpt_dim")  # fmt: skip
WIDEST = ("index_put", "cat", "stack", "addcmul", "addcdiv", "scatter_add")


def each_tensor(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """The same arguments or results with changed tensors; that of pytree takes ten times as long."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {name: each_tensor(item, change) for name, item in value.items()}
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return type(value)(each_tensor(item, change) for item in value)
    return value


def named(device: Any) -> bool:
    """Whether it is the pretended device, by either name."""
    return device is not None and str(device).split(":")[0] in ("cuda", BACKEND)


def inference_mode(mode: bool = True) -> Any:
    """Views of wrapped tensors are not made for the real one."""
    return torch.no_grad() if mode else torch.enable_grad()


_REAL_GENERATOR = torch.Generator


class _OfGenerators(type):
    """So that what the stand-in makes is one of its kind."""

    def __instancecheck__(cls, made: object) -> bool:
        return isinstance(made, _REAL_GENERATOR)


class Generator(metaclass=_OfGenerators):
    """``torch.Generator``, which makes none for a device that is not there."""

    def __new__(cls, device: Any = "cpu") -> Any:
        """One of the processor where the pretended device is asked for."""
        return _REAL_GENERATOR("cpu" if named(device) else device)


class Autocast(_REAL_AUTOCAST):  # type: ignore[misc]
    """``torch.autocast`` in which ``cuda`` is the pretended device."""

    def __init__(self, device_type: str, *args: Any, **options: Any) -> None:
        super().__init__(backend_of(device_type), *args, **options)

    def __exit__(self, *args: Any) -> Any:
        left = super().__exit__(*args)
        if not _REAL_ENABLED(BACKEND):
            _CACHE.clear()
        return left


def backend_of(device_type: str) -> str:
    """What the core of torch calls a type of device."""
    return BACKEND if device_type == "cuda" else device_type


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Of the pretended device where ``cuda`` is asked for."""
    return _REAL_ENABLED(backend_of(device_type))


def get_autocast_dtype(device_type: str) -> torch.dtype:
    """Likewise."""
    return _REAL_DTYPE(backend_of(device_type))


def register_autocast() -> None:
    """Teach the dispatcher what mixed precision casts on the device."""
    key = "AutocastPrivateUse1"
    everything = torch.library.Library("_", "IMPL", key)
    everything.fallback(torch.library.fallthrough_kernel)
    some = torch.library.Library("aten", "IMPL", key)
    for names, cast in ((LOWER, _lower), (FULL, _full), (WIDEST, _widest)):
        for name in names:
            packet, _, overload = name.partition(".")
            some.impl(name, _casting(getattr(getattr(aten, packet), overload or "default"), cast))
    _LIBRARIES.extend((everything, some))


def _casting(op: Any, cast: Callable[[Any], Any]) -> Callable[..., Any]:
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def kernel(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(keys):
            args, kwargs = cast((args, kwargs))
            return op(*args, **kwargs)

    return kernel


def _casts(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dtype != torch.float64 and _on_device(tensor)


def _on_device(tensor: Tensor) -> bool:
    return hasattr(tensor, "held")


def _lower(values: Any) -> Any:
    dtype = _REAL_DTYPE(BACKEND)

    def cast(tensor: Tensor) -> Tensor:
        if not _casts(tensor) or tensor.dtype == dtype:
            return tensor
        if not (
            torch.is_autocast_cache_enabled() and tensor.requires_grad and tensor.is_leaf and torch.is_grad_enabled()
        ):
            return tensor.to(dtype)
        if id(tensor) not in _CACHE:
            _CACHE[id(tensor)] = (tensor, tensor.to(dtype))
        return _CACHE[id(tensor)][1]

    return each_tensor(values, cast)


def _full(values: Any) -> Any:
    return each_tensor(values, lambda t: t.float() if _casts(t) else t)


def _widest(values: Any) -> Any:
    found: list[Tensor] = []
    each_tensor(values, lambda t: found.append(t) if _casts(t) else None)
    if not found or any(t.dtype == torch.float32 for t in found):
        return _full(values)
    return values


def _varlen(
    query_TAE: Tensor, key_TBE: Tensor, value_TBE: Tensor, starts: Tensor, others: Tensor, longest: int, most: int,
    causal: bool = False, scale: float | None = None, window: Any = None, gqa: bool = False, *_: Any,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The documented meaning of ``torch.nn.attention.varlen``, and what its kernel refuses."""
    _check_varlen((query_TAE, key_TBE, value_TBE), (starts, others), (longest, most), causal)
    outs, logs = [], []
    for a, b in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        out_SAE, log_AS = _attended(query_TAE[a:b], key_TBE[a:b], value_TBE[a:b], scale, window)
        outs.append(out_SAE)
        logs.append(log_AS)
    return torch.cat(outs).to(query_TAE.dtype), torch.cat(logs, 1), torch.zeros(2, dtype=torch.uint64)


def _attended(query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: Any) -> tuple[Tensor, Tensor]:
    """One sequence: mixed values [S, A, E] and the logarithms of the sums [A, S]."""
    _, _, value_AUE, scores_AST, _ = _scores(query, key, value, scale, window)
    return (scores_AST.softmax(-1) @ value_AUE).transpose(0, 1), scores_AST.logsumexp(-1)


def _scores(
    query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    share = query.shape[1] // key.shape[1]
    q, k, v = (x.float().transpose(0, 1) for x in (query, key, value))
    k, v = k.repeat_interleave(share, 0), v.repeat_interleave(share, 0)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    place = torch.arange(len(query))
    offset = place[None] - place[:, None]
    left, right = window or (-1, -1)
    hidden = ((offset < -left) & (left >= 0)) | ((offset > right) & (right >= 0))
    return q, k, v, (q @ k.transpose(1, 2) * scale).masked_fill(hidden, -torch.inf), scale


def _check_varlen(tensors: Any, starts: Any, longest: Any, causal: bool) -> None:
    query, key, value = tensors
    lengths = starts[0].diff()
    rules = {
        "equal types of half precision": query.dtype == key.dtype == value.dtype in (torch.bfloat16, torch.float16),
        "heads of a width divisible by 8, at most 256": query.shape[-1] % 8 == 0 and query.shape[-1] <= 256,
        "rows that adjoin in the last dimension": all(x.stride(-1) == 1 for x in tensors),
        "boundaries in int32 from 0 to the end": starts[0].dtype == torch.int32 and starts[0][0] == 0
        and int(starts[0][-1]) == len(query) == len(key) and torch.equal(*starts),
        "the longest sequence": int(lengths.max()) <= min(longest),
        "no sequence that is cut": not causal,
    }  # fmt: skip
    if broken := [rule for rule, kept in rules.items() if not kept]:
        raise RuntimeError(f"varlen attention needs {', '.join(broken)}")


def _varlen_backward(
    grad_TAE: Tensor, query: Tensor, key: Tensor, value: Tensor, _out: Tensor, _logs: Tensor, starts: Tensor,
    others: Tensor, longest: int, most: int, causal: bool, _random: Tensor, scale: Any = None, window: Any = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    found: tuple[list[Tensor], ...] = ([], [], [])
    for a, b in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        q, k, v, scores, factor = _scores(query[a:b], key[a:b], value[a:b], scale, window)
        share, grad = scores.softmax(-1), grad_TAE[a:b].float().transpose(0, 1)
        by_share = grad @ v.transpose(1, 2)
        by_score = share * (by_share - (by_share * share).sum(-1, keepdim=True)) * factor
        for own, part in zip(
            found, (by_score @ k, by_score.transpose(1, 2) @ q, share.transpose(1, 2) @ grad), strict=True
        ):
            own.append(part.transpose(0, 1))
    heads = key.shape[1]
    joined = [torch.cat(parts) for parts in found]
    grouped = [joined[0], *(x.view(len(x), heads, -1, x.shape[-1]).sum(2) for x in joined[1:])]
    return tuple(x.to(query.dtype) for x in grouped)


def _segments_backward(grad: Tensor, _out: Tensor, data: Tensor, *_: Any, **__: Any) -> Tensor:
    return torch.empty_like(data)


def _segments(data: Tensor, _reduce: str, *, lengths: Tensor, **_: Any) -> Tensor:
    return data.new_empty(len(lengths), *data.shape[1:])


def _packed_ops() -> tuple[Any, Any]:
    import torch.nn.attention.varlen

    return torch.ops.torch_attn._varlen_attn.default, torch.ops.torch_attn._varlen_attn_backward.default


KERNELS: dict[Any, Callable[..., Any]] = dict(zip(_packed_ops(), (_varlen, _varlen_backward), strict=True))
SHAPES: dict[Any, Callable[..., Any]] = {
    aten.segment_reduce.default: _segments,
    aten._segment_reduce_backward.default: _segments_backward,
}
