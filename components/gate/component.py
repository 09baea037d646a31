"""kfp shell of the gate step."""

from typing import NamedTuple

from kfp import dsl


@dsl.component(base_image="omnivec", install_kfp_package=False)
def gate(
    config: str,
    version: str,
    results: dsl.Input[dsl.Artifact],
    served: dsl.Input[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
) -> NamedTuple("Decision", [("promoted", bool)]):  # type: ignore[valid-type]
    """Promote the candidate if every rule holds."""
    from collections import namedtuple
    from pathlib import Path

    from components.environment import Environment
    from components.gate.config import GateConfig
    from components.gate.run import run
    from components.step import step

    with step("gate", report.path, config=config) as record:
        found = run(
            GateConfig.parse(config),
            version=version,
            results=Path(results.path),
            served=Path(served.path),
            report=Path(report.path),
            environment=Environment.from_env(),
            tracked=record.tracked,
        )
        record.add(promoted=found.promoted, alias=found.alias, reasons=found.reasons, report=report.path)
    return namedtuple("Decision", ["promoted"])(found.promoted)  # type: ignore[arg-type]
