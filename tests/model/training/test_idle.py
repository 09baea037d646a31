"""Processes whose sides have different numbers of pieces go through as many, in step."""

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from model.losses.cache import Piece, backward_in_pieces
from model.training.idle import EvenPieces
from tests.side_by_side import side_by_side

pytestmark = pytest.mark.timeout(120)
RUNS = ([[[0], [1, 2]], [[3], [4, 5], [6]]], [[[0, 1], [2, 3], [4, 5]]])  # rows of the pieces of each run, by process
DIMENSIONS = 3


def through(rank: int, where: Path) -> None:
    """One pass of gradient caching; every embedding waits for the other process, as a sharded trunk does."""
    dist.init_process_group("gloo")
    rows = sum(len(piece) for run in RUNS[rank] for piece in run)
    weight = torch.ones(DIMENSIONS, requires_grad=True)
    inputs_ND = torch.arange(rows * DIMENSIONS, dtype=torch.float32).reshape(rows, DIMENSIONS)
    calls: list[list[int]] = []

    def piece_of(members: list[int]) -> Piece:
        def embed() -> Tensor:
            together = torch.tensor(1)
            dist.all_reduce(together)
            assert int(together) == 2
            calls.append(members)
            return inputs_ND[members] * weight

        return Piece(torch.tensor(members), embed)

    even = EvenPieces(lambda: [[piece_of(members) for members in run] for run in RUNS[rank]], torch.device("cpu"))
    backward_in_pieces([even], lambda vectors_ND: {"loss": (vectors_ND**2).sum()}, torch.device("cpu"))
    assert weight.grad is not None
    (where / f"{rank}.json").write_text(json.dumps([calls, weight.grad.tolist(), inputs_ND.square().sum(0).tolist()]))


def test_processes_make_as_many_calls_and_gradients_are_those_of_their_own_rows(tmp_path: Path) -> None:
    side_by_side(through, tmp_path)
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert len(found[0][0]) == len(found[1][0]) == 2 * 6, "two passes of three pieces of the longest run, then three"
    for (calls, grad, squares), runs in zip(found, RUNS, strict=True):
        own = [piece for run in runs for piece in run]
        idle = [call for call in calls if calls.count(call) > 2]
        assert sorted(map(tuple, {tuple(c) for c in calls})) == sorted(map(tuple, own))
        assert all(len(call) == min(map(len, own)) for call in idle), "the smallest is the one that is repeated"
        assert grad == pytest.approx([2 * square for square in squares]), "and adds nothing"
