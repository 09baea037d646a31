"""kfp shell of the features step."""

from kfp import dsl


@dsl.component(base_image="omnivec", install_kfp_package=False)
def features(
    config: str,
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    store: dsl.Output[dsl.Dataset],
) -> None:
    """Run the frozen towers over every media item once."""
    from pathlib import Path

    from components.features.config import FeaturesConfig
    from components.features.run import run
    from components.step import step

    with step("features", store.path, config=config) as record:
        paths = {"dataset": Path(dataset.path), "model": Path(model.path), "output": Path(store.path)}
        record.log(run(FeaturesConfig.parse(config), **paths))
