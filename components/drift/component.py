"""kfp shell of the drift step."""

from kfp import dsl


@dsl.component(base_image="omnivec", install_kfp_package=False)
def drift(
    config: str,
    version: str,
    captures: dsl.Input[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
    result: dsl.Output[dsl.Artifact],
) -> None:
    """Compare windows of captured requests with the reference of a registered version."""
    from pathlib import Path

    from components.drift.config import DriftStepConfig
    from components.drift.run import run
    from components.environment import Environment
    from components.registry import fetch_version
    from components.step import step

    with step("drift", report.path, config=config) as record:
        paths = {"captures": Path(captures.path), "report": Path(report.path), "result": Path(result.path)}
        reference = fetch_version(version, Environment.from_env()) / "reference.parquet"
        record.log(run(DriftStepConfig.parse(config), reference=reference, **paths))
        record.add(report=report.path, result=result.path)
