"""Feature store: what the frozen towers made of each media item, computed once and reused by training and evaluation.

Layout of a store directory: ``<modality>.npy`` holds the cells of all tokens [tokens, G, C] in half precision,
``index.json`` maps a media digest to its modality, first token and tokens per tower input.

Shape legend: B tower inputs, T tokens per input, G cells per token, C channels.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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


def build_features(encoder: "UnifiedEncoder", parts: Iterable[Part], directory: Path, *, batch_units: int = 8) -> int:
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
    """Decode ahead in a thread, run the tower over units of equal shape; yields in the order of completion."""
    import torch

    from model.parallel import side_by_side

    frontend = encoder.frontends[name].eval()
    waiting: dict[str, tuple[int, dict[int, NDArray[np.float16]]]] = {}

    def cells(members: "list[_Placed]") -> "tuple[list[_Placed], NDArray[np.float16]]":
        inputs = torch.from_numpy(np.stack([m.unit.inputs for m in members if m.unit.inputs is not None]))
        if inputs.dim() == 4:  # convolutions on a processor are faster with the channels last
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            return members, frontend(inputs).half().numpy()

    for members, cells_BTGC in side_by_side(cells, _equal_shapes(_decode_ahead(encoder, parts), batch_units)):
        for member, features in zip(members, cells_BTGC, strict=True):
            _, found = waiting.setdefault(member.digest, (member.of, {}))
            found[member.place] = features
            if len(found) == member.of:
                del waiting[member.digest]
                yield member.digest, [found[i] for i in range(member.of)]


@dataclass(frozen=True)
class _Placed:
    """One tower input: the ``place``-th ``of`` those of a media item."""

    digest: str
    place: int
    of: int
    unit: "Unit"


def _equal_shapes(decoded: "Iterable[tuple[str, list[Unit]]]", size: int) -> Iterator[list[_Placed]]:
    groups: dict[tuple[int, ...], list[_Placed]] = {}
    for digest, units in decoded:
        for place, unit in enumerate(units):
            assert unit.inputs is not None
            group = groups.setdefault(unit.inputs.shape, [])
            group.append(_Placed(digest, place, len(units), unit))
            if len(group) >= size:
                yield groups.pop(unit.inputs.shape)
    yield from groups.values()


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
