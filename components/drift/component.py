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
    """Compare captured windows with the reference of the version that served them."""
    from pathlib import Path

    from components.drift.config import DriftStepConfig
    from components.drift.run import run
    from components.environment import Environment
    from components.registry import fetch_version
    from components.step import step

    with step("drift", result.path, config=config) as record:
        reference = fetch_version(version, Environment.from_env()) / "reference.parquet"
        outputs = {"report": Path(report.path), "result": Path(result.path)}
        settings = DriftStepConfig.parse(config)
        record.log(run(settings, reference=reference, captures=Path(captures.path), **outputs))
        record.keep(**outputs)
