"""A vector is the same offline, served alone, and served in a batch with strangers: over real HTTP, for every kind.

Shape legend: N contents, D dimensions.
"""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.artifact import load_encoder
from model.content import Content, Modality, Part, audio, document, image, video
from model.encoding import encode_contents
from serving import engine, samples
from serving.client import EmbeddingClient
from serving.config import ServingConfig
from serving.engine import Engine, Prepared
from serving.host import ModelHost
from serving.launch import free_port, running
from tests.conftest import make_mp4, make_ogg, make_pdf, make_png

BAR = 0.9999
TINY_BAR = 0.99999  # random weights tell inputs apart less well than trained ones, so equality is asked more of them
KINDS = ("text", "image", "audio", "video", "document", "interleaved")
HOME = Path(os.environ.get("OMNIVEC_HOME", Path(__file__).parents[2] / ".omnivec"))
CORPUS = Path(__file__).parents[2] / "data" / "starter"
Live = Callable[[ModelHost], AbstractContextManager[str]]


def six(png: bytes, sound: bytes, mp4: bytes, pdf: bytes, word: str) -> dict[str, Content]:
    """One content of each kind."""
    text = f"a sentence of some length, not the shortest nor the {word} of its batch"
    return {
        "text": Content.of(text, task="query"),
        "image": Content.of(image(png), task="query"),
        "audio": Content.of(audio(sound), task="query"),
        "video": Content.of(video(mp4), task="query"),
        "document": Content.of(document(pdf), task="query"),
        "interleaved": Content.of("see", image(png), "hear", audio(sound), video(mp4), task="query"),
    }


@pytest.fixture(scope="module")
def contents(png_bytes: bytes, ogg_bytes: bytes, mp4_bytes: bytes, pdf_bytes: bytes) -> dict[str, Content]:
    """What is embedded."""
    return six(png_bytes, ogg_bytes, mp4_bytes, pdf_bytes, "longest")


@pytest.fixture(scope="module")
def others() -> dict[str, Content]:
    """The same kinds with other media, and one other word: what must not pass for the above."""
    return six(
        make_png(seed=1), make_ogg(seed=1), make_mp4(seed=1, size=48), make_pdf("Hello word", "Second page"), "widest"
    )


