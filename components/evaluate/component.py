"""kfp shell of the evaluate step."""

from kfp import dsl


@dsl.component(base_image="omnivec", install_kfp_package=False)
def evaluate(
    config: str,
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    baseline: dsl.Input[dsl.Model],
    features: dsl.Input[dsl.Dataset],
    results: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
) -> None:
    """Score the candidate and its untrained starting point on the test split."""
    from pathlib import Path

    from components.evaluate.config import EvaluateConfig
    from components.evaluate.run import run
    from components.step import step

    inputs = {"dataset": dataset, "model": model, "baseline": baseline, "features": features}
    outputs = {"results": Path(results.path), "report": Path(report.path)}
    with step("evaluate", results.path, config=config) as record:
        found = run(EvaluateConfig.parse(config), **{k: Path(v.path) for k, v in inputs.items()}, **outputs)
        found.track(record.tracked, **outputs)
        record.add(headline=found.table, queries=found.queries, **outputs)
