"""Batches side by side: the same results in the same order, on several threads, a little ahead and no more."""

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from model.content import Content, Modality, image
from model.encoding import MEDIA_COST, batch_cost, encode_contents, on_processor, plan_batches, run_batch
from model.parallel import side_by_side
from tests.conftest import make_png

TEXTS = [f"{'a very ' * (i % 7)}small cat number {i}" for i in range(40)]


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_from_several_threads() -> None:
    meet = threading.Barrier(2, timeout=10)  # passes only if two pieces of work run at the same time

    def work(i: int) -> tuple[int, int]:
        if i < 2:
            meet.wait()
        time.sleep(0.002 * (10 - i))
        return i, torch.get_num_threads()

    found = list(side_by_side(work, range(10)))
    assert found == [(i, 1) for i in range(10)]
    assert torch.get_num_threads() == 2


def test_threads_made_later_are_not_held_to_one() -> None:
    list(side_by_side(lambda i: i, range(3)))
    seen: list[int] = []
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == [2]


def test_reads_only_a_little_ahead() -> None:
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        for i in range(1000):
            read = i + 1
            yield i

    results = side_by_side(lambda i: i, items())
    assert next(results) == 0
    assert read <= 6
    results.close()
    assert torch.get_num_threads() == 2


def test_what_work_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(lambda i: 1 // (3 - i), range(10)))
    assert torch.get_num_threads() == 2


def test_side_by_side_equals_one_after_the_other(tiny_encoder) -> None:
    contents = [Content.of(text) for text in TEXTS]
    assert on_processor(tiny_encoder)
    together = encode_contents(tiny_encoder, contents, max_batch_tokens=64, desc="")
    lengths = [sum(tiny_encoder.count_tokens(c).values()) for c in contents]
    batches = list(plan_batches(lengths, 64))
    assert len(batches) > 4, "one batch would prove nothing"
    plain = np.zeros_like(together)
    for members in batches:
        plain[members] = run_batch(tiny_encoder, [contents[i] for i in members])
    np.testing.assert_allclose(together, plain, atol=1e-6)


def test_pictures_are_spread_over_batches_although_their_tokens_are_few(tiny_encoder, monkeypatch) -> None:
    contents = [Content.of(image(make_png(i))) for i in range(9)]
    sizes: list[int] = []
    preprocess = tiny_encoder.preprocess
    monkeypatch.setattr(tiny_encoder, "preprocess", lambda given: sizes.append(len(given)) or preprocess(given))
    encode_contents(tiny_encoder, contents, max_batch_tokens=4 * (MEDIA_COST + 1), desc="")
    assert sorted(sizes) == [1, 4, 4]
    assert batch_cost({Modality.TEXT: 2, Modality.AUDIO: 100, Modality.VIDEO: 8}) == 2 + 100 + MEDIA_COST
