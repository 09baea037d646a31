"""Dropout of a stage in place of what the model was pretrained with."""

from torch import nn

from model.training.families import TorchEncoder, network_of

ATTENTION = "attention_dropout"  # where newer models of transformers keep the rate of their attention, as a number


def set_dropout(encoder: TorchEncoder, rate: float) -> int:
    """Give every dropout of the trunk, or of the whole model of the other family, this rate.

    Without dropout in attention, training on CUDA packs its sequences into one kernel (``model.unified.packed``).

    Returns:
        The number of places that were set.
    """
    places = 0
    for module in network_of(encoder).modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
            places += 1
        elif isinstance(getattr(module, ATTENTION, None), float):
            setattr(module, ATTENTION, rate)
            places += 1
    return places
