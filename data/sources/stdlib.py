"""Python's standard library: first line of a docstring -> the function without it (``docstring_to_code``).

The library is that of a pinned Debian package, not of the interpreter that happens to run. The group is the module.
"""

import ast
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path

from data.sources.draft import Draft, order_key, text_part
from data.sources.packages import unpack

LICENSE = "Python-2.0"
ROOT = "usr/lib/python3.11"
PACKAGE_NAMES = ("python-stdlib", "python-minimal")
SKIPPED = frozenset({"test", "tests", "idlelib", "lib2to3", "turtledemo", "_pyio", "_pydecimal"})
FUNCTIONS = 3000
SHORTEST_DOCSTRING = 20
CODE_LENGTH = (40, 800)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def build(cache: Path) -> Draft:
    """Build the shard ``python-stdlib``."""
    draft = Draft("python-stdlib", LICENSE)
    candidates = sorted(_unique(cache), key=lambda item: order_key("stdlib", *item[:2]))[:FUNCTIONS]
    for module, name, docstring, code in sorted(candidates):
        draft.add(
            f"{module}/{name}",
            "docstring_to_code",
            [text_part(docstring)],
            [text_part(code)],
            group=module,
            languages=["en"],
        )
    return draft


def functions(source: str) -> Iterator[tuple[str, str, str]]:
    """(qualified name with line, docstring's first line, code without the docstring) of every documented function."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
    lines = source.splitlines()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and len(node.body) > 1:
            docstring = ast.get_docstring(node)
            first = docstring.strip().splitlines()[0].strip() if docstring and docstring.strip() else ""
            code = _without_docstring(node, lines)
            if len(first) >= SHORTEST_DOCSTRING and CODE_LENGTH[0] <= len(code) <= CODE_LENGTH[1]:
                yield f"{node.name}:{node.lineno}", first, code


def _without_docstring(node: Function, lines: list[str]) -> str:
    docstring = node.body[0]
    head = lines[node.lineno - 1 : docstring.lineno - 1]
    body = lines[(docstring.end_lineno or docstring.lineno) : node.end_lineno]
    return textwrap.dedent("\n".join(head + body)).strip()


def _unique(cache: Path) -> Iterator[tuple[str, str, str, str]]:
    """Functions whose docstring line and code were not seen before, over all modules in name order."""
    roots = [unpack(name, cache) / ROOT for name in PACKAGE_NAMES]
    # Some files are links into packages that are not needed here.
    paths = [(root, path) for root in roots for path in root.rglob("*.py") if not path.is_symlink()]
    files = {path.relative_to(root): path for root, path in paths}
    docstrings: set[str] = set()
    codes: set[str] = set()
    for relative, path in sorted(files.items()):
        if SKIPPED & set(relative.with_suffix("").parts) or "site-packages" in relative.parts:
            continue
        module = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
        for name, docstring, code in functions(path.read_text(encoding="utf-8", errors="replace")):
            if docstring.casefold() not in docstrings and code not in codes:
                docstrings.add(docstring.casefold())
                codes.add(code)
                yield module, name, docstring, code
