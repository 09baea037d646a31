"""Mined against random negatives: ``python -m benchmarks.mining --out DIR`` (``--toy`` for a minute on any machine).

The same start, the same steps, the same records in the same batches; arms differ in the negatives of the records only:
none, random ones that the corpus does not call right, random ones in the language of the query (``language``), mined
ones, and the best ranked without the rules on scores (``unruled``). A record has as many random negatives as mined
ones; random ones are drawn anew for each seed. What is measured is nDCG@10 on the test split, by task and over tasks,
as a paired difference with a bootstrap over groups.

Towers, projectors and trunk are frozen and the head learns, so every content is pooled once for all arms and a step
costs milliseconds. Sounds and pictures are given to the trunk by projectors that a short align stage trained before,
or by those of ``--start``. Batches are small: that is where negatives are scarce, and mined ones matter.

Shape legend: N contents, H trunk width, D dimensions, Q queries, P documents.
"""

import argparse
import copy
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.pooled import PooledBatches, Pooler
from benchmarks.setting import processor
from data.benchmarks import TASKS
from data.benchmarks.base import RetrievalSet
from data.benchmarks.build import SamplingConfig, build_sets
from data.corpus import Corpus
from data.mining.config import MineTask, Rules
from data.mining.knowledge import Knowledge
from data.mining.looks import Looks
from data.mining.miner import Miner
from data.mining.pool import Pool, embed_pool, pool_of
from data.mining.select import Negative, assign
from data.records import ContentRef, Record
from data.sampling import TaskSampler
from model.content import Modality
from model.evaluation.bootstrap import bootstrap_mean, paired_difference
from model.evaluation.metrics import ndcg_at, rank_queries
from model.features import FeatureStore
from model.files import whole_file
from model.training.config import StageConfig
from model.training.stage import run_stage
from model.unified.encoder import UnifiedEncoder

CORPUS = Path(__file__).resolve().parents[1] / "data" / "starter"
MINED = {
    task.name: task
    for task in (
        MineTask(name="speech_to_text"),
        MineTask(name="text_to_image", languages=("en",)),
        MineTask(name="bitext", within=("languages",)),
        MineTask(name="heading_to_passage", within=("languages",)),
        MineTask(name="docstring_to_code"),
    )
}
# Of the tasks that the trunk cannot do before a projector has learned: members of a batch, temperature, projector.
ALIGNED = {"speech_to_text": (96, 0.03, "audio"), "text_to_image": (128, 0.04, "image")}
# Small ones, as those of a large model are: the larger a batch, the more hard negatives it holds anyway.
BATCH_SIZE = 8
HEAD_RATE = 3e-4
ARMS = ("none", "random", "language", "mined", "unruled")
NEGATIVES = 4
K = 10
SAMPLING = SamplingConfig(english_queries=300, other_queries=150, documents=500)
POOLED = "pooled.npz"


@dataclass(frozen=True)
class Scores:
    """nDCG@10 of every query of one task, and the group of each."""

    values_Q: NDArray[np.float64]
    groups_Q: tuple[str, ...]


def aligned(artifact: Path, corpus: Path, scratch: Path, names: Sequence[str], steps: int) -> Path:
    """The initial weights with projectors that have seen some pairs of each task, beside a store of their features."""
    from components.features.config import FeaturesConfig
    from components.features.run import run as build
    from components.train.config import TrainConfig
    from components.train.run import run as train

    own = {name: ALIGNED[name] for name in names if name in ALIGNED}
    if not own:
        return artifact
    features, start = scratch / "features", scratch / "start"
    if not (features / "index.json").is_file():
        build(FeaturesConfig(), dataset=corpus, model=artifact, output=features)
    stage = {
        "kind": "align",
        "steps": steps * len(own),
        "tasks": [
            {"name": name, "batch_size": size, "temperature": heat, "languages": MINED[name].languages}
            for name, (size, heat, _) in own.items()
        ],
        "trainable": {"head": 3e-4, **{f"projectors.{projector}": 1e-3 for _, _, projector in own.values()}},
    }
    if not (start / "config.json").is_file():
        paths = {"dataset": corpus, "model": artifact, "features": features}
        train(TrainConfig.parse({"stage": stage}), **paths, checkpoints=scratch / "align", output=start)
    return start


