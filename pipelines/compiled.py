"""Compile the training pipeline to the YAML that Kubeflow Pipelines takes."""

from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines.config import RunConfig


def compile_yaml(config: RunConfig, image: str | None = None, *, fresh: bool = False) -> str:
    """The compiled pipeline: deterministic for a configuration and a kfp version.

    Args:
        config: the run.
        image: overrides ``cluster.image`` and ``cluster.images``.
        fresh: no step may be taken from the cache. (The client's ``enable_caching`` reaches only the outermost tasks,
            of which all our steps are one.)
    """
    from kfp import compiler

    from pipelines.graph import build
    from pipelines.placement import image_of

    graph = build(config, lambda component: image or image_of(config, component), config.cluster, fresh=fresh)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(graph.pipeline, str(path))
        return path.read_text(encoding="utf-8")
