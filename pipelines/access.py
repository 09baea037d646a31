"""Getting at Kubeflow Pipelines: its address, who one is there, and what a refusal means."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from model.errors import ConfigError, OmnivecError

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
HEALTH = "/apis/v2beta1/healthz"
IN_CLUSTER = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
POD_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")
HOW_TO_BE_KNOWN = (
    "get one with 'kubectl create token ACCOUNT -n NAMESPACE --audience pipelines.kubeflow.org' and give it by "
    "--token-file or OMNIVEC_KFP_TOKEN"
)


class ClusterError(OmnivecError):
    """No Kubeflow Pipelines answers at the given address, or it refused."""


@dataclass(frozen=True)
class Access:
    """Where Kubeflow Pipelines is, and as whom to come.

    Attributes:
        host: its address; empty inside a cluster.
        namespace: of the runs, where the installation has several users.
        token: bearer token.
        token_file: file with one, read again for every request, because such tokens are renewed.
        cookies: cookies of a login by browser, such as ``oauth2_proxy_kubeflow=...`` or ``authservice_session=...``.
        ca: certificate of the authority that signed the server's.
    """

    host: str
    namespace: str
    token: str | None = None
    token_file: Path | None = None
    cookies: str | None = None
    ca: Path | None = None


@dataclass(frozen=True)
class Connection:
    """A client, and what its server said of itself.

    Attributes:
        client: of the kfp SDK.
        namespace: to name in requests; None where the installation has a single user and refuses one.
        host: address, for links.
        health: what the server says of itself.
    """

    client: Any
    namespace: str | None
    host: str
    health: dict[str, Any]

    def link(self, run_id: str) -> str:
        """Address of a run for a browser."""
        return f"{self.host.rstrip('/')}/#/runs/details/{run_id}"


def find_host(host: str | None, *, in_pod: bool, token_file: Path | None = None) -> tuple[str, Path | None]:
    """The address and token file to use: what is given, else those of a pod in Kubeflow.

    Raises:
        ConfigError: nothing is given, and this is no pod.
    """
    if host:
        return host, token_file
    if not in_pod:
        raise ConfigError(
            "where is Kubeflow Pipelines? give --host or KF_PIPELINES_ENDPOINT, such as http://127.0.0.1:8080 after "
            "'kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80'"
        )
    return IN_CLUSTER, token_file or (POD_TOKEN if POD_TOKEN.is_file() else None)


def connect(access: Access) -> Connection:
    """A client that the server has answered once.

    Raises:
        ClusterError: nothing answers, it is no Kubeflow Pipelines 2, or it does not let us in.
    """
    import logging
    import warnings

    import kfp

    with asking(access):
        health = _health(access)
        several = bool(health.get("multi_user") or health.get("apiServerMultiUser"))
        warnings.filterwarnings("ignore", message="This client only works with Kubeflow Pipeline v2", module="kfp")
        logging.getLogger("kubernetes").setLevel(logging.ERROR)
        client = kfp.Client(
            host=access.host,
            namespace=access.namespace if several else "kubeflow",
            existing_token=access.token,
            credentials=_file_credentials(access.token_file) if access.token_file and not access.token else None,
            cookies=access.cookies,
            ssl_ca_cert=str(access.ca) if access.ca else None,
        )
        return Connection(client, access.namespace if several else None, access.host, health)


@contextmanager
def asking(access: Access) -> Iterator[None]:
    """Turn what goes wrong between here and the server into words that help; kfp's own chatter is dropped."""
    import io
    from contextlib import redirect_stdout

    from kfp_server_api.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        with redirect_stdout(io.StringIO()):
            yield
    except ApiException as error:
        raise ClusterError(_refusal(error, access)) from error
    except (HTTPError, OSError) as error:
        raise ClusterError(
            f"no Kubeflow Pipelines answers at {access.host} ({type(error).__name__}: {error}). Check the address, or "
            "open it with 'kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80' and use --host "
            "http://127.0.0.1:8080"
        ) from error


def _health(access: Access) -> dict[str, Any]:
    """What the server says of itself; an address where nothing listens is noticed at once."""
    import kfp_server_api

    address = urlsplit(access.host if "://" in access.host else f"https://{access.host}")
    port = address.port or (80 if address.scheme == "http" else 443)
    with socket.create_connection((address.hostname or "", port), timeout=CONNECT_SECONDS):
        pass
    config = kfp_server_api.Configuration(host=address.geturl().rstrip("/"))
    if access.ca:
        config.ssl_ca_cert = str(access.ca)
    if token := _token(access):
        config.api_key["authorization"] = token
        config.api_key_prefix["authorization"] = "Bearer"
    api = kfp_server_api.ApiClient(config, cookie=access.cookies)
    try:
        found = api.call_api(
            HEALTH,
            "GET",
            header_params={"Accept": "application/json"},
            response_type="object",
            auth_settings=["Bearer"],
            _return_http_data_only=True,
            _request_timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
        )
    except kfp_server_api.ApiException as error:
        if error.status != 404:
            raise
        raise ClusterError(
            f"{access.host} has no API of Kubeflow Pipelines 2 ({HEALTH}): version 2.0 or later is needed; behind the "
            "gateway of Kubeflow its address ends in /pipeline"
        ) from error
    if not isinstance(found, dict):
        raise ClusterError(
            f"{access.host} shows a web page where the API of Kubeflow Pipelines should be, most likely a login: "
            f"{HOW_TO_BE_KNOWN}, or give the cookies of a login in a browser by --cookie-file (docs/guides/operate.md)"
        )
    return found


def _token(access: Access) -> str | None:
    if access.token or access.token_file is None:
        return access.token
    try:
        return access.token_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"--token-file: {error}") from error


def _file_credentials(path: Path) -> Any:
    from kfp.client.token_credentials_base import TokenCredentialsBase

    class FileToken(TokenCredentialsBase):  # type: ignore[misc]
        """Reads the token at each request: a projected token is replaced every hour."""

        def refresh_api_key_hook(self, config: Any) -> None:
            config.api_key["authorization"] = path.read_text(encoding="utf-8").strip()

    return FileToken()


def _refusal(error: Any, access: Access) -> str:
    said = _said(error)
    head = f"{access.host}: HTTP {error.status} {error.reason or ''}".rstrip()
    if error.status == 401:
        return f"{head}: it does not know who you are, or the token is too old: {HOW_TO_BE_KNOWN}. {said}"
    if error.status == 403:
        return (
            f"{head}: you may not do this in namespace {access.namespace!r}. {said}\nIts owner adds people as "
            "contributors of the profile; a ServiceAccount needs a RoleBinding to the ClusterRole "
            "kubeflow-pipelines-edit there. Another namespace: --namespace"
        )
    if error.status >= 500:
        return f"{head}: the server failed. {said}\nLook with 'omnivec runs' what there is before you try again"
    if "namespace" in said.lower():
        return f"{head}: {said}\nThe namespace was {access.namespace!r}; another one: --namespace or cluster.namespace"
    return f"{head}: {said}"


def _said(error: Any) -> str:
    """What the body of a refusal says; nothing for a web page."""
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else str(error.body or "")
    try:
        found = json.loads(body)
    except ValueError:
        return "" if body.lstrip().startswith("<") else body.strip()[:500]
    if not isinstance(found, dict):
        return str(found)[:500]
    return str(found.get("message") or found.get("error_message") or found.get("error") or found)[:1000]
