"""Names and shapes that the layout relies on."""

import ast
import importlib.metadata
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("components", "data", "model", "pipelines", "serving")
COMPONENTS = sorted(ROOT.glob("components/*/component.py"))
SOURCES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
MAX_FILE_LINES = 400
MEDIAN_FILE_LINES = 150
MAX_FUNCTION_LINES = 80
MAX_SHELL_STATEMENTS = 12
MAX_TRACKED_MB = 45
# Parts of addresses of package registries and of machine paths, split so that this file passes its own test.
FORBIDDEN = (
    "pypi" + ".org",
    "pythonhosted" + ".org",
    "npmjs" + ".org",
    "/work" + "/main",
    "/opt" + "/wheels",
    "/opt" + "/pypi",
)


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def statements(body: list[ast.stmt]) -> int:
    """Statements of a block, those inside it included."""
    return sum(1 for node in body for inner in ast.walk(node) if isinstance(inner, ast.stmt))


def relative(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_there_are_components() -> None:
    assert len(COMPONENTS) >= 5


@pytest.mark.parametrize("path", COMPONENTS, ids=lambda path: path.parent.name)
def test_component_is_a_thin_shell(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    imported = {
        name.split(".")[0]
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported <= set(sys.stdlib_module_names) | {"kfp"}, "only the standard library and kfp at module level"
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert [function.name for function in functions] == [path.parent.name], "one function, named like its folder"
    body = functions[0].body[1:] if ast.get_docstring(functions[0]) else functions[0].body
    assert statements(body) <= MAX_SHELL_STATEMENTS
    assert "packages_to_install" not in text, "images hold every package; a pod never installs"
    assert not [node for node in ast.walk(functions[0]) if isinstance(node, ast.If | ast.For | ast.While)]


def test_every_component_has_config_and_run() -> None:
    missing = [
        str((path.parent / name).relative_to(ROOT))
        for path in COMPONENTS
        for name in ("config.py", "run.py", "__init__.py")
        if not (path.parent / name).is_file()
    ]
    assert not missing


def test_files_are_small() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert not relative([path for path, count in lines.items() if count > MAX_FILE_LINES])
    assert statistics.median(count for path, count in lines.items() if path.name != "__init__.py") <= MEDIAN_FILE_LINES


def test_functions_are_short() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert not long


def test_our_packages_are_never_imported_whole() -> None:
    """``import model`` and ``import data`` would shadow the commonest variable names of the field."""
    whole = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import) and any(alias.name in PACKAGES for alias in node.names)
    ]
    assert not whole


def test_environment_is_read_at_entries_only() -> None:
    """Below the entry of a process nothing depends on environment variables; ``model`` has no entry."""
    readers = [
        path
        for path in SOURCES
        if "os.environ" in path.read_text(encoding="utf-8") and path.is_relative_to(ROOT / "model")
    ]
    assert not relative(readers)


def test_no_other_distribution_provides_our_packages() -> None:
    providers = importlib.metadata.packages_distributions()
    foreign = {name: found for name in PACKAGES if (found := set(providers.get(name, [])) - {"omnivec"})}
    assert not foreign


def test_tracked_files_name_no_registry_and_no_machine_path() -> None:
    found = []
    for path in tracked():
        data = path.read_bytes()
        if b"\0" in data[:8000]:
            continue
        found += [f"{path.relative_to(ROOT)}: {needle}" for needle in FORBIDDEN if needle.encode() in data]
    assert not found


def test_tracked_files_are_small_enough_to_clone() -> None:
    assert sum(path.stat().st_size for path in tracked()) < MAX_TRACKED_MB * 1e6


def test_source_packages_are_not_ignored() -> None:
    probes = [f"{package}/anything.py" for package in PACKAGES] + ["data/starter/shard.parquet", "model/x/y.py"]
    command = ["git", "check-ignore", *probes]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout == ""
