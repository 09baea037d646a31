"""Gradients of processes that train together, some of them sharded: their average, their norm, clipping."""

from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from model.losses.gather import processes
from model.training.sharding import local


@torch.no_grad()
def average_whole(parameters: Iterable[nn.Parameter]) -> None:
    """Average the gradients of those that no process shards; one without a gradient counts as zero."""
    whole = [p for p in parameters if p.requires_grad and not isinstance(p, DTensor)]
    if not whole:
        return
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in whole]
    flat = torch.cat([part.reshape(-1).float() for part in parts])
    dist.all_reduce(flat)
    flat /= processes()
    for p, mean in zip(whole, torch.split(flat, [part.numel() for part in parts]), strict=True):
        p.grad = mean.view_as(p).to(p.dtype)


@torch.no_grad()
def drop_unused(parameters: Iterable[nn.Parameter]) -> None:
    """Take the gradient from parameters that no process's share used, which have none in a single process either.

    AdamW passes over what has none; a zero would let decay and momentum go on.
    """
    used = [(p, p.grad) for p in parameters if p.grad is not None]
    if not used:
        return
    largest = torch.stack([_largest(gradient) for _, gradient in used])
    if any(isinstance(gradient, DTensor) for _, gradient in used):
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    for (parameter, _), value in zip(used, largest.tolist(), strict=True):  # one wait
        if value == 0:
            parameter.grad = None


def _largest(gradient: Tensor) -> Tensor:
    part = local(gradient)
    return part.abs().amax().float() if part.numel() else part.new_zeros((), dtype=torch.float32)


@torch.no_grad()
def norms(groups: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
    """L2 norm of each group of tensors that is not empty, over all processes where any is sharded."""
    groups = {name: tensors for name, tensors in groups.items() if tensors}
    if not any(isinstance(tensor, DTensor) for tensors in groups.values() for tensor in tensors):
        return {name: _norm(tensors) for name, tensors in groups.items()}
    sharded = [
        _square([t.to_local() for t in tensors if isinstance(t, DTensor)], tensors[0].device)
        for tensors in groups.values()
    ]
    whole = [
        _square([t for t in tensors if not isinstance(t, DTensor)], tensors[0].device) for tensors in groups.values()
    ]
    total = torch.stack(sharded)
    dist.all_reduce(total)
    return dict(zip(groups, (total + torch.stack(whole)).sqrt().unbind(), strict=True))


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors))))
    return norm


def _square(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    return _norm(tensors).float().square() if tensors else torch.zeros((), device=device)


@torch.no_grad()
def clip_sharded(parameters: Iterable[nn.Parameter], largest: float) -> None:
    """Scale gradients down to a total norm of ``largest``, as ``torch.nn.utils.clip_grad_norm_`` does.

    That one cannot take sharded and whole gradients together.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return
    factor = (largest / (norms({"all": gradients})["all"] + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_([local(gradient) for gradient in gradients], factor)
