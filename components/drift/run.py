"""The work of the drift step: every window against the champion's reference."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from components.drift.config import DriftStepConfig
from components.drift.plots import auc_plot, projection_plot
from components.pages import embedded, page, paragraph, section, svg, table
from serving.drift.detector import Detector, WindowVerdict
from serving.drift.window import Window, read_window

COLUMNS = ("kind", "state", "AUC", "threshold", "p", "rows", "reference rows", "failed requests", "note")


def run(config: DriftStepConfig, *, reference: Path, captures: Path, report: Path, result: Path) -> dict[str, float]:
    """Compare windows with the reference and write the report and the result; drift itself is not an error.

    Args:
        config: windows and statistic.
        reference: ``reference.parquet`` of the champion's artifact.
        captures: directory with one folder of capture files for each window.
        report: HTML file to write.
        result: JSON file to write: ``{windows: {name: {alarm, kinds: {kind: {state, auc, threshold, n, ...}}}}}``.

    Returns:
        Scalars: ``<window>/alarm`` and ``<window>/<kind>/auc``.

    Raises:
        DataError: the reference or a window is missing, unreadable or of another model.
    """
    from threadpoolctl import threadpool_limits

    known = read_window(reference)
    windows = {name: read_window(captures / name) for name in config.windows}
    detector = Detector(known, config.detector)
    # Thousands of tiny products: several BLAS threads only wait for each other.
    with threadpool_limits(1):
        verdicts = {name: detector.compare(window) for name, window in windows.items()}
    _write(result, json.dumps(_result(config, verdicts), indent=2, sort_keys=True) + "\n")
    _write(report, _page(config, known, windows, verdicts))
    return _scalars(verdicts)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _result(config: DriftStepConfig, verdicts: Mapping[str, WindowVerdict]) -> dict[str, object]:
    return {
        "false_alarm_rate": config.detector.false_alarm_rate,
        "windows": {name: asdict(verdict) for name, verdict in verdicts.items()},
    }


def _scalars(verdicts: Mapping[str, WindowVerdict]) -> dict[str, float]:
    alarms = {f"{name}/alarm": float(verdict.alarm) for name, verdict in verdicts.items()}
    aucs = {
        f"{name}/{kind}/auc": v.auc
        for name, verdict in verdicts.items()
        for kind, v in verdict.kinds.items()
        if v.auc is not None
    }
    return alarms | aucs


def _page(
    config: DriftStepConfig, reference: Window, windows: Mapping[str, Window], verdicts: Mapping[str, WindowVerdict]
) -> str:
    rate = config.detector.false_alarm_rate
    how = (
        "A classifier tries to tell captured rows from reference rows of the same kind; its cross-validated AUC is 0.5 "
        f"when it cannot. Thresholds come from reference rows split against each other, so that at most {rate:.0%} of "
        "windows without drift raise an alarm, all kinds together."
    )
    sections = [
        *(paragraph(_headline(name, verdict), bad=verdict.alarm) for name, verdict in verdicts.items()),
        section("Can a classifier tell them apart?", svg(auc_plot(verdicts)), paragraph(how)),
        section("Where the embeddings lie", svg(projection_plot(reference, windows))),
        *(section(f"Decision for window '{name}'", _table(verdict)) for name, verdict in verdicts.items()),
    ]
    if config.evidently:
        sections.append(section("Evidently: each column by itself", *_evidently(config, reference, windows)))
    return page("Drift of captured requests", *sections)


def _headline(name: str, verdict: WindowVerdict) -> str:
    found = [f"{kind} ({v.state})" for kind, v in verdict.kinds.items() if v.state in ("drift", "new")]
    tested = sum(v.auc is not None for v in verdict.kinds.values())
    if verdict.alarm:
        return f"Window '{name}': ALARM for {', '.join(found)}."
    return f"Window '{name}': no alarm, {tested} of {len(verdict.kinds)} kinds had enough rows to be tested."


def _table(verdict: WindowVerdict) -> str:
    rows = [
        (kind, v.state.replace("_", " "), v.auc, v.threshold, v.p_value, v.n, v.reference_n, v.failed, v.note)
        for kind, v in verdict.kinds.items()
    ]
    return table(COLUMNS, rows)


def _evidently(config: DriftStepConfig, reference: Window, windows: Mapping[str, Window]) -> list[str]:
    from components.drift.evidently_report import evidently_html

    rows, components = config.evidently_rows, config.evidently_components
    return [
        embedded(f"Window '{name}'", evidently_html(reference, window, rows=rows, components=components))
        for name, window in windows.items()
    ]
