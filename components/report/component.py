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
    import os
    from pathlib import Path

    from components.environment import Environment
    from components.report.config import ReportConfig
    from components.report.run import run
    from components.step import RUNNER, step

    environment = Environment.from_env()
    with step("report") as record:
        ended = run(
            ReportConfig.parse(config),
            environment=environment,
            state=status.state,
            message=status.error_message or "",
            tracked=RUNNER not in os.environ,
            summary=Path(summary.path),
            page=Path(page.path),
        )
        record.add(status=ended.status)
