"""One process of a group: its share of a batch through a tiny model; it writes loss and gradients to a file."""

import json
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import nn

from model.losses.cache import Piece, backward_in_pieces
from model.losses.config import LossConfig
from model.losses.contrastive import contrastive_loss
from model.losses.pairing import Pairing
from tests.model.losses.samples import pairing_of

WIDTH, QUERIES, EXTRA, HARD = 8, 13, 4, 6
DIMENSIONS = (WIDTH, 4)


class Tiny(nn.Module):
    """Two towers that share their last layer, and a temperature."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.query, self.document, self.head = nn.Linear(5, 16), nn.Linear(6, 16), nn.Linear(16, WIDTH)
        self.log_temperature = nn.Parameter(torch.tensor(-2.0))
        self.double()

    def forward(self, query, document, pairing: Pairing, config: LossConfig) -> dict[str, torch.Tensor]:
        return self.loss(self.embed("query", query), self.embed("document", document), pairing, config)

    def embed(self, side: str, rows: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(getattr(self, side)(rows)))

    def loss(self, query, document, pairing: Pairing, config: LossConfig) -> dict[str, torch.Tensor]:
        options = {"temperature": self.log_temperature.exp(), "dimensions": DIMENSIONS, "tile": 4}
        return contrastive_loss(query, document, pairing, config, **options)


def whole_batch() -> tuple[torch.Tensor, torch.Tensor, Pairing]:
    rng = torch.Generator().manual_seed(7)
    pairing = pairing_of(QUERIES, EXTRA, HARD, seed=4, kinds=2)
    documents = len(pairing.owner_M)
    query = torch.randn(QUERIES, 5, generator=rng, dtype=torch.float64)
    return query, torch.randn(documents, 6, generator=rng, dtype=torch.float64), pairing


def share(bounds: list[int], rank: int) -> tuple[torch.Tensor, torch.Tensor, Pairing]:
    """Queries ``bounds[rank]..bounds[rank + 1]`` and the documents that were given for them."""
    query, document, pairing = whole_batch()
    first, last = bounds[rank], bounds[rank + 1]
    mine = ((pairing.owner_M >= first) & (pairing.owner_M < last)).nonzero().flatten()
    ids = {n: v[first:last] if n.endswith("_N") else v[mine] for n, v in vars(pairing).items()}
    return query[first:last], document[mine], Pairing(**{**ids, "owner_M": ids["owner_M"] - first})


def backward(model: Tiny, parts, config: LossConfig, *, cached: bool, wrapped: nn.Module | None) -> torch.Tensor:
    query, document, pairing = parts
    if not cached:
        loss = (wrapped or model)(query, document, pairing, config)["loss"]
        loss.backward()
        return loss.detach()
    sides = [
        [Piece(torch.arange(len(rows))[i::2], lambda i=i, s=side, r=rows: model.embed(s, r[i::2])) for i in range(2)]
        for side, rows in (("query", query), ("document", document))
    ]
    return backward_in_pieces(sides, lambda q, d: model.loss(q, d, pairing, config), torch.device("cpu"))["loss"]


def main(rank: int, folder: Path) -> None:
    """For ``side_by_side``, with the cases in ``cases.json``."""
    dist.init_process_group("gloo")
    for number, case in enumerate(json.loads((folder / "cases.json").read_text())):
        model, cached = Tiny(), case["cached"]
        wrapped = None if cached else nn.parallel.DistributedDataParallel(model)
        config = LossConfig.parse(case["config"])
        loss = backward(model, share(case["bounds"], rank), config, cached=cached, wrapped=wrapped)
        found = {name: p.grad.clone() for name, p in model.named_parameters()}
        found["loss"] = loss.clone()
        for name, value in found.items():
            if cached or name == "loss":  # the others have been averaged by DistributedDataParallel
                dist.all_reduce(value)
                found[name] = value / dist.get_world_size()
        save_file(found, folder / f"{number}-{rank}.safetensors")
