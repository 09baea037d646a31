"""Two and four processes give the loss and every parameter gradient of one process."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.losses.config import LossConfig
from tests.model.losses import workers
from tests.model.losses.workers import QUERIES, Tiny, backward, whole_batch
from tests.side_by_side import side_by_side

ALL_TERMS = ["query_to_document", "document_to_query", "query_to_query", "document_to_document"]
CONFIGS = {
    "default": {},
    "joint with everything": {
        "terms": ALL_TERMS,
        "partition": "joint",
        "hardness": {"on": "all", "strength": 5},
        "false_negatives": {"labels": "group", "margin": 0.2, "ratio": 0.95},
    },
    "separate with all terms": {"terms": ALL_TERMS},
    "own negatives": {"terms": ["query_to_document"], "negatives": "own"},
}
EVEN = {2: [0, 7, 13], 4: [0, 3, 6, 9, 13]}
UNEVEN = {2: [0, 2, 13], 4: [0, 1, 2, 8, 13]}


def run_group(
    world: int, folder: Path, cases: list[dict], work: Callable[[int, Path], None] = workers.main
) -> list[list[dict[str, torch.Tensor]]]:
    """For each case, what each rank found."""
    (folder / "cases.json").write_text(json.dumps(cases))
    side_by_side(work, folder, processes=world)
    return [[load_file(folder / f"{n}-{r}.safetensors") for r in range(world)] for n in range(len(cases))]


def single(config: dict) -> dict[str, torch.Tensor]:
    model = Tiny()
    loss = backward(model, whole_batch(), LossConfig.parse(config), cached=False, wrapped=None)
    return {"loss": loss, **{name: p.grad for name, p in model.named_parameters()}}


@pytest.mark.parametrize("world", [2, 4])
def test_sharded_equals_single(world: int, tmp_path: Path) -> None:
    cases = [
        {"name": name, "config": config, "bounds": bounds[world], "cached": cached}
        for name, config in CONFIGS.items()
        for bounds, cached in ((EVEN, False), (UNEVEN, True))
    ]
    for case, ranks in zip(cases, run_group(world, tmp_path, cases), strict=True):
        expected = single(case["config"])
        for rank, found in enumerate(ranks):
            for name, want in expected.items():
                assert want.abs().max() > 1e-4, f"{name} must not agree by being zero"
                good = torch.allclose(found[name], want, rtol=1e-8, atol=1e-11)
                assert good, f"{case}, rank {rank}: {name} is {found[name]}, not {want}"


def test_scope_of_one_process_differs(tmp_path: Path) -> None:
    """Negatives of other processes matter, so agreement above means that they were there."""
    config = {"negatives": "process"}
    [[first, second]] = run_group(2, tmp_path, [{"config": config, "bounds": EVEN[2], "cached": False}])
    assert torch.equal(first["loss"], second["loss"])
    assert first["loss"] < single({})["loss"] - 0.1
    assert EVEN[2][-1] == QUERIES
