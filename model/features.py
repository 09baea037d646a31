"""Feature store: what the frozen towers made of each media item, computed once and reused by training and evaluation.

Layout of a store directory: ``<tower>.npy`` holds the cells of all tokens [tokens, G, C] in half precision,
``index.json`` maps a media digest to its tower, first token and tokens per tower input. A clip has further entries for
its stills, ``<digest>/image``, and its sound, ``<digest>/audio``, in the order of its tokens. Documents are never
stored: their pages are rendered when they are needed.

Shape legend: B tower inputs, T tokens per input, G cells per token, C channels.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from model.content import Modality, Part
from model.errors import ArtifactError, ContentError

if TYPE_CHECKING:
    from model.unified.batch import Inputs, Unit
    from model.unified.cells import Cells
    from model.unified.encoder import UnifiedEncoder

INDEX = "index.json"
OF_A_CLIP = ("image", "audio")
# Enough parts in a piece of work for sounds of equal length to meet in a batch.
PARTS_PER_UNIT = 4


class FeatureStore:
    """Read access to a store; arrays are memory-mapped, also in a process that an open store is sent to."""

    def __init__(
        self, directory: Path, towers: str, arrays: dict[str, NDArray[np.float16]], index: dict[str, list[Any]]
    ) -> None:
        self.directory = directory
        self.towers = towers
        self._arrays = arrays
        self._index = index

    def __reduce__(self) -> "tuple[Callable[[Path], FeatureStore], tuple[Path]]":
        return FeatureStore.open, (self.directory.resolve(),)

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
        return cls(directory, document["towers"], arrays, document["items"])

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

    def has(self, part: Part) -> bool:
        """Whether ``part`` is stored, as what it is: the same GIF may be a picture and a clip."""
        entry = self._index.get(part.digest)
        return entry is not None and entry[0] == part.modality.value

    def count(self, part: Part) -> int:
        """Tokens of one media item that is stored."""
        return sum(sum(counts) for _, _, counts in self._entries(part))

    def items(self, part: Part) -> Iterator[tuple[str, list[NDArray[np.float32]]]]:
        """Features of one media item that is stored: for each tower its name and per input an array [T, G, C]."""
        for tower, start, counts in self._entries(part):
            array, found, at = self._arrays[tower], [], start
            for count in counts:
                found.append(array[at : at + count].astype(np.float32))
                at += count
            yield tower, found

    def _entries(self, part: Part) -> list[list[Any]]:
        keys = (part.digest, *(f"{part.digest}/{tower}" for tower in OF_A_CLIP))
        return [self._index[key] for key in keys if key in self._index]


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
    for part in {part.digest: part for part in parts if part.modality is not Modality.DOCUMENT}.values():
        by_modality.setdefault(part.modality.value, []).append(part)
    for name, members in by_modality.items():
        rows = _tower_outputs(encoder, members, batch_units)
        for digest, by_tower in progress(rows, total=len(members), desc=f"{name} features", unit=name):
            for tower, features in by_tower.items():
                start = offsets.get(tower, 0)
                key = digest if tower == name else f"{digest}/{tower}"
                index[key] = [tower, start, [len(f) for f in features]]
                offsets[tower] = start + sum(len(f) for f in features)
                chunks.setdefault(tower, []).extend(features)
    for name, arrays in chunks.items():
        np.save(directory / f"{name}.npy", np.concatenate(arrays))
    write_index(directory, towers=encoder.tower_digest(), modalities=sorted(chunks), items=index)
    return sum("/" not in key for key in index)


def write_index(directory: Path, *, towers: str, modalities: list[str], items: dict[str, list[Any]]) -> None:
    """Finish a store: the index is what makes a directory one."""
    directory.mkdir(parents=True, exist_ok=True)
    document = {"towers": towers, "modalities": modalities, "items": items}
    (directory / INDEX).write_text(json.dumps(document), encoding="utf-8")


def _tower_outputs(
    encoder: "UnifiedEncoder", parts: list[Part], batch_units: int
) -> Iterator[tuple[str, dict[str, list[NDArray[np.float16]]]]]:
    """Decode and run the towers, a chunk of parts at a time on each core; in the order of ``parts``."""
    from model.parallel import side_by_side

    runners = _runners(encoder, parts)

    def work(chunk: list[Part]) -> list[tuple[str, dict[str, list[NDArray[np.float16]]]]]:
        decoded = {part.digest: units for part in chunk if (units := _decode(encoder, part))}
        inputs: dict[str, list[Inputs]] = {}
        for unit in (unit for found in decoded.values() for unit in found):
            if unit.inputs is not None:
                inputs.setdefault(unit.tower, []).append(unit.inputs)
        cells = {tower: iter(_in_batches(runners[tower], own, batch_units)) for tower, own in inputs.items()}
        rows: list[tuple[str, dict[str, list[NDArray[np.float16]]]]] = []
        for digest, found in decoded.items():
            rows.append((digest, {}))
            for unit in found:
                rows[-1][1].setdefault(unit.tower, []).append(next(cells[unit.tower]))
        return rows

    size = PARTS_PER_UNIT * batch_units
    for rows in side_by_side(work, (parts[i : i + size] for i in range(0, len(parts), size))):
        yield from rows


def _runners(encoder: "UnifiedEncoder", parts: list[Part]) -> "dict[str, Cells]":
    """Of each tower; ``parts`` are of one modality."""
    from model.unified.cells import cell_runner

    config, modality = encoder.config, parts[0].modality.value
    sizes = {"image": config.image.size, "video": config.video.size}
    each = {"video": config.video.max_frames, "image": config.video.stills} if modality == "video" else {modality: 1}
    inputs = {tower: count * len(parts) for tower, count in each.items()}
    return {
        name: cell_runner(frontend, size=sizes.get(name, 0), inputs=inputs.get(name, 0))
        for name, frontend in encoder.frontends.eval().items()
    }


def _decode(encoder: "UnifiedEncoder", part: Part) -> "list[Unit]":
    try:
        return encoder.preprocessor.reader.units(part)
    except ContentError:
        return []


def _in_batches(run: "Cells", inputs: "list[Inputs]", size: int) -> list[NDArray[np.float16]]:
    """Cells [T, G, C] of each input; inputs of equal shape share a forward."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for i, array in enumerate(inputs):
        by_shape.setdefault(array.shape, []).append(i)
    found: dict[int, NDArray[np.float16]] = {}
    for members in by_shape.values():
        for start in range(0, len(members), size):
            batch = members[start : start + size]
            cells = run(np.stack([inputs[i] for i in batch]))
            found.update(zip(batch, cells.astype(np.float16), strict=True))
    return [found[i] for i in range(len(inputs))]


def digest_of_towers(encoder: "UnifiedEncoder") -> str:
    """Hash of the tower weights and of every setting that shapes their output."""
    import hashlib

    hasher = hashlib.sha256()
    config = encoder.config
    for part in (config.image, config.video, config.audio, config.image_tower, config.audio_tower):
        hasher.update((part.model_dump_json() if part else "none").encode())
    for name, tensor in sorted(encoder.frontends.state_dict().items()):
        hasher.update(name.encode())
        hasher.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return hasher.hexdigest()[:16]
