"""The loss of distillation against its definition written out in double precision, gradients included."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.errors import ConfigError
from model.losses.config import DistillConfig
from model.losses.distill import distill_loss, shared_prefixes
from tests.model.losses import distill_workers
from tests.model.losses.distill_workers import Student, backward
from tests.model.losses.test_processes import EVEN, UNEVEN, run_group
from tests.model.losses.workers import whole_batch

BOTH = {"relation": 0.7, "geometry": 1.3, "temperature": 0.1, "teacher_temperature": 0.3}


def unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


def oracle(student, teacher, config: DistillConfig, dimensions, shared) -> Tensor:
    """Sums over pairs, one row after another; gradients come from autograd over this very text."""
    total = 0.0
    for d in dimensions:
        for rows, columns, t_rows, t_columns in (
            (student[0], student[1], teacher[0], teacher[1]),
            (student[1], student[0], teacher[1], teacher[0]),
        ):
            for i in range(len(rows)):
                mine = (unit(columns[:, :d]) @ unit(rows[:, :d])[i] / config.temperature).exp()
                theirs = (unit(t_columns) @ unit(t_rows)[i] / config.teacher_temperature).exp()
                q, p = mine / mine.sum(), theirs / theirs.sum()
                divergence = sum(p[j] * (p[j].log() - q[j].log()) for j in range(len(columns)))
                total = total + config.relation * divergence / (2 * len(rows) * len(dimensions))
    for d in shared:
        for mine, theirs in zip(student, teacher, strict=True):
            gap = 2 - 2 * (unit(mine[:, :d]) * unit(theirs[:, :d])).sum(1)
            total = total + config.geometry * gap.mean() / (2 * len(shared))
    return total


def sample(queries: int, documents: int, width: int, teacher: int, seed: int):
    rng = torch.Generator().manual_seed(seed)

    def draw(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=rng, dtype=torch.float64)

    student = tuple(draw(rows, width).requires_grad_() for rows in (queries, documents))
    return student, tuple(draw(rows, teacher) for rows in (queries, documents))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(1, 7),
    st.sampled_from([(0.7, 1.3), (1.0, 0.0), (0.0, 1.0)]),
    st.integers(1, 20),
    st.sampled_from([((8,), 8), ((8, 3), 12), ((8, 2), 8)]),
    st.integers(0, 99),
)
def test_loss_and_gradients_are_those_of_the_definition(queries, documents, weights, elements, shapes, seed) -> None:
    dimensions, width = shapes
    config = DistillConfig(relation=weights[0], geometry=weights[1], temperature=0.1, teacher_temperature=0.2)
    student, teacher = sample(queries, documents, 8, width, seed)
    prefixes = (width, 3)
    shared = [d for d in sorted(dimensions) if d >= 3]
    expected = oracle(student, teacher, config, dimensions, shared)
    want = torch.autograd.grad(expected, student)
    options = {"dimensions": dimensions, "teacher_dimensions": prefixes, "elements": elements}
    found = distill_loss(student, teacher, config, **options)
    assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-9, abs=1e-12)
    for mine, theirs in zip(torch.autograd.grad(found["loss"], student), want, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-10)


def test_the_oracle_can_tell_a_fault() -> None:
    """Another temperature, a swapped side or a part left out is found."""
    config, right = DistillConfig.parse(BOTH), sample(5, 7, 8, 8, 1)
    options = {"dimensions": (8,), "teacher_dimensions": (8,)}
    expected = oracle(*right, config, (8,), [8]).item()
    assert distill_loss(*right, config, **options)["loss"].item() == pytest.approx(expected)
    for change in ({"temperature": 0.12}, {"teacher_temperature": 0.5}, {"geometry": 0.0}, {"relation": 0.0}):
        other = DistillConfig.parse({**BOTH, **change})
        assert distill_loss(*right, other, **options)["loss"].item() != pytest.approx(expected, rel=1e-3)
    student, teacher = right
    moved = (student, (teacher[0].roll(1, 0), teacher[1]))
    assert distill_loss(*moved, config, **options)["loss"].item() != pytest.approx(expected, rel=1e-3)


def test_a_student_that_is_its_teacher_has_nothing_to_learn() -> None:
    student, _ = sample(5, 7, 8, 8, 2)
    same = tuple(side.detach() for side in student)
    config = DistillConfig(relation=1, geometry=1, temperature=0.05, teacher_temperature=0.05)
    loss = distill_loss(student, same, config, dimensions=(8,), teacher_dimensions=(8,))["loss"]
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert all(g.abs().max() < 1e-10 for g in torch.autograd.grad(loss, student))


def test_learning_from_a_longer_teacher_brings_its_neighbours() -> None:
    student, teacher = sample(12, 12, 6, 32, 3)
    config = DistillConfig(temperature=0.1, teacher_temperature=0.1)
    optimizer = torch.optim.Adam(student, lr=0.1)
    agreed = []
    for _ in range(60):
        loss = distill_loss(student, teacher, config, dimensions=(6,), teacher_dimensions=(32,))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        nearest = [(unit(side[0]) @ unit(side[1]).T).argmax(1) for side in (student, teacher)]
        agreed.append((nearest[0] == nearest[1]).double().mean().item())
    assert agreed[0] < 0.5 < 0.8 <= agreed[-1], agreed


@pytest.mark.parametrize("temperature", [0.01, 1e-3])
def test_sharp_distributions_stay_finite_in_single_precision(temperature: float) -> None:
    student, teacher = sample(6, 6, 8, 8, 4)
    single = tuple(side.detach().float().requires_grad_() for side in student)
    config = DistillConfig(temperature=temperature, teacher_temperature=temperature)
    found = distill_loss(single, tuple(t.float() for t in teacher), config, dimensions=(8,), teacher_dimensions=(8,))
    exact = distill_loss(student, teacher, config, dimensions=(8,), teacher_dimensions=(8,))
    assert found["loss"].item() == pytest.approx(exact["loss"].item(), rel=1e-4)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(found["loss"], single))


def test_what_does_not_fit_is_refused() -> None:
    student, teacher = sample(4, 4, 8, 12, 5)
    with pytest.raises(ConfigError, match="the student has 8 dimensions, the teacher 12"):
        distill_loss(student, teacher, DistillConfig(geometry=1), dimensions=(8,), teacher_dimensions=(12,))
    with pytest.raises(ConfigError, match="as many teacher vectors"):
        distill_loss(student, (teacher[0][:3], teacher[1]), DistillConfig(), dimensions=(8,), teacher_dimensions=(12,))
    with pytest.raises(ConfigError, match="both 0"):
        DistillConfig.parse({"relation": 0})
    assert shared_prefixes((8, 4, 2), (12, 4)) == (4, 8)


def test_two_processes_give_the_loss_and_gradients_of_one(tmp_path: Path) -> None:
    """With and without gradient caching, with equal and unequal shares."""
    cases = [
        {"config": {**BOTH}, "bounds": bounds[2], "cached": cached}
        for bounds, cached in ((EVEN, False), (UNEVEN, True))
    ]
    cases.append({"config": {**BOTH, "negatives": "process"}, "bounds": EVEN[2], "cached": False})
    *sharded, alone = run_group(2, tmp_path, cases, distill_workers.main)
    model = Student()
    query, document, _ = whole_batch()
    loss = backward(model, query, document, DistillConfig.parse(BOTH), cached=False)
    expected = {"loss": loss, **{n: p.grad for n, p in model.named_parameters() if p.grad is not None}}
    assert len(expected) == 7
    for ranks in sharded:
        for found in ranks:
            for name, want in expected.items():
                assert want.abs().max() > 1e-4, f"{name} must not agree by being zero"
                torch.testing.assert_close(found[name], want, rtol=1e-8, atol=1e-11, msg=name)
    assert (alone[0]["loss"] - loss).abs() > 1e-3, "so the other process's contents were there above"


def test_gradient_caching_changes_nothing() -> None:
    found = []
    query, document, _ = whole_batch()
    for cached in (False, True):
        model = Student()
        loss = backward(model, query, document, DistillConfig.parse(BOTH), cached=cached)
        found.append({"loss": loss, **{n: p.grad for n, p in model.named_parameters() if p.grad is not None}})
    for name, want in found[0].items():
        torch.testing.assert_close(found[1][name], want, rtol=1e-9, atol=1e-12, msg=name)


def test_what_is_saved_grows_with_the_rows_only() -> None:
    sizes: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        sizes.append(tensor.untyped_storage().nbytes() // tensor.element_size())
        return tensor

    count = 1024
    student = [torch.randn(count, 16, requires_grad=True) for _ in range(2)]
    teacher = (torch.randn(count, 16), torch.randn(count, 16))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        options = {"dimensions": (16, 8), "teacher_dimensions": (16,), "elements": 2**14}
        distill_loss(tuple(student), teacher, DistillConfig(geometry=1), **options)["loss"].backward()
    assert sizes
    assert max(sizes) <= count * 16
    assert sum(sizes) < count * count


PEAK = """
import torch
from model.losses.config import DistillConfig
from model.losses.distill import distill_loss
from model.memory import peak_bytes

def run(count):
    student = tuple(torch.randn(count, 8, requires_grad=True) for _ in range(2))
    teacher = tuple(torch.randn(count, 8) for _ in range(2))
    distill_loss(student, teacher, DistillConfig(), dimensions=(8,), teacher_dimensions=(8,))["loss"].backward()

torch.set_num_threads(1)
run(64)
before = peak_bytes()
run(8192)
print((peak_bytes() - before) / 2**20)
"""


@pytest.mark.minutes
def test_peak_memory_of_a_process() -> None:
    """8,192 pairs: one matrix of cosines is 256 MiB."""
    found = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True).stdout
    assert float(found) < 128, found
