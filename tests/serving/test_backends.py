"""Every backend that can be configured gives the vectors of the reference, within what its precision allows."""

from pathlib import Path

import numpy as np
import pytest

from model.artifact import Backend, load_encoder
from model.content import Content, Modality
from model.encoding import encode_contents
from model.errors import ConfigError
from serving.config import ServingConfig
from serving.cores import share_cores, usable_cores
from serving.engine import Engine
from serving.runtime import load_from_config

CLOSEST = {
    ("torch", "float32"): 0.99999,
    ("torch", "bfloat16"): 0.999,
    ("onnx", "float32"): 0.9999,
    ("onnx-int8", "float32"): 0.97,
}
"""Least cosine to float32 in torch, by backend and precision, on random weights."""


@pytest.fixture(scope="module")
def exported(tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from model.unified.onnx_export import export_onnx
    from model.unified.onnx_int8 import quantize_graphs
    from model.unified.storage import clone_artifact

    target = tmp_path_factory.mktemp("backends") / "artifact"
    clone_artifact(tiny_artifact, target)
    text_only = load_encoder(target, modalities=frozenset({Modality.TEXT}))
    export_onnx(text_only, target / "onnx")  # type: ignore[arg-type]
    quantize_graphs(target)
    return target


CONTENTS = [Content.of("word " * count, task="query") for count in (1, 3, 30)] + [
    Content.of("another"),
    Content.of("?"),
]


def engine_of(artifact: Path, **options: object) -> Engine:
    return load_from_config(ServingConfig.parse({"artifact": artifact, **options}))


@pytest.mark.minutes
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("backend", "dtype"), CLOSEST)
@pytest.mark.parametrize("workers", [1, 2])
def test_vectors_are_those_of_the_reference(exported: Path, backend: str, dtype: str, workers: int) -> None:
    expected_ND = encode_contents(load_encoder(exported), CONTENTS, desc="")
    engine = engine_of(exported, backend=backend, dtype=dtype, compute_workers=workers, modalities=["text"])
    prepared = [engine.prepare(content) for content in CONTENTS]
    together_ND = engine.compute(prepared)
    alone_ND = np.concatenate([engine.compute([item]) for item in prepared])
    for vectors_ND in (together_ND, alone_ND):
        assert vectors_ND.dtype == np.float32
        assert (vectors_ND * expected_ND).sum(1).min() > CLOSEST[backend, dtype]
    others = expected_ND @ expected_ND.T - np.eye(len(CONTENTS))
    assert others.max() < CLOSEST["onnx", "float32"], "vacuous: the contents are hardly told apart"


def test_bfloat16_is_served_and_is_not_float32(tiny_artifact: Path) -> None:
    full, half = (engine_of(tiny_artifact, backend="torch", dtype=dtype) for dtype in ("float32", "bfloat16"))
    vectors = [engine.compute([engine.prepare(content) for content in CONTENTS]) for engine in (full, half)]
    cosines = (vectors[0] * vectors[1]).sum(1)
    assert cosines.min() > CLOSEST["torch", "bfloat16"]
    assert not np.array_equal(*vectors), "vacuous: both computed in float32"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"backend": "onnx", "dtype": "bfloat16"}, "its own precision"),
        ({"backend": "onnx-int8", "device": "cuda"}, "needs backend 'torch'"),
        ({"backend": "torch", "dtype": "float16"}, "float32"),
        ({"backend": "tensorrt"}, "onnx-int8"),
        ({"compute_workers": -1}, "compute_workers"),
    ],
)
def test_choices_that_do_not_fit_are_refused_before_loading(
    tmp_path: Path, options: dict[str, object], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        ServingConfig.parse({"artifact": tmp_path, **options})


def test_a_gpu_that_is_not_there_is_named(tiny_artifact: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ConfigError, match="no usable GPU"):
        engine_of(tiny_artifact, backend="torch", device="cuda")


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", None), ("100000 100000", 1), ("50000 100000", 1), ("garbage", None)]
)
def test_cores_are_those_of_the_quota(tmp_path: Path, quota: str, cores: int | None) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    everything = usable_cores(tmp_path / "missing")
    assert everything >= 1
    assert usable_cores(tmp_path / "cpu.max") == (cores or everything)


@pytest.mark.parametrize(
    ("backend", "workers", "threads", "cores", "expected"),
    [
        ("onnx", 0, 0, 2, (2, 1)),
        ("onnx-int8", 0, 0, 1, (1, 1)),
        ("onnx", 0, 0, 64, (8, 8)),
        ("onnx", 0, 2, 8, (4, 2)),
        ("onnx", 0, 4, 2, (1, 4)),
        ("onnx", 1, 0, 4, (1, 4)),
        ("torch", 0, 0, 4, (1, 4)),
        ("torch", 2, 0, 4, (2, 2)),
    ],
)
def test_computations_share_the_cores(
    backend: Backend, workers: int, threads: int, cores: int, expected: tuple[int, int]
) -> None:
    sharing = share_cores(backend, workers=workers, threads=threads, cores=cores)
    assert (sharing.workers, sharing.threads) == expected
