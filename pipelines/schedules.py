"""Recurring runs on a cluster: added once, listed, switched on and off, removed."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from model.errors import ConfigError
from pipelines.access import Access, Connection, asking
from pipelines.config import RunConfig
from pipelines.runs import EXPERIMENT, package

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SHORTEST = 60
FIELD = re.compile(r"^[\dA-Za-z*/,\-?]+$")
# What each field of the server's cron may hold: its weekdays end at 6, Sunday is 0.
RANGES = {
    "second": (0, 59), "minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 6)
}  # fmt: skip
PAGE = 100


@dataclass(frozen=True)
class Timing:
    """When: either by ``cron``, six fields with seconds first, or every ``seconds``; times as RFC 3339."""

    cron: str | None = None
    seconds: int | None = None
    start: str | None = None
    end: str | None = None


@dataclass(frozen=True)
class Wanted:
    """A schedule as it should be."""

    name: str
    when: Timing
    max_concurrency: int = 1
    no_catchup: bool = True
    fresh: bool = False
    experiment: str = EXPERIMENT


@dataclass(frozen=True)
class Done:
    """What became of it."""

    schedule_id: str
    what: Literal["added", "unchanged", "replaced"]


def timing(cron: str | None, every: str | None, start: str | None = None, end: str | None = None) -> Timing:
    """Read when runs should start.

    Raises:
        ConfigError: neither or both are given, or one cannot be read.
    """
    if (cron is None) == (every is None):
        raise ConfigError("give either --cron, such as '0 2 * * *', or --every, such as 6h")
    for what, value in (("--start", start), ("--end", end)):
        if value is not None:
            _check_time(what, value)
    if every is not None:
        found = re.fullmatch(r"(\d+)([smhd])", every.strip())
        if found is None or int(found[1]) * SECONDS[found[2]] < SHORTEST:
            raise ConfigError(f"--every {every!r}: give a number with m, h or d, one minute at least, such as 6h")
        return Timing(seconds=int(found[1]) * SECONDS[found[2]], start=start, end=end)
    assert cron is not None
    fields = cron.split()
    if len(fields) not in (5, 6) or not all(map(FIELD.match, fields)):
        raise ConfigError(
            f"--cron {cron!r}: give five fields (minute hour day month weekday), such as '0 2 * * *' for two at "
            "night, or six with seconds first; the time zone is that of the server, UTC unless it was set"
        )
    fields = fields if len(fields) == 6 else ["0", *fields]
    for field, (name, (low, high)) in zip(fields, RANGES.items(), strict=True):
        _check_field(cron, field, name, low, high)
    return Timing(cron=" ".join(fields), start=start, end=end)


def _check_field(cron: str, field: str, name: str, low: int, high: int) -> None:
    """Refuse a number that the field cannot hold: the server takes it, and then starts nothing."""
    for part in field.split(","):
        values, _, step = part.partition("/")
        wrong = [n for n in re.findall(r"\d+", values) if not low <= int(n) <= high]
        if wrong or (step.isdigit() and int(step) == 0):
            raise ConfigError(
                f"--cron {cron!r}: {name} is {field!r}, and has to be within {low} and {high}"
                + (" (Sunday is 0)" if name == "weekday" else "")
            )


def schedule(
    connection: Connection,
    access: Access,
    config: RunConfig,
    wanted: Wanted,
    *,
    image: str | None = None,
    corpus_digest: str = "",
    replace: bool = False,
) -> Done:
    """Add a schedule; one of the same name that starts the same is left as it is.

    Raises:
        ConfigError: one of the same name differs, and ``replace`` is not given.
        ClusterError: it was refused.
    """
    described = _describe(config, wanted, image, corpus_digest)
    existing = [found for found in schedules(connection, access) if found.display_name == wanted.name]
    if existing and existing[0].description == described:
        return Done(str(existing[0].recurring_run_id), "unchanged")
    if existing and not replace:
        raise ConfigError(
            f"there is a schedule {wanted.name!r} that differs ({existing[0].description}); --replace puts this one "
            "in its place"
        )
    with asking(access), package(config, image, fresh=wanted.fresh) as path:
        group = connection.client.create_experiment(wanted.experiment, namespace=connection.namespace)
        made = connection.client.create_recurring_run(
            experiment_id=group.experiment_id,
            job_name=wanted.name,
            description=described,
            cron_expression=wanted.when.cron,
            interval_second=wanted.when.seconds,
            start_time=wanted.when.start,
            end_time=wanted.when.end,
            max_concurrency=wanted.max_concurrency,
            no_catchup=wanted.no_catchup,
            params={"corpus": config.corpus, "corpus_digest": corpus_digest},
            pipeline_package_path=str(path),
            service_account=config.cluster.service_account,
        )
        for found in existing:  # only now: a refused schedule leaves the old one running
            connection.client.delete_recurring_run(found.recurring_run_id)
    return Done(str(made.recurring_run_id), "replaced" if existing else "added")


def schedules(connection: Connection, access: Access) -> list[Any]:
    """Every schedule of the namespace that Omnivec made."""
    found: list[Any] = []
    token = ""
    with asking(access):
        while True:
            page = connection.client.list_recurring_runs(
                page_token=token, page_size=PAGE, sort_by="created_at desc", namespace=connection.namespace
            )
            found += page.recurring_runs or []
            token = page.next_page_token or ""
            if not token:
                return [item for item in found if (item.description or "").startswith("omnivec ")]


def act(connection: Connection, access: Access, name: str, verb: str) -> None:
    """Enable, disable or delete a schedule by name or id.

    Raises:
        ConfigError: there is none.
    """
    named = [item for item in schedules(connection, access) if name in (item.display_name, item.recurring_run_id)]
    if not named:
        raise ConfigError(f"there is no schedule {name!r}; 'omnivec schedule list' shows them")
    client = connection.client
    calls = {
        "enable": client.enable_recurring_run,
        "disable": client.disable_recurring_run,
        "delete": client.delete_recurring_run,
    }
    with asking(access):
        for item in named:
            calls[verb](item.recurring_run_id)


def row(item: Any) -> dict[str, Any]:
    """A schedule as a table and JSON show it."""
    trigger = item.trigger
    cron = trigger.cron_schedule.cron if trigger and trigger.cron_schedule else None
    seconds = trigger.periodic_schedule.interval_second if trigger and trigger.periodic_schedule else None
    return {
        "name": item.display_name,
        "status": item.status or item.mode,
        "when": cron or f"every {seconds} s",
        "concurrent": int(item.max_concurrency or 1),
        "recipe": item.description,
        "id": item.recurring_run_id,
    }


def _describe(config: RunConfig, wanted: Wanted, image: str | None, corpus_digest: str) -> str:
    """All that makes a schedule what it is, short enough for a list."""
    when = wanted.when
    facts = {
        "recipe": config.name,
        "config": config.digest(),
        "corpus": corpus_digest[:16] or "none",
        "image": image or "recipe",
        "when": when.cron or f"{when.seconds}s",
        "from": when.start,
        "until": when.end,
        "concurrent": wanted.max_concurrency,
        "catchup": not wanted.no_catchup,
        "fresh": wanted.fresh,
    }
    return "omnivec " + " ".join(f"{key}={value}" for key, value in facts.items() if value is not None)


def _check_time(what: str, value: str) -> None:
    try:
        given = datetime.fromisoformat(value)
    except ValueError as error:
        raise ConfigError(f"{what} {value!r}: {error}; give a time such as 2026-01-31T00:00:00Z") from error
    if given.tzinfo is None:
        raise ConfigError(f"{what} {value!r} has no time zone: end it in Z for UTC")
