"""Options by which commands reach Kubeflow Pipelines, and the one place that reads their variables."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipelines.access import Access, Connection

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
    from pipelines.access import ClusterError, connect

    try:
        return connect(access)
    except ClusterError as error:
        raise refused(error) from error


def refused(error: Exception) -> typer.Exit:
    """Say why the cluster did not do it; the exit to raise has code 3."""
    typer.echo(f"error: {error}", err=True)
    return typer.Exit(NO_CLUSTER)
