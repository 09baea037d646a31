"""kfp shell of the report: the exit task of a run."""

from kfp import dsl


@dsl.component(base_image="omnivec", install_kfp_package=False)
def report(
    config: str,
    status: dsl.PipelineTaskFinalStatus,
    summary: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.Markdown],
) -> None:
    """Report how the run ended, also when it failed."""
    from pathlib import Path

    from components.environment import Environment
    from components.report.config import ReportConfig
    from components.report.run import run
    from components.step import step

    environment = Environment.from_env()
    outputs = {"summary": Path(summary.path), "page": Path(page.path)}
    message = status.error_message or ""
    with step("report") as record:
        wanted = ReportConfig.parse(config)
        ended = run(wanted, state=status.state, message=message, environment=environment, **outputs)
        record.add(status=ended.status)
