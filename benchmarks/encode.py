"""Encode throughput against sentence-transformers' own ``encode``.

A new row is one function and one line in ``ROWS``.
"""

import statistics
from collections.abc import Callable

import numpy as np

from benchmarks.peers import network_peer, text_peer
from benchmarks.rows import BenchmarkError, Duel, Row, duel
from benchmarks.setting import Setting
from components.export.int8 import search, text_pairs
from data.corpus import Corpus
from model.encoder import Encoder
from model.encoding import encode_contents

FP32_COSINE = 0.9999
INT8_COSINE = 0.98
PEER = "sentence-transformers encode"


def text_torch(setting: Setting) -> Row:
    """Texts of mixed lengths, trunk in torch on both sides."""
    return _texts("text-torch-fp32", setting, setting.encoder)


def text_onnx(setting: Setting) -> Row:
    """The same texts, ours by ONNX Runtime."""
    return _texts("text-onnx-fp32", setting, setting.graphs("onnx"))


def text_int8(setting: Setting) -> Row:
    """The same texts, ours by ONNX Runtime in int8, with what that costs in retrieval.

    Raises:
        BenchmarkError: nDCG@10 is further than ``setting.int8_loss`` from that of fp32.
    """
    pairs = text_pairs(Corpus(setting.corpus), setting.queries)
    int8 = setting.graphs("onnx-int8")
    exact, close = (
        statistics.mean(search(graphs, some) for some in pairs.values()) for graphs in (setting.graphs("onnx"), int8)
    )
    if exact - close > setting.int8_loss:
        raise BenchmarkError(f"int8 costs {exact - close:.4f} of nDCG@10, the rule is <= {setting.int8_loss}")
    note = f"; nDCG@10 {close:.4f} against {exact:.4f} in fp32, mean of {len(pairs)} text tasks"
    return _texts("text-onnx-int8", setting, int8, min_cosine=INT8_COSINE, note=note)


def picture_torch(setting: Setting) -> Row:
    """Pictures from encoded bytes to vectors, whole network in torch on both sides."""
    return _pictures("picture-torch-fp32", setting, setting.encoder)


def picture_onnx(setting: Setting) -> Row:
    """The same pictures, ours by ONNX Runtime."""
    return _pictures("picture-onnx-fp32", setting, setting.graphs("onnx"))


def mixed_batch(setting: Setting) -> Row:
    """One batch of 32 texts as they come, packed against padded: what a server or a training step sees."""
    import torch

    batch = setting.encoder.preprocess(setting.text_contents[:32])

    def run(*, packed: bool) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        with torch.inference_mode():
            return setting.encoder.finish(setting.encoder.pool(batch, packed=packed)).numpy()

    found = duel(lambda: run(packed=True), lambda: run(packed=False), rounds=setting.rounds, min_cosine=FP32_COSINE)
    note = f"one batch in the order given, {batch.mask_NL.mean():.0%} of the padded tokens are real"
    return _row("packed-batch-fp32", found, setting, len(batch), "texts/s", note, peer="our own padded execution")


ROWS: dict[str, Callable[[Setting], Row]] = {
    "text-torch-fp32": text_torch,
    "text-onnx-fp32": text_onnx,
    "text-onnx-int8": text_int8,
    "picture-torch-fp32": picture_torch,
    "picture-onnx-fp32": picture_onnx,
    "packed-batch-fp32": mixed_batch,
}


def _texts(name: str, setting: Setting, encoder: Encoder, *, min_cosine: float = FP32_COSINE, note: str = "") -> Row:
    contents = setting.text_contents
    peer = text_peer(setting.encoder, setting.cache)
    texts = [part.text or "" for content in contents for part in content.parts]
    found = duel(
        lambda: encode_contents(encoder, contents, desc=""),
        lambda: np.asarray(peer.encode(texts)),
        rounds=setting.rounds,
        min_cosine=min_cosine,
    )
    return _row(name, found, setting, len(contents), "texts/s", _lengths(setting) + note)


def _pictures(name: str, setting: Setting, encoder: Encoder) -> Row:
    contents = setting.picture_contents
    peer = network_peer(setting.encoder)
    found = duel(
        lambda: encode_contents(encoder, contents, desc=""),
        lambda: np.asarray(peer.encode(contents)),
        rounds=setting.rounds,
        min_cosine=FP32_COSINE,
    )
    size = setting.encoder.config.image.size
    return _row(name, found, setting, len(contents), "pictures/s", f"{size} x {size} pixels, decoded")


def _row(name: str, found: Duel, setting: Setting, items: int, unit: str, note: str, peer: str = PEER) -> Row:
    return Row(
        name=name,
        ours=round(items / statistics.median(found.ours), 2),
        peer=peer,
        peer_value=round(items / statistics.median(found.peer), 2),
        ratio=round(found.ratio, 3),
        unit=unit,
        hardware=setting.hardware,
        note=f"{note}; {items} items, {setting.rounds} rounds in turn, least cosine {found.cosine:.6f}",
    )


def _lengths(setting: Setting) -> str:
    counts = [sum(setting.encoder.count_tokens(content).values()) for content in setting.text_contents]
    return f"{min(counts)} to {max(counts)} tokens, median {statistics.median(counts):.0f}"
