"""What ``/metrics`` shows after traffic: every name that the guide lists, with values that fit the traffic."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
from starlette.testclient import TestClient

from serving.app import SHOW_SECONDS
from serving.config import ServingConfig
from serving.telemetry import metrics

GUIDE = Path(__file__).parents[2] / "docs/guides/serving-operations.md"
PICTURE = "data:image/png;base64,aGVsbG8="
MIX = {"content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": PICTURE}}]}


def shown() -> dict[str, float]:
    """Samples of the process, by name and labels."""
    samples = {}
    for family in prometheus_client.REGISTRY.collect():
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}"] = sample.value
    return samples


class Change:
    """What traffic added to the counters, which other tests of the process have moved before."""

    def __init__(self) -> None:
        self._before = shown()

    def __call__(self, name: str, **labels: str) -> float:
        key = f"{name}{{{','.join(f'{key}={value}' for key, value in sorted(labels.items()))}}}"
        return shown().get(key, 0.0) - self._before.get(key, 0.0)


def ask(client: TestClient, value: Any) -> int:
    return client.post("/v1/embeddings", json={"model": "omnivec", "input": value}).status_code


def test_traffic_is_counted_by_phase_kind_and_outcome(
    make_client: Callable[..., TestClient], config: ServingConfig
) -> None:
    limits = config.limits.model_copy(update={"cache_items": 8})
    client = make_client(config.model_copy(update={"limits": limits}))
    change = Change()
    assert ask(client, ["one two three", "four"]) == 200
    assert ask(client, MIX) == 200
    assert ask(client, "four") == 200  # known
    assert ask(client, "word " * 100) == 413
    assert ask(client, ["x"] * 9) == 413
    assert ask(client, 7) == 400
    assert change("omnivec_requests_total", route="/v1/embeddings", status="200") == 3
    assert change("omnivec_request_seconds_count", route="/v1/embeddings") == 6
    assert change("omnivec_rejections_total", code="too_many_tokens", limit="max_tokens") == 1
    assert change("omnivec_rejections_total", code="too_many_items", limit="items_per_request") == 1
    assert change("omnivec_rejections_total", code="invalid_request", limit="") == 1
    assert change("omnivec_items_total", kind="text", outcome="ok") == 3
    assert change("omnivec_items_total", kind="interleaved", outcome="ok") == 1
    assert change("omnivec_items_total", kind="text", outcome="too_many_tokens") == 1
    assert change("omnivec_tokens_total", modality="text") == 3 + 1 + 1 + 1
    assert change("omnivec_tokens_total", modality="image") == 1
    assert change("omnivec_cache_lookups_total", outcome="hit") == 1
    assert change("omnivec_cache_lookups_total", outcome="miss") == 4
    assert change("omnivec_items_reused_total", how="cache") == 1
    assert change("omnivec_phase_seconds_count", phase="prepare", kind="text") == 3
    assert change("omnivec_phase_seconds_count", phase="queue", kind="text") == 2
    assert change("omnivec_phase_seconds_count", phase="queue", kind="interleaved") == 1
    assert change("omnivec_phase_seconds_count", phase="compute", kind="interleaved") == 1
    assert change("omnivec_phase_seconds_count", phase="finish", kind="text") == 2
    assert change("omnivec_phase_seconds_count", phase="finish", kind="interleaved") == 1
    assert change("omnivec_batch_items_sum") == 3
    assert change("omnivec_batch_tokens_sum") == 3 + 1 + 2
    assert 0 <= change("omnivec_padding_tokens_total") <= 2
    for phase in ("prepare", "queue", "finish"):
        assert 0 <= change("omnivec_phase_seconds_sum", phase=phase, kind="text") < 60


def test_the_gauges_go_up_and_down(make_client: Callable[..., TestClient], config: ServingConfig) -> None:
    client = make_client()
    runtime = client.app.state.host.runtime()  # type: ignore[attr-defined]
    with runtime.embedder._admission.admitted("a", 3, 50, 60):
        metrics().refresh()
        assert (shown()["omnivec_pending_items{}"], shown()["omnivec_pending_tokens{}"]) == (3, 50)
    metrics().refresh()
    assert (shown()["omnivec_pending_items{}"], shown()["omnivec_pending_tokens{}"]) == (0, 0)
    assert SHOW_SECONDS <= 1


def test_a_runtime_that_was_closed_is_no_longer_counted(client: TestClient) -> None:
    before = len(metrics()._watched)
    client.portal.call(client.app.state.host.close)  # type: ignore[union-attr, attr-defined]
    assert len(metrics()._watched) == before - 1


def test_the_guide_lists_what_is_there() -> None:
    metrics()
    named = {f"omnivec_{name}" for name in re.findall(r"`omnivec_(\w+)", GUIDE.read_text(encoding="utf-8"))}
    families = [family for family in prometheus_client.REGISTRY.collect() if family.name.startswith("omnivec_")]
    there = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    assert named == there


def test_samples_hold_no_input(client: TestClient) -> None:
    assert ask(client, "nobody may read this") == 200
    assert "nobody" not in prometheus_client.generate_latest().decode()


@pytest.mark.parametrize("value", [{"content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}, ""])
def test_codes_of_rejections_are_ours_and_few(client: TestClient, value: Any) -> None:
    change = Change()
    assert ask(client, value) == 400
    assert change("omnivec_rejections_total", code="malformed_part" if value else "invalid_request", limit="") == 1
