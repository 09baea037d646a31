"""Moving average of the weights that learn: what a stage with ``ema`` hands on in place of its last weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from model.training.sharding import local


class Ema:
    """Averages of the given parameters, by name.

    The decay of update ``n`` is ``min(decay, (1 + n) / (10 + n))``, as in TensorFlow's ExponentialMovingAverage: a
    stage of a few hundred steps is not held back by its start. ``AveragedModel`` of torch would copy the whole encoder,
    of which word embeddings and towers are frozen and most of the memory; its update rule is used here.

    Args:
        parameters: those that learn, on the device where they are trained.
        decay: in (0, 1).
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.parameters = dict(parameters)
        self.decay = decay
        self.updates = 0
        self.averages = {name: p.detach().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        weights = [local(p.detach()) for p in self.parameters.values()]
        average([local(value) for value in self.averages.values()], weights, self.updates)

    @torch.no_grad()
    def apply(self) -> None:
        """Make the averages the weights."""
        for name, parameter in self.parameters.items():
            parameter.copy_(self.averages[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Averages in place of the weights for a while; the weights come back to the last bit."""
        kept = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.apply()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(kept[name])

    def state(self) -> dict[str, Any]:
        """For a checkpoint: number of updates and the averages, whole where the weights are sharded."""
        return {"updates": self.updates, "averages": {name: _whole(value) for name, value in self.averages.items()}}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self.updates = int(state["updates"])
        for name, value in state["averages"].items():
            self.averages[name].copy_(_like(value, self.averages[name]))


def _whole(value: Tensor) -> Tensor:
    found: Tensor = value.full_tensor() if hasattr(value, "full_tensor") else value
    return found.cpu().clone()


def _like(value: Tensor, target: Tensor) -> Tensor:
    """``value`` where and as ``target`` is."""
    if not hasattr(target, "device_mesh"):
        return value.to(target)
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(target.device), target.device_mesh, target.placements)  # type: ignore[attr-defined]
