"""Cutting a batch into pieces changes no vector, and training with pieces changes no gradient."""

import math
from types import SimpleNamespace

import lightning
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from data.sampling import Draw
from model.artifact import load_encoder
from model.content import Content, Modality, Part
from model.encoding import MEDIA_COST
from model.losses.pairing import Pairing
from model.training.batch import StepBatch
from model.training.config import StageConfig
from model.training.module import ContrastiveModule
from model.training.pieces import cut, pieces_of, take_rows
from tests.conftest import make_mp4, make_ogg, make_png

TEXTS = ("a cat", "a much longer text about nothing in particular that goes on", "dog", "two words")


def contents() -> list[Content]:
    """Every modality, alone and mixed; two pictures of equal size share one tower call."""
    pictures = [Part(Modality.IMAGE, data=make_png(i)) for i in range(3)]
    sound, clip = Part(Modality.AUDIO, data=make_ogg(1)), Part(Modality.VIDEO, data=make_mp4(2, size=32))
    mixed = [Content.of(p) for p in pictures] + [Content.of(sound), Content.of(clip)]
    return [*mixed, Content.of(pictures[1], "turned"), *(Content.of(t) for t in TEXTS)]


def test_vectors_are_those_of_the_whole_batch(tiny_encoder) -> None:
    batch = tiny_encoder.preprocess(contents())
    tiny_encoder.eval()
    with torch.inference_mode():
        whole = tiny_encoder(batch)
        pieces = list(cut(batch, 24))
        assert len(pieces) > 3
        assert sorted(np.concatenate([rows for rows, _ in pieces]).tolist()) == list(range(len(batch)))
        for rows, piece in pieces:
            assert torch.allclose(tiny_encoder(piece), whole[torch.from_numpy(rows)], atol=1e-5)
            assert len(rows) == 1 or piece.mask_NL.size <= 24
    assert take_rows(batch, np.array([8])).mask_NL.shape[1] < batch.mask_NL.shape[1]
    assert not take_rows(batch, np.array([8])).media


def test_what_a_tower_has_yet_to_see_weighs_more(tiny_encoder) -> None:
    """A picture is two or three tokens of the trunk, and thousands of them in one piece would not fit the tower."""
    batch = tiny_encoder.preprocess([Content.of(Part(Modality.IMAGE, data=make_png(i))) for i in range(5)])
    assert [len(rows) for rows, _ in cut(batch, 2 * (MEDIA_COST + batch.mask_NL.shape[1]))] == [2, 2, 1]
    assert [piece.cost for piece in pieces_of(batch, 10**6, tiny_encoder)] == [5 * MEDIA_COST + batch.mask_NL.size]


def stage(**changes) -> StageConfig:
    value = {
        "kind": "align",
        "steps": 2,
        "tasks": [{"name": "any", "temperature": 0.1}],
        "trainable": {"projectors": 1e-3, "trunk": 1e-3, "head": 1e-3},
        **changes,
    }
    return StageConfig.parse(value)


