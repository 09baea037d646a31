"""What the serving rows load: our service and its peers as processes of their own, and the graphs without HTTP.

Every process is started when a row first asks for it and stays until the benchmark ends; while another is measured it
does nothing.
"""

import atexit
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.rows import BenchmarkError, MissingPeerError
from benchmarks.serving_load import Load, ask, closed_loop, open_loop
from benchmarks.setting import Setting
from model.artifact import Backend, load_encoder
from model.content import Content
from model.encoding import batch_cost, encode_contents, plan_batches, run_batches
from pipelines.local import variables_set
from serving.client import to_item
from serving.config import CaptureConfig, ServingConfig
from serving.launch import free_port, running

if TYPE_CHECKING:
    from model.encoder import Encoder

MODEL = "omnivec"
READY_SECONDS = 300.0
STOP_SECONDS = 10.0
BUDGETS = (256, 512, 1024, 2048)
OLD_MODULES = ("Transformer", "Pooling", "Dense", "Normalize")


@dataclass(frozen=True)
class Service:
    """A process that answers OpenAI's embeddings requests."""

    port: int
    pid: int
    ready_seconds: float

    def load(self, contents: Sequence[Content], *, clients: int, requests: int) -> Load:
        """One content a request, from ``clients`` that each wait for their answer."""
        return closed_loop(self.port, list(map(body, contents)), clients=clients, requests=requests)

    def arrivals(self, contents: Sequence[Content], *, rate: float, requests: int, seed: int) -> Load:
        """One content a request, that come by chance, ``rate`` a second."""
        return open_loop(self.port, list(map(body, contents)), rate=rate, requests=requests, seed=seed)

    def vectors(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Vectors [N, D], one request each."""
        return np.array([ask(self.port, body(c))["data"][0]["embedding"] for c in contents], np.float32)

    def memory(self) -> int:
        """Bytes of the process and all that descend from it; of pages that several share, each its share."""
        parent = psutil.Process(self.pid)
        return sum(process.memory_full_info().pss for process in [parent, *parent.children(recursive=True)])


@dataclass(frozen=True)
class Graphs:
    """The graphs without a service: all contents are known, sorted by length and cut into batches"""

    encoder: "Encoder"
    budget: int
    words: str

    def load(self, contents: Sequence[Content], *, clients: int, requests: int) -> Load:
        """As many contents as a service gets requests; nobody waits, so the latencies mean nothing."""
        chosen = [contents[i % len(contents)] for i in range(requests)]
        lengths = [batch_cost(self.encoder.count_tokens(content)) for content in chosen]
        began = time.perf_counter()
        for _ in run_batches(self.encoder, ([chosen[i] for i in b] for b in plan_batches(lengths, self.budget))):
            pass
        seconds = time.perf_counter() - began
        return Load(seconds, (seconds,) * requests)

    def vectors(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Vectors [N, D]."""
        return encode_contents(self.encoder, contents, max_batch_tokens=self.budget, desc="")


@dataclass
class Fleet:
    """The sides of one setting."""

    setting: Setting
    _stack: ExitStack = field(default_factory=ExitStack)
    _running: dict[str, Service] = field(default_factory=dict)

    def ours(self, backend: Backend = "onnx") -> Service:
        """Our service, with capture as ``omnivec serve`` has it."""
        return self._kept(f"ours-{backend}", partial(our_service, self.setting, backend))

    def fastapi(self, *, whole: bool = False, lock: bool = False) -> Service:
        """The weights in sentence-transformers behind FastAPI: text in its own modules, or ``whole`` by our file."""
        name = f"fastapi{'-whole' * whole}{'-lock' * lock}"
        return self._kept(name, partial(fastapi_service, self.setting, whole=whole, lock=lock))

    def infinity(self) -> Service:
        """The same in infinity.

        Raises:
            MissingPeerError: no Python that has it was named.
        """
        return self._kept("infinity", partial(infinity_service, self.setting))

    def close(self) -> None:
        """Stop all processes."""
        self._running.clear()
        self._stack.close()

    def _kept(self, name: str, start: Callable[[], Iterator[Service]]) -> Service:
        if name not in self._running:
            self._running[name] = self._stack.enter_context(contextmanager(start)())
        return self._running[name]


@cache
def fleet(setting: Setting) -> Fleet:
    """The sides of a setting; stopped when the benchmark ends."""
    made = Fleet(setting)
    atexit.register(made.close)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # else nothing is stopped at exit
    return made


def body(content: Content) -> bytes:
    """A request as OpenAI's: a text as a string, anything else as a content object."""
    text = content.parts[0].text if len(content.parts) == 1 and content.title is None else None
    return json.dumps({"model": MODEL, "input": to_item(content) if text is None else text}).encode()


def our_service(setting: Setting, backend: Backend) -> Iterator[Service]:
    """Our service as a process."""
    directory = state(setting, f"ours-{backend}")
    config = ServingConfig(
        artifact=setting.exported.resolve(),
        backend=backend,
        port=free_port(),
        compute_workers=setting.threads,
        threads=1,
        capture=CaptureConfig(directory=directory / "captures"),
    )
    with environment(setting), running(config, directory) as server:
        yield Service(config.port, server.process.pid, server.ready_seconds)


def fastapi_service(setting: Setting, *, whole: bool, lock: bool) -> Iterator[Service]:
    """sentence-transformers behind a plain handler."""
    model = setting.exported if whole else text_directory(setting)
    options = ["--trust-remote-code"] * whole + ["--lock"] * lock
    command = [sys.executable, "-m", "benchmarks.serving_fastapi", str(model), *options]
    yield from process(setting, f"fastapi{'-whole' * whole}{'-lock' * lock}", command, "/health")


def infinity_service(setting: Setting) -> Iterator[Service]:
    """The peer infinity with its engine for torch, the one that knows all modules of the model.

    Raises:
        MissingPeerError: no Python that has it was named.
    """
    if setting.infinity is None or not setting.infinity.is_file():
        raise MissingPeerError(
            "infinity-emb is measured from a virtual environment of its own (it needs older transformers): "
            "uv venv DIR && uv pip install -p DIR/bin/python 'infinity-emb[server,torch,logging]', then "
            "--infinity DIR/bin/python"
        )
    options = {
        "model-id": text_directory(setting),
        "served-model-name": MODEL,
        "engine": "torch",
        "device": "cpu",
        "host": "127.0.0.1",
        "url-prefix": "/v1",
        "log-level": "error",
    }
    command = [str(setting.infinity.with_name("infinity_emb")), "v2", "--no-bettertransformer", "--no-model-warmup"]
    command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    yield from process(setting, "infinity", command, "/v1/models")


def process(setting: Setting, name: str, command: Sequence[str], probe: str) -> Iterator[Service]:
    """A peer that listens on ``--port``, ready when it answers ``probe``.

    Raises:
        BenchmarkError: it ended or did not get ready; with the end of its log.
    """
    port, log = free_port(), state(setting, name) / "log"
    began = time.perf_counter()
    with environment(setting), log.open("wb") as sink:
        child = subprocess.Popen(
            [*command, "--port", str(port)], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
        )
    try:
        while not answers(port, probe):
            if child.poll() is not None or time.perf_counter() - began > READY_SECONDS:
                raise BenchmarkError(f"{name} did not get ready: {log.read_text(errors='replace')[-800:]}")
            time.sleep(0.1)
        yield Service(port, child.pid, time.perf_counter() - began)
    finally:
        family = psutil.Process(child.pid).children(recursive=True) if child.poll() is None else []
        child.terminate()
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
        for member in psutil.wait_procs(family, timeout=1)[1]:
            member.kill()


def answers(port: int, path: str) -> bool:
    """Whether a service answers 200."""
    import httpx

    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=2.0, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def environment(setting: Setting) -> Iterator[None]:
    """What all sides start with: the same number of threads, and no word to anybody outside."""
    given = {
        "OMP_NUM_THREADS": str(setting.threads),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(setting.cache / "hf"),
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    with variables_set(given):
        yield


def state(setting: Setting, name: str) -> Path:
    """Directory of a side."""
    directory = setting.cache / "serving" / name
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def text_directory(setting: Setting) -> Path:
    """Trunk, word embeddings, pooling and head as a model of sentence-transformers, in the layout of its version 3.

    Newer ones read it as well, so that both peers load the same files.
    """
    from benchmarks.peers import text_peer

    target = setting.cache / "serving" / f"text-{setting.exported.name}"
    if (target / "modules.json").is_file():
        return target
    model = text_peer(setting.encoder, setting.cache)
    model.save(str(target), create_model_card=False)
    width = model.get_embedding_dimension()
    rewrite(target / "1_Pooling" / "config.json", {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True})
    dense = json.loads((target / "2_Dense" / "config.json").read_text(encoding="utf-8"))
    known = ("in_features", "out_features", "bias", "activation_function")
    rewrite(target / "2_Dense" / "config.json", {name: dense[name] for name in known})
    tokenizer = json.loads((target / "tokenizer_config.json").read_text(encoding="utf-8"))
    rewrite(target / "tokenizer_config.json", {**tokenizer, "tokenizer_class": "PreTrainedTokenizerFast"})
    rewrite(target / "sentence_bert_config.json", {"max_seq_length": tokenizer["model_max_length"]})
    modules = json.loads((target / "modules.json").read_text(encoding="utf-8"))
    named = zip(modules, OLD_MODULES, strict=True)
    rewrite(target / "modules.json", [{**m, "type": f"sentence_transformers.models.{name}"} for m, name in named])
    return target


def rewrite(path: Path, document: object) -> None:
    """Write a JSON document."""
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def ceiling(setting: Setting, contents: Sequence[Content]) -> Graphs:
    """The fastest way through the same graphs: one batch on all threads, or one on each, at the best batch size."""
    each = load_encoder(setting.exported, backend="onnx", threads=1)
    wide = load_encoder(setting.exported, backend="onnx", threads=setting.threads)
    tried = [
        Graphs(encoder, budget, f"{words}, {budget} tokens a batch")
        for encoder, words in ((each, "a batch on each core"), (wide, f"a batch on {setting.threads} threads"))
        for budget in BUDGETS
    ]
    return min(tried, key=lambda way: way.load(contents, clients=1, requests=len(contents)).seconds)
