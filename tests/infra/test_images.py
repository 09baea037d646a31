"""The images, as far as they can be judged without building them; tests/containers builds them."""

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import sqlalchemy

from tests.infra.manifests import rendered
from tests.infra.policies import pods_of

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "infra" / "images"
CONTAINERFILE = (IMAGES / "Containerfile").read_text(encoding="utf-8")
TARGETS = ("data", "train", "serve", "pipeline")
DIGEST = "sha256:" + "0" * 64


def script(name: str) -> ModuleType:
    """A script beside the Containerfile, which is no package."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, IMAGES / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


build, closure, pins = script("build.py"), script("closure.py"), script("install/pins.py")
check = script("check.py")
LISTS = {path.stem: path.read_text(encoding="utf-8").split() for path in (IMAGES / "lists").glob("*.txt")}


def instructions(text: str) -> list[tuple[str, str]]:
    """Instructions with what follows them, continued lines joined."""
    code = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in code.splitlines() if line.strip()]


def stages(text: str) -> dict[str, list[tuple[str, str]]]:
    """Instructions by stage, FROM included."""
    found: dict[str, list[tuple[str, str]]] = {}
    for word, rest in instructions(text):
        if word == "FROM":
            found[rest.split(" AS ")[1]] = []
        if found:
            found[list(found)[-1]].append((word, rest))
    return found


def offences(text: str) -> list[str]:
    """What the policy forbids, in words; empty for a good Containerfile."""
    found = [f"{word} {rest[:60]}" for word, rest in instructions(text) if word in ("ADD", "ENTRYPOINT", "MAINTAINER")]
    found += [
        f"fetches by itself: {rest[:60]}" for word, rest in instructions(text) if re.search(r"curl|wget|apt", rest)
    ]
    found += ["latest"] if re.search(r":latest\b", text) else []
    found += ["names a host"] if re.search(r"https?://(?!127)", text) else []
    found += ["syntax line"] if re.search(r"^#\s*syntax\s*=", text, re.MULTILINE) else []
    found += ["heredoc"] if "<<" in text else []
    for name, lines in stages(text).items():
        source = lines[0][1].split(" AS ")[0]
        if source != "${BASE}" and source not in stages(text):
            found.append(f"{name} is from {source}")
        if name in TARGETS:
            found += [] if ("USER", "10001:10001") in lines else [f"{name} runs as root"]
            found += [] if any(word == "CMD" and rest.startswith("[") for word, rest in lines) else [f"{name}: CMD"]
            found += [] if any(word == "STOPSIGNAL" for word, _ in lines) else [f"{name}: STOPSIGNAL"]
    return found


def test_containerfile_keeps_the_policy() -> None:
    assert offences(CONTAINERFILE) == []
    assert set(TARGETS) <= set(stages(CONTAINERFILE))
    assert any(word == "HEALTHCHECK" for word, _ in stages(CONTAINERFILE)["serve"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("USER 10001:10001", "USER root"),
        ("COPY serving serving", "ADD https://example.org/serving.tar /src"),
        ("FROM ${BASE} AS base", "FROM python:latest AS base"),
        ("FROM core AS serve-packages", "FROM python:3.11 AS serve-packages"),
        ("FROM serve-packages AS serve", "FROM serve-${SERVE_BACKEND} AS serve"),
        ("sh /install.sh core", "curl -s example.org/x | sh"),
        ('CMD ["omnivec", "--help"]', "CMD omnivec --help"),
        ("ARG BASE=", "# syntax=docker/dockerfile:1\nARG BASE="),
    ],
)
def test_the_policy_finds_what_it_forbids(old: str, new: str) -> None:
    assert old in CONTAINERFILE
    assert offences(CONTAINERFILE.replace(old, new)) != []


def test_nothing_but_sources_enters_a_build() -> None:
    allowed = (IMAGES / "Containerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in allowed if line and not line.startswith("#")]
    assert rules[0] == "*"
    copied = [
        part
        for lines in stages(CONTAINERFILE).values()
        for word, rest in lines
        for part in (rest.split()[:-1] if word == "COPY" else re.findall(r"type=bind,source=([^,\s]+)", rest))
    ]
    for path in set(copied):
        assert (ROOT / path).exists()
        assert any(path == rule[1:] or path.startswith(f"{rule[1:]}/") for rule in rules if rule.startswith("!")), path
    assert "data/starter" in rules, "the corpus travels as data"


def test_golden_lists_are_complete(tmp_path: Path) -> None:
    """The lists are what pyproject.toml and the environment of requirements.lock say; else: make lock."""
    closure.main(tmp_path)
    fresh = {path.stem: path.read_text(encoding="utf-8").split() for path in tmp_path.glob("*.txt")}
    assert fresh == LISTS
    locked = pins.pinned((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    assert {name for names in LISTS.values() for name in names} <= set(locked)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert {extra for named in closure.EXTRAS.values() for extra in named} <= set(extras)


def test_each_image_has_only_what_it_needs() -> None:
    def holds(target: str) -> set[str]:
        return {name for part in (*closure.BELOW[target], target) for name in LISTS[part]}

    assert not holds("data") & {"torch", "transformers", "bentoml", "lightning"}
    assert not holds("serve") & {"torch", "transformers", "kfp", "mlflow", "pandas", "scikit-learn", "evidently"}
    assert not holds("train") & {"bentoml", "evidently", "kubeflow"}
    tests = {"pytest", "ruff", "mypy", "hypothesis", "pre-commit", "import-linter"}
    assert not any(holds(target) & tests for target in TARGETS)
    assert {"kfp"} <= holds("data")  # steps run by kfp's executor


CLIENTS = {
    "sqlite": set[str](),
    "s3": {"boto3"},
    "postgresql+psycopg": {"psycopg", "psycopg-binary"},
}
"""Packages that MLflow's server needs for each kind of store."""


