"""kfp shell of the init_model step."""

from kfp import dsl


@dsl.component(base_image="omnivec", install_kfp_package=False)
def init_model(config: str, model: dsl.Output[dsl.Model]) -> None:
    """Write the artifact that training starts from."""
    from pathlib import Path

    from components.environment import Environment
    from components.init_model.config import InitModelConfig
    from components.init_model.run import run
    from components.step import step

    with step("init_model", model.path, config=config) as record:
        record.log(run(InitModelConfig.parse(config), home=Environment.from_env().home, output=Path(model.path)))
