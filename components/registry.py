"""The model registry: versions of one registered model, moved between the aliases by compare-and-set.

A version's files are those of an MLflow LoggedModel: ``MLmodel`` (signature and the ``omnivec`` flavor: plain facts, no
pickle and no module path), ``artifact/`` (the model artifact as it was exported) and ``evaluation/``.
"""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from components.environment import Environment
from components.tracking import DIGEST_LIMIT, Run, client_for
from model.errors import ArtifactError, OmnivecError
from model.integrity import artifact_digest, verify_digests

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

MODEL = "omnivec"
CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"
ARTIFACT, EVALUATION = "artifact", "evaluation"
DIGEST_TAG, DATA_TAG, STATUS_TAG = "digest", "data_digest", "validation_status"


class RegistryError(OmnivecError, RuntimeError):
    """A version or alias is not what the caller expected."""


@dataclass(frozen=True)
class Candidate:
    """What becomes a version.

    Attributes:
        artifact: model artifact directory with ``digests.json``.
        results: results directory of the evaluate step.
        data_digest: digest of the corpus.
        dimensions: Matryoshka dimensions, largest first.
        modalities: modalities of the model.
        metrics: headline values, linked to the logged model and the data.
        tags: further tags of the version.
    """

    artifact: Path
    results: Path
    data_digest: str
    dimensions: tuple[int, ...]
    modalities: tuple[str, ...]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


