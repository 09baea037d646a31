"""LoRA by peft: low-rank updates are trained and merged into the weights, so that serving knows nothing of them.

Source: Hu et al. 2021, arXiv 2106.09685.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from model.errors import ConfigError

if TYPE_CHECKING:
    from model.training.config import LoraConfig

ADAPTER = "default"


def add_lora(model: nn.Module, lora: "LoraConfig", seed: int) -> int:
    """Put adapters beside the linear layers of a transformers model, in place; the global random state is kept.

    Returns:
        Number of layers that got one.

    Raises:
        ConfigError: peft is missing, or no layer has one of the names.
    """
    try:
        from peft import LoraConfig as PeftConfig
        from peft import inject_adapter_in_model
    except ImportError as error:
        raise ConfigError("lora needs the package peft: install the extra 'train'") from error
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    chosen = [name for name in layers if not lora.targets or not set(lora.targets).isdisjoint(_own_names(name))]
    if not chosen:
        known = sorted({_own_names(name)[-1] for name in layers})
        raise ConfigError(f"lora.targets={list(lora.targets)} name no linear layer; there are {known}")
    settings = PeftConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=chosen)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(settings, model, adapter_name=ADAPTER)
    return len(_layers(model))


def _own_names(path: str) -> tuple[str, ...]:
    """What a layer is called: some models wrap ``q_proj.linear``, where ``q_proj`` is meant."""
    *_, parent, own = ("", *path.split("."))
    return (own, parent) if own == "linear" else (own,)


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """The weights of the adapted layers with their updates, under the names that they have without adapters."""
    found = {}
    for name, layer in _layers(model).items():
        base = layer.get_base_layer().weight  # type: ignore[operator]
        delta = layer.get_delta_weight(ADAPTER)  # type: ignore[operator]
        found[f"{name}.weight"] = (base + delta.to(base.dtype)).detach().cpu().clone()
    return found


def merge_lora(model: nn.Module) -> None:
    """Add the updates to the weights and take the adapters out, in place."""
    for name, layer in _layers(model).items():
        parent, _, child = name.rpartition(".")
        layer.merge()  # type: ignore[operator]
        setattr(model.get_submodule(parent), child, layer.get_base_layer())  # type: ignore[operator]
    if hasattr(model, "peft_config"):
        del model.peft_config


def _layers(model: nn.Module) -> dict[str, nn.Module]:
    """Adapted layers by the name of the layer that they wrap."""
    return {name: m for name, m in model.named_modules() if hasattr(m, "get_base_layer") and hasattr(m, "lora_A")}
