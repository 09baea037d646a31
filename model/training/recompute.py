"""Activation checkpointing: layers keep their inputs only and compute the rest again on the way back."""

from transformers.modeling_layers import GradientCheckpointingLayer

from model.errors import ConfigError
from model.training.families import TorchEncoder, network_of


def checkpoint_activations(encoder: TorchEncoder) -> None:
    """Make the layers of the trunk recompute their activations; those of the other family, all layers.

    Raises:
        ConfigError: the model cannot.
    """
    network = network_of(encoder)
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
    for layer in network_of(encoder).modules():
        if isinstance(layer, GradientCheckpointingLayer):
            layer.training = True


def stop_recomputing(encoder: TorchEncoder) -> None:
    """Undo :func:`checkpoint_activations`."""
    network_of(encoder).activation_checkpointing_disable()
