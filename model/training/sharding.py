"""Shards of a trunk (FSDP2): each process keeps its part of every layer and gathers a layer when it is needed.

Only what every content passes is sharded: a layer is gathered and its gradients are reduced when it is called, so all
processes have to call the same layers equally often, whatever their shares of a batch hold. Projectors, towers and head
stay whole in each process; their gradients are averaged apart (``model.training.exchange``).

Source: Zhao et al. 2023, arXiv 2304.11277; torch.distributed.fsdp.fully_shard.
"""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from model.content import Modality
from model.errors import ConfigError
from model.sentence_transformer.encoder import SentenceTransformerEncoder
from model.unified.encoder import UnifiedEncoder

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

TRANSFORMER = "model.0.model"  # of a model of sentence-transformers, seen from our encoder


class TrunkShards:
    """The part of an encoder that is sharded.

    Args:
        encoder: that is trained.
        root: name of the module whose every call all contents take part in.
        trunk: module within it that holds the layers; what else is in ``root`` stays whole.

    Raises:
        ConfigError: the trunk has no list of layers.
    """

    def __init__(self, encoder: nn.Module, root: str, trunk: nn.Module) -> None:
        self.encoder = encoder
        self.root = root
        self.layers = layers_of(trunk)
        self.parameters = frozenset(trunk.parameters())
        self._whole: nn.Module | None = None

    @classmethod
    def of(cls, encoder: nn.Module) -> Self:
        """What can be sharded of an encoder.

        Raises:
            ConfigError: its contents share no trunk, as where each modality has a tower of its own.
        """
        if isinstance(encoder, UnifiedEncoder):
            return cls(encoder, "trunk", encoder.trunk)
        assert isinstance(encoder, SentenceTransformerEncoder)
        transformer = encoder.get_submodule(TRANSFORMER)
        shared = getattr(transformer, "language_model", None)
        if isinstance(shared, nn.Module):
            return cls(encoder, TRANSFORMER, shared)
        if encoder.modalities == {Modality.TEXT}:
            return cls(encoder, TRANSFORMER, transformer)
        raise ConfigError(
            f"launch.strategy=fsdp shards a trunk that every content passes; {type(transformer).__name__} has none for "
            f"{sorted(m.value for m in encoder.modalities)}: use ddp"
        )

    def learns(self, rates: Mapping[str, float]) -> bool:
        """Whether any of it learns; where none does there is little to save."""
        return any(p in self.parameters for name, p in self.encoder.named_parameters() if name in rates)

    def apply(self, mesh: "DeviceMesh") -> None:
        """Replace the parameters by this process's shards. Weights are gathered in fp32, sums of gradients too.

        Autocast casts what it casts without shards, so the arithmetic of a precision does not depend on them.
        """
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        root = self.encoder.get_submodule(self.root)
        self._whole = _empty_copy(root)
        below = _learns_below(self.encoder, self.parameters)
        for layer in self.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(root, mesh=mesh, ignored_params=set(root.parameters()) - self.parameters)
        if self.root == TRANSFORMER:  # sentence-transformers calls its forward past the hooks of modules
            register_fsdp_forward_method(root, "forward")
        if below:
            root.register_forward_pre_hook(_reach_inputs, with_kwargs=True)
            self.layers[0].register_forward_pre_hook(_reach_inputs, with_kwargs=True)

    def undo(self) -> None:
        """Put the module back, whole, on the processor, without a trace of shards; all processes call this together."""
        if self._whole is None:
            return
        found = {name: full(p.detach()).cpu() for name, p in self.encoder.get_submodule(self.root).named_parameters()}
        _fill(self._whole, found)
        self.encoder.set_submodule(self.root, self._whole)
        self.encoder.cpu()
        self._whole, self.layers, self.parameters = None, [], frozenset()


def full(value: Tensor) -> Tensor:
    """The whole of a sharded tensor, for which all processes have to ask; any other as it is."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def local(value: Tensor) -> Tensor:
    """This process's part of a sharded tensor, sharing its memory; any other as it is."""
    return value.to_local() if isinstance(value, DTensor) else value


def like(value: Tensor, template: Tensor) -> Tensor:
    """``value`` sharded as ``template`` is; every process holds all of ``value``, so none is sent."""
    if not isinstance(template, DTensor):
        return value
    from torch.distributed.tensor import distribute_tensor

    there = value.to(template.device)
    return distribute_tensor(there, template.device_mesh, template.placements, src_data_rank=None)


def layers_of(trunk: nn.Module) -> list[nn.Module]:
    """The list of modules that holds most of a trunk.

    Raises:
        ConfigError: it has none.
    """
    lists: list[nn.ModuleList] = [m for m in trunk.modules() if isinstance(m, nn.ModuleList) and len(m)]
    if not lists:
        raise ConfigError(f"launch.strategy=fsdp: {type(trunk).__name__} has no list of layers to shard; use ddp")
    sizes = [sum(p.numel() for p in m.parameters()) for m in lists]
    return list(lists[sizes.index(max(sizes))])


def _learns_below(encoder: nn.Module, sharded: frozenset[nn.Parameter]) -> bool:
    """Whether something may learn from the gradient at the trunk's inputs, in one process but not in another."""
    above = ("head.",) if isinstance(encoder, UnifiedEncoder) else tuple(f"model.{i}." for i in range(1, 9))
    return any(
        p.requires_grad and p not in sharded and not name.startswith(above) for name, p in encoder.named_parameters()
    )


def _reach_inputs(
    _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Let the backward pass end at the same place in every process.

    Where projectors learn, it goes down to the inputs for a share with media, but not for one of texts alone: the
    processes would then gather and reduce in different orders and wait for each other for ever.
    """

    def reached(value: Any) -> Any:
        floats = isinstance(value, Tensor) and value.is_floating_point() and value.ndim == 3
        return value.detach().requires_grad_() if floats and not value.requires_grad else value

    if not torch.is_grad_enabled():
        return args, kwargs
    states = {
        name: reached(value) if name in ("inputs_embeds", "hidden_states") else value for name, value in kwargs.items()
    }
    return tuple(reached(value) for value in args), states


def _empty_copy(module: nn.Module) -> nn.Module:
    """The same module without the content of its parameters; what is no module, such as a tokenizer, is shared."""
    kept = {id(p): nn.Parameter(p.detach().to("meta"), requires_grad=p.requires_grad) for p in module.parameters()}
    kept |= cast("dict[int, Any]", {id(b): b for b in module.buffers()})
    kept |= {id(v): v for v in vars(module).values() if not isinstance(v, (dict, list, set, nn.Module))}
    return copy.deepcopy(module, dict(kept))


def _fill(module: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Give each parameter its value by name; those that share one go on sharing it."""
    made = {id(p): nn.Parameter(values[name], requires_grad=p.requires_grad) for name, p in module.named_parameters()}
    for child in module.modules():
        for name, p in child.named_parameters(recurse=False, remove_duplicate=False):
            child.register_parameter(name, made[id(p)])
