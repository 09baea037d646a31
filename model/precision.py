"""In which precision a loaded encoder computes: float32, or bfloat16 for half the memory; float16 is refused.

The largest number of float16 is 65,504. Gemma-type trunks exceed it in their residual stream and give NaN; others come
near it and lose their vectors' direction on single inputs without any error. bfloat16 has the range of float32.
"""

from typing import TYPE_CHECKING, Literal

from model.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

Precision = Literal["float32", "bfloat16"]


def check_precision(dtype: str, backend: str) -> Precision:
    """Return ``dtype`` if an encoder can be loaded in it.

    Raises:
        ConfigError: it is float16, unknown, or not that of an exported graph.
    """
    if dtype == "float32":
        return "float32"
    if dtype == "bfloat16" and backend == "torch":
        return "bfloat16"
    if dtype == "float16":
        raise ConfigError(
            "float16 is refused: activations of such trunks pass its largest number, 65,504, and vectors become NaN or "
            "wrong; use bfloat16, which needs the same memory"
        )
    known = "float32 or bfloat16" if backend == "torch" else "float32 (an exported graph has its own precision)"
    raise ConfigError(f"dtype={dtype!r} with backend {backend!r}: give {known}")


def to_bfloat16(module: "nn.Module") -> "nn.Module":
    """Convert the float32 weights of ``module`` in place.

    Tables in half precision stay as they are, and so do buffers that are no weights: the frequencies of rotary
    positions need float32.
    """
    import torch

    names = module.state_dict().keys()
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if name in names and tensor.dtype == torch.float32:
                tensor.data = tensor.data.to(torch.bfloat16)
    return module
