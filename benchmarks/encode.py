"""Encode throughput against sentence-transformers' own ``encode``.

A new row is one function and one line in ``ROWS``.
"""

import statistics
from collections.abc import Callable

import numpy as np

from benchmarks.peers import network_peer, text_peer
from benchmarks.rows import Duel, Row, duel
from benchmarks.setting import Setting
from model.encoding import encode_contents

FP32_COSINE = 0.9999
PEER = "sentence-transformers encode"


def text_torch(setting: Setting) -> Row:
    """Texts of mixed lengths, trunk in torch on both sides."""
    contents = setting.text_contents
    peer = text_peer(setting.encoder, setting.cache)
    texts = [part.text or "" for content in contents for part in content.parts]
    found = duel(
        lambda: encode_contents(setting.encoder, contents, desc=""),
        lambda: np.asarray(peer.encode(texts)),
        rounds=setting.rounds,
        min_cosine=FP32_COSINE,
    )
    return _row("text-torch-fp32", found, setting, len(contents), "texts/s", _lengths(setting))


def picture_torch(setting: Setting) -> Row:
    """Pictures from encoded bytes to vectors, whole network in torch on both sides."""
    contents = setting.picture_contents
    peer = network_peer(setting.encoder)
    found = duel(
        lambda: encode_contents(setting.encoder, contents, desc=""),
        lambda: np.asarray(peer.encode(contents)),
        rounds=setting.rounds,
        min_cosine=FP32_COSINE,
    )
    size = setting.encoder.config.image.size
    return _row("picture-torch-fp32", found, setting, len(contents), "pictures/s", f"{size} x {size} pixels, decoded")


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
    "picture-torch-fp32": picture_torch,
    "packed-batch-fp32": mixed_batch,
}


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
