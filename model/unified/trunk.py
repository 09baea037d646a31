"""The shared trunk: any bidirectional text encoder of transformers, with its word embeddings taken out.

Shape legend: V vocabulary, E embedding width (equal to the trunk's width for most models).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from model.errors import ConfigError
from model.pretrained import bare_model, transformers_config

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Their positions begin after the padding id (a habit of fairseq), so that id must stay as it was.
POSITIONS_AFTER_PADDING = frozenset(
    {
        "camembert",
        "data2vec-text",
        "esm",
        "ibert",
        "longformer",
        "luke",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    }
)


class TokenTable(nn.Embedding):
    """Frozen word embeddings [V, E] in half precision, looked up in fp32 times the factor by which the trunk scales.

    Gemma multiplies its word embeddings by the square root of the width, but not embeddings that it is handed.
    """

    def __init__(self, rows: int, width: int, scale: float = 1.0) -> None:
        super().__init__(rows, width, dtype=torch.float16)
        self.scale = scale
        self.requires_grad_(False)

    def forward(self, token_ids: Tensor) -> Tensor:
        """Embeddings [..., E] in fp32 of token ids [...]."""
        found = super().forward(token_ids).float()
        return found if self.scale == 1.0 else found * self.scale


@dataclass(frozen=True)
class Trunk:
    """A trunk without word embeddings, the table that it lost, and its output width."""

    model: "PreTrainedModel"
    table: TokenTable
    width: int


def build_trunk(document: dict[str, Any], *, max_tokens: int, attention: str | None = None) -> Trunk:
    """Build a trunk with random weights from a transformers configuration (see ``bare_model`` on ``attention``).

    Raises:
        ConfigError: the document is not that of a text encoder, or it has fewer positions than ``max_tokens``.
    """
    config = transformers_config(document)
    if config.is_encoder_decoder or getattr(config, "is_decoder", False) or not hasattr(config, "vocab_size"):
        raise ConfigError(
            f"trunk: {config.model_type!r} is not a text encoder; give one such as bert, xlm-roberta, modernbert, or "
            "gemma3_text with use_bidirectional_attention=true"
        )
    vocabulary, offset = config.vocab_size, position_offset(document)
    positions = int(getattr(config, "max_position_embeddings", None) or max_tokens) - offset
    if max_tokens > positions:
        raise ConfigError(
            f"limits.max_tokens={max_tokens} is more than the {positions} positions of the {config.model_type!r} "
            f"trunk; set limits.max_tokens to {positions} or less"
        )
    config.pad_token_id = max(offset - 1, 0)
    config.vocab_size = config.pad_token_id + 1  # the table lives outside; these rows are never looked up
    model = bare_model(config, attention=attention)
    words = model.get_input_embeddings()
    words.requires_grad_(False)
    table = TokenTable(vocabulary, words.weight.shape[1], float(getattr(words, "scalar_embed_scale", 1.0)))
    return Trunk(model, table, int(config.hidden_size))


def position_offset(document: dict[str, Any]) -> int:
    """Position of the first token in the trunk's own numbering: 0 but for the RoBERTa family."""
    if document.get("model_type") not in POSITIONS_AFTER_PADDING:
        return 0
    padding = document.get("pad_token_id")
    return (1 if padding is None else int(padding)) + 1


def table_name(model: nn.Module) -> str:
    """Name of the word embeddings in the state dict of a transformers text encoder."""
    words = model.get_input_embeddings()  # type: ignore[operator]
    return next(f"{name}.weight" for name, module in model.named_modules() if module is words)
