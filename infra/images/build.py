"""Build the images, and write down what was built: build.py [data] [train] [serve] [pipeline] [--push].

Settings come from the environment, as make hands them on:

ENGINE     docker or podman; default: the one that is there
REGISTRY   where names begin, such as registry.example/team; default: localhost
BASE       image with Python 3.11, by digest: python:3.11-slim@sha256:...; without a digest there is a warning
TORCH      cpu or cuda; TORCH_INDEX: an index for torch alone
SERVE_BACKEND  onnx, or torch for GPUs
SITE_CA    PEM bundle for package downloads; SITE_PIP_CONF: a pip.conf; neither stays in an image
BUILD_ARGS further arguments of the engine's build, such as --network=host
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = "infra/images"
TARGETS = ("data", "train", "serve", "pipeline")
BASE = "docker.io/library/python:3.11-slim"
RECORD = ROOT / "dist" / "images.json"
CHOICES = ("TORCH", "TORCH_INDEX", "SERVE_BACKEND")
WITH_TORCH = ("train", "pipeline")


@dataclass(frozen=True)
class Built:
    """One image.

    Attributes:
        name: name and tag.
        id: content address in the engine.
        digest: ``name@sha256:...`` in the registry, to put into recipes and manifests; empty before a push.
        base: what it was built from.
        torch: build of torch, empty where there is none.
        revision: commit of the code, ``-dirty`` when the checkout differed.
        megabytes: unpacked.
    """

    name: str
    id: str
    digest: str
    base: str
    torch: str
    revision: str
    megabytes: int


def engine_of(environment: Mapping[str, str]) -> str:
    """The engine to use.

    Raises:
        SystemExit: there is none.
    """
    for name in filter(None, (environment.get("ENGINE"), "docker", "podman")):
        if shutil.which(name):
            return name
    raise SystemExit("neither docker nor podman is on this machine; name another engine by ENGINE=/path/of/it")


def tag_of(target: str, environment: Mapping[str, str], version: str, revision: str) -> str:
    """Name and tag of an image: never ``latest``, and a build of torch that the target's usual one has not shows."""
    registry = environment.get("REGISTRY") or "localhost"
    torch = torch_of(target, environment)
    other = "-cuda" if torch == "cuda" else "-torch" if torch and target not in WITH_TORCH else ""
    return f"{registry}/omnivec-{target}:{version}-{revision}{other}"


def torch_of(target: str, environment: Mapping[str, str]) -> str:
    """Build of torch in a target, empty without one."""
    wants = target in WITH_TORCH or (target == "serve" and environment.get("SERVE_BACKEND") == "torch")
    return (environment.get("TORCH") or "cpu") if wants else ""


def command_of(target: str, tag: str, environment: Mapping[str, str], version: str, revision: str) -> list[str]:
    """The build of one image."""
    engine = engine_of(environment)
    arguments = {"VERSION": version, "REVISION": revision, "BASE": environment.get("BASE") or BASE}
    arguments |= {
        name: environment[name] for name in ("TORCH", "TORCH_INDEX", "SERVE_BACKEND") if environment.get(name)
    }
    secrets = {"ca": environment.get("SITE_CA"), "pip": environment.get("SITE_PIP_CONF")}
    command = [engine, "build", "--file", f"{HERE}/Containerfile", "--target", target, "--tag", tag]
    if Path(engine).name == "podman":
        # Docker finds the ignore file by itself, and keeps health checks without being asked.
        command += ["--ignorefile", f"{HERE}/Containerfile.dockerignore", "--format", "docker"]
    for name, value in arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    for name, path in secrets.items():
        command += ["--secret", f"id={name},src={path}"] if path else []
    return [*command, *shlex.split(environment.get("BUILD_ARGS", "")), "."]


def revision_of(checkout: Path) -> str:
    """Short commit, with ``-dirty`` when the checkout differs from it."""
    commit = output(["git", "rev-parse", "--short=12", "HEAD"], checkout)
    return commit + ("-dirty" if output(["git", "status", "--porcelain", "--untracked-files=no"], checkout) else "")


def output(command: list[str], folder: Path = ROOT) -> str:
    """What a command prints."""
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def build(target: str, environment: Mapping[str, str], *, push: bool) -> Built:
    """Build an image, and push it where that is wanted."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    revision = revision_of(ROOT)
    engine, tag = engine_of(environment), tag_of(target, environment, version, revision)
    sys.stderr.write(f"building {tag}\n")
    command = command_of(target, tag, environment, version, revision)
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "DOCKER_BUILDKIT": "1"})
    if push:
        subprocess.run([engine, "push", tag], check=True)
    facts = json.loads(output([engine, "image", "inspect", tag]))[0]
    name = tag.rpartition(":")[0]
    digests = [found for found in facts.get("RepoDigests") or [] if found.startswith(f"{name}@")]
    return Built(
        name=tag,
        id=facts["Id"],
        digest=digests[0] if push and digests else "",
        base=environment.get("BASE") or BASE,
        torch=torch_of(target, environment),
        revision=revision,
        megabytes=round(facts["Size"] / 1e6),
    )


def main(arguments: list[str], environment: Mapping[str, str]) -> None:
    """Build what the command line names, all by default, and merge it into dist/images.json."""
    push = "--push" in arguments
    targets = [argument for argument in arguments if argument != "--push"] or list(TARGETS)
    if unknown := set(targets) - set(TARGETS):
        raise SystemExit(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    if "@sha256:" not in (environment.get("BASE") or BASE):
        sys.stderr.write("warning: BASE is not given by digest (BASE=python:3.11-slim@sha256:...), so it can change\n")
    for target in targets:
        built = build(target, environment, push=push)
        known = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
        RECORD.parent.mkdir(exist_ok=True)
        RECORD.write_text(json.dumps(known | {target: asdict(built)}, indent=2) + "\n", encoding="utf-8")
        sys.stdout.write(f"{target:9} {built.megabytes:6} MB  {built.digest or built.name}\n")


if __name__ == "__main__":
    try:
        main(sys.argv[1:], os.environ)
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{shlex.join(error.cmd)} ended with code {error.returncode}\n{error.stderr or ''}") from error