def test_the_image_of_the_tracking_server_reaches_its_stores() -> None:
    """Every store that a manifest names, by the driver that its URI names."""
    manifests = [p for folder in ("base", "components", "overlays") for p in (ROOT / "infra" / folder).rglob("*.yaml")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in manifests)
    kinds = set(re.findall(r"\b(?:ARTIFACTS=|MLFLOW_BACKEND_STORE_URI, value: \")([a-z0-9+]+):", text))
    assert kinds == set(CLIENTS)
    servers = {
        container["image"].rpartition("@")[0].rpartition("/")[2]
        for pods in pods_of(rendered("prod"))
        for _, container, _ in pods.containers()
        if "mlflow" in container.get("args", ())
    }
    assert servers == {"omnivec-pipeline"}
    held = {name for part in (*closure.BELOW["pipeline"], "pipeline") for name in LISTS[part]}
    assert {"mlflow", "sqlalchemy", "alembic"} | set().union(*CLIENTS.values()) <= held
    assert not {"boto3", "psycopg"} & {name for part in ("core", "data", "train", "serve") for name in LISTS[part]}
    for kind in kinds - {"s3"}:
        assert sqlalchemy.make_url(f"{kind}://").get_dialect().import_dbapi().__name__ in ("sqlite3.dbapi2", "psycopg")


def test_the_same_list_gives_the_same_folder(tmp_path: Path) -> None:
    """A change of the lock that a layer does not hold leaves the layer alone."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    written = {}
    for name, text in (("before", lock), ("after", re.sub(r"pytest==.*", "pytest==99.0", lock))):
        (tmp_path / name / "lists").mkdir(parents=True)
        (tmp_path / name / "requirements.lock").write_text(text)
        for part in ("core", "serve", "torch"):
            (tmp_path / name / "lists" / f"{part}.txt").write_text("\n".join(LISTS[part]))
        pins.write("cpu", tmp_path / name, tmp_path / name / "out")
        paths = sorted((tmp_path / name / "out").rglob("*.txt"))
        written[name] = {str(p.relative_to(tmp_path / name)): p.read_text() for p in paths if p.parent.name != "torch"}
    assert written["before"] == written["after"]
    assert (tmp_path / "before/out/torch/requirements.txt").read_text().startswith("torch==2")
    assert "+cpu" in pins.rules(lock, "cpu")["torch"]
    assert pins.rules(lock, "cuda")["torch"].startswith("torch===")
    with pytest.raises(SystemExit, match="TORCH=rocm"):
        pins.rules(lock, "rocm")


def test_the_cuda_build_is_pinned_too() -> None:
    """torch leaves the versions of some of its packages open."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    text = pins.CUDA.read_text(encoding="utf-8")
    assert f"torch {pins.pinned(lock)['torch']} of PyPI" in text, "torch has changed: its first lines say what to do"
    brought = set(pins.pinned(text))
    assert {"nvidia-nccl-cu13", "nvidia-nvjitlink", "cuda-bindings", "triton"} <= brought
    assert not brought & set(pins.pinned(lock))
    assert brought <= set(pins.rules(lock, "cuda"))
    assert not brought & set(pins.rules(lock, "cpu"))
    assert brought <= set(check.expected("train", "cuda"))
    assert not brought & set(check.expected("train", "cpu"))


def test_packages_that_the_lock_does_not_know_are_found() -> None:
    lock = "numpy==2.4.6\ntorch==2.13.0\n"
    good = {"numpy": "2.4.6", "torch": "2.13.0+cpu", "omnivec": "0.1.0"}
    assert pins.strangers(good, lock) == []
    brought = pins.pinned(pins.CUDA.read_text(encoding="utf-8"))
    assert pins.strangers(good | brought, lock) == []
    assert pins.strangers(good | {"nvidia-cublas": "1"}, lock) == ["nvidia-cublas==1"]
    assert pins.strangers(good | {"numpy": "2.4.5", "evil": "1"}, lock) == ["evil==1", "numpy==2.4.5"]


