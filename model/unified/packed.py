"""Padding-free execution of a trunk: the tokens of a batch lie one after another and each content sees only itself.

Linear layers, norms and activations then never touch padding. Attention is block-diagonal: on CUDA in half precision
one kernel for sequences of any length, elsewhere one dense call per distinct length. Both enter a trunk through the
attention interface of transformers, so that its own modelling code runs unchanged.

Shape legend: N contents, L padded positions, T tokens of all contents, A attention heads, E width of a head,
G contents of equal length, S their length.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from model.errors import ConfigError
from model.transfer import on_device
from model.unified.batch import Indices, UnifiedBatch

# The name under which transformers finds `attention`: with a packing it is block-diagonal, without one plain SDPA.
ATTENTION = "omnivec"
# Trunks whose attention goes through the interface and whose positions can be given: each is tested against padding.
PACKABLE = frozenset({"bert", "roberta", "xlm-roberta", "modernbert", "gemma3_text"})
VARLEN_DTYPES = (torch.float16, torch.bfloat16)
VARLEN_WIDTHS = range(8, 257, 8)
VARLEN_CAPABILITY = (8, 0)  # Ampere


@dataclass(frozen=True)
class Packing:
    """Where the tokens of N contents lie in one sequence of T: longest content first, so equal lengths adjoin."""

    order_N: Indices
    lengths_N: Indices
    row_T: Indices
    column_T: Indices
    device: torch.device

    @classmethod
    def of(cls, mask_NL: Indices, device: torch.device) -> "Packing":
        """Plan for sequences that fill the left of ``mask_NL``."""
        lengths_N = mask_NL.sum(1)
        order_N = np.argsort(-lengths_N, kind="stable")
        sorted_N = lengths_N[order_N]
        row_T = np.repeat(order_N, sorted_N)
        column_T = np.arange(len(row_T)) - np.repeat(np.cumsum(sorted_N) - sorted_N, sorted_N)
        return cls(order_N, sorted_N, row_T, column_T, device)

    @cached_property
    def groups(self) -> list[tuple[int, int]]:
        """(contents, length) of each run of equal lengths, in packed order."""
        negative, counts = np.unique(-self.lengths_N, return_counts=True)
        return [(int(count), -int(length)) for length, count in zip(negative, counts, strict=True)]

    @cached_property
    def boundaries(self) -> Tensor:
        """Start of each content and the end of the last, shape [N + 1], as varlen kernels want them."""
        ends = np.concatenate([[0], np.cumsum(self.lengths_N)])
        return on_device(ends.astype(np.int32), self.device)

    def token_ids(self, batch: UnifiedBatch) -> Tensor:
        """Ids without padding, shape [T]."""
        return on_device(batch.token_ids_NL[self.row_T, self.column_T], self.device)

    def slots(self, row_K: Indices, column_K: Indices) -> Tensor:
        """Places in the packed sequence of cells of the padded one, shape [K]."""
        first_N = np.empty_like(self.order_N)
        first_N[self.order_N] = np.cumsum(self.lengths_N) - self.lengths_N
        return on_device(first_N[row_K] + column_K, self.device)

    def mean(self, states_TH: Tensor) -> Tensor:
        """Average of each content's tokens in the order of the batch, shape [N, H]."""
        lengths_N = on_device(self.lengths_N, self.device)
        mean_NH = torch.segment_reduce(states_TH, "mean", lengths=lengths_N, unsafe=True)
        return mean_NH[on_device(np.argsort(self.order_N), self.device)]


def attention_name(trunk: str) -> str:
    """Attention implementation for a trunk of this model type: ours where the trunk is known to work packed."""
    return ATTENTION if trunk in PACKABLE else "sdpa"


def run_packed(trunk: nn.Module, embeds_TH: Tensor, packing: Packing) -> Tensor:
    """Token embeddings to last hidden states, both [T, H].

    Raises:
        ConfigError: the trunk is none of ``PACKABLE``, so only padded batches are known to be right for it.
    """
    config: Any = trunk.config
    kind = config.model_type
    if kind not in PACKABLE:
        raise ConfigError(f"a {kind!r} trunk has no packed execution (known: {', '.join(sorted(PACKABLE))})")
    position_T = on_device(packing.column_T + _first_position(trunk), packing.device)
    output = trunk(
        inputs_embeds=embeds_TH.unsqueeze(0),
        # A mask with four dimensions is taken as it is, so that no mask [T, T] is made; `attention` needs none.
        attention_mask=embeds_TH.new_ones(1, 1, 1, 1),
        position_ids=position_T.unsqueeze(0),
        packing=packing,
    )
    states_TH: Tensor = output.last_hidden_state[0]
    return states_TH