def gradients(encoder, config: StageConfig, seed: int = 0) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one step as Lightning takes it: step, clear, backward."""
    module = ContrastiveModule(encoder, config)
    module.log = module.log_dict = lambda *_, **__: None
    module.eval()
    queries = contents()
    side = encoder.preprocess(queries)
    documents = encoder.preprocess([*queries[3:], *queries[:3]])
    batch = StepBatch(config.tasks[0], seed, side, documents, Pairing.in_order(len(queries)))
    loss = module.training_step(batch, 0)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module.optimizer_zero_grad(0, 0, optimizer)
    loss.backward()
    return loss.item(), {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


def test_a_step_in_pieces_has_the_gradients_of_a_whole_one(tiny_encoder) -> None:
    loss, expected = gradients(tiny_encoder, stage())
    tiny_encoder.zero_grad()
    found_loss, found = gradients(tiny_encoder, stage(micro_batch_tokens=24))
    assert found_loss == pytest.approx(loss, rel=1e-5)
    assert found.keys() == expected.keys()
    assert {name.split(".")[2] for name in found if name.startswith("encoder.projectors")} == {
        "image",
        "audio",
        "video",
    }
    for name, want in expected.items():
        assert torch.allclose(found[name], want, rtol=1e-3, atol=1e-5 * max(1.0, float(want.abs().max()))), name
    assert max(float(g.abs().max()) for g in expected.values()) > 1e-2


def trained(artifact, config: StageConfig) -> dict[str, torch.Tensor]:
    """Weights after two steps under Lightning, without dropout."""
    encoder = load_encoder(artifact)
    for part in encoder.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    module = ContrastiveModule(encoder, config)
    texts = [encoder.preprocess([Content.of(f"{t} {i}") for t in TEXTS]) for i in range(4)]
    pairing = Pairing.in_order(len(TEXTS))
    batches = [StepBatch(config.tasks[0], i, texts[2 * i], texts[2 * i + 1], pairing) for i in range(2)]
    trainer = lightning.Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=0.5,
    )
    trainer.fit(module, DataLoader(batches, batch_size=None))
    return {name: p.detach().clone() for name, p in encoder.named_parameters() if p.requires_grad}


def test_lightning_takes_the_same_steps_from_pieces(tiny_artifact) -> None:
    """It clears gradients after the step and before its own backward; those made in pieces must survive that."""
    some = {"trainable": {"head": 1e-3, "trunk.encoder.layer.1": 1e-3}, "warmup_steps": 0}
    before = dict(load_encoder(tiny_artifact).named_parameters())
    whole = trained(tiny_artifact, stage(**some))
    found = trained(tiny_artifact, stage(**some, micro_batch_tokens=8))
    moved = {name: (weight - before[name]).norm() for name, weight in whole.items()}
    assert max(moved.values()) > 1e-2
    for name, weight in whole.items():
        assert (found[name] - weight).norm() <= 0.02 * moved[name] + 1e-5, name


def test_a_learned_temperature_gets_a_gradient_and_a_rate(tiny_encoder) -> None:
    config = stage(loss={"temperature_rate": 0.01})
    _, found = gradients(tiny_encoder, config)
    assert found["temperatures.any"].abs() > 0
    module = ContrastiveModule(tiny_encoder, config)
    assert module.temperature(config.tasks[0]).item() == pytest.approx(0.1)
    groups = module.configure_optimizers()["optimizer"].param_groups
    [group] = [g for g in groups if any(p is module.temperatures["any"] for p in g["params"])]
    assert group["lr"] > 0 == group["weight_decay"]
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    assert checkpoint["state_dict"]["temperatures.any"].item() == pytest.approx(math.log(0.1))


def test_records_become_pairings() -> None:
    from components.train.pairs import members_of, pairing_of
    from model.losses.config import FalseNegatives, LossConfig
    from model.training.config import TaskConfig

    def example(query: str, positives: list[str], negatives: list[str]):
        good, bad = ([Content.of(t, task="document") for t in texts] for texts in (positives, negatives))
        return SimpleNamespace(query=Content.of(query, task="query"), positives=good, negatives=bad)

    examples = [example("a", ["A", "B", "C"], ["X", "Y"]), example("b", ["B"], ["A"]), example("a", ["D", "E"], [])]
    task = TaskConfig(name="t", positives=2, hard_negatives=1)
    records = tuple(SimpleNamespace(group=g) for g in ("one", "two", "one"))
    draw = Draw(task, records, (2, 0, 0))
    members = members_of(draw, examples)
    assert ["".join(p.text for p in c.parts) for c in members.documents] == ["C", "B", "D", "A", "E", "X", "A"]
    assert members.owners == [0, 1, 2, 0, 2, 0, 1]
    assert members.positive == [True] * 5 + [False] * 2
    pairing = pairing_of(draw, members, LossConfig())
    assert pairing.query_key_N[0] == pairing.query_key_N[2] != pairing.query_key_N[1]
    assert pairing.document_key_M[3] == pairing.document_key_M[6] != pairing.document_key_M[0]
    assert pairing.group_M.tolist() == pairing.group_N[pairing.owner_M].tolist()
    assert (pairing.label_N == -1).all()
    bare = Content.of("A")
    assert bare.digest != members.documents[3].digest, "the prefix is left out of the key, not of the digest"
    for labels, expected in (("group", pairing.group_M), ("positive", pairing.document_key_M)):
        config = LossConfig(false_negatives=FalseNegatives(labels=labels))
        assert torch.equal(pairing_of(draw, members, config).label_M, expected)
