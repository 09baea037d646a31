"""From tower features to trunk tokens.

Shape legend: K tokens, G cells per token, C tower channels, R reduced channels, H trunk width.
"""

import torch
from torch import Tensor, nn


class Projector(nn.Module):
    """Reduce each cell, join the cells of a token in order, and map them to the width of the trunk.

    Joining (instead of averaging) keeps where and when things are; a learned position per token does the same
    across the tokens of one item. The output norm starts at that of the trunk's word embeddings.
    """

    def __init__(
        self, *, channels: int, cells: int, positions: int, reduced: int, hidden: int, width: int, dropout: float
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.reduce = nn.Linear(channels, reduced)
        self.hidden = nn.Linear(cells * reduced, hidden)
        self.out = nn.Linear(hidden, width)
        self.out_norm = nn.LayerNorm(width)
        self.position = nn.Embedding(positions, hidden)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.position.weight, std=0.02)

    def match_scale(self, table: Tensor) -> None:
        """Start with the spread of the trunk's word embeddings ``table`` [V, H]."""
        nn.init.constant_(self.out_norm.weight, float(table[:: max(1, len(table) // 4096)].float().std()))

    def forward(self, features_KGC: Tensor, position_K: Tensor) -> Tensor:
        """Project features [K, G, C] at positions [K] to tokens [K, H]."""
        reduced_KGR = self.reduce(self.dropout(self.norm(features_KGC)))
        joined_KE = reduced_KGR.flatten(1)
        clamped_K = position_K.clamp(max=self.position.num_embeddings - 1)
        hidden_KE = torch.nn.functional.gelu(self.hidden(joined_KE) + self.position(clamped_K))
        tokens_KH: Tensor = self.out_norm(self.out(self.dropout(hidden_KE)))
        return tokens_KH
