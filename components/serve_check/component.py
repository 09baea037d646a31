"""kfp shell of the serving check."""

from kfp import dsl


@dsl.component(base_image="omnivec", install_kfp_package=False)
def serve_check(
    config: str,
    version: str,
    dataset: dsl.Input[dsl.Dataset],
    result: dsl.Output[dsl.Artifact],
    captures: dsl.Output[dsl.Dataset],
) -> None:
    """Serve the registered version, compare it with the offline vectors, and capture two windows."""
    from pathlib import Path

    from components.environment import Environment
    from components.registry import fetch_version
    from components.serve_check.config import ServeCheckConfig
    from components.serve_check.run import run
    from components.step import step

    with step("serve_check", result.path, config=config) as record:
        artifact = fetch_version(version, Environment.from_env())
        outputs = {"report": Path(result.path), "captures": Path(captures.path)}
        checked = ServeCheckConfig.parse(config)
        record.log(run(checked, artifact=artifact, dataset=Path(dataset.path), version=version, **outputs))
