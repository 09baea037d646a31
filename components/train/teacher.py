"""The teacher of a distill stage: what it has to know, where its vectors come from, and how batches get them.

Every content of every batch is known before the stage starts, from the records alone. A teacher model embeds each once,
with its own prompts and preprocessing, into ``teacher/`` beside the checkpoints, where a resumed stage finds them;
with several processes each embeds what its share of the batches needs. Stored vectors have to be complete.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from components.checkpoints import identity
from components.train.feed import BatchMaker, Order
from components.train.pairs import digest_of, stored_members_of
from components.train.vectors import Vectors, read_vectors, write_list, write_vectors
from data.records import ContentRef, Record
from model.content import Content
from model.encoder import Encoder, takes
from model.encoding import encode_contents
from model.errors import ArtifactError, ConfigError, DataError
from model.losses.distill import shared_prefixes
from model.training.batch import StepBatch, TeacherVectors
from model.training.config import StageConfig
from model.training.distillation import TeacherConfig
from model.transfer import accelerated

FILE_CONTENTS = 4096
NAMED = 5


@dataclass(frozen=True)
class Wanted:
    """A content that the teacher has to know, as it is stored, and a task of the stage that needs it."""

    record: Record
    ref: ContentRef
    prompt: str | None
    task: str


class Taught:
    """A maker of batches that carry the teacher's vectors; these never leave the trainer's process."""

    def __init__(self, make: BatchMaker, config: TeacherConfig, vectors: Vectors, dimensions: tuple[int, ...]) -> None:
        self.make = make
        self.config = config
        self.vectors = vectors
        self.dimensions = dimensions
        self.order = make.order
        self.plan = make.plan
        self.part_work = make.part_work

    @property
    def work(self) -> Callable[[Order], StepBatch]:
        """What may run in a worker: nothing of the teacher's."""
        return self.make.work

    def finish(self, made: StepBatch) -> StepBatch:
        """The batch with what only this process holds."""
        queries, documents = names_of(self.order(made.step), self.config)
        sides = (self.vectors(list(queries)), self.vectors(list(documents)))
        return replace(self.make.finish(made), teacher=TeacherVectors(sides, self.dimensions))

    def __call__(self, step: int) -> StepBatch:
        """This process's share of the batch of ``step``."""
        return self.finish(self.work(self.order(step)))


def taught(make: BatchMaker, stage: StageConfig, dimensions: tuple[int, ...], checkpoints: Path) -> Taught:
    """Get the teacher's vectors of all contents of a stage.

    Args:
        make: of the student.
        stage: with a teacher.
        dimensions: Matryoshka prefixes of the student.
        checkpoints: of the stage; vectors of a teacher model are kept there.

    Raises:
        ConfigError: the teacher is not there, takes fewer modalities than the tasks have, or has dimensions that
            ``geometry`` cannot compare.
        DataError: stored vectors are missing; they are listed in a file that ``omnivec embed`` reads.
    """
    config = stage.teacher
    assert config is not None
    source = Path(config.directory)
    if not source.is_dir():
        raise ConfigError(f"teacher: {source} is no directory here; give an absolute path that this step can see")
    wanted = wanted_by(make, stage.steps, config)
    if config.vectors is None:
        vectors, own = _embedded(make, config, wanted, dimensions, checkpoints)
    else:
        vectors, own = _stored(make, config, wanted, checkpoints), config.dimensions
    own = tuple(sorted({*own, vectors.width}, reverse=True))
    if own[0] != vectors.width:
        raise ConfigError(f"teacher.dimensions {list(config.dimensions)} are more than the {vectors.width} stored")
    if config.loss.geometry:
        shared_prefixes(dimensions, own)
    return Taught(make, config, vectors, own)


def wanted_by(make: BatchMaker, steps: int, config: TeacherConfig) -> dict[str, Wanted]:
    """The contents of this process's share of all batches, by digest; no media are read."""
    found: dict[str, Wanted] = {}
    seen: set[tuple[str, int, str]] = set()
    for step in range(steps):
        order = make.order(step)
        draw = order.draw
        fresh = {(r.id, p, draw.task.name) for r, p in zip(draw.records, draw.positives, strict=True)} - seen
        if not fresh:
            continue
        seen |= fresh
        members = stored_members_of(draw)
        queries, documents = names_of(order, config)
        for owner, ref, name in zip(range(len(queries)), members.queries, queries, strict=True):
            found.setdefault(name, Wanted(draw.records[owner], ref, config.query_task, draw.task.name))  # type: ignore[arg-type]
        for owner, ref, name in zip(members.owners, members.documents, documents, strict=True):
            found.setdefault(name, Wanted(draw.records[owner], ref, config.document_task, draw.task.name))  # type: ignore[arg-type]
    return found