def negatives_of(
    pool: Pool, knowledge: Knowledge, rules: Rules, looks: Looks
) -> tuple[dict[str, dict[str, tuple[ContentRef, ...]]], float]:
    """Negatives by arm and record but for the random ones, and the seconds that mining took."""
    started = time.perf_counter()
    miner = Miner(pool, knowledge, rules, exact_below=100_000, looks=looks)
    mined = assign(pool, miner(), rules, miner.verdicts)
    seconds = time.perf_counter() - started
    loose = rules.model_copy(update={"ratio": None, "near": None, "alike": None})
    bare = Miner(pool, knowledge, loose, exact_below=100_000)
    unruled = assign(pool, bare(), loose, bare.verdicts)
    counts = {name: len(found) for name, found in mined.items()}
    found = {
        "none": dict.fromkeys(mined, ()),
        "mined": {name: _refs(own) for name, own in mined.items()},
        "unruled": {name: _refs(own[: counts[name]]) for name, own in unruled.items()},
    }
    return found, seconds


def _refs(negatives: Sequence[Negative]) -> tuple[ContentRef, ...]:
    return tuple(negative.document.ref for negative in negatives)


def _random(
    pool: Pool, knowledge: Knowledge, counts: Mapping[str, int], seed: int
) -> dict[str, tuple[ContentRef, ...]]:
    """As many as were mined, of the documents that the miner chose from, none of them known to be right."""
    generator = np.random.default_rng(seed)
    found: dict[str, tuple[ContentRef, ...]] = {}
    for ask in pool.asks:
        scope = [i for i, labels in enumerate(pool.labels) if ask.label in labels]
        for record in ask.records:
            drawn: list[ContentRef] = []
            for place in generator.permutation(scope):
                if len(drawn) == counts[record.id]:
                    break
                document = pool.documents[place]
                if knowledge.relation(ask.query, document) is None:
                    drawn.append(document.ref)
            found[record.id] = tuple(drawn)
    return found


def trained(
    pooler: Pooler, records: Sequence[Record], tasks: Sequence[MineTask], *, hard: int, steps: int, seed: int
) -> UnifiedEncoder:
    """The start with a head that has learned from ``records``."""
    stage = StageConfig.parse(
        {
            "kind": "finetune",
            "steps": steps,
            "tasks": [
                {
                    "name": task.name,
                    "batch_size": BATCH_SIZE,
                    "languages": task.languages,
                    "hard_negatives": hard,
                }
                for task in tasks
            ],
            "trainable": {"head": HEAD_RATE},
            "temperature": 0.03,
            "warmup_steps": steps // 10,
            "seed": seed,
            "checkpoint_every_steps": steps,
            "log_every_steps": steps,
        }
    )
    encoder = copy.deepcopy(pooler.encoder)
    sampler = TaskSampler(records, stage.tasks, steps=steps, seed=seed)
    with tempfile.TemporaryDirectory() as checkpoints:
        run_stage(encoder, stage, PooledBatches(sampler, pooler, stage), checkpoints=Path(checkpoints))
    return encoder


def evaluated(pooler: Pooler, encoder: UnifiedEncoder, sets: Sequence[RetrievalSet]) -> dict[str, Scores]:
    """nDCG@10 by task."""
    values: dict[str, list[float]] = {}
    groups: dict[str, list[str]] = {}
    for found in sets:
        queries_QD = pooler.vectors([c.digest for c in found.queries], encoder)
        documents_PD = pooler.vectors([c.digest for c in found.documents], encoder)
        ranks = rank_queries(queries_QD, documents_PD, found.right, found.candidates)
        values.setdefault(found.benchmark.name, []).extend(ndcg_at(own, K) for own in ranks)
        groups.setdefault(found.benchmark.name, []).extend(found.groups)
    return {name: Scores(np.array(own), tuple(groups[name])) for name, own in values.items()}


def rows_of(by_arm: Mapping[str, Mapping[str, Scores]]) -> list[dict[str, Any]]:
    """By task and over tasks: the mean of each arm, and mined less every other one with its interval."""
    names = list(by_arm["none"])
    weights = np.concatenate(
        [np.full(len(by_arm["none"][n].values_Q), 1 / len(by_arm["none"][n].values_Q)) for n in names]
    )
    rows = []
    for name in (*names, "all tasks"):
        own = {arm: _joined(scores, names if name == "all tasks" else [name]) for arm, scores in by_arm.items()}
        row: dict[str, Any] = {"task": name, "queries": len(own["none"].values_Q)}
        options: dict[str, Any] = {"clusters_Q": list(own["none"].groups_Q)}
        if name == "all tasks":
            options["weights_Q"] = weights
        for arm, scores in own.items():
            row[arm] = bootstrap_mean(scores.values_Q, **options).value
            if arm not in ("mined", "start"):
                row[f"mined - {arm}"] = asdict(paired_difference(own["mined"].values_Q, scores.values_Q, **options))
        rows.append(row)
    return rows


