"""Packed execution equals padded execution for every trunk and modality, gradients too, and a broken one is noticed."""

from dataclasses import replace
from functools import cached_property

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoConfig, AutoModel

from model.content import Content, audio, document, image, video
from model.errors import ConfigError
from model.unified import packed
from model.unified.packed import ATTENTION, Packing, run_packed
from tests.conftest import make_mp4, make_ogg, make_png

PARTS = [
    "a",
    "ein Hund läuft durch den Wald",
    "a cat " * 12,
    image(make_png(1)),
    audio(make_ogg(1)),
    audio(make_ogg(2, 7.0)),
    video(make_mp4(1)),
]
WINDOW = 6
TINY = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48, "vocab_size": 9}
TRUNKS = {
    "bert": {},
    "roberta": {"pad_token_id": 1},
    "xlm-roberta": {"pad_token_id": 1},
    "modernbert": {"local_attention": WINDOW, "global_attn_every_n_layers": 3, "pad_token_id": 0},
    "gemma3_text": {
        "head_dim": 16,
        "num_key_value_heads": 1,
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "use_bidirectional_attention": True,
        "pad_token_id": 0,
    },
}
LENGTHS = [3, 17, 9, 1, 17, 30]


def pooled(encoder, contents: list[Content], *, packed: bool) -> Tensor:
    return encoder.pool(encoder.preprocess(contents), packed=packed)


def mixtures() -> st.SearchStrategy[list[list[int]]]:
    return st.lists(st.lists(st.sampled_from(range(len(PARTS))), min_size=1, max_size=3), min_size=1, max_size=6)


def contents_of(mixture: list[list[int]]) -> list[Content]:
    return [Content.of(*(PARTS[i] for i in indices)) for indices in mixture]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mixtures())
def test_packed_equals_padded_and_neighbours_do_not_matter(tiny_encoder, mixture: list[list[int]]) -> None:
    contents = contents_of(mixture)
    with torch.inference_mode():
        together = pooled(tiny_encoder, contents, packed=True)
        torch.testing.assert_close(together, pooled(tiny_encoder, contents, packed=False), atol=1e-5, rtol=0)
        alone = torch.cat([pooled(tiny_encoder, [c], packed=True) for c in contents])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


class Leaking(Packing):
    """One block for the whole batch: contents see each other, what block-diagonal attention must prevent."""

    @cached_property
    def groups(self) -> list[tuple[int, int]]:
        return [(1, int(self.lengths_N.sum()))]


def test_parity_would_notice_contents_that_see_each_other(tiny_encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = contents_of([[0], [2], [1, 3]])
    padded = pooled(tiny_encoder, contents, packed=False)
    monkeypatch.setattr("model.unified.encoder.Packing", Leaking)
    assert (pooled(tiny_encoder, contents, packed=True) - padded).abs().max() > 1e-3


def test_loss_and_gradients_equal_those_of_padding(tiny_encoder) -> None:
    contents = contents_of([[0], [2, 3], [1], [4], [6, 1], [5]])
    batch = tiny_encoder.preprocess(contents)
    tiny_encoder.trunk.requires_grad_(True)
    target_NH = torch.randn(len(contents), tiny_encoder.table.embedding_dim, generator=torch.Generator().manual_seed(0))
    losses, gradients = [], []
    for choice in (False, True):
        tiny_encoder.zero_grad()
        loss = 100 * (tiny_encoder.pool(batch, packed=choice) * target_NH).sum(1).square().mean()
        loss.backward()
        losses.append(loss.detach())
        gradients.append({n: p.grad.clone() for n, p in tiny_encoder.named_parameters() if p.grad is not None})
    torch.testing.assert_close(losses[0], losses[1], atol=1e-4, rtol=1e-5)
    assert gradients[0].keys() == gradients[1].keys()
    assert {"trunk.encoder.layer.0.attention.self.query.weight", "projectors.video.out.weight"} <= gradients[0].keys()
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, atol=1e-4, rtol=1e-4, msg=name)
    assert max(g.abs().max() for g in gradients[0].values()) > 1e-2, "gradients too small to tell anything"


def test_documents_pack_too(tiny_encoder, pdf_bytes: bytes) -> None:
    """By themselves, since a page is drawn in a process of its own; with gradients."""
    paged = [Content.of(document(pdf_bytes)), Content.of("see", document(pdf_bytes), PARTS[3]), Content.of(PARTS[4])]
    batch = tiny_encoder.preprocess(paged)
    assert not batch.mask_NL.all()
    found = []
    for choice in (False, True):
        tiny_encoder.zero_grad()
        states = tiny_encoder.pool(batch, packed=choice)
        (100 * states.square().sum(1).mean()).backward()
        gradients = [p.grad.clone() for p in tiny_encoder.projectors["image"].parameters()]
        found.append((states.detach(), gradients))
    (padded, padded_gradients), (packed_states, packed_gradients) = found
    torch.testing.assert_close(packed_states, padded, atol=1e-5, rtol=0)
    for expected, gradient in zip(padded_gradients, packed_gradients, strict=True):
        torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-4)
    assert max(g.abs().max() for g in padded_gradients) > 1e-3
    alone = torch.cat([pooled(tiny_encoder, [c], packed=True) for c in paged]).detach()
    torch.testing.assert_close(packed_states, alone, atol=1e-5, rtol=0)


