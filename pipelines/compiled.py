"""Compile the training pipeline to the YAML that Kubeflow Pipelines takes, and submit it."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from model.errors import OmnivecError
from pipelines.config import RunConfig

CONNECT_SECONDS = 5.0


class ClusterError(OmnivecError):
    """No Kubeflow Pipelines answers at the given address, or it refused the run."""


def compile_yaml(config: RunConfig, image: str | None = None) -> str:
    """The compiled pipeline: deterministic for a configuration and a kfp version.

    Args:
        config: the run.
        image: overrides ``cluster.image``.
    """
    from kfp import compiler

    from pipelines.graph import build

    chosen = image or config.cluster.image
    graph = build(config, lambda _: chosen, config.cluster)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(graph.pipeline, str(path))
        return path.read_text(encoding="utf-8")


def submit(config: RunConfig, host: str, *, image: str | None = None, corpus_digest: str = "") -> str:
    """Start a run on a cluster.

    Returns:
        The id of the run.

    Raises:
        ClusterError: nothing answers at ``host``, or it refused.
    """
    from kfp_server_api.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        client = connect(host, config.cluster.namespace)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "pipeline.yaml"
            path.write_text(compile_yaml(config, image), encoding="utf-8")
            started = client.create_run_from_pipeline_package(
                str(path),
                arguments={"corpus": config.corpus, "corpus_digest": corpus_digest},
                run_name=config.name,
                experiment_name="omnivec",
                namespace=config.cluster.namespace,
            )
    except ApiException as error:
        raise ClusterError(f"{host} refused the run: HTTP {error.status} {error.reason}: {error.body}") from error
    except (HTTPError, OSError, RuntimeError) as error:
        raise ClusterError(
            f"no Kubeflow Pipelines answers at {host} ({type(error).__name__}: {error}). Check the address, or open it "
            "with 'kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80' and use --host http://127.0.0.1:8080"
        ) from error
    return str(started.run_id)


def connect(host: str, namespace: str) -> Any:
    """A kfp client; an address where nothing listens is noticed at once, where kfp would retry for minutes."""
    import socket
    from urllib.parse import urlsplit

    import kfp

    address = urlsplit(host if "://" in host else f"https://{host}")
    port = address.port or (80 if address.scheme == "http" else 443)
    with socket.create_connection((address.hostname or "", port), timeout=CONNECT_SECONDS):
        pass
    return kfp.Client(host=host, namespace=namespace)