def _joined(scores: Mapping[str, Scores], names: Sequence[str]) -> Scores:
    values = np.concatenate([scores[name].values_Q for name in names])
    return Scores(values, tuple(f"{name}/{group}" for name in names for group in scores[name].groups_Q))


def compare(arguments: argparse.Namespace, artifact: Path, corpus: Path, scratch: Path) -> dict[str, Any]:
    """The whole comparison."""
    names, tasks = list(arguments.tasks), [MINED[name] for name in arguments.tasks]
    start = arguments.start or aligned(artifact, corpus, scratch, names, arguments.align_steps)
    encoder = UnifiedEncoder.load(start).eval()
    if (features := arguments.features or scratch / "features").is_dir():
        encoder.use_features(FeatureStore.open(features))
    train, test = Corpus(corpus, splits=("train",), tasks=names), Corpus(corpus, splits=("test",), tasks=names)
    pooler = Pooler(encoder, train)
    sets = [s for s in build_sets(test, [TASKS[n] for n in names], SAMPLING) if _english(s)]
    pooler.read(scratch / POOLED)
    pooler.add([c for s in sets for side in (s.queries, s.documents) for c in side], "test contents")
    rules = Rules.parse({"number": NEGATIVES, **json.loads(arguments.rules)})
    knowledge, looks = Knowledge(train.records), Looks(train.content, rules.alike or 0)
    pools = [embed_pool(pool_of(task, train.records, knowledge), pooler) for task in tasks]
    alike = [task.model_copy(update={"within": ("languages",)}) for task in tasks]
    scoped = [pool_of(task, train.records, knowledge) for task in alike]
    negatives: dict[str, dict[str, tuple[ContentRef, ...]]] = {arm: {} for arm in ARMS}
    mining = 0.0
    for pool in pools:
        found, seconds = negatives_of(pool, knowledge, rules, looks)
        mining += seconds
        for arm in found:
            negatives[arm] |= found[arm]
    own = [record for record in train.records if record.id in negatives["none"]]
    # Mining takes texts that differ in case for one; a record has its own.
    refs = ((record, ref) for record in own for ref in (record.query, *record.positives))
    pooler.add((train.content(record, ref) for record, ref in refs), "other spellings")
    pooler.write(scratch / POOLED)
    scores: dict[str, list[dict[str, Scores]]] = {"start": [evaluated(pooler, encoder, sets)]}
    spent: dict[str, float] = {}
    for seed in range(arguments.seeds):
        counts = {name: len(refs) for name, refs in negatives["mined"].items()}
        for arm, drawn in (("random", pools), ("language", scoped)):
            negatives[arm] = {n: r for pool in drawn for n, r in _random(pool, knowledge, counts, seed).items()}
        for arm in ARMS if seed % 2 == 0 else ARMS[::-1]:
            records = [replace(record, negatives=negatives[arm][record.id]) for record in own]
            started = time.perf_counter()
            learned = trained(pooler, records, tasks, hard=NEGATIVES, steps=arguments.steps, seed=seed)
            spent[arm] = spent.get(arm, 0.0) + time.perf_counter() - started
            scores.setdefault(arm, []).append(evaluated(pooler, learned, sets))
            print(
                f"seed {seed}, {arm}: " + ", ".join(f"{n} {v.values_Q.mean():.4f}" for n, v in scores[arm][-1].items())
            )
    mean = {arm: {n: _mean([one[n] for one in found]) for n in names} for arm, found in scores.items()}
    return {
        "hardware": processor(),
        "records": len(own),
        "with_negatives": sum(bool(found) for found in negatives["mined"].values()),
        "negatives": sum(map(len, negatives["mined"].values())),
        "mining_seconds_without_vectors": round(mining, 1),
        "training_seconds": {arm: round(seconds, 1) for arm, seconds in spent.items()},
        "arguments": {k: str(v) for k, v in vars(arguments).items()},
        "rows": rows_of(mean),
    }


def _mean(scores: Sequence[Scores]) -> Scores:
    return Scores(np.mean([one.values_Q for one in scores], axis=0), scores[0].groups_Q)


def _english(found: RetrievalSet) -> bool:
    """Pictures are mined for English captions only."""
    return found.benchmark.name != "text_to_image" or found.languages == ("en",)


