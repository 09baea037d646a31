"""kfp shell of the soup step."""

from kfp import dsl


@dsl.component(base_image="omnivec", install_kfp_package=False)
def soup(
    name: str,
    config: str,
    dataset: dsl.Input[dsl.Dataset],
    base: dsl.Input[dsl.Model],
    model: dsl.Input[dsl.Model],
    features: dsl.Input[dsl.Dataset],
    souped: dsl.Output[dsl.Model],
) -> None:
    """Average weights from before, along and after a training stage."""
    from pathlib import Path

    from components.soup.config import SoupStepConfig
    from components.soup.run import run
    from components.step import step

    with step(name, souped.path, config=config) as record:
        inputs = {"dataset": dataset, "base": base, "model": model, "features": features}
        paths = {key: Path(artifact.path) for key, artifact in inputs.items()}
        record.log(run(SoupStepConfig.parse(config), output=Path(souped.path), **paths))
