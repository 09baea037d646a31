"""A Bento: the model and the code that serves it in one folder, which runs where nothing else of this project is.

``build_bento`` makes one; ``configure`` is what the entry inside it calls first.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from email.parser import HeaderParser
from importlib.metadata import distribution
from pathlib import Path

from model.artifact import Backend
from model.errors import ConfigError
from model.files import link_or_copy
from model.integrity import artifact_digest, verify_digests
from serving.config import CONFIG_VARIABLE, ServingConfig
from serving.errors import LaunchError

NAME = "omnivec"
KEYS_VARIABLE, ANONYMOUS_VARIABLE = "OMNIVEC_KEYS", "OMNIVEC_ANONYMOUS"
SETTINGS, ARTIFACT, WHEELS = "serving.json", "artifact", "wheels"
EXTRAS: dict[Backend, str] = {"onnx": "serve", "torch": "serve-torch"}
ARCHIVES = (".bento", ".tar", ".gz", ".zip")
ROOT = Path(__file__).resolve().parents[1]
SHARED_WHEELS = Path(sys.prefix) / "share" / "omnivec"
"""Where our images keep the wheel that they run."""

ENTRY = '''"""Entry of this Bento: the model beside this file, served by the omnivec package of its requirements."""

from pathlib import Path

from serving.bento import configure

configure(Path(__file__).parent)

from serving.service import OmnivecService
'''


def configure(folder: Path) -> None:
    """Let the service of this process serve the artifact in a Bento's folder, unless a configuration is named already.

    Raises:
        ConfigError: neither keys nor the word that everyone may come in: BentoML listens on every address.
    """
    if os.environ.get(CONFIG_VARIABLE):
        return
    keys = os.environ.get(KEYS_VARIABLE)
    anonymous = os.environ.get(ANONYMOUS_VARIABLE, "").lower() in {"1", "true", "yes"}
    if not keys and not anonymous:
        raise ConfigError(
            f"BentoML listens wherever its command line says, so this Bento wants to know who may call it: set "
            f"{KEYS_VARIABLE}=/PATH/FILE (see `omnivec keys add`), or {ANONYMOUS_VARIABLE}=true where "
            f"something in front checks its callers, or {CONFIG_VARIABLE}=FILE with a whole serving configuration"
        )
    if keys and not Path(keys).is_absolute():
        raise ConfigError(f"{KEYS_VARIABLE}={keys}: give the whole path, since BentoML changes into the Bento's folder")
    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    settings |= {"artifact": str(folder / ARTIFACT), "host": "0.0.0.0", "anonymous": anonymous}  # noqa: S104 - see above
    config = ServingConfig.parse(settings | ({"keys": keys} if keys else {}))
    # In a directory that only this user can open: a name that others can guess could be theirs.
    path = Path(tempfile.mkdtemp(prefix="omnivec-")) / SETTINGS
    path.write_text(config.model_dump_json(indent=2), encoding="utf-8")
    os.environ[CONFIG_VARIABLE] = str(path)  # workers inherit it


def build_bento(
    artifact: Path, output: Path, *, version: str, backend: Backend = "onnx", wheel: Path | None = None
) -> str:
    """Build a Bento with a model artifact and the wheel of the code that serves it.

    Args:
        artifact: exported model artifact; every file is checked against its digests.
        output: folder to make, or an archive by its ending (``.bento``, ``.tar``, ``.tar.gz``, ``.zip``).
        version: what the service reports, and BentoML's version.
        backend: what the service computes with.
        wheel: of Omnivec; default: made from the checkout, or the one that an image keeps.

    Returns:
        BentoML's tag.

    Raises:
        ArtifactError: the artifact is damaged.
        ConfigError: the output exists, or no wheel can be found.
        LaunchError: BentoML could not build it; with what it printed.
    """
    if output.exists():
        raise ConfigError(f"{output} exists already; choose another output, or remove it")
    verify_digests(artifact)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent.absolute(), prefix=".bento-") as scratch:
        context, store = Path(scratch) / "context", Path(scratch) / "store"
        context.mkdir()
        _fill(context, artifact, version=version, backend=backend, wheel=wheel)
        _bentoml(
            ["build", "--bentofile", str(context / "bentofile.yaml"), "--version", version, str(context)],
            store,
            context,
        )
        tag = f"{NAME}:{version}"
        if output.name.endswith(ARCHIVES):
            _bentoml(["export", tag, str(output.absolute())], store, context)
        else:
            (store / "bentos" / NAME / version).rename(output)
    return tag


def _fill(context: Path, artifact: Path, *, version: str, backend: Backend, wheel: Path | None) -> None:
    """Lay out what the Bento is built from."""
    (context / WHEELS).mkdir()
    found = shutil.copy(wheel, context / WHEELS) if wheel else _find_wheel(context / WHEELS)
    shutil.copytree(artifact, context / ARTIFACT, copy_function=link_or_copy)  # BentoML copies anyway
    (context / "omnivec_bento.py").write_text(ENTRY, encoding="utf-8")
    settings = {"version": version, "backend": backend}
    (context / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    document = {
        "service": "omnivec_bento:OmnivecService",
        "name": NAME,
        "labels": {"artifact": artifact_digest(artifact), "backend": backend},
        "description": f"Omnivec {version}: one vector space for text, images, audio, video and pages.",
        "include": ["*"],
        "python": {
            "packages": [*pinned_requirements(Path(found), EXTRAS[backend]), f"./{WHEELS}/{Path(found).name}"],
            "lock_packages": False,  # they are exact already, and locking asks the network
        },
    }
    (context / "bentofile.yaml").write_text(json.dumps(document, indent=2), encoding="utf-8")  # JSON is YAML


def pinned_requirements(wheel: Path, extra: str) -> list[str]:
    """All packages that a wheel needs for one of its extras, in the versions of this environment."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    wanted = [(line, extra) for line in metadata.get_all("Requires-Dist") or []]
    return [f"{name}=={distribution(name).version.split('+')[0]}" for name in sorted(closure(wanted) - {NAME})]


def closure(wanted: list[tuple[str, str]]) -> set[str]:
    """Normal names of all installed packages that requirements need, themselves included.

    Args:
        wanted: requirements, each with the extra that its markers are read with.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    todo = [(Requirement(line), extra) for line, extra in wanted]
    own = [line for line, _ in wanted]
    seen: set[tuple[str, str]] = set()
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = str(canonicalize_name(requirement.name))
        for wants in {"", *requirement.extras}:
            if (name, wants) not in seen:
                seen.add((name, wants))
                lines = own if name == NAME else distribution(name).requires or []
                todo += [(Requirement(line), wants) for line in lines]
    return {name for name, _ in seen}


def _find_wheel(folder: Path) -> Path:
    """The wheel of this code, in ``folder``."""
    if (ROOT / "pyproject.toml").is_file():
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ConfigError(f"no wheel can be made from {ROOT}: {done.stderr.strip()}")
    else:
        for kept in SHARED_WHEELS.glob("omnivec-*.whl"):
            shutil.copy(kept, folder)
    try:
        return next(folder.glob("omnivec-*.whl"))
    except StopIteration:
        raise ConfigError(
            f"no wheel of Omnivec: neither {ROOT} is a checkout nor {SHARED_WHEELS} has one; give --wheel FILE"
        ) from None


def _bentoml(arguments: list[str], store: Path, folder: Path) -> None:
    """Run BentoML's command line with a store of its own, so that nothing of the user's is touched."""
    environment = {**os.environ, "BENTOML_HOME": str(store), "BENTOML_DO_NOT_TRACK": "True", ANONYMOUS_VARIABLE: "true"}
    environment.pop(CONFIG_VARIABLE, None)
    done = subprocess.run(
        [sys.executable, "-m", "bentoml", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LaunchError(f"bentoml {arguments[0]} failed:\n{done.stdout}{done.stderr}".rstrip())