class Registry:
    """Versions and aliases of one registered model."""

    def __init__(self, environment: Environment, name: str = MODEL) -> None:
        self.environment = environment
        self.name = name
        self.client = client_for(environment)

    def aliases(self) -> dict[str, str]:
        """Version behind each alias; empty when the model is not registered yet."""
        from mlflow.exceptions import MlflowException

        try:
            return {alias: str(v) for alias, v in self.client.get_registered_model(self.name).aliases.items()}
        except MlflowException:
            return {}

    def resolve(self, version_or_alias: str) -> "ModelVersion":
        """Look up a version by number or alias.

        Raises:
            RegistryError: naming what exists.
        """
        aliases = self.aliases()
        version = aliases.get(version_or_alias, version_or_alias)
        known = {str(v.version): v for v in self.client.search_model_versions(f"name='{self.name}'")}
        if version not in known:
            there = f"versions {', '.join(sorted(known, key=int))}; aliases {aliases}" if known else "nothing yet"
            raise RegistryError(f"{self.name} has no version or alias {version_or_alias!r}; it has {there}")
        return known[version]

    def find(self, digest: str, data_digest: str) -> str | None:
        """The version with this model and data, if it was registered before."""
        wanted = f"name='{self.name}' and tag.{DIGEST_TAG}='{digest}' and tag.{DATA_TAG}='{data_digest}'"
        found = self.client.search_model_versions(wanted)
        return min((str(v.version) for v in found), key=int, default=None)

    def register(self, candidate: Candidate, run: Run) -> tuple[str, bool]:
        """Make a version of ``candidate``, or find the one that already holds the same model and data.

        Returns:
            The version and whether it is new.

        Raises:
            ArtifactError: the artifact is damaged.
        """
        verify_digests(candidate.artifact)
        digest = artifact_digest(candidate.artifact)
        existing = self.find(digest, candidate.data_digest)
        if existing is not None:
            return existing, False
        model_id = self._log(candidate, digest, run)
        if not self.aliases() and not self.client.search_registered_models(f"name='{self.name}'"):
            self.client.create_registered_model(self.name, description="Multimodal embedding model: one vector space")
        tags = {**candidate.tags, DIGEST_TAG: digest, DATA_TAG: candidate.data_digest, STATUS_TAG: "pending"}
        import mlflow

        # The SQL registry resolves models:/m-... through the process-wide address, whatever the client's own is.
        mlflow.set_tracking_uri(self.environment.tracking_uri)
        created = self.client.create_model_version(
            self.name, source=f"models:/{model_id}", run_id=run.id, tags=tags, model_id=model_id
        )
        return str(created.version), True

    def set_alias(self, alias: str, version: str) -> None:
        """Point an alias at a version."""
        self.client.set_registered_model_alias(self.name, alias, version)

    def tag(self, version: str, values: Mapping[str, str]) -> None:
        """Set tags of a version."""
        for key, value in values.items():
            self.client.set_model_version_tag(self.name, version, key, value[:5000])

    def folder(self, version_or_alias: str, part: str = ARTIFACT) -> Path:
        """Local directory of a version's ``artifact`` or ``evaluation``; downloaded when the store is remote."""
        found = self.resolve(version_or_alias)
        location = self.client.get_logged_model(str(found.source).removeprefix("models:/")).artifact_location
        if urlparse(location).scheme in ("file", ""):
            return Path(unquote(urlparse(location).path)) / part
        return self._download(f"{location}/{part}", Path("models") / f"{self.name}-{found.version}" / part)

    def fetch(self, version_or_alias: str) -> Path:
        """Artifact directory of a version, checked file by file against its digests and against the registry's tag.

        Raises:
            ArtifactError: the files are not those that were registered.
        """
        found = self.resolve(version_or_alias)
        directory = self.folder(str(found.version))
        verify_digests(directory)
        actual = artifact_digest(directory)
        if actual != found.tags.get(DIGEST_TAG):
            raise ArtifactError(
                f"version {found.version} of {self.name} was registered as {found.tags.get(DIGEST_TAG)}, its files are "
                f"{actual}: they were changed after registration; register the model again"
            )
        return directory

    def promote(self, version: str, *, expected: str | None) -> None:
        """Make ``version`` champion and the old champion ``previous``.

        Args:
            version: the version to promote.
            expected: the champion that the decision was made against; ``None`` for no champion.

        Raises:
            RegistryError: somebody moved the alias in the meantime; nothing was changed.
        """
        version = str(self.resolve(version).version)
        before = self.aliases()
        if before.get(CHAMPION) != expected:
            raise RegistryError(
                f"the champion of {self.name} is version {before.get(CHAMPION)}, the decision was made against "
                f"{expected}; compare again with the present champion"
            )
        if expected is not None and expected != version:
            self.set_alias(PREVIOUS, expected)
        self.set_alias(CHAMPION, version)
        if before.get(CHALLENGER) == version:
            self.client.delete_registered_model_alias(self.name, CHALLENGER)
        self._confirm(version)

    def rollback(self) -> tuple[str, str]:
        """Make the previous version champion again.

        Returns:
            The version that was champion and the one that is now.

        Raises:
            RegistryError: there is no previous version.
        """
        aliases = self.aliases()
        if CHAMPION not in aliases or PREVIOUS not in aliases:
            raise RegistryError(f"{self.name} has no previous champion to go back to; aliases: {aliases}")
        now, then = aliases[CHAMPION], aliases[PREVIOUS]
        self.set_alias(PREVIOUS, now)
        self.set_alias(CHAMPION, then)
        self.tag(now, {"rolled_back_to": then})
        self._confirm(then)
        return now, then

    def _confirm(self, champion: str) -> None:
        found = self.aliases().get(CHAMPION)
        if found != champion:
            raise RegistryError(
                f"the champion of {self.name} was set to {champion} and is {found}: somebody moved it too"
            )

    def _log(self, candidate: Candidate, digest: str, run: Run) -> str:
        experiment = self.client.get_run(run.id).info.experiment_id
        tags = {DIGEST_TAG: digest, DATA_TAG: candidate.data_digest}
        logged = self.client.create_logged_model(experiment, name=self.name, source_run_id=run.id, tags=tags)
        try:
            self.client.log_model_artifacts(logged.model_id, str(candidate.artifact), ARTIFACT)
            self.client.log_model_artifacts(logged.model_id, str(candidate.results), EVALUATION)
            with tempfile.TemporaryDirectory() as folder:
                self._describe(candidate, digest, run, logged.model_id, Path(folder))
                self.client.log_model_artifacts(logged.model_id, folder)
            self._link_metrics(candidate, run, logged.model_id)
        except BaseException:
            self.client.finalize_logged_model(logged.model_id, "FAILED")
            raise
        self.client.finalize_logged_model(logged.model_id, "READY")
        return str(logged.model_id)

    def _describe(self, candidate: Candidate, digest: str, run: Run, model_id: str, folder: Path) -> None:
        flavor: dict[str, Any] = {
            "format": "omnivec-artifact/1",
            "path": ARTIFACT,
            "digest": digest,
            "dimensions": list(candidate.dimensions),
            "modalities": list(candidate.modalities),
        }
        from mlflow.models import Model

        described = Model(
            run_id=run.id, model_id=model_id, flavors={MODEL: flavor}, signature=signature_of(candidate.dimensions[0])
        )
        described.save(str(folder / "MLmodel"))
        card = candidate.artifact / "README.md"
        if card.is_file():
            (folder / "README.md").write_bytes(card.read_bytes())

    def _link_metrics(self, candidate: Candidate, run: Run, model_id: str) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        data = {"dataset_name": "test split", "dataset_digest": candidate.data_digest[:DIGEST_LIMIT]}
        linked = [
            Metric(name, value, now, 0, model_id=model_id, run_id=run.id, **data)
            for name, value in candidate.metrics.items()
        ]
        self.client.log_batch(run.id, metrics=linked)

    def _download(self, uri: str, target: Path) -> Path:
        from mlflow.artifacts import download_artifacts

        directory = self.environment.home / "cache" / target
        if not directory.is_dir():
            directory.parent.mkdir(parents=True, exist_ok=True)
            # Beside it first: a download that is cut off must not look like a version.
            with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".partial-") as partial:
                came = download_artifacts(
                    artifact_uri=uri, dst_path=partial, tracking_uri=self.environment.tracking_uri
                )
                Path(came).rename(directory)
        return directory


def signature_of(dimension: int) -> Any:
    """MLflow signature: a content as JSON text in, unit vectors [-1, dimension] out."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec

    outputs = Schema([TensorSpec(np.dtype("float32"), (-1, dimension))])
    return ModelSignature(inputs=Schema([ColSpec(DataType.string, "content")]), outputs=outputs)


def fetch_version(version_or_alias: str, environment: Environment, name: str = MODEL) -> Path:
    """Verified artifact directory of a version or alias (see :meth:`Registry.fetch`)."""
    return Registry(environment, name).fetch(version_or_alias)
