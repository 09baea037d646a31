"""kfp shell of the validate step."""

from kfp import dsl


@dsl.component(base_image="omnivec", install_kfp_package=False)
def validate(
    config: str,
    corpus: str,
    corpus_digest: str,
    dataset: dsl.Output[dsl.Dataset],
    quarantine: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
) -> None:
    """Check the corpus, quarantine bad rows, stop when it is broken; ``corpus_digest`` is part of the cache key."""
    from pathlib import Path

    from components.lineage import data_identity
    from components.step import step
    from components.validate.config import ValidateConfig
    from components.validate.run import run

    with step("validate", dataset.path, config=config) as record:
        outputs = {"dataset": dataset, "quarantine": quarantine, "report": report}
        paths = {name: Path(artifact.path) for name, artifact in outputs.items()}
        record.log(run(ValidateConfig.parse(config), corpus=Path(corpus), **paths))
        data = data_identity(paths["dataset"])
        record.add(digest=data.digest, dvc=data.dvc, by=data.facts["by"], **paths)
        if record.tracked:
            tags = {"dvc_md5": data.dvc_md5, "corpus_digest": corpus_digest}
            record.tracked.dataset(corpus, data.digest, profile={"rows": data.facts["rows"]}, tags=tags)
            record.tracked.artifact(paths["report"])
            record.tracked.artifact(paths["quarantine"] / "reasons.jsonl", "quarantine")
