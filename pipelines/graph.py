"""The training pipeline: the only module that knows the order of the steps.

One definition serves the laptop (kfp.local) and the cluster (compiled YAML). Each step gets one JSON document, its own
part of the run configuration, and validates it again where it runs. No condition on a step's output decides the path:
kfp 2.17 evaluates those as Python locally (GHSA-rhjm-6347-5x33), and the gate acts on the registry itself.
"""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from components.audit.component import audit
from components.drift.component import drift
from components.evaluate.component import evaluate
from components.export.component import export
from components.features.component import features
from components.gate.component import gate
from components.init_model.component import init_model
from components.mine.component import mine
from components.mine.config import MineConfig
from components.register.component import register
from components.report.component import report
from components.report.config import ReportConfig
from components.serve_check.component import serve_check
from components.soup.component import soup
from components.soup.config import SoupStepConfig
from components.train.component import train
from components.train.config import TrainConfig
from components.validate.component import validate
from model.training.config import SoupConfig, StageConfig
from pipelines.cluster import ClusterConfig
from pipelines.config import RunConfig, contents_of
from pipelines.placement import launched, pipeline_config
from pipelines.plan import Graph

PIPELINE = "omnivec-training"


def build(
    config: RunConfig, image: Callable[[str], str], cluster: ClusterConfig | None = None, *, fresh: bool = False
) -> Graph:
    """Wire the steps of a run.

    The pipeline has two parameters: ``corpus``, where the shards are, and ``corpus_digest``, the identity of their
    content, which makes a step's cache key follow the content and not the path.
    """
    graph = Graph(image, cluster, fresh)
    whole = {"name": PIPELINE, "description": f"Train, evaluate, register and check {config.registry.name}"}

    @dsl.pipeline(**whole, pipeline_config=pipeline_config(cluster))
    def training(corpus: str = config.corpus, corpus_digest: str = "") -> None:
        planned = ReportConfig(name=config.name, steps=step_names(config))
        with dsl.ExitHandler(graph.add(report, config=dump(planned)), name="steps"):
            add_steps(graph, config, corpus, corpus_digest)

    graph.pipeline = training
    return graph


def add_steps(graph: Graph, config: RunConfig, corpus: Any, corpus_digest: Any) -> None:
    """Wire everything that the report reports on."""
    checked = graph.add(validate, config=dump(config.data), corpus=corpus, corpus_digest=corpus_digest)
    audited = graph.add(audit, config=dump(config.audit), dataset=checked.outputs["dataset"])
    dataset = audited.outputs["audited"]
    start = graph.add(init_model, config=dump(config.model)).outputs["model"]
    made = graph.add(features, config=dump(config.features), dataset=dataset, model=start)
    shared = {"dataset": dataset, "features": made.outputs["store"]}
    trained = add_stages(graph, config, start, shared)
    scored = graph.add(evaluate, config=dump(config.evaluation), model=trained, baseline=start, **shared)
    exported = graph.add(export, config=dump(config.export), model=trained, dataset=dataset).outputs["exported"]
    results = scored.outputs["results"]
    version = graph.add(
        register, config=dump(config.registry), model=exported, results=results, dataset=dataset
    ).outputs["version"]
    served = graph.add(serve_check, config=dump(config.serving), version=version, dataset=dataset)
    decided = graph.add(
        gate, config=dump(config.gate), version=version, results=results, served=served.outputs["result"]
    )
    watched = graph.add(drift, config=dump(config.drift), version=version, captures=served.outputs["captures"])
    watched.after(decided)


def add_stages(graph: Graph, config: RunConfig, start: Any, shared: dict[str, Any]) -> Any:
    """Chain the stages: mining changes the corpus of later ones, a soup gets the models around its predecessor."""
    before = after = start
    launch = launched(config.launch, graph.cluster, graph.image)
    for name, stage in zip(stage_names(config), config.stages, strict=True):
        contents = contents_of(stage)
        if isinstance(stage, MineConfig):
            mined = graph.add(
                mine, name, config=dump(stage.model_copy(update={"contents": contents})), model=after, **shared
            ).outputs["mined"]
            shared = {**shared, "dataset": mined}
        elif isinstance(stage, SoupConfig):
            document = dump(SoupStepConfig(stage=stage, contents=contents))
            task = graph.add(soup, name, config=document, base=before, model=after, **shared)
            after = task.outputs["souped"]
        else:
            document = dump(TrainConfig(stage=stage, launch=launch, contents=contents))
            task = graph.add(train, name, config=document, model=after, **shared)
            before, after = after, task.outputs["trained"]
    return after


def stage_names(config: RunConfig) -> list[str]:
    """Names of the stages' steps: a second stage of a kind is called ``train-align-2``."""
    kinds = [stage.kind for stage in config.stages]
    names = []
    for position, stage in enumerate(config.stages):
        label = f"train-{stage.kind}" if isinstance(stage, StageConfig) else stage.kind
        earlier = kinds[:position].count(stage.kind)
        names.append(f"{label}-{earlier + 1}" if earlier else label)
    return names


def step_names(config: RunConfig) -> tuple[str, ...]:
    """Names of all steps of a run, in order; the report, which comes after any of them, is none of them."""
    before = ("validate", "audit", "init_model", "features")
    after = ("evaluate", "export", "register", "serve_check", "gate", "drift")
    return (*before, *stage_names(config), *after)


def dump(config: Any) -> str:
    """A step's document: canonical JSON, so that equal configurations give equal cache keys."""
    return str(config.model_dump_json())
