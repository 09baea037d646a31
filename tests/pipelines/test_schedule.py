"""Recurring runs by the real ``kfp.Client`` against the checking server."""

import json
from pathlib import Path
from typing import Any

import pytest

from model.errors import ConfigError
from pipelines import schedules
from pipelines.schedules import Timing, timing
from tests.pipelines.fake_kfp import FakeKfp
from tests.pipelines.test_submit import omnivec

pytestmark = pytest.mark.usefixtures("at_home")
ACT = "schedule"


def add(fake: FakeKfp, corpus: Path, *more: str) -> Any:
    settings = ["--recipe", "debug", "--set", f"corpus={corpus}"]
    return omnivec("schedule", "add", "nightly", "--host", fake.address, "-n", "team", *settings, *more)


@pytest.mark.parametrize(
    ("cron", "every", "expected"),
    [
        ("0 2 * * *", None, Timing(cron="0 0 2 * * *")),
        ("*/15 0-23/2 1,31 * 0-6", None, Timing(cron="0 */15 0-23/2 1,31 * 0-6")),
        ("30 0 2 * * MON-FRI", None, Timing(cron="30 0 2 * * MON-FRI")),
        (None, "6h", Timing(seconds=21600)),
        (None, "7d", Timing(seconds=604800)),
    ],
)
def test_times(cron: str | None, every: str | None, expected: Timing) -> None:
    assert timing(cron, every) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "either"),
        ({"cron": "0 2 * * *", "every": "6h"}, "either"),
        ({"cron": "daily"}, "five fields"),
        ({"cron": "61 2 * * *"}, "minute is '61'"),
        ({"cron": "0 2-24 * * *"}, "hour is '2-24', and has to be within 0 and 23"),
        ({"cron": "0 2 0 * *"}, "day is '0'"),
        ({"cron": "0 2 * * 7"}, "Sunday is 0"),
        ({"cron": "60 0 2 * * *"}, "second is '60'"),
        ({"cron": "*/0 * * * *"}, "minute is"),
        ({"every": "6"}, "one minute at least"),
        ({"every": "30s"}, "one minute at least"),
        ({"every": "6h", "start": "2026-01-31"}, "time zone"),
        ({"every": "6h", "end": "soon"}, "--end 'soon'"),
    ],
)
def test_times_that_cannot_be_read(given: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        timing(**{"cron": None, "every": None, **given})


def test_a_schedule_is_added_once_and_replaced_only_when_asked(fake: FakeKfp, corpus: Path) -> None:
    done = add(fake, corpus, "--cron", "0 2 * * *", "--start", "2026-01-31T00:00:00Z")
    assert done.stdout.strip() == "schedule 'nightly' added: s1", done.output
    (body,) = fake.schedules.values()
    assert body["trigger"] == {"cron_schedule": {"cron": "0 0 2 * * *", "start_time": "2026-01-31T00:00:00Z"}}
    assert (body["mode"], body["no_catchup"], body["max_concurrency"]) == ("ENABLE", True, 1)
    assert body["runtime_config"]["parameters"]["corpus"] == str(corpus)
    same = add(fake, corpus, "--cron", "0 2 * * *", "--start", "2026-01-31T00:00:00Z")
    assert "unchanged: s1" in same.stdout
    other = add(fake, corpus, "--every", "6h", "--max-concurrency", "2")
    assert "differs" in str(other.exception)
    assert list(fake.schedules) == ["s1"]
    assert "replaced: s2" in add(fake, corpus, "--every", "6h", "--max-concurrency", "2", "--replace").stdout
    (body,) = fake.schedules.values()
    assert body["trigger"] == {"periodic_schedule": {"interval_second": 21600}}


def test_a_refused_replacement_leaves_the_old_one(fake: FakeKfp, corpus: Path) -> None:
    add(fake, corpus, "--every", "6h")
    done = add(fake, corpus, "--every", "7h", "--replace", "--set", "cluster.service_account=a", "--experiment", "x")
    assert done.exit_code == 0
    fake.refuse = 403
    assert add(fake, corpus, "--every", "8h", "--replace").exit_code == 3
    assert len(fake.schedules) == 1


def test_nothing_from_the_cache(fake: FakeKfp, corpus: Path) -> None:
    """What the client's own switch would not reach: it changes the outermost tasks only."""
    add(fake, corpus, "--every", "7d", "--fresh")
    (body,) = fake.schedules.values()
    assert "'enableCache': True" not in str(body["pipeline_spec"])


def test_list_disable_enable_delete(fake: FakeKfp, corpus: Path) -> None:
    host = ["--host", fake.address, "-n", "team"]
    add(fake, corpus, "--every", "6h")
    fake.schedules["other"] = {"recurring_run_id": "other", "display_name": "somebody's", "description": "not ours"}
    assert omnivec(ACT, "disable", "nightly", *host).stdout.strip() == "schedule 'nightly': disabled"
    (row,) = json.loads(omnivec(ACT, "list", *host, "--json").stdout)
    assert (row["name"], row["status"], row["when"]) == ("nightly", "DISABLED", "every 21600 s")
    assert "recipe=debug" in row["recipe"]
    omnivec(ACT, "enable", "nightly", *host)
    assert omnivec(ACT, "list", *host).stdout.startswith("nightly\tENABLED\tevery 21600 s\t1\t")
    assert omnivec(ACT, "delete", "nightly", *host).exit_code == 0
    assert list(fake.schedules) == ["other"]
    assert "no schedule 'nightly'" in str(omnivec(ACT, "delete", "nightly", *host).exception)
    assert schedules.SHORTEST == 60
