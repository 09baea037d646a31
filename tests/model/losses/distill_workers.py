"""As ``workers.py``, for the loss of distillation: the same tiny model, and a teacher that knows each row."""

import json
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor, nn

from model.losses.cache import Piece, backward_in_pieces
from model.losses.config import DistillConfig
from model.losses.distill import distill_loss
from tests.model.losses.workers import DIMENSIONS, Tiny, share

TEACHER = 11


def teacher_of(rows: Tensor) -> Tensor:
    """Vectors [N, TEACHER] that the content of a row decides."""
    mixed = torch.randn(rows.shape[1], TEACHER, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return torch.sin(2 * rows @ mixed)


class Student(Tiny):
    """Tiny, drawn to the teacher."""

    def forward(self, query: Tensor, document: Tensor, config: DistillConfig) -> dict[str, Tensor]:
        embedded = (self.embed("query", query), self.embed("document", document))
        return self.distilled(*embedded, query, document, config)

    def distilled(self, q: Tensor, d: Tensor, query: Tensor, document: Tensor, config: DistillConfig):
        options = {"dimensions": DIMENSIONS, "teacher_dimensions": (TEACHER, 4), "elements": 9}
        return distill_loss((q, d), (teacher_of(query), teacher_of(document)), config, **options)


def backward(model: Student, query, document, config: DistillConfig, *, cached: bool, wrapped=None) -> Tensor:
    if not cached:
        loss = (wrapped or model)(query, document, config)["loss"]
        loss.backward()
        return loss.detach()
    sides = [
        [Piece(torch.arange(len(rows))[i::2], lambda i=i, s=side, r=rows: model.embed(s, r[i::2])) for i in range(2)]
        for side, rows in (("query", query), ("document", document))
    ]
    found = backward_in_pieces(sides, lambda q, d: model.distilled(q, d, query, document, config), torch.device("cpu"))
    return found["loss"]


def main(rank: int, folder: Path) -> None:
    """For ``side_by_side``, with the cases in ``cases.json``."""
    dist.init_process_group("gloo")
    for number, case in enumerate(json.loads((folder / "cases.json").read_text())):
        model, cached = Student(), case["cached"]
        model.log_temperature.requires_grad_(False)  # the loss has temperatures of its own
        wrapped = None if cached else nn.parallel.DistributedDataParallel(model)
        query, document, _ = share(case["bounds"], rank)
        config = DistillConfig.parse(case["config"])
        loss = backward(model, query, document, config, cached=cached, wrapped=wrapped)
        found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        found["loss"] = loss.clone()
        for name, value in found.items():
            if cached or name == "loss":  # the others have been averaged by DistributedDataParallel
                dist.all_reduce(value)
                found[name] = value / dist.get_world_size()
        save_file(found, folder / f"{number}-{rank}.safetensors")
