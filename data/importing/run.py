"""Import a source into shards: plan, do the pieces that are not done, finish. Interrupted, the same call goes on."""

import hashlib
import json
import shutil
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data.engine import EngineConfig, start
from data.importing.config import ImportConfig
from data.importing.drafts import has_column
from data.importing.finished import changed_pieces, forget_changed, restore
from data.importing.finishing import prepare, remaining, without_duplicates
from data.importing.pieces import forget_unproven
from data.importing.readers.open import open_source
from data.importing.readers.requeue import quarantine_files
from data.importing.rows import Cut, Reader, Row
from data.importing.state import (
    COMMIT,
    STATE,
    commit,
    discard,
    only_one,
    own_shards,
    read_report,
    work_directory,
    write_json,
)
from data.importing.work import PLAN, Job, spread
from model.errors import ConfigError, DataError
from model.files import whole_file
from model.progress import progress

LOOKED_AT = 200


@dataclass(frozen=True)
class Imported:
    """The report on a source, and whether it had been imported before so that nothing was done."""

    report: dict[str, Any]
    before: bool = False


def run_import(
    config: ImportConfig,
    *,
    home: Path,
    output: Path,
    engine: EngineConfig | None = None,
    quarantine: Path | None = None,
    fresh: bool = False,
) -> Imported:
    """Import one source.

    Args:
        config: what and how.
        home: directory that relative paths of the configuration start from.
        output: directory of the corpus; sources may share one.
        engine: where the work runs; what comes out is the same anywhere.
        quarantine: directory of rows that an import of this source refused, to import instead of the source. When it
            is that of ``output``, what is accepted joins the corpus and what is not stays in quarantine.
        fresh: replace what an import of this name, finished or not, has left in ``output``.

    Raises:
        ConfigError: the mapping does not fit the source.
        DataError: the source cannot be read; or an import of another configuration, or of a source that changed, is
            under way or done in ``output``.
    """
    output = output.absolute()
    with only_one(output):
        work = work_directory(output, config.name)
        ended = (work / COMMIT).is_file()
        if ended:  # an import that was interrupted in its last step
            commit(output, work, config.name)
        if fresh:
            discard(work)
        work.mkdir(parents=True, exist_ok=True)
        requeue = None if quarantine is None else tuple(quarantine_files(quarantine.absolute(), config.name))
        job = Job(config=config, home=home.absolute(), work=work, requeue=requeue)
        found = _run(job, output, engine or EngineConfig(), fresh=fresh)
        return replace(found, before=found.before and not ended)


def _run(job: Job, output: Path, engine: EngineConfig, *, fresh: bool) -> Imported:
    config, work = job.config, job.work
    began = time.monotonic()
    start(engine)
    requeue = None if job.requeue is None else list(job.requeue)
    reader, access = open_source(config, home=job.home, work=work, requeue=requeue)
    before = read_report(output)["sources"].get(config.name)
    joins = requeue is not None and before is not None and _lies_in(requeue[0], output)
    plan = _plan(config, reader, work)
    facts: dict[str, Any] = {"config": config.digest(), "source": plan.digest}
    anew = fresh or _replaces(work)
    if not joins and not anew:
        if before is not None and {key: before[key] for key in facts} == facts:
            if not (changed := changed_pieces(output, config, access)):
                discard(work)
                return Imported(before, before=True)
            restore(output, work, config.name, changed)
            _say_changed(changed, len(plan.items))
            anew = True
        else:
            _nothing_else(output, config, before)
    if requeue is None:
        _check_columns(config, reader, plan)
    _resume(work, {**facts, "requeue": requeue is not None, "replace": anew})
    forget_unproven(work)
    forget_changed(work, config, access)
    kept = own_shards(output, config.name) if joins else []
    job = job.model_copy(update={"ids": config.mapping.id is not None or joins})
    _do(job, plan, engine)
    if job.ids:
        shutil.rmtree(work / "amended", ignore_errors=True)
        without_duplicates(job, plan.items, kept, engine)
    facts["seconds"] = round(time.monotonic() - began, 1)
    prepare(output, job, len(plan.items), kept=kept, before=before if joins else None, facts=facts)
    return Imported(commit(output, work, config.name))


