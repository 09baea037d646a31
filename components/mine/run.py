"""The work of the mine step: dataset and model in, the dataset with hard negatives and a report out.

Shape legend: N contents, D dimensions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from components.lineage import DATASET, data_identity, records_by, write_facts
from components.mine.config import JudgeConfig, MineConfig
from data.corpus import Corpus
from data.mining.config import MineTask
from data.mining.judge import Judge, TeacherJudge
from data.mining.knowledge import Knowledge
from data.mining.looks import Looks
from data.mining.miner import Found, Miner
from data.mining.plants import Kind, Outcome, estimate
from data.mining.pool import Embedder, embed_pool, pool_of
from data.mining.select import Negative, assign, judged
from data.mining.write import write_mined
from data.records import Record
from model.content import Content, Modality
from model.encoder import Encoder, takes
from model.encoding import encode_contents
from model.errors import ConfigError, DataError

if TYPE_CHECKING:
    from components.mine.examples import Example

RANDOM = 2000


@dataclass(frozen=True)
class TaskResult:
    """What mining for one task came to.

    Attributes:
        miner: with the pool and the counts of verdicts.
        found: what each ask may get.
        taken: negatives by record id, empty lists included.
        random: cosines of queries with documents of which nothing is known, drawn at random.
        plants: outcome by kind; empty when none were wanted.
        examples: some asks with what they got.
    """

    task: MineTask
    miner: Miner
    found: Sequence[Found]
    taken: Mapping[str, Sequence[Negative]]
    random: NDArray[np.float32]
    plants: Mapping[Kind, Outcome]
    examples: "Sequence[Example]"

    @property
    def with_negatives(self) -> int:
        """Records that got at least one."""
        return sum(bool(negatives) for negatives in self.taken.values())

    @property
    def negatives(self) -> int:
        """How many were dealt out."""
        return sum(map(len, self.taken.values()))


def kept_in(model: Path, features: Path) -> Path:
    """Where vectors are kept, so that a killed step goes on, and the same model mines by other rules at once."""
    from components.checkpoints import checkpoint_directory
    from components.environment import Environment

    return checkpoint_directory(Environment.from_env().home, "mine", "vectors", model, features)


def run(
    config: MineConfig,
    *,
    dataset: Path,
    model: Path,
    features: Path | None,
    output: Path,
    report: Path,
    kept: Path | None = None,
) -> dict[str, float]:
    """Mine for all tasks; validation and test records come out as they were, and nothing is read of them but that.

    Args:
        config: tasks and rules.
        dataset: accepted shards of the validation step, or any corpus.
        model: artifact whose space decides what is hard.
        features: feature store of the frozen towers, or None to run the towers live.
        output: directory to write: the same shards with negatives, and ``dataset.json``.
        report: HTML file to write.
        kept: directory for vectors of this model, stable over restarts; none are kept when empty.

    Returns:
        Scalars: ``records`` mined for, those ``with_negatives`` and ``without``, ``untouched`` ones, ``negatives``,
        and the share of plants refused by kind.

    Raises:
        DataError: no record to mine for, or counts that do not add up.
        ConfigError: a named task has no record, the model or judge lacks a modality.
    """
    from components.evaluate.measure import open_encoder
    from components.mine.report import report_page

    encoder = open_encoder(model, features)
    corpus = Corpus(dataset, splits=("train",))
    rules = config.rules
    knowledge = Knowledge(corpus.records, siblings=rules.siblings, never_across=rules.never_across)
    embed = Embedder(encoder, corpus, kept, config.dimension, config.max_batch_tokens)
    tasks, lacking = _tasks(config, corpus, encoder)
    judge = None if config.judge is None else _judge(config.judge, config.max_batch_tokens)
    results = [_mine(config, task, corpus, knowledge, embed, judge) for task in tasks]
    shard_of = {record.id: corpus.shard_of(record) for record in corpus.records}
    taken = {name: negatives for result in results for name, negatives in result.taken.items()}
    rows = write_mined(dataset, output, taken, shard_of, existing=rules.existing)
    scalars = _scalars(results, rows)
    facts = _describe(config, dataset, model, output, scalars, rows)
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(report_page(config, results, lacking, facts), encoding="utf-8")
    return scalars


def _tasks(config: MineConfig, corpus: Corpus, encoder: Encoder) -> tuple[list[MineTask], list[str]]:
    """Tasks to mine for, and those left out because the model lacks a modality."""
    first: dict[str, Record] = {}
    for record in corpus.records:
        first.setdefault(record.task, record)
    if not first:
        raise DataError(f"{corpus.directory} has no record in its train split, and negatives are mined for no other")
    if missing := [task.name for task in config.tasks if task.name not in first]:
        raise ConfigError(f"no train record of task(s) {missing} to mine for; the corpus has {sorted(first)}")
    fits = {name: takes(encoder, _modalities(record)) for name, record in first.items()}
    if named := [task.name for task in config.tasks if not fits[task.name]]:
        raise ConfigError(
            f"the model has {', '.join(sorted(encoder.modalities))}, which is not enough for task(s) {named}: "
            "leave them out of tasks"
        )
    tasks = config.tasks or tuple(MineTask(name=name) for name in sorted(first) if fits[name])
    if not tasks:
        raise ConfigError(
            f"the model has {', '.join(sorted(encoder.modalities))}, not enough for any of {sorted(first)}"
        )
    return list(tasks), [] if config.tasks else sorted(name for name, fit in fits.items() if not fit)


def _modalities(record: Record) -> list[Modality]:
    return [part.modality for content in (record.query, record.positives[0]) for part in content]


def _mine(
    config: MineConfig,
    task: MineTask,
    corpus: Corpus,
    knowledge: Knowledge,
    embed: Embedder,
    judge: Judge | None,
) -> TaskResult:
    from components.mine.examples import examples_of

    pool = embed_pool(pool_of(task, corpus.records, knowledge), embed)
    if not pool.asks:
        raise ConfigError(f"no train record of task {task.name!r} in languages {list(task.languages) or 'any'}, "
                          f"sources {list(task.sources) or 'any'}")  # fmt: skip
    looks = None if config.rules.alike is None else Looks(corpus.content, config.rules.alike)
    miner = Miner(pool, knowledge, config.rules, exact_below=config.exact_below, looks=looks)
    found = miner()
    if (wanted := config.judge) is not None and judge is not None and (not wanted.tasks or task.name in wanted.tasks):
        found = judged(miner, found, judge, corpus.content, ratio=wanted.ratio, candidates=wanted.candidates)
    taken = assign(pool, found, config.rules, miner.verdicts)
    if len(taken) != pool.records:
        raise DataError(f"{pool.records} records of {task.name} have {len(taken)} ids; each needs one of its own")

    def vectors(contents: Sequence[Content]) -> NDArray[np.float32]:
        prompted = [replace(content, task=task.document_task) for content in contents]
        return encode_contents(
            embed.encoder, prompted, dimension=config.dimension, max_batch_tokens=config.max_batch_tokens, desc="plants"
        )

    plants = estimate(miner, config.plants, corpus.content, vectors) if config.plants.queries else {}
    chosen = examples_of(miner, taken, corpus.content, count=config.examples, seed=config.rules.seed)
    return TaskResult(task, miner, found, taken, _random(miner, config.rules.seed), plants, chosen)


def _judge(config: JudgeConfig, max_batch_tokens: int) -> Judge:
    from model.artifact import load_encoder

    directory = Path(config.model)
    if not directory.is_dir():
        raise ConfigError(
            f"judge.model: {directory} is no directory here; give an absolute path that this step can see"
        )
    return TeacherJudge(
        load_encoder(directory),
        query_task=config.query_task,
        document_task=config.document_task,
        max_batch_tokens=max_batch_tokens,
    )


def _random(miner: Miner, seed: int) -> NDArray[np.float32]:
    """Cosines of queries with documents drawn at random from those that might have been mined."""
    generator = np.random.default_rng(seed)
    pool = miner.pool
    scores = []
    for ask in generator.choice(len(pool.asks), size=min(RANDOM, len(pool.asks)), replace=False):
        place = int(generator.choice(miner.scope(int(ask))))
        if miner.knowledge.relation(pool.asks[ask].query, pool.documents[place]) is None:
            scores.append(pool.ask_AD[ask] @ pool.document_PD[place])
    return np.array(scores, dtype=np.float32)


def _scalars(results: Sequence[TaskResult], rows: int) -> dict[str, float]:
    records = sum(result.miner.pool.records for result in results)
    got = sum(result.with_negatives for result in results)
    scalars: dict[str, float] = {
        "records": records,
        "with_negatives": got,
        "without": records - got,
        "untouched": rows - records,
        "negatives": sum(result.negatives for result in results),
    }
    for kind, outcome in totals(results).items():
        if outcome.planted:
            scalars[f"planted_{kind}"] = outcome.planted
            scalars[f"planted_{kind}_refused"] = outcome.refused
    return scalars


def totals(results: Sequence[TaskResult]) -> dict[Kind, Outcome]:
    """Plants of all tasks by kind."""
    found: dict[Kind, Outcome] = {}
    for result in results:
        for kind, outcome in result.plants.items():
            found.setdefault(kind, Outcome()).add(outcome)
    return found


def _describe(
    config: MineConfig, dataset: Path, model: Path, output: Path, scalars: Mapping[str, float], rows: int
) -> dict[str, Any]:
    """Write ``dataset.json``: the facts of the parent where they still hold, and where the negatives come from."""
    from model.integrity import artifact_digest

    parent = data_identity(dataset)
    if rows != parent.facts.get("rows", rows):
        raise DataError(f"{dataset} has {parent.facts['rows']} records by its dataset.json, but {rows} were written")
    (output / DATASET).unlink(missing_ok=True)
    facts: dict[str, Any] = {
        **parent.facts,
        "digest": data_identity(output).digest,
        "rows": rows,
        "by": records_by(output),
        "mining": {
            "parent": parent.digest,
            "model": artifact_digest(model),
            "config": config.model_dump(mode="json"),
            "counts": dict(scalars),
        },
    }
    write_facts(output, facts)
    return facts
