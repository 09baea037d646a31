"""Getting at the Kubernetes API: from a pod by its ServiceAccount, else by the kubeconfig."""

import json
from typing import Any

from pipelines.access import ClusterError

SECONDS = (5.0, 30.0)


def api_client(context: str | None = None) -> Any:
    """A client of the cluster that this pod runs in, or else of the kubeconfig.

    Raises:
        ClusterError: there is neither.
    """
    from kubernetes import client, config

    settings = client.Configuration()
    try:
        if context is None:
            config.load_incluster_config(client_configuration=settings)
            return client.ApiClient(settings)
    except config.ConfigException:
        pass
    try:
        config.load_kube_config(context=context, client_configuration=settings)
    except (config.ConfigException, OSError) as error:
        said = str(error).rstrip(".")
        raise ClusterError(
            f"there is no access to the Kubernetes API: {said}. Run this in a pod, or where 'kubectl get pods' works: "
            "by KUBECONFIG, or --context for one of several clusters"
        ) from error
    settings.retries = 1
    return client.ApiClient(settings)


def get(api: Any, path: str, **query: Any) -> tuple[int, Any]:
    """Status and document of a GET; status 0 and a message where nothing answers."""
    return call(api, "GET", path, query=query)


def call(api: Any, method: str, path: str, *, query: dict[str, Any] | None = None, body: Any = None) -> tuple[int, Any]:
    """Status and document of a request; a refusal is an answer, not an exception."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    headers = {"Accept": "application/json"} | ({"Content-Type": "application/json"} if body is not None else {})
    try:
        data, status, _ = api.call_api(
            path,
            method,
            query_params=list((query or {}).items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
            response_type="object",
            _request_timeout=SECONDS,
        )
    except ApiException as error:
        return int(error.status or 0), _message(error)
    except (HTTPError, OSError) as error:
        return 0, f"{type(error).__name__}: {error}"
    return int(status), data


def text(api: Any, path: str, **query: Any) -> tuple[int, str]:
    """Status and text of a GET whose answer is no document, such as a log."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        response = api.call_api(
            path,
            "GET",
            query_params=list(query.items()),
            auth_settings=["BearerToken"],
            _preload_content=False,
            _return_http_data_only=True,
            _request_timeout=SECONDS,
        )
        return int(response.status), response.data.decode(errors="replace")
    except ApiException as error:
        return int(error.status or 0), _message(error)
    except (HTTPError, OSError) as error:
        return 0, f"{type(error).__name__}: {error}"


def _message(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason or error.body or "")
