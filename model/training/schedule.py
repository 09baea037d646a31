"""What learns, at which rate, and how the rate changes over the steps."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from model.errors import ConfigError

LORA = "lora"


def freeze_except(encoder: nn.Module, trainable: Mapping[str, float]) -> dict[str, float]:
    """Freeze all parameters but those with a prefix in ``trainable``; return parameter name -> learning rate.

    Raises:
        ConfigError: a prefix matches nothing, with the names that exist.
    """
    rates: dict[str, float] = {}
    matched: set[str] = set()
    for name, parameter in encoder.named_parameters():
        prefixes = [p for p in trainable if _has_prefix(name, p)]
        learns = bool(prefixes) and parameter.is_floating_point() and parameter.dtype != torch.float16
        parameter.requires_grad_(learns)
        if learns:
            rates[name] = trainable[max(prefixes, key=len)]
        matched.update(prefixes)
    if unknown := sorted(set(trainable) - matched):
        known = sorted({".".join(n.split(".")[:2]) for n, _ in encoder.named_parameters()})
        raise ConfigError(f"trainable: {unknown} match no parameter; prefixes are for example {known}")
    return {name: rate for name, rate in rates.items() if rate > 0}


def _has_prefix(name: str, prefix: str) -> bool:
    """Adapters lie beside the layers that they adapt, so ``lora`` stands for all of them."""
    return name == prefix or name.startswith(prefix + ".") or (prefix == LORA and ".lora_" in name)


def by_prefix(
    encoder: nn.Module, rates: Mapping[str, float], trainable: Mapping[str, float]
) -> dict[str, list[nn.Parameter]]:
    """What learns, by the prefix of ``trainable`` that decided it: the groups in which people think of it."""
    groups: dict[str, list[nn.Parameter]] = {}
    for name, parameter in encoder.named_parameters():
        if name in rates:
            groups.setdefault(max((p for p in trainable if _has_prefix(name, p)), key=len), []).append(parameter)
    return groups


def parameter_groups(encoder: nn.Module, rates: Mapping[str, float], weight_decay: float) -> list[dict[str, Any]]:
    """Optimizer groups by (rate, decay); vectors (biases, norms) are not decayed."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in encoder.named_parameters():
        if name in rates:
            decay = weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rates[name], decay), []).append(parameter)
    return [{"params": ps, "lr": lr, "weight_decay": decay} for (lr, decay), ps in groups.items()]


def scheduled(
    optimizer: torch.optim.Optimizer,
    shape: str,
    warmup_steps: int,
    steps: int,
    *,
    final: float = 0.0,
    decay_share: float = 0.2,
) -> torch.optim.lr_scheduler.LambdaLR:
    """Rates that rise linearly from near zero over ``warmup_steps`` and then follow a shape.

    Args:
        optimizer: its groups' rates are the highest ones.
        shape: a key of ``SHAPES``.
        warmup_steps: length of the rise.
        steps: of the stage.
        final: share of the highest rate at ``steps``, of a shape that falls.
        decay_share: share of the steps after the warm-up in which ``wsd`` falls.
    """
    fall = SHAPES[shape]

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        done = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
        return final + (1 - final) * fall(done, decay_share)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _wsd(done: float, decay_share: float) -> float:
    """Warm-up, stable, decay (MiniCPM, arXiv 2404.06395) with the decay 1 - sqrt (arXiv 2405.18392, section 3)."""
    return 1 - math.sqrt(max(0.0, 1 - (1 - done) / decay_share))


# From the share of the steps after the warm-up that are done, and decay_share, to a factor that falls from 1 to 0.
SHAPES: Mapping[str, Callable[[float, float], float]] = {
    "cosine": lambda done, _: 0.5 * (1 + math.cos(math.pi * done)),
    "linear": lambda done, _: 1 - done,
    "constant": lambda done, _: 1.0,
    "wsd": _wsd,
}
