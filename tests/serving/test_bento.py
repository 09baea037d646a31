"""A Bento: what it refuses, and that it runs where nothing of the checkout is."""

import json
import os
import signal
import site
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest

from model.artifact import load_encoder
from model.content import Content, audio, image
from model.encoding import run_batch
from model.errors import ArtifactError, ConfigError
from serving.bento import ANONYMOUS_VARIABLE, KEYS_VARIABLE, build_bento, configure, pinned_requirements
from serving.client import EmbeddingClient
from serving.config import CONFIG_VARIABLE, ServingConfig
from serving.keys import digest_of, new_key
from serving.launch import free_port

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The source folder of a Bento, and a process that nobody configured."""
    for name in (CONFIG_VARIABLE, KEYS_VARIABLE, ANONYMOUS_VARIABLE):
        monkeypatch.setenv(name, "")
    (tmp_path / "serving.json").write_text('{"version": "9", "backend": "torch"}')
    return tmp_path


def test_a_bento_is_closed_until_somebody_says_who_may_call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=f"{KEYS_VARIABLE}=.*FILE.*{ANONYMOUS_VARIABLE}=true"):
        configure(folder)
    monkeypatch.setenv(ANONYMOUS_VARIABLE, "no")
    with pytest.raises(ConfigError, match="who may call"):
        configure(folder)


def test_keys_close_it_and_workers_inherit_the_configuration(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEYS_VARIABLE, "keys.json")
    with pytest.raises(ConfigError, match="whole path"):
        configure(folder)
    monkeypatch.setenv(KEYS_VARIABLE, str(folder / "keys.json"))
    configure(folder)
    path = Path(os.environ[CONFIG_VARIABLE])
    config = ServingConfig.parse(path)
    assert (config.version, config.backend, config.artifact) == ("9", "torch", folder / "artifact")
    assert config.keys == folder / "keys.json"
    assert not config.anonymous
    assert path.parent.stat().st_mode & 0o077 == 0, "another user could have put a configuration there"
    configure(folder)
    assert os.environ[CONFIG_VARIABLE] == str(path), "a worker uses what its parent made"


def test_refusals_come_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "config.json").write_text("{}")
    (tmp_path / "artifact" / "digests.json").write_text(json.dumps({"config.json": "0" * 64}))
    with pytest.raises(ArtifactError, match="does not match its digests"):
        build_bento(tmp_path / "artifact", tmp_path / "out", version="1")
    with pytest.raises(ConfigError, match="exists already"):
        build_bento(tmp_path / "artifact", tmp_path, version="1")
    assert not (tmp_path / "out").exists()


def test_requirements_are_those_of_the_wheel_in_exact_versions(tmp_path: Path) -> None:
    wheel = tmp_path / "omnivec-0-py3-none-any.whl"
    metadata = (
        "Name: omnivec\nVersion: 0\nRequires-Dist: pydantic>=2\nRequires-Dist: httpx; extra == 'serve'\n"
        "Requires-Dist: omnivec[serve]; extra == 'serve-torch'\nRequires-Dist: torch; extra == 'serve-torch'\n"
    )
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("omnivec-0.dist-info/METADATA", metadata)
    plain, torch = pinned_requirements(wheel, "serve"), pinned_requirements(wheel, "serve-torch")
    names = [line.split("==")[0] for line in plain]
    assert {"pydantic", "pydantic-core", "httpx", "httpcore"} <= set(names)
    assert "torch" not in names
    assert set(plain) < set(torch)
    assert not any("+" in line or line.startswith("omnivec") for line in torch), "a local build is on no index"


@pytest.mark.minutes
@pytest.mark.timeout(900)
def test_a_bento_serves_where_nothing_of_the_checkout_is(
    tmp_path: Path, tiny_artifact: Path, png_bytes: bytes, ogg_bytes: bytes
) -> None:
    archive, elsewhere = tmp_path / "built" / "omnivec.tar", tmp_path / "elsewhere"
    assert build_bento(tiny_artifact, archive, version="12", backend="torch") == "omnivec:12"
    python = _python_without_the_checkout(elsewhere, tmp_path)
    clean = {"PATH": os.environ["PATH"], "HOME": str(elsewhere), "BENTOML_DO_NOT_TRACK": "True"}
    bentoml = [str(python), "-m", "bentoml"]
    subprocess.run([*bentoml, "import", str(archive)], cwd=elsewhere, env=clean, check=True, capture_output=True)
    bento = elsewhere / "bentoml" / "bentos" / "omnivec" / "12"
    wheel = next((bento / "src" / "wheels").glob("*.whl"))
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, str(wheel)], check=True)
    where = [str(python), "-c", "import serving; print(serving.__file__)"]
    found = subprocess.run(where, cwd=elsewhere, env=clean, check=True, capture_output=True, text=True).stdout
    assert found.startswith(str(elsewhere)), "the code comes from the wheel"

    # By its path: by its tag BentoML hides why a Bento cannot be loaded.
    serve = [*bentoml, "serve", str(bento)]
    refused = subprocess.run(serve, cwd=elsewhere, env=clean, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "who may call it" in refused.stderr

    key, port = new_key(), free_port()
    (elsewhere / "keys.json").write_text(json.dumps({"keys": [{"name": "test", "sha256": digest_of(key)}]}))
    command = [*serve, "--host", "127.0.0.1", "--port", str(port)]
    with (elsewhere / "log").open("wb") as log:
        service = subprocess.Popen(
            command, cwd=elsewhere, env={**clean, KEYS_VARIABLE: str(elsewhere / "keys.json")}, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, service, elsewhere / "log")
        contents = [Content.of("hello"), Content.of(image(png_bytes), "and", audio(ogg_bytes))]
        with EmbeddingClient(url, key=key) as client:
            served = client.embed(contents)
            assert client.models()[0]["version"] == "12"
        assert httpx.post(f"{url}/v1/embeddings", json={"model": "omnivec", "input": "x"}).status_code == 401
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(30)
    offline_ND = run_batch(load_encoder(tiny_artifact), contents)
    assert np.allclose(served.vectors_Nd, offline_ND, atol=1e-5)


def _python_without_the_checkout(folder: Path, scratch: Path) -> Path:
    """A Python with this environment's packages, but not its link to the checkout, which is what a .pth file adds."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    purelib = Path(subprocess.run(asked, check=True, capture_output=True, text=True, cwd=scratch).stdout.strip())
    shared = {sysconfig.get_path("purelib"), *(p for p in site.getsitepackages() if "site-packages" in p)}
    (purelib / "shared.pth").write_text("\n".join(sorted(shared)) + "\n")  # their own .pth files are not read
    gone = [str(python), "-c", "import serving"]
    done = subprocess.run(gone, cwd=folder, env={"PATH": ""}, capture_output=True, text=True, check=False)
    assert "No module named 'serving'" in done.stderr, f"the checkout {ROOT} is still on the path"
    return python


def _wait(url: str, service: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(240):
        if service.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    pytest.fail(f"the Bento never got ready\n{log.read_text()}")
