"""MLflow runs: one parent per pipeline run, one nested run per step.

Everything goes through ``MlflowClient`` with explicit run ids, so nothing depends on MLflow's global state and
several steps may log from one process. ``mlflow`` is imported when first used: it costs seconds.
"""

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.environment import Environment
from model.config import Config
from model.errors import ConfigError

if TYPE_CHECKING:
    from mlflow import MlflowClient

OWNED = "omnivec.owned"
RUN_ID = "omnivec.run_id"
BATCH = 100
PARAM_LIMIT = 6000
DIGEST_LIMIT = 36
# Kinds of source that MLflow can open again, by scheme of an address.
SOURCES = {"s3": "s3", "gs": "gs", "https": "http"}
# A server with a bucket tells clients to read and write the bucket themselves. Ours reach the server alone, by the
# network policies of infra; a site that opens the way to the bucket sets these to true.
PAST_THE_SERVER = ("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD")


@lru_cache(maxsize=8)
def client_of(tracking_uri: str) -> "MlflowClient":
    """One client per tracking address (creating one opens, and may migrate, the database)."""
    from mlflow import MlflowClient

    for name in PAST_THE_SERVER:
        os.environ.setdefault(name, "false")
    if tracking_uri.startswith("sqlite:///"):
        Path(tracking_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def client_for(environment: Environment) -> "MlflowClient":
    """The client of an environment."""
    return client_of(environment.tracking_uri)


@dataclass(frozen=True)
class Run:
    """A live MLflow run; every method logs to it at once."""

    client: "MlflowClient"
    id: str
    parent: str | None = None

    def metrics(self, values: Mapping[str, float], *, step: int = 0) -> None:
        """Log scalars. Names may use ``/`` and no ``@``; non-finite values are refused: charts drop them silently.

        Raises:
            ConfigError: naming the wrong metrics.
        """
        from mlflow.entities import Metric

        wrong = [name for name, value in values.items() if "@" in name or not math.isfinite(float(value))]
        if wrong:
            raise ConfigError(
                f"metrics {wrong} cannot be logged: use names such as hit_at_10 (no '@') and finite values"
            )
        now = int(time.time() * 1000)
        entities = [Metric(name, float(value), now, step) for name, value in values.items()]
        for start in range(0, len(entities), BATCH):
            self.client.log_batch(self.id, metrics=entities[start : start + BATCH])

    def headline(self, values: Mapping[str, float]) -> None:
        """Log scalars here and on the parent, where people compare whole runs."""
        self.metrics(values)
        if self.parent:
            replace(self, id=self.parent, parent=None).metrics(values)

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters; nested mappings get dotted names, long values are cut at MLflow's limit."""
        from mlflow.entities import Param

        entities = [Param(name, str(value)[:PARAM_LIMIT]) for name, value in flatten(values).items()]
        for start in range(0, len(entities), BATCH):
            self.client.log_batch(self.id, params=entities[start : start + BATCH])

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        for name, value in values.items():
            self.client.set_tag(self.id, name, value)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Log a file, or every file of a directory."""
        if path.is_dir():
            self.client.log_artifacts(self.id, str(path), artifact_path=folder or path.name)
        else:
            self.client.log_artifact(self.id, str(path), artifact_path=folder)

    def json(self, name: str, value: Any) -> None:
        """Log a JSON document as an artifact called ``name``."""
        self.client.log_text(self.id, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False), name)

    def dataset(
        self,
        path: Path | str,
        digest: str,
        *,
        name: str = "corpus",
        context: str = "training",
        profile: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Record which data this run used.

        Args:
            path: where the data are: a directory, or the address of the remote that holds them (MLflow resolves no
                ``dvc://`` address, so give reference, revision and DVC hash in ``tags``).
            digest: identity of the data; MLflow keeps 36 characters, the whole goes into the tag ``digest``.
            name: name of the data set.
            context: role, such as ``training`` or ``evaluation``.
            profile: small facts such as row counts.
            tags: further facts, such as ``dvc_md5``.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        kind = SOURCES.get(str(path).partition("://")[0], "local")
        entity = Dataset(
            name=name,
            digest=digest[:DIGEST_LIMIT],
            source_type=kind,
            source=json.dumps({"url" if kind == "http" else "uri": str(path)}),
            profile=json.dumps(dict(profile or {})),
        )
        labels = {"mlflow.data.context": context, "digest": digest, **(tags or {})}
        wanted = DatasetInput(dataset=entity, tags=[InputTag(key, value) for key, value in labels.items()])
        self.client.log_inputs(self.id, datasets=[wanted])


@contextmanager
def step_run(
    name: str, environment: Environment, config: Config | str | Mapping[str, Any] | None = None
) -> Iterator[Run]:
    """Open the nested run of a step; it ends ``FINISHED``, or ``FAILED`` with the reason when the block raises.

    Args:
        name: step name, such as ``validate``.
        environment: says where to log and which parent to join. Without one, the steps of a pipeline run share a
            parent, which its report ends; outside a run a parent is made and ended here.
        config: the step's configuration, logged as parameters and as ``config.json``.
    """
    parent = environment.parent_run or shared_parent(environment) or start_parent(environment, recipe_name=name)
    own = environment.parent_run is None and environment.run_id is None
    try:
        with _nested(name, environment, parent) as run:
            values = _plain(config)
            if values:
                run.params(values)
                run.json("config.json", values)
            yield run
    except BaseException:
        if own:
            end_parent(environment, parent, status="FAILED")
        raise
    if own:
        end_parent(environment, parent)


@contextmanager
def _nested(name: str, environment: Environment, parent: str) -> Iterator[Run]:
    client = client_for(environment)
    experiment = client.get_run(parent).info.experiment_id
    created = client.create_run(experiment, run_name=name, tags={"mlflow.parentRunId": parent, "step": name})
    run = Run(client, created.info.run_id, parent)
    try:
        yield run
    except BaseException as error:
        run.tags({"error": f"{type(error).__name__}: {error}"[:500]})
        client.set_terminated(run.id, status="KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    client.set_terminated(run.id)


def shared_parent(environment: Environment) -> str | None:
    """The parent that the steps of a pipeline run share where nothing names one; None outside a run.

    Steps that start at the same time may both make one: the older one counts, and the other is deleted.
    """
    if environment.run_id is None:
        return None
    client = client_for(environment)

    def oldest() -> str | None:
        wanted = f"tags.`{RUN_ID}` = '{environment.run_id}' and tags.`{OWNED}` = 'true'"
        found = client.search_runs([_experiment(environment)], wanted, order_by=["attributes.start_time ASC"])
        ranked = sorted((run.info.start_time, run.info.run_id) for run in found)
        return str(ranked[0][1]) if ranked else None

    if (known := oldest()) is not None:
        return known
    made = start_parent(environment, recipe_name=environment.run_id)
    chosen = oldest() or made
    if chosen != made:
        client.delete_run(made)
    return chosen


def start_parent(environment: Environment, recipe_name: str, params: Mapping[str, Any] | None = None) -> str:
    """Return the parent run: the one given by the environment (joined, never replaced), or a new one."""
    client = client_for(environment)
    if environment.parent_run:
        run = Run(client, environment.parent_run)
    else:
        tags = {OWNED: "true", "recipe": recipe_name, RUN_ID: environment.run_id or ""}
        run = Run(client, client.create_run(_experiment(environment), run_name=recipe_name, tags=tags).info.run_id)
    if params:
        run.params(params)
    return run.id


def end_parent(environment: Environment, run_id: str, status: str = "FINISHED") -> None:
    """End a parent that :func:`start_parent` created; one that Kubeflow owns is left alone."""
    client = client_for(environment)
    if client.get_run(run_id).data.tags.get(OWNED) == "true":
        client.set_terminated(run_id, status=status)


def _experiment(environment: Environment) -> str:
    from mlflow.exceptions import MlflowException

    client = client_for(environment)
    found = client.get_experiment_by_name(environment.experiment)
    if found is None:
        try:
            return str(
                client.create_experiment(environment.experiment, artifact_location=environment.artifact_location)
            )
        except MlflowException:  # another step created it in the meantime
            found = client.get_experiment_by_name(environment.experiment)
            if found is None:
                raise
    return str(found.experiment_id)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings to one level with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{path}.")
        else:
            flat[path] = value
    return flat


def _plain(config: Config | str | Mapping[str, Any] | None) -> dict[str, Any]:
    if config is None:
        return {}
    if isinstance(config, Config):
        return config.model_dump(mode="json")
    return dict(json.loads(config) if isinstance(config, str) else config)
