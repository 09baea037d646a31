"""MLflow as ``prod`` runs it with ``mlflow-postgres``: two servers, a real PostgreSQL, and an object store."""

import json
import os
import re
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from components.environment import Environment
from components.registry import CHAMPION, Registry
from serving.launch import free_port
from tests.infra.fake_s3 import FakeS3
from tests.infra.manifests import INFRA, rendered
from tests.infra.policies import name_of
from tests.infra.postgres import PASSWORD, postgres
from tests.infra.test_pod import WAIT_SECONDS, arguments, register, running, variables_of, wait_for

COMPONENT = (INFRA / "components/mlflow-postgres/kustomization.yaml").read_text(encoding="utf-8")
[DATABASE] = set(re.findall(r'MLFLOW_BACKEND_STORE_URI, value: "(.+?)"', COMPONENT))


def stored() -> str:
    """Where ``prod`` puts artifacts."""
    [settings] = [t for t in rendered("prod") if name_of(t).startswith("ConfigMap/omnivec-object-store")]
    return str(settings["data"]["ARTIFACTS"])


@pytest.mark.minutes
@pytest.mark.timeout(1800)
def test_two_servers_on_one_database_and_a_bucket_are_one_registry(
    tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # what goes wrong is told soon
    (tmp_path / "results").mkdir()
    (tmp_path / "results/metrics.json").write_text("{}")
    with ExitStack() as stack:
        store, database = stack.enter_context(FakeS3()), stack.enter_context(postgres())
        secret = {"AWS_ACCESS_KEY_ID": "ours", "AWS_SECRET_ACCESS_KEY": "hidden"}
        secret["MLFLOW_S3_ENDPOINT_URL"] = store.address
        given = variables_of("Deployment/mlflow", "mlflow", overlay="prod") | secret | database
        given |= {"MLFLOW_BACKEND_STORE_URI": DATABASE, "HOME": str(tmp_path)}
        migrate = arguments("Deployment/mlflow", "migrate", database=DATABASE)
        for _ in range(2):  # of an empty database, and of one that is as it should be
            subprocess.run(migrate, check=True, timeout=WAIT_SECONDS, env={**os.environ, **given})
        addresses = []
        for number in (1, 2):
            port, log = free_port(), tmp_path / f"mlflow-{number}.log"
            server = arguments(
                "Deployment/mlflow", "mlflow", artifacts=stored(), port=f"--port={port}", host="127.0.0.1"
            )
            assert PASSWORD not in " ".join(server), "everybody on the node reads arguments"
            stack.enter_context(running(server, log, **given))
            addresses.append(f"http://127.0.0.1:{port}")
        for number, address in enumerate(addresses, 1):
            wait_for(f"{address}/health", tmp_path / f"mlflow-{number}.log")

        one, two = (Environment(home=tmp_path / f"people-{a[-5:]}", tracking_uri=a) for a in addresses)
        version = register(one, tiny_artifact, tmp_path / "results")
        Registry(one).set_alias(CHAMPION, version)
        fetched = Registry(two).fetch(CHAMPION)
        assert json.loads((fetched / "digests.json").read_text()) == json.loads(
            (tiny_artifact / "digests.json").read_text()
        )
        assert (fetched / "digests.json").is_relative_to(two.home)
    kept = {name for name in store.objects if name.endswith("/artifact/digests.json")}
    assert len(kept) == 1
    assert all(f"s3://{name}".startswith(stored()) for name in store.objects)
    assert (store.keys, store.refused) == ({"ours"}, [])