@pytest.fixture(scope="module")
def telling_artifact(
    tiny_artifact: Path,
    contents: dict[str, Content],
    others: dict[str, Content],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The tiny model, made to tell its inputs apart.

    Whatever a random network is shown, it says nearly the same (pictures: cosine 0.9999999), so that any error would
    pass. Training spreads the features of media and the vectors; here two layers are moved by a few contents instead.
    """
    encoder: Any = load_encoder(tiny_artifact)
    shown = [*contents.values(), *others.values()]
    outputs = heard(encoder, {name: projector.norm for name, projector in encoder.projectors.items()}, shown)
    with torch.no_grad():
        for name, normed_NC in outputs.items():
            norm, centre_C = encoder.projectors[name].norm, normed_NC.mean(0)
            spread = (normed_NC - centre_C).std()
            norm.weight.div_(spread)
            norm.bias.sub_(centre_C).div_(spread)
        encoder.head.bias.sub_(heard(encoder, {"head": encoder.head}, shown)["head"].mean(0))
    directory = tmp_path_factory.mktemp("telling") / "artifact"
    encoder.save(directory)
    return directory


def heard(encoder: Any, layers: Mapping[str, torch.nn.Module], contents: Sequence[Content]) -> dict[str, torch.Tensor]:
    """What layers put out while contents are embedded, shape [rows, C]."""
    seen: dict[str, list[torch.Tensor]] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda _, __, output: seen.setdefault(name, []).append(output.detach().flatten(0, -2))

    hooks = [layer.register_forward_hook(keep(name)) for name, layer in layers.items()]
    encode_contents(encoder, contents, desc="")
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(found) for name, found in seen.items()}


STRANGERS = [Content.of("x"), *(Content.of(f"{n} " + "many words in one long text " * n) for n in (1, 3, 6, 9))]


def cosines(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, float]:
    """Cosine by kind."""
    return {kind: float(unit(left[kind]) @ unit(right[kind])) for kind in left}


def unit(vector_D: Any) -> Any:
    """Unit length, in double precision."""
    return vector_D.astype(np.float64) / np.linalg.norm(vector_D.astype(np.float64))


def alone(url: str, contents: Mapping[str, Content]) -> dict[str, Any]:
    """Vectors of contents sent one after another."""
    with EmbeddingClient(url) as client:
        return {kind: client.embed([content]).vectors_Nd[0] for kind, content in contents.items()}


def among_strangers(url: str, contents: Mapping[str, Content], strangers: Sequence[Content]) -> dict[str, Any]:
    """Vectors of contents that all callers send at the same time: each by itself, strangers before and after it."""

    def send(content: Content) -> Any:
        with EmbeddingClient(url) as client:
            return client.embed([content]).vectors_Nd[0]

    crowd = [*strangers, *contents.values(), *(replace(stranger, task="document") for stranger in strangers)]
    with ThreadPoolExecutor(len(crowd)) as pool:
        found = list(pool.map(send, crowd))
    return dict(zip(contents, found[len(strangers) :], strict=False))


class Gathered:
    """Holds compute until the whole crowd is prepared, so that strangers share batches; keeps the lengths of each."""

    def __init__(self, engine: Engine, crowd: int) -> None:
        self.lengths: list[list[int]] = []
        self._crowd, self._prepared, self._all_there = crowd, 0, threading.Event()
        self._prepare, self._compute = engine.prepare, engine.compute
        engine.prepare, engine.compute = self.prepare, self.compute  # type: ignore[method-assign]

    def prepare(self, content: Content) -> Prepared:
        """Count, for Engine.prepare."""
        done = self._prepare(content)
        self._prepared += 1
        if self._prepared >= self._crowd:
            self._all_there.set()
        return done

    def compute(self, items: Sequence[Prepared]) -> Any:
        """Wait, for Engine.compute; a lane that waits for nothing more than its own item would prove nothing."""
        self._all_there.wait(timeout=20)
        self.lengths.append([item.length for item in items])
        return self._compute(items)

    @property
    def mixed(self) -> int:
        """Items that shared a batch with one of another length."""
        return sum(len(lengths) for lengths in self.lengths if len(set(lengths)) > 1)


def served(config: ServingConfig, artifact: Path) -> ModelHost:
    """A host of the artifact in torch, warm."""
    limits = config.limits.model_copy(update={"queue_items": 64})
    changed = {"artifact": artifact, "backend": "torch", "capture": None, "limits": limits}
    host = ModelHost(config.model_copy(update=changed))
    host.open()
    return host


def offline(artifact: Path, contents: Mapping[str, Content]) -> dict[str, Any]:
    """Vectors as evaluation makes them."""
    return dict(zip(contents, encode_contents(load_encoder(artifact), list(contents.values()), desc=""), strict=True))


def test_served_vectors_are_the_offline_ones(
    config: ServingConfig,
    live: Live,
    telling_artifact: Path,
    contents: dict[str, Content],
    others: dict[str, Content],
) -> None:
    expected = offline(telling_artifact, contents)
    host = served(config, telling_artifact)
    with live(host) as url:
        lone = cosines(expected, alone(url, contents))
        perturbed = cosines(expected, alone(url, others))
        gathered = Gathered(host.runtime().engine, crowd=len(contents) + 2 * len(STRANGERS))
        mixed = cosines(expected, among_strangers(url, contents, STRANGERS))
    assert tuple(lone) == KINDS
    assert sum(map(len, gathered.lengths)) == len(contents) + 2 * len(STRANGERS)
    assert gathered.mixed > len(contents), f"too few shared a batch: {gathered.lengths}"
    assert min(lone.values()) >= TINY_BAR, lone
    assert min(mixed.values()) >= TINY_BAR, mixed
    assert max(perturbed.values()) < TINY_BAR, f"vacuous: other contents pass as well: {perturbed}"


def test_a_batch_that_reads_its_padding_would_be_seen(
    monkeypatch: pytest.MonkeyPatch, telling_artifact: Path, contents: dict[str, Content]
) -> None:
    expected = offline(telling_artifact, contents)
    model = engine.load_engine(telling_artifact, backend="torch", modalities=None)
    prepared = [model.prepare(content) for content in (*contents.values(), *STRANGERS)]

    def found() -> dict[str, float]:
        return cosines(expected, dict(zip(contents, model.compute(prepared), strict=False)))

    assert min(found().values()) >= TINY_BAR
    batch_type, merge = next(iter(engine.MERGERS.items()))

    def careless(batches: Sequence[Any]) -> Any:
        merged = merge(batches)
        return replace(merged, mask_NL=np.ones_like(merged.mask_NL))

    monkeypatch.setitem(engine.MERGERS, batch_type, careless)
    assert max(found().values()) < TINY_BAR


@pytest.fixture(scope="module")
def champion() -> Path:
    """Artifact of the champion, where there is one."""
    from components.environment import Environment
    from components.registry import Registry
    from model.errors import OmnivecError

    if not (HOME / "mlflow.db").is_file():
        pytest.skip(f"no registry in {HOME}; `make run` makes a champion")
    registry = Registry(Environment.local(HOME))
    try:
        return registry.fetch(str(registry.resolve("champion").version))
    except OmnivecError as error:
        pytest.skip(str(error))


@pytest.mark.minutes
@pytest.mark.weights
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_the_champion_is_served_as_it_was_measured(
    champion: Path, backend: str, tmp_path: Path, pdf_bytes: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    from components.serve_check.parity import compare, label
    from components.serve_check.traffic import held_out
    from data.corpus import Corpus

    encoder = load_encoder(champion)
    pools = held_out(Corpus(CORPUS, splits=("test",)), 12, encoder=encoder)
    pages = [Part(Modality.DOCUMENT, data=data) for data in (pdf_bytes, samples.pdf())]
    pools["document"] = [Content((page,)) for page in pages]
    pools["interleaved"] += [Content((*text.parts, page)) for text in pools["text"][:10] for page in pages]
    config = ServingConfig(artifact=champion.resolve(), backend=backend, port=free_port())
    with running(config, tmp_path / "state", timeout_seconds=600) as server, EmbeddingClient(server.url) as client:
        found = compare(encoder, client, label(pools, ["query", "document"]), size=8, clients=8)
    lowest = {way: {k: min(v) for k, v in getattr(found, way).items()} for way in ("alone", "mixed")}
    with capsys.disabled():
        print(f"\nlowest cosine of {backend} to offline torch:", lowest)
    assert all(set(KINDS) <= set(way) for way in lowest.values()), lowest
    assert min(min(way.values()) for way in lowest.values()) >= BAR, lowest
