"""kfp shell of the audit step."""

from kfp import dsl


@dsl.component(base_image="omnivec", install_kfp_package=False)
def audit(
    config: str,
    dataset: dsl.Input[dsl.Dataset],
    audited: dsl.Output[dsl.Dataset],
    quarantine: dsl.Output[dsl.Dataset],
    pairs: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
) -> None:
    """Find leaks and duplicates in the validated corpus; drop, move or stop as the policies say."""
    from pathlib import Path

    from components.audit.config import AuditConfig
    from components.audit.run import run
    from components.audit.track import track
    from components.step import step

    with step("audit", audited.path, config=config) as record:
        outputs = {"audited": audited, "quarantine": quarantine, "pairs": pairs, "report": report}
        paths = {name: Path(artifact.path) for name, artifact in outputs.items()}
        record.log(run(AuditConfig.parse(config), dataset=Path(dataset.path), **paths))
        record.add(**track(record.tracked, **paths), **paths)
