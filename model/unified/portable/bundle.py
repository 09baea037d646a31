"""Puts the modelling file together: the library's own definitions, as they stand, in front of a small template.

There is one source of truth: what the file needs is followed from its roots through the library's modules, and each
definition is copied word for word with the imports it uses. What cannot be copied is an error when the file is
made, never when somebody loads it.
"""

import ast
import sys
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from model.towers import TOWERS

HERE = Path(__file__).parent
TEMPLATE, INPUTS, WORKER = (
    HERE / "template.py",
    HERE / "inputs_template.py",
    HERE.parents[1] / "media" / "pdf_worker.py",
)
MARK = "# LIBRARY\n"
OURS = "model."
ROOTS = (
    ("model.unified.trunk", "build_trunk"),
    ("model.unified.encoder", "_frontends"),
    ("model.unified.projector", "Projector"),
    ("model.unified.media", "MediaReader"),
    ("model.unified.preprocess", "_Plan"),
    ("model.unified.preprocess", "_collate"),
    ("model.content", "Part"),
    ("model.media.audio", "at_16_khz"),
    ("model.media.containers", "ALLOWED"),
)
# Defined by the templates in their own way: towers are not looked up by module, nor the worker by its file.
BY_TEMPLATE = frozenset({("model.towers", "build_tower"), ("model.media.document", "worker_command")})
# Beside the standard library; the optional ones are imported when encoded media of their kind come.
ALLOWED = frozenset({"torch", "transformers", "tokenizers", "safetensors", "PIL", "numpy"})
OPTIONAL = frozenset({"av", "soundfile", "soxr"})


class Source:
    """One module of the library: its text, and which statement binds each of its names."""

    def __init__(self, module: str) -> None:
        spec = find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        self.lines = Path(spec.origin).read_text(encoding="utf-8").splitlines()
        self.bindings: dict[str, ast.stmt] = {}
        for node in ast.parse("\n".join(self.lines)).body:
            for name in bound_names(node):
                self.bindings[name] = node

    def text(self, node: ast.stmt) -> str:
        """The statement as written, decorators included."""
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        return "\n".join(self.lines[first - 1 : node.end_lineno])


class Bundle:
    """Collects definitions, what they need before them."""

    def __init__(self) -> None:
        self.imports: set[str] = set()
        self.libraries: set[str] = set()
        self.definitions: list[str] = []
        self._sources: dict[str, Source] = {}
        self._owner: dict[str, str] = {}
        self._seen: set[str] = set()

    def add(self, module: str, name: str) -> None:
        """Add the definition of ``name`` in ``module`` and all that it uses.

        Raises:
            ValueError: two modules define the name differently, or an import is not among those allowed.
        """
        if (module, name) in BY_TEMPLATE:
            return
        if module not in self._sources:
            self._sources[module] = Source(module)
        source = self._sources[module]
        node = source.bindings[name]
        if isinstance(node, ast.Import | ast.ImportFrom):
            self._import(node, name)
            return
        if self._owner.setdefault(name, module) != module:
            raise ValueError(f"{module} and {self._owner[name]} both define {name}; rename one of them")
        text = source.text(node)
        if text in self._seen:
            return
        self._seen.add(text)
        for used in used_names(node):
            if used in source.bindings and used != name:
                self.add(module, used)
        self.definitions.append(text)

    def add_imports(self, text: str) -> None:
        """Add the imports at the top of a template, but for those of the file's own."""
        for node in ast.parse(text).body:
            if isinstance(node, ast.Import | ast.ImportFrom) and getattr(node, "module", "") != "__future__":
                check_import(node)
                self.imports.add(ast.unparse(node))

    def _import(self, node: ast.Import | ast.ImportFrom, name: str) -> None:
        alias = next(a for a in node.names if (a.asname or a.name.split(".")[0]) == name)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(OURS):
            if alias.asname is not None:
                raise ValueError(f"{node.module}.{alias.name} is imported under another name, {alias.asname}")
            self.add(node.module or "", alias.name)
            return
        if isinstance(node, ast.Import) and alias.name in OPTIONAL:
            self.libraries.add(f'{name} = Library("{alias.name}")')
            return
        single = ast.ImportFrom(node.module, [alias], 0) if isinstance(node, ast.ImportFrom) else ast.Import([alias])
        check_import(single)
        self.imports.add(ast.unparse(single))


@lru_cache(maxsize=8)
def modelling_file(towers: frozenset[str]) -> str:
    """Text of the self-contained modelling file for a model with towers of these kinds; equal kinds, equal text."""
    bundle = Bundle()
    classes = {kind: TOWERS[kind] for kind in sorted(towers)}
    for module, name in (*ROOTS, *classes.values()):
        bundle.add(module, name)
    mapping = ", ".join(f'"{kind}": {name}' for kind, (_, name) in classes.items())
    head, tail = TEMPLATE.read_text(encoding="utf-8").split(MARK)
    imports, inputs = INPUTS.read_text(encoding="utf-8").split(MARK)
    bundle.add_imports(imports)
    library = ["\n".join(sorted(bundle.imports)), "\n".join(sorted(bundle.libraries)), *bundle.definitions]
    text = head + "\n\n\n".join([*library, f"TOWERS = {{{mapping}}}", worker_text(), inputs.strip()]) + "\n" + tail
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            check_import(node)
    return text


def worker_text() -> str:
    """The script that renders documents, as a constant: it runs in a process of its own and imports nothing of ours."""
    source = WORKER.read_text(encoding="utf-8")
    if "'''" in source:
        raise ValueError(f"{WORKER.name} must not hold three single quotes: they end the constant that holds it")
    return f"PDF_WORKER = r'''\n{source}'''"


def check_import(node: ast.Import | ast.ImportFrom) -> None:
    """Refuse imports of anything but the standard library and ``ALLOWED``; a hub client may come with transformers.

    Raises:
        ValueError: naming the package.
    """
    modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
    for package in (module.split(".")[0] for module in modules):
        if package not in ALLOWED | sys.stdlib_module_names | {"huggingface_hub"}:
            raise ValueError(f"the portable modelling file may not import {package!r}: {ast.unparse(node)}")


def bound_names(node: ast.stmt) -> list[str]:
    """Names that a statement at the top of a module binds."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [a.asname or a.name.split(".")[0] for a in node.names]
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]


def used_names(node: ast.AST) -> list[str]:
    """Names that a statement reads when it runs, in order; annotations are never evaluated in the file."""
    found: list[str] = []
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                found += used_names(child)
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        found.append(node.id)
    return list(dict.fromkeys(found))
