"""Tiny random configurations of bidirectional text encoders of transformers, and weights far from their start."""

from typing import Any

import torch
from torch import nn

COMMON = {
    "vocab_size": 260,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 600,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
CLS = {"cls_token_id": 0, "sep_token_id": 2, "mask_token_id": 3}
TINY_TRUNKS: dict[str, dict[str, Any]] = {
    "bert": {"model_type": "bert", **COMMON},
    "xlm-roberta": {"model_type": "xlm-roberta", **COMMON},
    "modernbert": {"model_type": "modernbert", **COMMON, **CLS},
    # The window is shorter than the texts of the tests, so that it is felt.
    "gemma3_text": {
        "model_type": "gemma3_text",
        **COMMON,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"],
        "use_bidirectional_attention": True,
    },
    "mpnet": {"model_type": "mpnet", **COMMON},
    "electra": {"model_type": "electra", **COMMON, "embedding_size": 16},
    "deberta-v2": {"model_type": "deberta-v2", **COMMON},
    "distilbert": {"model_type": "distilbert", **COMMON},
}


def shake(model: nn.Module, std: float = 0.2) -> Any:
    """Draw every parameter anew, so that no bias, norm or position can be lost unseen; in evaluation mode."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=parameter.mean().item(), std=std)
    return model.eval()
