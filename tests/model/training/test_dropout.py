"""The dropout of a stage is that of every layer of the trunk, in its attention too."""

import copy

import pytest
import torch

from model.content import Content
from model.training.dropout import set_dropout
from model.training.module import ContrastiveModule
from tests.model.training.toy import stage_of

TEXTS = [Content.of("one text"), Content.of("and another one, which is longer")]


def spread(encoder) -> float:
    """How far two passes in training are apart."""
    encoder.train()
    batch = encoder.preprocess(TEXTS)
    return float((encoder(batch) - encoder(batch)).abs().max())


@pytest.mark.parametrize(("rate", "varies"), [(None, True), (0.0, False), (0.5, True)])
def test_a_stage_sets_the_rate(tiny_encoder, rate: float | None, varies: bool) -> None:
    encoder = copy.deepcopy(tiny_encoder)
    ContrastiveModule(encoder, stage_of(dropout=rate, trainable={"trunk": 1e-3}))
    assert (spread(encoder) > 1e-4) is varies


def test_newer_models_keep_the_rate_of_attention_as_a_number() -> None:
    from transformers import ModernBertConfig, ModernBertModel

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    trunk = ModernBertModel(ModernBertConfig(vocab_size=30, attention_dropout=0.3, **small, pad_token_id=0))
    places = set_dropout(_Sentences(trunk), 0.1)  # type: ignore[arg-type]
    assert places > 2
    assert {m.attention_dropout for m in trunk.modules() if hasattr(m, "attention_dropout")} == {0.1}
    assert {m.p for m in trunk.modules() if isinstance(m, torch.nn.Dropout)} == {0.1}


class _Sentences:
    """The part of a sentence_transformer encoder that matters here."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.model = [type("First", (), {"model": network})]
