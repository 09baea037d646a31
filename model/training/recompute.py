"""Activation checkpointing: layers keep their inputs only and compute the rest again on the way back."""

from typing import Any

from transformers.modeling_layers import GradientCheckpointingLayer

from model.errors import ConfigError
from model.training.families import TorchEncoder
from model.unified.encoder import UnifiedEncoder


def checkpoint_activations(encoder: TorchEncoder) -> None:
    """Make the layers of the trunk recompute their activations; those of the other family, all layers.

    Raises:
        ConfigError: the model cannot.
    """
    network = _network(encoder)
    if not getattr(network, "supports_gradient_checkpointing", False):
        raise ConfigError(
            f"activation_checkpointing: {type(network).__name__} has no layers that recompute their activations; "
            "leave it out, and lower micro_batch_tokens instead, which saves memory with any model"
        )
    network.activation_checkpointing_enable({"use_reentrant": False})


def keep_recomputing(encoder: TorchEncoder) -> None:
    """Frozen layers in evaluation mode recompute too: gradients of projectors go through them.

    Only the layer itself learns that it trains, not its parts, so dropout stays off.
    """
    for layer in _network(encoder).modules():
        if isinstance(layer, GradientCheckpointingLayer):
            layer.training = True


def stop_recomputing(encoder: TorchEncoder) -> None:
    """Undo :func:`checkpoint_activations`."""
    _network(encoder).activation_checkpointing_disable()


def _network(encoder: TorchEncoder) -> Any:
    return encoder.trunk if isinstance(encoder, UnifiedEncoder) else encoder.model[0].model
