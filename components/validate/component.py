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

    from components.corpora import find_corpus
    from components.step import step
    from components.validate.config import ValidateConfig
    from components.validate.run import run
    from components.validate.track import track

    with step("validate", dataset.path, config=config) as record:
        outputs = {"dataset": dataset, "quarantine": quarantine, "report": report}
        paths = {name: Path(artifact.path) for name, artifact in outputs.items()}
        record.log(run(ValidateConfig.parse(config), corpus=find_corpus(corpus), **paths))
        record.add(**track(record.tracked, corpus, corpus_digest, **paths), **paths)