@dataclass(frozen=True)
class _Plan:
    """Pieces as items for the workers, and the identity of the source."""

    items: list[dict[str, Any]]
    first: Cut
    digest: str


def _plan(config: ImportConfig, reader: Reader, work: Path) -> _Plan:
    """Cut the source; the cuts go to a file, of which an item names a line."""
    total = hashlib.sha256()
    items: list[dict[str, Any]] = []
    first: Cut | None = None
    cuts = progress(reader.cuts(config.piece_rows), desc="look through the source", unit="piece")
    with whole_file(work / PLAN) as partial, partial.open("wb") as file:
        for number, cut in enumerate(cuts):
            first = first or cut
            items.append({"number": number, "at": file.tell(), "rows": cut.rows})
            file.write(cut.to_json().encode() + b"\n")
            total.update(f"{cut.first} {cut.rows} {cut.digest}\n".encode())
    if first is None:
        raise DataError(f"{config.source.path} has no rows")
    return _Plan(items, first, total.hexdigest()[:32])


def _nothing_else(output: Path, config: ImportConfig, before: dict[str, Any] | None) -> None:
    found = own_shards(output, config.name)
    if before is not None or found:
        why = "another configuration or source" if before is not None else "something else"
        raise DataError(
            f"{output} holds {len(found)} shard(s) of {config.name!r} made from {why}: choose another directory or "
            "name, or give --fresh to replace them"
        )


def _replaces(work: Path) -> bool:
    """Whether the import that is under way was told to replace what is there."""
    path = work / STATE
    return path.is_file() and bool(json.loads(path.read_text(encoding="utf-8")).get("replace"))


def _resume(work: Path, state: dict[str, Any]) -> None:
    """Go on only with what was begun.

    Raises:
        DataError: the configuration or the source is another one.
    """
    path = work / STATE
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        changed = [name for name in ("config", "source", "requeue") if found.get(name) != state[name]]
        if changed:
            raise DataError(
                f"an import begun in {work.parent.parent} was interrupted, and since then the "
                f"{' and the '.join(changed)} changed: undo that, or give --fresh to begin again"
            )
    write_json(path, state)


def _check_columns(config: ImportConfig, reader: Reader, plan: _Plan) -> None:
    """Find columns that no row has, before a million rows are refused for it.

    Raises:
        ConfigError: naming them, and the columns that there are.
    """
    looked_at = (row for row, _ in zip(reader.read(plan.first), range(LOOKED_AT), strict=False))
    rows = [row.values for row in looked_at if isinstance(row, Row)]
    missing = sorted(name for name in config.mapping.required if not any(has_column(values, name) for values in rows))
    if rows and missing:
        there = sorted({str(name) for values in rows for name in values})
        raise ConfigError(
            f"mapping names {', '.join(map(repr, missing))}, which none of the first {len(rows)} rows has; "
            f"their columns are {', '.join(there)}"
        )


def _say_changed(changed: dict[int, str], pieces: int) -> None:
    sys.stderr.write(
        f"media changed since they were imported, such as {next(iter(changed.values()))}: {len(changed)} of {pieces} "
        "pieces are imported again\n"
    )


def _do(job: Job, plan: _Plan, engine: EngineConfig) -> None:
    todo = remaining(plan.items, job.work)
    if len(todo) < len(plan.items):
        sys.stderr.write(f"{len(plan.items) - len(todo)} of {len(plan.items)} pieces are done already\n")
    rows = sum(item["rows"] for item in todo)
    pieces = spread(job, todo, engine)
    for _ in progress(pieces, total=rows, desc=f"import {job.config.name}", unit="row", size=lambda done: done[1].rows):
        pass


def _lies_in(file: Path, output: Path) -> bool:
    return file.resolve().parent == (output / "quarantine").resolve()
