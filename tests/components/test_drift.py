"""The drift step on planted captures: decision, report, and refusals."""

import json
from pathlib import Path

import numpy as np
import pytest

from components.drift.config import DriftStepConfig
from components.drift.run import run
from model.content import Content, audio, image
from model.errors import DataError
from serving.drift.config import DriftConfig
from serving.drift.reference import build_reference

CONFIG = DriftStepConfig(evidently=False, detector=DriftConfig(resamples=39, components=8))


def capture(path: Path, rows: int, seed: int, *, shift: float = 0.0, more: tuple[Content, ...] = ()) -> Path:
    """Half texts, half images, their vectors in two clouds; ``shift`` moves the images' cloud."""
    rng = np.random.default_rng(seed)
    contents = [Content.of("word " * int(n)) for n in rng.integers(1, 9, rows)]
    contents += [Content.of(image(bytes(int(n)))) for n in rng.integers(500, 900, rows)]
    contents += more
    vectors = rng.normal(size=(len(contents), 24)) + 3 * np.eye(24)[0]
    vectors[rows : 2 * rows, 1] += 4 + shift
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return build_reference(contents, vectors.astype(np.float32), path)


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """Reference and two windows; the second has moved images and audio that the reference does not know."""
    reference = capture(tmp_path / "reference.parquet", 200, 0)
    capture(tmp_path / "captures" / "clean" / "1.parquet", 60, 1)
    speech = tuple(Content.of(audio(b"0")) for _ in range(60))
    capture(tmp_path / "captures" / "shifted" / "1.parquet", 60, 2, shift=3, more=speech)
    return {
        "reference": reference,
        "captures": tmp_path / "captures",
        "report": tmp_path / "out" / "report.html",
        "result": tmp_path / "out" / "result.json",
    }


def test_clean_window_is_quiet_and_shifted_window_alarms(inputs: dict[str, Path]) -> None:
    scalars = run(CONFIG, **inputs)
    windows = json.loads(inputs["result"].read_text())["windows"]
    assert windows["clean"]["alarm"] is False
    assert windows["shifted"]["alarm"] is True
    states = {kind: verdict["state"] for kind, verdict in windows["shifted"]["kinds"].items()}
    assert states == {"audio": "new", "image": "drift", "text": "stable"}
    image_verdict = windows["shifted"]["kinds"]["image"]
    assert image_verdict["auc"] > image_verdict["threshold"]
    assert image_verdict["n"] == 60
    assert scalars["shifted/alarm"] == 1.0
    assert scalars["clean/image/auc"] == windows["clean"]["kinds"]["image"]["auc"]


def test_report_shows_plots_before_tables_and_loads_nothing(inputs: dict[str, Path]) -> None:
    run(CONFIG, **inputs)
    report = inputs["report"].read_text()
    assert 0 < report.index("<svg") < report.index("<table")
    assert "ALARM for audio (new), image (drift)" in report
    assert "src=" not in report
    assert "evidently" not in report.lower()


@pytest.mark.slow
def test_evidently_page_is_embedded(inputs: dict[str, Path]) -> None:
    config = CONFIG.model_copy(update={"evidently": True, "windows": ("shifted",)})
    run(config, **inputs)
    report = inputs["report"].read_text()
    assert report.count("<iframe srcdoc=") == 1
    assert "embedding direction 1" in report
    assert 'src="http' not in report
    assert "src=&quot;http" not in report


def test_missing_inputs_fail(inputs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"reference\.parquet"):
        run(CONFIG, **{**inputs, "reference": tmp_path / "no" / "reference.parquet"})
    config = CONFIG.model_copy(update={"windows": ("clean", "night")})
    with pytest.raises(DataError, match="night holds no capture"):
        run(config, **inputs)
    assert not inputs["result"].exists()
