"""Served vectors against offline vectors. Shape legend: N contents, D dimensions."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.content import Content
from model.encoder import Encoder
from model.encoding import encode_contents
from serving.client import EmbeddingClient


@dataclass(frozen=True)
class Labelled:
    """Contents with the label that the report lists them under."""

    labels: list[str]
    contents: list[Content]


@dataclass(frozen=True)
class Comparison:
    """Cosines by label, alone and among strangers, and seconds of the lone requests by label."""

    alone: dict[str, list[float]]
    mixed: dict[str, list[float]]
    seconds: dict[str, list[float]]

    def summary(self) -> dict[str, dict[str, float]]:
        """``{label: {min, mean, n}}`` over both ways."""
        joined = {label: self.alone[label] + self.mixed[label] for label in self.alone}
        return {k: {"min": min(v), "mean": float(np.mean(v)), "n": len(v)} for k, v in joined.items()}

    def latency_ms(self) -> dict[str, dict[str, float]]:
        """``{label: {p50, p99}}`` of lone requests, one after another."""
        return {
            label: {f"p{q}": float(np.percentile(values, q)) * 1000 for q in (50, 99)}
            for label, values in self.seconds.items()
        }


def label(by_kind: Mapping[str, Sequence[Content]], tasks: Sequence[str]) -> Labelled:
    """Every content under its kind; texts once more under each task prefix."""
    pairs = [(kind, content) for kind, contents in by_kind.items() for content in contents]
    pairs += [(f"text/{task}", replace(c, task=task)) for task in tasks for c in by_kind.get("text", ())]
    return Labelled([name for name, _ in pairs], [content for _, content in pairs])


def compare(encoder: Encoder, client: EmbeddingClient, sent: Labelled, *, size: int, clients: int) -> Comparison:
    """Send each content alone, then all of them in mixed requests at the same time, and compare with ``encoder``."""
    offline_ND = encode_contents(encoder, sent.contents, desc="offline vectors")
    lone, seconds = [], defaultdict(list)
    for name, content in zip(sent.labels, sent.contents, strict=True):
        started = time.perf_counter()
        lone.append(client.embed([content]).vectors_Nd[0])
        seconds[name].append(time.perf_counter() - started)
    mixed_ND = embed_mixed(client, sent.contents, size=size, clients=clients)
    return Comparison(
        alone=_by_label(sent.labels, cosines(offline_ND, np.stack(lone))),
        mixed=_by_label(sent.labels, cosines(offline_ND, mixed_ND)),
        seconds=dict(seconds),
    )


def embed_mixed(
    client: EmbeddingClient, contents: Sequence[Content], *, size: int, clients: int
) -> NDArray[np.float32]:
    """Vectors [N, D] through concurrent requests whose items are strangers to each other."""
    by_task: dict[str | None, list[int]] = defaultdict(list)
    for index in np.random.default_rng(0).permutation(len(contents)).tolist():
        by_task[contents[index].task].append(index)
    requests = [group[i : i + size] for group in by_task.values() for i in range(0, len(group), size)]
    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(lambda members: client.embed([contents[i] for i in members]), requests))
    rows = {
        i: row
        for members, answer in zip(requests, answers, strict=True)
        for i, row in zip(members, answer.vectors_Nd, strict=True)
    }
    return np.stack([rows[i] for i in range(len(contents))])


def cosines(left_ND: NDArray[np.float32], right_ND: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosine of each pair of rows, shape [N], in double precision."""
    left, right = left_ND.astype(np.float64), right_ND.astype(np.float64)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    found: NDArray[np.float64] = (left * right).sum(axis=1) / norms
    return found


def _by_label(labels: Sequence[str], values: NDArray[np.float64]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for name, value in zip(labels, values, strict=True):
        found[name].append(float(value))
    return dict(found)