def _first_position(trunk: nn.Module) -> int:
    """RoBERTa counts positions from behind its padding id, the others from zero."""
    embeddings: Any = getattr(trunk, "embeddings", None)
    return embeddings.padding_idx + 1 if hasattr(embeddings, "create_position_ids_from_inputs_embeds") else 0


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    packing: Packing | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of one layer in the form of transformers: [1, A, T, E] each, result [1, T, A, E].

    Without ``packing`` it is the SDPA of transformers with ``attention_mask``; with it the mask is ignored.
    """
    if packing is None:
        padded: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return padded
    if getattr(module, "is_causal", False):
        raise ConfigError("packed execution is for bidirectional trunks; this one attends to earlier tokens only")
    if query.is_cuda and torch.is_autocast_enabled("cuda"):  # rotary positions may have left it for single precision
        query, key, value = (x.to(torch.get_autocast_dtype("cuda")) for x in (query, key, value))
    query_TAE, key_TAE, value_TAE = (x[0].transpose(0, 1) for x in (query, key, value))
    window, scale, dropout = kwargs.get("sliding_window"), kwargs.get("scaling"), kwargs.get("dropout", 0.0)
    if _has_varlen_kernel(query, dropout):
        mixed_TAE = _varlen(query_TAE, key_TAE, value_TAE, packing, window, scale)
    else:
        mixed_TAE = _by_length(query_TAE, key_TAE, value_TAE, packing, window, scale, dropout)
    return mixed_TAE.unsqueeze(0), None


def _has_varlen_kernel(query: Tensor, dropout: float) -> bool:
    fits = query.dtype in VARLEN_DTYPES and query.shape[-1] in VARLEN_WIDTHS and dropout == 0
    return query.is_cuda and fits and torch.cuda.get_device_capability(query.device) >= VARLEN_CAPABILITY


def _varlen(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, window: int | None, scale: float | None
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    longest = packing.groups[0][1]
    options: dict[str, Any] = {}  # only what differs from the defaults: releases of torch do not know the same ones
    if window is not None:
        options["window_size"] = (window - 1, window - 1)
    if scale is not None and scale != query.shape[-1] ** -0.5:
        options["scale"] = scale
    if query.shape[1] != key.shape[1]:
        options["enable_gqa"] = True
    found = varlen_attn(query, key, value, packing.boundaries, packing.boundaries, longest, longest, **options)
    assert isinstance(found, Tensor)
    return found


def _by_length(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, window: int | None, scale: float | None, dropout: float
) -> Tensor:
    """One dense call per distinct length; parts of a packed tensor are views, so nothing is gathered.

    They are split all at once: going backward from a slice fills a tensor of the whole size, for each slice again.
    """
    mixed = []
    sizes = [count * length for count, length in packing.groups]
    parts = zip(packing.groups, *(torch.split(x, sizes) for x in (query, key, value)), strict=True)
    for (count, length), *three in parts:
        query_GASE, key_GASE, value_GASE = (x.view(count, length, *x.shape[1:]).transpose(1, 2) for x in three)
        mixed_GASE = scaled_dot_product_attention(
            query_GASE,
            key_GASE,
            value_GASE,
            attn_mask=_window_mask(length, window, query.device),
            dropout_p=dropout,
            scale=scale,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        mixed.append(mixed_GASE.transpose(1, 2).flatten(0, 1))
    return mixed[0] if len(mixed) == 1 else torch.cat(mixed)


def _window_mask(length: int, window: int | None, device: torch.device) -> Tensor | None:
    """Pairs of tokens [S, S] less than ``window`` apart; None where that is all of them."""
    if window is None or length <= window:
        return None
    place_S = torch.arange(length, device=device)
    return (place_S[:, None] - place_S).abs() < window


# Registered when this module is imported, which the encoder does before it builds a trunk.
AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
