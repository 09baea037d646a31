"""Options by which commands reach Kubeflow Pipelines, and the one place that reads their variables."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipelines.access import Access, Connection
    from pipelines.config import RunConfig

NO_CLUSTER = 3
POD_MARK = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")

Host = Annotated[
    str | None,
    typer.Option(
        envvar="KF_PIPELINES_ENDPOINT",
        help="Address of Kubeflow Pipelines, such as http://127.0.0.1:8080; default: that inside a cluster.",
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", envvar="OMNIVEC_NAMESPACE", help="Of the runs; default: cluster.namespace."),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(envvar="KF_PIPELINES_SA_TOKEN_PATH", help="File with a bearer token. Or set OMNIVEC_KFP_TOKEN."),
]
CookieFile = Annotated[
    Path | None, typer.Option(envvar="OMNIVEC_KFP_COOKIE_FILE", help="File with the cookies of a login in a browser.")
]
Authority = Annotated[
    Path | None, typer.Option("--ca", envvar="OMNIVEC_KFP_CA", help="Certificate of the server's authority.")
]
Experiment = Annotated[str, typer.Option(help="Experiment in Kubeflow Pipelines; made where it is missing.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def access_of(
    host: str | None, namespace: str | None, token_file: Path | None, cookie_file: Path | None, ca: Path | None
) -> "Access":
    """Where Kubeflow Pipelines is and as whom to come, from options and variables."""
    from model.errors import ConfigError
    from pipelines.access import Access, find_host

    address, token_file = find_host(host, in_pod=POD_MARK.is_file(), token_file=token_file)
    for path in (token_file, cookie_file, ca):
        if path is not None and not path.is_file():
            raise ConfigError(f"there is no file {path}")
    return Access(
        host=address,
        namespace=namespace or _namespace_of_pod() or "kubeflow",
        token=os.environ.get("OMNIVEC_KFP_TOKEN") or None,
        token_file=token_file,
        cookies=cookie_file.read_text(encoding="utf-8").strip() if cookie_file else None,
        ca=ca,
    )


def _namespace_of_pod() -> str | None:
    path = POD_MARK.with_name("namespace")
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None


def reach(access: "Access") -> "Connection":
    """Connect, or end with code 3."""
    from pipelines.access import connect

    with refusing():
        return connect(access)


@contextmanager
def refusing() -> Iterator[None]:
    """Where the cluster does not do what is asked of it inside, say why, and end with code 3."""
    from pipelines.access import ClusterError

    try:
        yield
    except ClusterError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(NO_CLUSTER) from error


def pin(config: "RunConfig", image: str | None) -> tuple["RunConfig", str]:
    """A run with the corpus that its pods will find, and the corpus' digest; what may go wrong is warned of."""
    from components.corpora import pin_corpus
    from pipelines.advice import advice

    corpus = pin_corpus(config.corpus, elsewhere=True)
    config = config.model_copy(update={"corpus": corpus.name})
    for sentence in advice(config, image):
        typer.echo(f"warning: {sentence}", err=True)
    return config, corpus.digest
