"""A Kubeflow Pipelines API on this machine that refuses what the published models and protos do not know.

It proves the client's side of the wire only: that every field of a request is one of ``kfp_server_api``'s models and of
its type, that a pipeline parses as ``PipelineSpec`` and its platform part as ``KubernetesExecutorConfig``, that
parameters are ones the pipeline has. It compiles no Argo workflow, starts no pod and knows no user.
"""

import json
import re
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlparse

import kfp_server_api
from google.protobuf.json_format import ParseDict, ParseError
from kfp.kubernetes import kubernetes_executor_config_pb2 as platform_pb
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec

from tests.loopback import Loopback

BASE = "/apis/v2beta1"
QUERY = {"page_token", "page_size", "sort_by", "filter", "namespace", "experiment_id"}
NUMBERS = {"max_concurrency", "interval_second"}  # int64: the gateway takes a number for what the schema calls a string
SCALARS = {"str": str, "bool": bool, "int": int, "datetime": str}
NOW = "2026-01-01T00:00:{:02d}Z"


class RefusedError(Exception):
    """An answer that is not 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def check(value: dict[str, Any], model: str, path: str = "") -> None:
    """Refuse a field that a model of the published API does not have, or of another type."""
    kind = getattr(kfp_server_api, model)
    if not hasattr(kind, "openapi_types") or not kind.openapi_types:  # an enumeration
        if value not in kind.allowable_values:
            raise RefusedError(400, f"{path}: {value!r} is none of {kind.allowable_values}")
        return
    types = {kind.attribute_map[name]: wanted for name, wanted in kind.openapi_types.items()}
    for key, given in value.items():
        if key not in types:
            raise RefusedError(400, f"{model} has no field {path}{key}")
        wanted = types[key]
        if wanted in SCALARS:
            if not isinstance(given, SCALARS[wanted]) and not (key in NUMBERS and isinstance(given, int)):
                raise RefusedError(400, f"{path}{key}: {given!r} is no {wanted}")
        elif hasattr(kfp_server_api, wanted):
            check(given, wanted, f"{path}{key}.")


def check_pipeline(given: dict[str, Any], parameters: dict[str, Any]) -> None:
    """Refuse a pipeline that the protos do not know, and parameters that it does not have."""
    spec = given.get("pipeline_spec", given)
    try:
        parsed = ParseDict(spec, PipelineSpec())
        platforms = given.get("platform_spec", {}).get("platforms", {})
        executors = platforms.get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
        for executor in executors.values():
            ParseDict(executor, platform_pb.KubernetesExecutorConfig())
    except ParseError as error:
        raise RefusedError(400, f"pipeline_spec: {error}") from error
    if set(executors) - set(spec["deploymentSpec"]["executors"]):
        raise RefusedError(400, "platform_spec has an executor that the pipeline has not")
    if unknown := set(parameters) - set(parsed.root.input_definitions.parameters):
        raise RefusedError(400, f"the pipeline has no parameter {sorted(unknown)}")


class FakeKfp(Loopback):
    """The server; a context, then ``host`` is where it answers.

    Attributes:
        script: what each look at a run finds: states of tasks and, under ``""``, of the run.
        broken: so many answers from now on are 503.
        refuse: status of every answer but the one about health.
    """

    def __init__(self, *, multi_user: bool = True, token: str | None = None, namespaces: tuple[str, ...] = ("team",)):
        self.multi_user = multi_user
        self.token = token
        self.namespaces = namespaces
        self.experiments: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.schedules: dict[str, dict[str, Any]] = {}
        self.script: list[dict[str, str]] = [{"": "SUCCEEDED"}]
        self.looks = 0
        self.broken = 0
        self.refuse = 0
        self.login = False
        self.old = False
        self.requests: list[str] = []
        super().__init__(_Handler, fake=self)

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        if path == "/healthz":
            return {"multi_user": self.multi_user}
        if self.broken:
            self.broken -= 1
            raise RefusedError(503, "upstream connect error")
        if self.refuse:
            raise RefusedError(self.refuse, "User 'a@b' is not authorized with reason: (request: create runs)")
        if unknown := set(query) - QUERY:
            raise RefusedError(400, f"no parameter {unknown}")
        kind, _, rest = path.lstrip("/").partition("/")
        name, _, verb = rest.partition(":")
        calls = {"experiments": self._experiments, "runs": self._runs, "recurringruns": self._schedules}
        if kind not in calls:
            raise RefusedError(404, "Not Found")
        return calls[kind](method, name, verb, query, body)

    def _experiments(self, method: str, name: str, verb: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        if method == "POST":
            check(body, "V2beta1Experiment")
            self._belongs(body.get("namespace"))
            made = {**body, "experiment_id": f"e{len(self.experiments) + 1}"}
            self.experiments[made["experiment_id"]] = made
            return made
        self._belongs(query.get("namespace"))
        return {"experiments": _filtered(self.experiments, query)}

    def _runs(self, method: str, name: str, verb: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        if method == "POST" and not name:
            check(body, "V2beta1Run")
            check_pipeline(body["pipeline_spec"], body["runtime_config"]["parameters"])
            self._known(body["experiment_id"])
            made = {**body, "run_id": f"00000000-run-{len(self.runs) + 1}", "created_at": NOW.format(len(self.runs))}
            made["state"] = "PENDING"
            self.runs[made["run_id"]] = made
            return made
        if not name:
            if "experiment_id" not in query:
                self._belongs(query.get("namespace"))
            rows = _filtered(self.runs, query)
            start, size = int(query.get("page_token") or 0), int(query.get("page_size") or 10)
            more = {"next_page_token": str(start + size)} if start + size < len(rows) else {}
            return {"runs": rows[start : start + size], **more}
        if name not in self.runs:
            raise RefusedError(404, f"run {name} not found")
        if verb == "terminate":
            self.runs[name]["state"] = "CANCELING"
            self.script = [{"": "CANCELED"}]
            return {}
        return self._look(self.runs[name])

    def _look(self, run: dict[str, Any]) -> dict[str, Any]:
        states = self.script[min(self.looks, len(self.script) - 1)]
        self.looks += 1
        run["state"] = states.get("", "RUNNING")
        details = [
            {"display_name": task, "state": state, "create_time": NOW.format(i), "start_time": NOW.format(i)}
            | ({"end_time": NOW.format(i + 9), "error": {"code": 2, "message": "boom"}} if state == "FAILED" else {})
            for i, (task, state) in enumerate(states.items())
            if task
        ]
        return {**run, "run_details": {"task_details": details}}

    def _schedules(self, method: str, name: str, verb: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        if method == "POST" and not name:
            check(body, "V2beta1RecurringRun")
            check_pipeline(body["pipeline_spec"], body["runtime_config"]["parameters"])
            self._known(body["experiment_id"])
            cron = body["trigger"].get("cron_schedule", {}).get("cron")
            if cron is not None and len(cron.split()) != 6:
                raise RefusedError(400, f"cron {cron!r} needs six fields")
            made = {**body, "recurring_run_id": f"s{len(self.schedules) + 1}", "status": "ENABLED"}
            self.schedules[made["recurring_run_id"]] = made
            return made
        if not name:
            self._belongs(query.get("namespace"))
            return {"recurringRuns": list(self.schedules.values())}
        if method == "DELETE":
            del self.schedules[name]
            return {}
        self.schedules[name]["status"] = {"enable": "ENABLED", "disable": "DISABLED"}[verb]
        return {}

    def _belongs(self, namespace: str | None) -> None:
        if not self.multi_user and namespace:
            raise RefusedError(400, "Namespace should not be set in single-user mode")
        if self.multi_user and namespace not in self.namespaces:
            raise RefusedError(400, f"Namespace {namespace!r} not found")

    def _known(self, experiment: str) -> None:
        if experiment not in self.experiments:
            raise RefusedError(404, f"experiment {experiment} not found")


def _filtered(items: dict[str, dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
    found = list(items.values())
    if "experiment_id" in query:
        found = [item for item in found if item["experiment_id"] == query["experiment_id"]]
    for predicate in json.loads(query["filter"])["predicates"] if query.get("filter") else ():
        if predicate["operation"] not in (1, "EQUALS"):
            raise RefusedError(400, "filter")
        found = [item for item in found if item[predicate["key"]] == predicate["stringValue"]]
    if query.get("sort_by", "") not in ("", "created_at desc"):
        raise RefusedError(400, f"sort_by {query['sort_by']!r}")
    return found[::-1] if query.get("sort_by") else found


class _Handler(BaseHTTPRequestHandler):
    fake: FakeKfp

    def _handle(self) -> None:
        url = urlparse(self.path)
        self.fake.requests.append(f"{self.command} {url.path}")
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        if self.fake.login:
            self._send(200, b"<html>log in</html>", "text/html")
            return
        try:
            if self.fake.old or not url.path.startswith(BASE):
                raise RefusedError(404, "page not found")
            if self.fake.token and self.headers.get("Authorization") != f"Bearer {self.fake.token}":
                raise RefusedError(401, "Unauthenticated: token is expired")
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            found = self.fake.answer(self.command, re.sub(f"^{BASE}", "", url.path), query, body)
            self._send(200, json.dumps(found).encode())
        except RefusedError as error:
            self._send(error.status, json.dumps({"code": 3, "message": str(error)}).encode())

    do_GET = do_POST = do_DELETE = _handle

    def _send(self, status: int, data: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass
