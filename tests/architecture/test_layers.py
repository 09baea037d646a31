"""Direction of imports, with a proof that the contracts can fail."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINT = Path(sys.executable).with_name("lint-imports")

PLANTED = {
    "Dependence points one way": ("model/planted.py", "from data.splits import Split\n"),
    "kfp only in component shells and pipelines": ("components/planted.py", "import kfp\n"),
    "Web frameworks only in serving": ("model/planted.py", "import fastapi\n"),
    "mlflow only in components": ("serving/planted.py", "import mlflow\n"),
    "Evidently never in the serving process": ("serving/planted.py", "import evidently\n"),
}


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LINT, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)


def test_contracts_hold() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout


def test_every_contract_has_a_planted_violation() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert {contract["name"] for contract in settings["tool"]["importlinter"]["contracts"]} == set(PLANTED)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source packages in a directory of their own, every contract violated once."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copy(ROOT / "pyproject.toml", root)
    for package in ("components", "data", "model", "pipelines", "serving"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("*.parquet", "__pycache__"))
    for path, text in PLANTED.values():
        with (root / path).open("a", encoding="utf-8") as file:
            file.write(text)
    return root


def test_violations_are_found(copy: Path) -> None:
    result = lint(copy)
    assert result.returncode == 1
    kept = [name for name in PLANTED if f"{name} BROKEN" not in result.stdout]
    assert not kept, result.stdout
