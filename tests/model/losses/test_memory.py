"""No matrix of all pairs lives from the forward to the backward pass, nor within either."""

import subprocess
import sys

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from model.losses.config import FalseNegatives, Hardness, LossConfig
from model.losses.contrastive import contrastive_loss
from model.losses.pairing import Pairing

COUNT, WIDTH, TILE = 1024, 16, 128


def saved_elements(loss) -> list[int]:
    """Sizes of all tensors that the backward pass keeps of the loss over COUNT pairs."""
    sizes: list[int] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tensor.untyped_storage().nbytes() // tensor.element_size())
        return tensor

    query, document = (torch.randn(COUNT, WIDTH, requires_grad=True) for _ in range(2))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss(query, document).backward()
    assert query.grad.abs().max() > 0
    return sizes


def dense(query: torch.Tensor, document: torch.Tensor) -> torch.Tensor:
    logits = normalize(query, dim=1) @ normalize(document, dim=1).T / 0.05
    target = torch.arange(len(logits))
    return cross_entropy(logits, target) + cross_entropy(logits.T, target)


@pytest.mark.parametrize("everything", [False, True])
def test_what_is_saved_grows_with_the_rows_only(everything: bool) -> None:
    config = LossConfig()
    if everything:
        terms = ("query_to_document", "document_to_query", "query_to_query", "document_to_document")
        rules = FalseNegatives(labels="group", margin=0.1, ratio=0.9)
        config = LossConfig(terms=terms, partition="joint", false_negatives=rules, hardness=Hardness(strength=5))

    def tiled(query: torch.Tensor, document: torch.Tensor) -> torch.Tensor:
        pairing = Pairing.in_order(COUNT)
        options = {"temperature": 0.05, "dimensions": (16, 8), "tile": TILE}
        return contrastive_loss(query, document, pairing, config, **options)["loss"]

    sizes = saved_elements(tiled)
    assert sizes, "something must be saved"
    assert max(sizes) <= COUNT * WIDTH
    assert sum(sizes) <= 20 * COUNT * WIDTH < COUNT * COUNT
    assert max(saved_elements(dense)) >= COUNT * COUNT, "the measure finds the matrix where there is one"


PEAK = """
import sys, torch
from model.losses.contrastive import contrastive_loss
from model.losses.pairing import Pairing
from model.memory import peak_bytes
from tests.model.losses.test_memory import dense

def run(count, kind):
    query, document = (torch.randn(count, 8, requires_grad=True) for _ in range(2))
    if kind == "dense":
        loss = dense(query, document)
    else:
        loss = contrastive_loss(query, document, Pairing.in_order(count), temperature=0.05, dimensions=(8,))["loss"]
    loss.backward()

torch.set_num_threads(1)
run(64, sys.argv[1])
before = peak_bytes()
run(8192, sys.argv[1])
print((peak_bytes() - before) / 2**20)
"""


@pytest.mark.minutes
def test_peak_memory_of_a_process() -> None:
    """8,192 pairs: a matrix of logits is 256 MiB."""
    found = {}
    for kind in ("tiled", "dense"):
        command = [sys.executable, "-c", PEAK, kind]
        found[kind] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert found["tiled"] < 64, found
    assert found["dense"] > 500, found