def make_trunk(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **TINY, **TRUNKS[kind])
    trunk = AutoModel.from_config(config, attn_implementation=ATTENTION).eval()
    for parameter in trunk.parameters():
        if parameter.ndim > 1:  # far from the even attention of a fresh network
            torch.nn.init.normal_(parameter, std=0.3)
    return trunk


def run_both(trunk: torch.nn.Module) -> tuple[Tensor, Tensor]:
    """Hidden states of random embeddings, padded and packed, both as [T, H] in the order of the packing."""
    mask_NL = (np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]).astype(np.int64)
    embeds_NLH = torch.randn(*mask_NL.shape, TINY["hidden_size"], generator=torch.Generator().manual_seed(1))
    packing = Packing.of(mask_NL, torch.device("cpu"))
    with torch.inference_mode():
        padded_NLH = trunk(inputs_embeds=embeds_NLH, attention_mask=torch.from_numpy(mask_NL)).last_hidden_state
        packed_TH = run_packed(trunk, embeds_NLH[packing.row_T, packing.column_T], packing)
    return padded_NLH[packing.row_T, packing.column_T], packed_TH


@pytest.mark.parametrize("kind", sorted(TRUNKS))
def test_every_packable_trunk_equals_its_padded_self(kind: str) -> None:
    padded_TH, packed_TH = run_both(make_trunk(kind))
    assert padded_TH.std(0).mean() > 0.1, "states are alike: the comparison would prove nothing"
    torch.testing.assert_close(packed_TH, padded_TH, atol=1e-4, rtol=0)


def test_every_packable_trunk_is_tested() -> None:
    assert set(TRUNKS) == packed.PACKABLE


@pytest.mark.parametrize("kind", ["modernbert", "gemma3_text"])
def test_local_attention_is_honoured(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_window_mask", lambda *_: None)
    padded_TH, packed_TH = run_both(make_trunk(kind))
    assert (packed_TH - padded_TH).abs().max() > 1e-2


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_positions_restart_with_each_content(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With absolute positions; rotary ones are relative, so where a content starts does not matter to them."""
    monkeypatch.setattr(packed, "_first_position", lambda _: 3)
    padded_TH, packed_TH = run_both(make_trunk(kind))
    assert (packed_TH - padded_TH).abs().max() > 1e-2


def reference_varlen(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale=None, window_size=(-1, -1), enable_gqa=False
) -> Tensor:
    """The documented meaning of ``torch.nn.attention.varlen.varlen_attn``, which itself runs on CUDA alone."""
    assert cu_seq_q.dtype == torch.int32
    assert (cu_seq_q.diff() <= max_q).all()
    assert torch.equal(cu_seq_q, cu_seq_k)
    out = []
    for a, b in zip(cu_seq_q[:-1].tolist(), cu_seq_q[1:].tolist(), strict=True):
        offset = torch.arange(b - a)[None] - torch.arange(b - a)[:, None]
        left, right = window_size
        seen = ((offset >= -left) | (left < 0)) & ((offset <= right) | (right < 0))
        q, k, v = (x[a:b].transpose(0, 1) for x in (query, key, value))
        out.append(
            scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scale, enable_gqa=enable_gqa).transpose(0, 1)
        )
    return torch.cat(out)


@pytest.mark.parametrize("kind", ["bert", "modernbert", "gemma3_text"])
def test_the_varlen_kernel_is_asked_for_the_same_thing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_has_varlen_kernel", lambda *_: True)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", reference_varlen)
    padded_TH, packed_TH = run_both(make_trunk(kind))
    torch.testing.assert_close(packed_TH, padded_TH, atol=1e-4, rtol=0)


def test_padding_alone_decides_by_default(tiny_encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr("model.unified.encoder.run_packed", lambda *args: calls.append(1) or run_packed(*args))
    batch = tiny_encoder.preprocess(contents_of([[0], [2]]))
    tiny_encoder.pool(batch)
    tiny_encoder.pool(tiny_encoder.preprocess(contents_of([[2], [2]])))
    assert len(calls) == 1
    full = replace(batch, mask_NL=np.ones_like(batch.mask_NL))
    torch.testing.assert_close(tiny_encoder.pool(full), tiny_encoder.pool(full, packed=True), atol=1e-5, rtol=0)


def test_other_trunks_are_refused_and_run_padded(tiny_encoder) -> None:
    batch = tiny_encoder.preprocess(contents_of([[0], [2]]))
    expected = tiny_encoder.pool(batch, packed=False)
    tiny_encoder.trunk.config.model_type = "mpnet"
    with pytest.raises(ConfigError, match="'mpnet' trunk has no packed execution"):
        tiny_encoder.pool(batch, packed=True)
    torch.testing.assert_close(tiny_encoder.pool(batch), expected, atol=0, rtol=0)


def test_a_causal_trunk_is_refused() -> None:
    config = AutoConfig.for_model(
        "gemma3_text", **TINY, **{**TRUNKS["gemma3_text"], "use_bidirectional_attention": False}
    )
    with pytest.raises(ConfigError, match="bidirectional"):
        run_both(AutoModel.from_config(config, attn_implementation=ATTENTION).eval())