def _artifact(arguments: argparse.Namespace, scratch: Path) -> Path:
    """Initial weights: pretrained ones of packages, or small random ones for a toy."""
    from components.environment import Environment
    from components.init_model.config import InitModelConfig
    from components.init_model.run import run

    home = Environment.from_env().home
    if arguments.model is not None:
        return Path(arguments.model)
    target = scratch / "random" if arguments.toy else home / "bench" / "model"
    if not (target / "config.json").is_file():
        run(InitModelConfig(source="random" if arguments.toy else "packages"), home=home, output=target)
    return target


def _lean(corpus: Path, target: Path, groups: int | None, measured: str, names: Sequence[str]) -> Path:
    """Records of the tasks alone, of the languages that are mined for, so that no feature is made in vain.

    The split that is measured on is called test in what is written; the other one is left out.
    """
    from data.shards import read_media, read_records, shard_paths, write_shard
    from data.subset import write_subset

    if groups is not None:
        write_subset(corpus, target / "some", groups=groups)
        corpus = target / "some"
    for path in shard_paths(corpus):
        kept = [r for r in read_records(path) if any(_wanted(r, MINED[name]) for name in names)]
        if kept:
            used = {p.media for r in kept for c in (r.query, *r.positives) for p in c if p.media}
            splits = {"train": "train", measured: "test"}
            own = [replace(r, negatives=(), split=splits[r.split]) for r in kept if r.split in splits]  # type: ignore[arg-type]
            media: dict[str, tuple[Modality, bytes]] = {d: m for d, m in read_media(path).items() if d in used}
            write_shard(target / "lean" / path.name, own, media)
    return target / "lean"


def _wanted(record: Record, task: MineTask) -> bool:
    return record.task == task.name and (not task.languages or not set(task.languages).isdisjoint(record.languages))


def table(result: Mapping[str, Any]) -> str:
    """The rows as Markdown."""
    others = [arm for arm in ARMS if arm != "mined"]
    lines = [
        f"| task | queries | start | {' | '.join(ARMS)} | {' | '.join(f'mined - {arm}' for arm in others)} |",
        "|---|--:|--:|" + "--:|" * (len(ARMS) + len(others)),
    ]
    for row in result["rows"]:
        means = " | ".join(f"{row[arm]:.4f}" for arm in ("start", *ARMS))
        apart = [row[f"mined - {arm}"] for arm in others]
        ends = " | ".join(f"{d['value']:+.4f} ({d['low']:+.4f} to {d['high']:+.4f})" for d in apart)
        lines.append(f"| {row['task']} | {row['queries']} | {means} | {ends} |")
    return "\n".join(lines)


def main() -> None:
    """Entry."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="directory for mining.json, mining.md and caches")
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    parser.add_argument("--tasks", nargs="+", choices=list(MINED), default=["speech_to_text"], help="to mine for")
    parser.add_argument("--model", help="artifact to align; default: the initial weights")
    parser.add_argument("--start", type=Path, help="artifact that is aligned already, in place of aligning one")
    parser.add_argument("--features", type=Path, help="what its towers made of the corpus, as a run keeps it")
    parser.add_argument("--groups", type=int, help="groups of each source, task and split; all when empty")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=500, help="of the finetune of each arm and seed")
    parser.add_argument("--align-steps", type=int, default=120, help="for each projector, before mining")
    parser.add_argument("--rules", default="{}", help="JSON of data.mining.config.Rules")
    parser.add_argument(
        "--split", choices=("test", "validation"), default="test", help="validation: to choose settings"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--toy", action="store_true", help="random weights, few groups, few steps")
    arguments = parser.parse_args()
    if arguments.toy:
        arguments.groups, arguments.seeds, arguments.steps, arguments.align_steps = 8, 2, 6, 3
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    corpus = arguments.out / "lean"
    if not corpus.is_dir():
        corpus = _lean(arguments.corpus, arguments.out, arguments.groups, arguments.split, arguments.tasks)
    artifact = arguments.start or _artifact(arguments, arguments.out)
    result = compare(arguments, artifact, corpus, arguments.out)
    for name, text in (("mining.json", json.dumps(result, indent=2)), ("mining.md", table(result))):
        with whole_file(arguments.out / name) as partial:
            partial.write_text(text + "\n", encoding="utf-8")
    print(f"{table(result)}\n{arguments.out / 'mining.json'}")


if __name__ == "__main__":
    main()
