"""kfp shell of a training stage."""

from kfp import dsl


@dsl.component(base_image="omnivec", install_kfp_package=False)
def train(
    name: str,
    config: str,
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    features: dsl.Input[dsl.Dataset],
    trained: dsl.Output[dsl.Model],
    report: dsl.Output[dsl.HTML],
) -> None:
    """Train one stage, from its checkpoint where there is one."""
    from pathlib import Path

    from components.step import step
    from components.train.config import TrainConfig
    from components.train.launch import checkpoints_of, launch

    with step(name, trained.path, config=config) as record:
        paths = {"dataset": Path(dataset.path), "model": Path(model.path), "features": Path(features.path)}
        wanted = TrainConfig.parse(config)
        paths |= {"checkpoints": checkpoints_of(wanted, *paths.values())}
        paths |= {"output": Path(trained.path), "report": Path(report.path)}
        record.log(launch(wanted, sinks=[record.sink], **paths))
        record.keep(report=paths["report"])
