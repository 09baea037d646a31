"""The work that Daft spreads over processes, here or on a cluster: each takes pieces as it gets free."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.engine import EngineConfig
from data.importing.amending import amend_piece
from data.importing.config import ImportConfig
from data.importing.making import Maker
from data.importing.pieces import DONE, Summary, import_piece, piece_directory
from data.importing.readers.open import open_source
from data.importing.rows import Cut
from model.config import Config
from model.errors import DataError, OmnivecError

PLAN = "plan.jsonl"
PARTITIONS = 512


class Job(Config):
    """What every worker knows of an import.

    Attributes:
        config: of the import.
        home: directory that relative paths of the configuration start from.
        work: directory of the import, which all workers see.
        requeue: quarantined rows to read instead of the source.
        ids: whether ids have to be compared.
    """

    config: ImportConfig
    home: Path
    work: Path
    requeue: tuple[Path, ...] | None = None
    ids: bool = False


class PieceWorker:
    """Does pieces, one after another."""

    def __init__(self, job: str) -> None:
        self.job = Job.parse(job)
        requeue = None if self.job.requeue is None else list(self.job.requeue)
        self.reader, access = open_source(self.job.config, home=self.job.home, work=self.job.work, requeue=requeue)
        self.maker = Maker(self.job.config, access)

    def __call__(self, item: str) -> str:
        """Summary, or error, of a piece; both sides are JSON."""
        return self._one(json.loads(item))

    def _one(self, item: dict[str, Any]) -> str:
        try:
            summary = self._do(item)
        except (OmnivecError, OSError) as error:
            # Errors of ours say all there is to say; as those of Daft they would come with pages of traceback.
            return json.dumps({"error": f"{error}", "piece": item["number"]})
        return json.dumps({"piece": item["number"], "summary": vars(summary)})

    def _do(self, item: dict[str, Any]) -> Summary:
        config, work = self.job.config, self.job.work
        target = piece_directory(work, item["number"])
        with (work / PLAN).open("rb") as plan:
            plan.seek(item["at"])
            cut = Cut.from_json(plan.readline().decode())
        if "drops" in item:
            drops = [(int(row), int(part), int(place)) for row, part, place in item["drops"]]
            amended = work / "amended" / target.name
            return amend_piece(config, self.reader, cut, target, amended, drops)
        if (target / DONE).is_file():
            return Summary.read(target)
        return import_piece(config, self.reader, self.maker, cut, target, ids=self.job.ids)


def spread(job: Job, items: list[dict[str, Any]], engine: EngineConfig) -> Iterator[tuple[int, Summary]]:
    """Do pieces on the workers of a started engine; gives each as it is done, in no order.

    Raises:
        DataError: a piece failed; those that are done stay so.
    """
    if not items:
        return
    import daft

    from data.importing.remote import Remote

    workers = min(engine.processes, len(items))
    remote: Any = daft.cls(Remote, max_concurrency=workers, use_process=True)
    frame = daft.from_pydict({"item": [json.dumps(item) for item in items]})
    if engine.runner == "ray":
        # On a cluster it is partitions that are spread.
        frame = frame.into_partitions(min(len(items), PARTITIONS))
    worker = remote(job.model_dump_json())
    for row in frame.select(worker.do(frame["item"]).alias("done")).iter_rows():
        found = json.loads(row["done"])
        if "error" in found:
            raise DataError(f"piece {found['piece']}: {found['error']}")
        yield found["piece"], Summary(**found["summary"])