def names_of(order: Order, config: TeacherConfig) -> tuple[list[str], list[str]]:
    """Digests of the queries and documents of a batch with the teacher's tasks."""
    members = stored_members_of(order.draw)
    queries = [digest_of(ref, config.query_task) for ref in members.queries]
    return queries, [digest_of(ref, config.document_task) for ref in members.documents]


def _content(make: BatchMaker, wanted: Wanted) -> Content:
    return replace(make.corpus.content(wanted.record, wanted.ref), task=wanted.prompt)


def _stored(make: BatchMaker, config: TeacherConfig, wanted: Mapping[str, Wanted], checkpoints: Path) -> Vectors:
    directory = Path(config.directory)
    vectors = read_vectors(directory, wanted.keys())
    if missing := [name for name in wanted if name not in vectors]:
        place = write_list(checkpoints / "missing", ((name, _content(make, wanted[name])) for name in missing))
        tasks = sorted({wanted[name].task for name in missing})
        raise DataError(
            f"teacher.vectors: {directory} lacks {len(missing)} of {len(wanted)} contents, of tasks "
            f"{', '.join(tasks)}: {', '.join(missing[:NAMED])}{' ...' if len(missing) > NAMED else ''}. All are in "
            f"{place}, by the ids that their vectors need. Add them with `omnivec embed {place} -o "
            f"{directory / 'more.parquet'}` and the teacher's model, or make a Parquet file with the columns id and "
            "vector in any other way"
        )
    return vectors


def _embedded(
    make: BatchMaker,
    config: TeacherConfig,
    wanted: Mapping[str, Wanted],
    dimensions: tuple[int, ...],
    checkpoints: Path,
) -> tuple[Vectors, tuple[int, ...]]:
    """Vectors from a model, and its dimensions; what an earlier attempt embedded is taken from there."""
    source, world = Path(config.directory), make.world
    kept = checkpoints / "teacher" / f"{identity(source).hex()[:16]}-{config.precision}"
    teacher = load_teacher(config)
    _check_modalities(teacher, source, wanted)
    if config.loss.geometry:
        shared_prefixes(dimensions, teacher.dimensions)  # now rather than after the work
    known = read_vectors(kept, wanted.keys())
    missing = [name for name in wanted if name not in known]
    sys.stderr.write(f"teacher: {len(missing)} contents to embed, {len(wanted) - len(missing)} known\n")
    own = f"{world.rank}of{world.processes}.parquet"
    first = len(list(kept.glob(f"*-{own}")))
    with accelerated(teacher, world.local_rank):
        pieces = [missing[i : i + FILE_CONTENTS] for i in range(0, len(missing), FILE_CONTENTS)]
        for number, names in enumerate(pieces, first):
            contents = [_content(make, wanted[name]) for name in names]
            write_vectors(kept / f"{number:06d}-{own}", names, encode_contents(teacher, contents, desc="teacher"))
    return read_vectors(kept, wanted.keys()), teacher.dimensions


def load_teacher(config: TeacherConfig) -> Encoder:
    """The model of ``config``: an artifact, or a model of sentence-transformers as its makers left it.

    Raises:
        ArtifactError: it is neither.
    """
    from model.artifact import artifact_kind, load_encoder
    from model.precision import to_bfloat16
    from model.sentence_transformer.build import build_sentence_transformer

    source = Path(config.directory)
    try:
        artifact_kind(source)
    except ArtifactError:
        plain = build_sentence_transformer(str(source), {}, home=source)
        return plain if config.precision == "float32" else cast("Encoder", to_bfloat16(plain))
    return load_encoder(source, dtype=config.precision)


def _check_modalities(teacher: Encoder, source: Path, wanted: Mapping[str, Wanted]) -> None:
    bad: dict[str, set[str]] = {}
    for content in wanted.values():
        modalities = sorted({part.modality for part in content.ref})
        if not takes(teacher, modalities):
            bad.setdefault(content.task, set()).add("+".join(modalities))
    if bad:
        listed = "; ".join(f"{task} has {', '.join(sorted(kinds))}" for task, kinds in sorted(bad.items()))
        raise ConfigError(
            f"teacher {source} takes {', '.join(sorted(teacher.modalities))}, but {listed}: leave these tasks out of "
            "the distill stage, or take a teacher for all of them"
        )
