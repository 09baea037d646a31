"""kfp shell of the mine step."""

from kfp import dsl


@dsl.component(base_image="omnivec", install_kfp_package=False)
def mine(
    name: str,
    config: str,
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    features: dsl.Input[dsl.Dataset],
    mined: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
) -> None:
    """Fill in hard negatives, and see how many right documents would be among them."""
    from pathlib import Path

    from components.mine.config import MineConfig
    from components.mine.run import kept_in, run
    from components.mine.track import track
    from components.step import step

    with step(name, mined.path, config=config) as record:
        paths = {"dataset": Path(dataset.path), "model": Path(model.path), "features": Path(features.path)}
        wanted = MineConfig.parse(config)
        outputs = {"output": Path(mined.path), "report": Path(report.path)}
        record.log(run(wanted, **paths, **outputs, kept=kept_in(paths["model"], paths["features"])))
        record.add(**track(record.tracked, **outputs), **outputs)
