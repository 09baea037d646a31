"""kfp shell of the export step."""

from kfp import dsl


@dsl.component(base_image="omnivec", install_kfp_package=False)
def export(
    config: str,
    model: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    exported: dsl.Output[dsl.Model],
) -> None:
    """Write the model with its ONNX graphs, checked against torch, and the reference for drift."""
    from pathlib import Path

    from components.export.config import ExportConfig
    from components.export.run import run
    from components.step import step

    with step("export", exported.path, config=config) as record:
        paths = {"model": Path(model.path), "dataset": Path(dataset.path), "output": Path(exported.path)}
        record.log(run(ExportConfig.parse(config), **paths))
