"""kfp shell of the register step."""

from typing import NamedTuple

from kfp import dsl


@dsl.component(base_image="omnivec", install_kfp_package=False)
def register(
    config: str,
    model: dsl.Input[dsl.Model],
    results: dsl.Input[dsl.Artifact],
    dataset: dsl.Input[dsl.Dataset],
) -> NamedTuple("Registered", [("version", str)]):  # type: ignore[valid-type]
    """Make the exported artifact a version of the registered model."""
    from collections import namedtuple
    from dataclasses import asdict
    from pathlib import Path

    from components.environment import Environment
    from components.register.config import RegisterConfig
    from components.register.run import run
    from components.step import step

    inputs = {"model": Path(model.path), "results": Path(results.path), "dataset": Path(dataset.path)}
    with step("register", config=config) as record:
        found = run(RegisterConfig.parse(config), environment=Environment.from_env(), tracked=record.tracked, **inputs)
        record.add(**asdict(found))
    return namedtuple("Registered", ["version"])(found.version)  # kfp wants a named tuple
