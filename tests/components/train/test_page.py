"""The page of a stage: every curve that was measured, and nothing that was not."""

import json
from pathlib import Path

from components.train.config import TrainConfig
from components.train.page import report_page
from components.train.run import run
from model.training.config import StageConfig

STAGE = {
    "kind": "align",
    "steps": 4,
    "tasks": [{"name": "text_to_image", "batch_size": 4}],
    "trainable": {"projectors": 1e-2, "head": 1e-3},
    "log_every_steps": 1,
    "max_bad_steps": 1,
}


def test_a_stage_leaves_a_page_with_its_curves(dataset: Path, tiny_artifact: Path, tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []
    run(
        TrainConfig.parse({"stage": STAGE}),
        dataset=dataset,
        model=tiny_artifact,
        features=None,
        checkpoints=tmp_path / "checkpoints",
        output=tmp_path / "model",
        report=tmp_path / "page.html",
        sinks=[lambda scalars, step: seen.append(dict(scalars))],
    )
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    names = set(seen[-1])
    task = "text_to_image"
    assert names >= {
        "loss",
        *(f"{task}/{name}" for name in ("loss", "query_to_document", "document_to_query", "temperature")),
        *(f"{task}/{name}" for name in ("alignment", "uniformity_query", "uniformity_document", "in_batch_accuracy")),
        *(f"{kind}/{group}" for kind in ("gradient_norm", "learning_rate") for group in ("projectors", "head")),
        *("pairs_per_second", "tokens_per_second", "data_wait_share", "observation_share", "memory/process_gb"),
    }
    assert "mfu" not in names, "the peak of a processor is not known"
    assert all(name in page for name in names)
    assert page.count("<svg") >= 12
    assert "(MFU)" not in page
    assert "Left out" not in page


def test_steps_that_were_left_out_are_on_the_page(tmp_path: Path) -> None:
    fact = {
        "step": 3,
        "task": "t",
        "loss_parts": ["loss"],
        "gradients": ["a.b"],
        "gradients_in_all": 7,
        "ids": ["<r1>"],
    }
    (tmp_path / "bad.jsonl").write_text(json.dumps(fact) + "\n", encoding="utf-8")
    page = report_page(StageConfig.parse(STAGE), [], tmp_path / "bad.jsonl")
    assert "Left out" in page
    assert "&lt;r1&gt;" in page
