"""Write the schemas in this folder from the packages that publish them: `python build.py FOLDER_OF_WHEELS`.

The packages hold the published OpenAPI schemas as pydantic models; their fields, types, enumerations and patterns are
turned back into JSON schema, nothing is added but "no further properties" and nothing removed but descriptions.
README.md beside this file says where the wheels come from.
"""

import ast
import json
import sys
import types
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, RootModel

HERE = Path(__file__).resolve().parent
WHEELS = {
    "cloudcoil_models_keda": ("cloudcoil/models/keda/v1alpha1.py", ("ScaledObject",)),
    "cloudcoil_models_prometheus_operator": (
        "cloudcoil/models/prometheus_operator/v1.py",
        ("ServiceMonitor", "PrometheusRule"),
    ),
}
TRAINER = {
    "TrainJob": "TrainerV1alpha1TrainJob",
    "ClusterTrainingRuntime": "TrainerV1alpha1ClusterTrainingRuntime",
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Metadata(BaseModel):
    """Metadata is checked by kubernetes-validate on other objects; here anything may stand in it."""

    model_config = ConfigDict(extra="allow")


def main(wheels: Path) -> None:
    """Write one file for each kind."""
    for prefix, (member, kinds) in WHEELS.items():
        wheel = max(wheels.glob(f"{prefix}-*.whl"))
        models = _models(zipfile.ZipFile(wheel).read(member).decode(), prefix)
        for kind in kinds:
            _write(kind, models[kind].model_json_schema(by_alias=True), wheel.name)
    from kubeflow_trainer_api import models as trainer

    for kind, name in TRAINER.items():
        schema = getattr(trainer, name).model_json_schema(by_alias=True)
        _write(kind, schema, f"kubeflow_trainer_api {version('kubeflow_trainer_api')}")


def _models(source: str, name: str) -> dict[str, Any]:
    """The classes of a generated module with their fields alone: its builders need a newer Python."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    names = {"BaseModel": _Strict, "Resource": _Strict, "ObjectMeta": _Metadata, "ListMeta": _Metadata}
    names |= {"AwareDatetime": AwareDatetime, "Field": Field, "RootModel": RootModel}
    module.__dict__.update({"Annotated": Annotated, "Any": Any, "Literal": Literal} | names)
    kept: list[ast.stmt] = []
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef) or node.name.endswith("List"):
            continue
        fields = [n for n in node.body if isinstance(n, ast.AnnAssign) and "ClassVar" not in ast.dump(n.annotation)]
        node.body, node.decorator_list = [*fields] or [ast.Pass()], []
        kept.append(node)
    future = ast.parse("from __future__ import annotations").body
    classes = compile(ast.fix_missing_locations(ast.Module([*future, *kept], [])), name, "exec")
    exec(classes, module.__dict__)  # noqa: S102 - of a published package, and run by hand alone
    return module.__dict__


def _write(kind: str, schema: dict[str, Any], source: str) -> None:
    document = {"$comment": f"from {source}; Apache-2.0", **_plain(schema)}
    text = json.dumps(document, indent=None, separators=(",", ":"), sort_keys=True)
    (HERE / f"{kind.lower()}.json").write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(f"{kind}: {len(text) // 1000} kB from {source}\n")


def _plain(node: Any) -> Any:
    """Without words, defaults and titles; objects with listed properties take no others."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "actual_instance" in node.get("properties", {}):  # how Kubeflow's generator writes "one of these"
        chosen = node["properties"]["actual_instance"]["anyOf"]
        return {"anyOf": [schema for schema in chosen if schema != {"type": "null"}]}
    plain: dict[str, Any] = {}
    for key, value in node.items():
        if key in ("properties", "$defs"):
            plain[key] = {name: _plain(schema) for name, schema in value.items()}
        elif key not in ("description", "title", "default"):
            plain[key] = _plain(value)
    if "properties" in plain:
        plain.setdefault("additionalProperties", False)
    return plain


if __name__ == "__main__":
    main(Path(sys.argv[1]))
