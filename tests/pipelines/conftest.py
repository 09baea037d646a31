"""Fixtures of the commands that talk to a cluster."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest

STACK = inspect.stack  # as it is without the patch below, which may be asked for twice


@contextmanager
def quick_frames() -> Iterator[None]:
    """kfp looks at all frames at each call; for those without a file ``inspect`` goes through every module there is.

    Beside the modules of a whole suite that takes a minute for a pipeline that compiles in one second.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "stack", partial(STACK, 0))
        patch.setattr(inspect, "getsourcefile", inspect.getfile)
        yield


@pytest.fixture(scope="module", autouse=True)
def _quick_frames() -> Iterator[None]:
    with quick_frames():
        yield


def small_pipeline(*, fresh: bool = False) -> str:
    """Some steps of the real pipeline as they are compiled for a cluster; a whole recipe takes ten times as long."""
    from kfp import compiler, dsl

    from components.audit.component import audit
    from components.init_model.component import init_model
    from components.report.component import report
    from components.train.component import train
    from components.validate.component import validate
    from pipelines.cluster import ClusterConfig
    from pipelines.plan import Graph

    graph = Graph(lambda kind: f"images.example/{kind}@sha256:1", ClusterConfig(home_claim="state", retries=2), fresh)

    @dsl.pipeline(name="omnivec-training")
    def training(corpus: str = "", corpus_digest: str = "") -> None:
        with dsl.ExitHandler(graph.add(report, config="{}"), name="steps"):
            given = graph.add(validate, config="{}", corpus=corpus, corpus_digest=corpus_digest).outputs["dataset"]
            data = graph.add(audit, config="{}", dataset=given).outputs["audited"]
            model = graph.add(init_model, config="{}").outputs["model"]
            for name in ("train-align", "train-finetune"):
                task = graph.add(train, name, config="{}", dataset=data, features=data, model=model)
                model = task.outputs["trained"]

    with TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(training, str(path))
        return path.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def compiled() -> dict[bool, str]:
    """Small pipelines, by whether they take nothing from the cache."""
    with quick_frames():
        return {fresh: small_pipeline(fresh=fresh) for fresh in (False, True)}


@cache
def command_of(app: Any) -> Any:
    """The commands of an application, built once: that takes as long as running one."""
    from typer.main import get_command

    return get_command(app)


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compiled: dict[bool, str]) -> None:
    """No pipeline is compiled twice or read slowly, and nothing of this user's settings for kfp and kubectl is read."""
    import kfp.client.client
    import yaml

    from pipelines import runs

    fast = SimpleNamespace(safe_load_all=partial(yaml.load_all, Loader=yaml.CSafeLoader), safe_load=yaml.safe_load)
    monkeypatch.setattr(kfp.client.client, "yaml", fast)
    monkeypatch.setattr("typer.testing._get_command", command_of)

    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    monkeypatch.setattr(runs, "compile_yaml", lambda config, image=None, *, fresh=False: compiled[fresh])
    for name in ("KF_PIPELINES_ENDPOINT", "OMNIVEC_KFP_TOKEN", "KF_PIPELINES_SA_TOKEN_PATH", "OMNIVEC_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def fake() -> Iterator:
    """A server that answers as Kubeflow Pipelines does."""
    from tests.pipelines.fake_kfp import FakeKfp

    with FakeKfp() as server:
        yield server


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder that counts as a corpus: its content is only hashed."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.parquet").write_bytes(b"x")
    return folder
