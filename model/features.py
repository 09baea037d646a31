"""Feature store: what the frozen towers made of each media item, computed once and reused by training and evaluation.

Layout of a store directory: ``<modality>.npy`` holds the cells of all tokens [tokens, G, C] in half precision,
``index.json`` maps a media digest to its modality, first token and tokens per tower input.

Shape legend: B tower inputs, T tokens per input, G cells per token, C channels.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from model.content import Part
from model.errors import ArtifactError, ContentError

if TYPE_CHECKING:
    from model.unified.batch import Unit
    from model.unified.encoder import UnifiedEncoder

INDEX = "index.json"


class FeatureStore:
    """Read access to a store; arrays are memory-mapped."""

    def __init__(self, towers: str, arrays: dict[str, NDArray[np.float16]], index: dict[str, list[Any]]) -> None:
        self.towers = towers
        self._arrays = arrays
        self._index = index

    @classmethod
    def open(cls, directory: Path) -> "FeatureStore":
        """Open a store.

        Raises:
            ArtifactError: the directory is not a feature store.
        """
        try:
            document = json.loads((directory / INDEX).read_text(encoding="utf-8"))
            arrays = {
                name: np.load(directory / f"{name}.npy", mmap_mode="r", allow_pickle=False)
                for name in document["modalities"]
            }
        except (OSError, ValueError, KeyError) as error:
            raise ArtifactError(f"{directory} is not a feature store: {error}; run the features step again") from error
        return cls(document["towers"], arrays, document["items"])

    def __contains__(self, digest: str) -> bool:
        return digest in self._index

    def __len__(self) -> int:
        return len(self._index)

    def check(self, towers: str) -> None:
        """Refuse use with other towers than those that made the store.

        Raises:
            ArtifactError: naming both digests.
        """
        if towers != self.towers:
            raise ArtifactError(
                f"the features were made by towers {self.towers}, the model has {towers}; run the features step "
                "again, or train without features when towers are unfrozen"
            )

    def count(self, digest: str) -> int | None:
        """Tokens of one media item, or None when it is not stored."""
        entry = self._index.get(digest)
        return None if entry is None else sum(entry[2])

    def get(self, digest: str) -> list[NDArray[np.float32]] | None:
        """Features of one media item: per tower input an array [T, G, C], or None when it is not stored."""
        entry = self._index.get(digest)
        if entry is None:
            return None
        modality, start, counts = entry
        array = self._arrays[modality]
        found = []
        for count in counts:
            found.append(array[start : start + count].astype(np.float32))
            start += count
        return found


def build_features(encoder: "UnifiedEncoder", parts: Iterable[Part], directory: Path, *, batch_units: int = 32) -> int:
    """Run the towers over every distinct media part and write a store.

    Parts that cannot be decoded are left out (the validation step has quarantined them already).

    Returns:
        The number of media items stored.
    """
    from model.progress import progress

    directory.mkdir(parents=True, exist_ok=True)
    index: dict[str, list[Any]] = {}
    chunks: dict[str, list[NDArray[np.float16]]] = {}
    offsets: dict[str, int] = {}
    by_modality: dict[str, list[Part]] = {}
    for part in parts:
        by_modality.setdefault(part.modality.value, []).append(part)
    for name, members in by_modality.items():
        rows = _run(encoder, name, members, batch_units)
        for digest, features in progress(rows, total=len(members), desc=f"{name} features", unit=name):
            if digest in index:
                continue
            start = offsets.get(name, 0)
            index[digest] = [name, start, [len(f) for f in features]]
            offsets[name] = start + sum(len(f) for f in features)
            chunks.setdefault(name, []).extend(features)
    for name, arrays in chunks.items():
        np.save(directory / f"{name}.npy", np.concatenate(arrays))
    document = {"towers": encoder.tower_digest(), "modalities": sorted(chunks), "items": index}
    (directory / INDEX).write_text(json.dumps(document), encoding="utf-8")
    return len(index)


def _run(
    encoder: "UnifiedEncoder", name: str, parts: list[Part], batch_units: int
) -> Iterable[tuple[str, list[NDArray[np.float16]]]]:
    """Decode ahead in a thread, group units of equal shape, run the tower; yields in the order of completion."""
    import torch

    frontend = encoder.frontends[name].eval()
    waiting: dict[str, tuple[int, dict[int, NDArray[np.float16]]]] = {}
    groups: dict[tuple[int, ...], list[tuple[str, int, Unit]]] = {}

    def flush(members: "list[tuple[str, int, Unit]]") -> list[tuple[str, list[NDArray[np.float16]]]]:
        inputs = torch.from_numpy(np.stack([u.inputs for _, _, u in members if u.inputs is not None]))
        with torch.inference_mode():
            cells_BTGC = frontend(inputs).half().numpy()
        done = []
        for (digest, place, _), features in zip(members, cells_BTGC, strict=True):
            count, found = waiting[digest]
            found[place] = features
            if len(found) == count:
                done.append((digest, [found[i] for i in range(count)]))
        return done

    for digest, units in _decode_ahead(encoder, parts):
        waiting[digest] = (len(units), {})
        for place, unit in enumerate(units):
            assert unit.inputs is not None
            group = groups.setdefault(unit.inputs.shape, [])
            group.append((digest, place, unit))
            if len(group) >= batch_units:
                groups[unit.inputs.shape] = []
                yield from flush(group)
    for group in groups.values():
        if group:
            yield from flush(group)


def _decode_ahead(encoder: "UnifiedEncoder", parts: list[Part]) -> "Iterable[tuple[str, list[Unit]]]":
    from collections import deque
    from concurrent.futures import Future, ThreadPoolExecutor

    def decode(part: Part) -> "list[Unit]":
        try:
            return encoder.preprocessor.reader.units(part)
        except ContentError:
            return []

    with ThreadPoolExecutor(1) as pool:
        ahead: deque[tuple[str, Future[list[Unit]]]] = deque()
        for part in parts:
            ahead.append((part.digest, pool.submit(decode, part)))
            if len(ahead) > 64:
                digest, future = ahead.popleft()
                if units := future.result():
                    yield digest, units
        for digest, future in ahead:
            if units := future.result():
                yield digest, units


def digest_of_towers(encoder: "UnifiedEncoder") -> str:
    """Hash of the tower weights and of every setting that shapes their output."""
    import hashlib

    hasher = hashlib.sha256()
    config = encoder.config
    for part in (config.image, config.video, config.audio):
        hasher.update(part.model_dump_json().encode())
    for name, tensor in sorted(encoder.frontends.state_dict().items()):
        hasher.update(name.encode())
        hasher.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return hasher.hexdigest()[:16]
