"""Activation checkpointing: the same gradients from less that is kept."""

import pytest
import torch

from model.content import Content, image
from model.errors import ConfigError
from model.losses.pairing import Pairing
from model.training.batch import StepBatch
from model.training.config import StageConfig
from model.training.module import ContrastiveModule
from tests.conftest import make_png
from tests.model.sentence_transformer.conftest import SETTINGS
from tests.model.sentence_transformer.tiny import make
from tests.model.training.toy import stage_of

TEXTS = ("a cat", "a much longer text about nothing in particular that goes on", "dog", "two words")


def step(encoder, stage: StageConfig, documents: list[Content]) -> tuple[dict[str, torch.Tensor], int]:
    """Gradients of one step in training mode, dropout included, and how many numbers were kept for the way back."""
    module = ContrastiveModule(encoder, stage)
    module.on_train_start()
    queries = encoder.preprocess([Content.of(text) for text in TEXTS])
    batch = StepBatch(stage.tasks[0], 0, queries, encoder.preprocess(documents), Pairing.in_order(len(TEXTS)))
    kept, weights = 0, {p.untyped_storage().data_ptr() for p in encoder.parameters()}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += 0 if tensor.untyped_storage().data_ptr() in weights else tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = module.training_step(batch, 0)
        if stage.micro_batch_tokens is None:
            loss.backward()
    found = {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}
    module.on_fit_end()
    module.zero_grad(set_to_none=True)
    return found, kept


def compare(encoder, documents: list[Content], **changes: object) -> tuple[int, int]:
    """Gradients with and without are equal; what was kept with and without."""
    plain, much = step(encoder, stage_of(**changes), documents)
    found, little = step(encoder, stage_of(**changes, activation_checkpointing=True), documents)
    assert found.keys() == plain.keys()
    assert max(float(g.abs().max()) for g in plain.values()) > 1e-4
    for name, want in plain.items():
        torch.testing.assert_close(found[name], want, rtol=1e-5, atol=1e-7, msg=name)
    return little, much


@pytest.mark.parametrize(
    "trainable", [{"trunk": 1e-3, "projectors": 1e-3}, {"projectors": 1e-3}], ids=["trunk learns", "trunk is frozen"]
)
@pytest.mark.parametrize("micro_batch_tokens", [None, 24])
def test_gradients_of_the_unified_encoder_are_the_same(tiny_encoder, trainable, micro_batch_tokens) -> None:
    """Texts of several lengths, so the trunk runs packed; dropout is on where something learns."""
    documents = [Content.of(image(make_png(i))) for i in range(3)] + [Content.of(image(make_png(3)), "turned round")]
    assert not tiny_encoder.preprocess([Content.of(text) for text in TEXTS]).mask_NL.all(), "packed"
    little, much = compare(tiny_encoder, documents, trainable=trainable, micro_batch_tokens=micro_batch_tokens)
    if micro_batch_tokens is None:  # what a frozen trunk of two layers keeps is little beside the projectors'
        assert little < (0.7 if "trunk" in trainable else 0.9) * much


def test_gradients_of_the_other_family_are_the_same(tmp_path) -> None:
    from model.sentence_transformer.build import build_sentence_transformer

    encoder = build_sentence_transformer(str(make("text", tmp_path)), SETTINGS["text"], home=tmp_path)
    documents = [Content.of(text.upper()) for text in TEXTS]
    little, much = compare(encoder, documents, trainable={"model": 1e-3})
    assert little < 0.7 * much
    encoder.add_lora(stage_of(lora={"rank": 4}).lora, 0)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "lora_B" in name:
                parameter += 0.1
    compare(encoder, documents, trainable={"lora": 1e-3})


def test_a_model_that_cannot_is_refused(tiny_encoder, monkeypatch) -> None:
    monkeypatch.setattr(type(tiny_encoder.trunk), "supports_gradient_checkpointing", False)
    with pytest.raises(ConfigError, match="lower micro_batch_tokens"):
        ContrastiveModule(tiny_encoder, stage_of(activation_checkpointing=True))