BACKENDS = (("onnx", "cpu"), ("torch", "cpu"), ("torch", "cuda"))


def test_builds_are_told_apart_and_pinned() -> None:
    cuda = {"ENGINE": "podman", "TORCH": "cuda", "REGISTRY": "registry.example/team", "BASE": f"python@{DIGEST}"}
    tag = build.tag_of("train", cuda, "0.1.0", "abc")
    assert tag == "registry.example/team/omnivec-train:0.1.0-abc-cuda"
    assert build.tag_of("data", cuda, "0.1.0", "abc") == "registry.example/team/omnivec-data:0.1.0-abc"
    services = [build.tag_of("serve", {"SERVE_BACKEND": b, "TORCH": t}, "1", "a") for b, t in BACKENDS]
    assert services == [f"localhost/omnivec-serve:1-a{ending}" for ending in ("", "-torch", "-cuda")]
    site = cuda | {"SITE_CA": "/site/ca.pem", "SITE_PIP_CONF": "/site/pip.conf", "ENGINE": sys.executable}
    command = " ".join(build.command_of("train", tag, site, "0.1.0", "abc"))
    assert f"--build-arg BASE=python@{DIGEST}" in command
    assert "--secret id=ca,src=/site/ca.pem --secret id=pip,src=/site/pip.conf" in command
    with pytest.raises(SystemExit, match="no target eval"):
        build.main(["eval"], {})


def described(packages: dict[str, str]) -> dict[str, list[dict[str, str]]]:
    """A CycloneDX document as syft writes it, as far as it is read."""
    python = [
        {"type": "library", "name": name.replace("-", "_"), "version": version, "purl": f"pkg:pypi/{name}@{version}"}
        for name, version in packages.items()
    ]
    distribution = {"type": "library", "name": "libc6", "version": "2.36-9", "purl": "pkg:deb/debian/libc6@2.36-9"}
    return {"components": [*python, distribution, {"type": "operating-system", "name": "debian", "version": "12"}]}


@pytest.mark.parametrize(("target", "torch"), [("data", ""), ("train", "cuda"), ("serve", ""), ("serve", "cpu")])
def test_a_description_names_what_its_image_holds(target: str, torch: str) -> None:
    wanted = check.expected(target, torch)
    assert ("torch" in wanted) == bool(torch)
    assert not torch or ("+cpu" in wanted["torch"]) == (torch == "cpu")
    whole = described(wanted | {"omnivec": "0.1.0", "pip": "23.0.1"})
    assert check.gaps(whole, wanted) == []
    less = described({name: version for name, version in wanted.items() if name != "numpy"})
    assert check.gaps(less, wanted) == [f"numpy=={wanted['numpy']}", "omnivec"]
    assert check.gaps(described(wanted | {"omnivec": "0.1.0", "numpy": "1"}), wanted) == [f"numpy=={wanted['numpy']}"]
    assert check.gaps({"components": whole["components"][:-2]}, wanted) == [
        "packages of the distribution",
        "the operating system",
    ]


BLOCK = """
import importlib.metadata, json, sys
allowed = set(json.loads(sys.argv[1]))
owners = importlib.metadata.packages_distributions()
normal = lambda name: name.lower().replace("_", "-").replace(".", "-")

class Absent:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in owners and not {normal(owner) for owner in owners[top]} & allowed:
            raise ModuleNotFoundError(f"No module named {top!r}", name=top)

sys.meta_path.insert(0, Absent())
for module in sys.argv[2:]:
    __import__(module)
"""

STEP = "kfp.dsl.executor_main"
ENTRIES = {
    "data": ("pipelines.cli", "components.validate.run", "components.audit.run", "data.importing.run", STEP),
    "serve": ("pipelines.cli", "serving.service", "serving.launch", "components.registry", "serving.bento"),
}


def imported(target: str, modules: tuple[str, ...], tmp_path: Path) -> "subprocess.CompletedProcess[str]":
    """Import modules where only the packages of an image can be found."""
    allowed = {name for part in (*closure.BELOW[target], target) for name in LISTS[part]} | {"omnivec"}
    config = tmp_path / "serving.json"
    config.write_text(json.dumps({"artifact": str(tmp_path)}))
    return subprocess.run(
        [sys.executable, "-c", BLOCK, json.dumps(sorted(allowed)), *modules],
        cwd=ROOT,
        env={"PATH": "", "HOME": str(tmp_path), "OMNIVEC_SERVING_CONFIG": str(config), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("target", ENTRIES)
def test_an_image_holds_what_its_code_imports(target: str, tmp_path: Path) -> None:
    done = imported(target, ENTRIES[target], tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_check_of_imports_can_fail(tmp_path: Path) -> None:
    done = imported("serve", ("kfp",), tmp_path)
    assert "No module named 'kfp'" in done.stderr
