"""What stays of a finished import, so that only the pieces whose media changed are imported again.

``<output>/probes/.import/<name>/`` holds, for each piece, its summary, its refused rows and what its media looked like;
the shards themselves are those of the corpus. As probes it may be removed, and is no part of a version. Then changed
media are found by ``--fresh`` only.
"""

import json
import shutil
import sys
import uuid
from pathlib import Path
from typing import Any

from data.importing.config import ImportConfig
from data.importing.containers import eyes_of
from data.importing.looks import LOOKS, Eyes, Seen, look_again, media_of
from data.importing.pieces import DONE, IDS, ROWS, Summary, drop_piece, part_path, piece_directory
from data.importing.places import Access
from data.importing.readers.requeue import rows_name
from data.probe_store import DIRECTORY
from model.errors import DataError
from model.files import link_or_copy, whole_file
from model.integrity import file_digest
from model.progress import progress

KEPT = "kept.json"
JOINS = "joins"
SMALL = (DONE, LOOKS, ROWS, IDS)


def kept_directory(output: Path, name: str) -> Path:
    """Where it stays."""
    return output / DIRECTORY / ".import" / name


def quarantine_file(output: Path, name: str) -> Path:
    """Refused rows of a source in a corpus."""
    return output / "quarantine" / rows_name(name)


def keep(output: Path, work: Path, name: str, found: dict[str, Any]) -> None:
    """Keep what is small of the pieces, whose shards have been moved into the corpus. May be done again.

    Args:
        output: directory of the corpus.
        work: directory of the import.
        name: of the source.
        found: ``commit.json``, of which ``kept`` says which shards are of which piece.
    """
    pieces, place = work / "pieces", kept_directory(output, name)
    if not pieces.is_dir():
        return  # it has been
    folders = sorted(path for path in pieces.iterdir() if path.is_dir())
    if found.get("joins"):
        if place.is_dir():
            (place / JOINS).mkdir(exist_ok=True)
            for folder in folders:
                if (folder / LOOKS).is_file():
                    target = f"{found['entry']['digest'][:12]}-{folder.name}.parquet"
                    (folder / LOOKS).replace(place / JOINS / target)
        return
    shutil.rmtree(place, ignore_errors=True)
    if found.get("kept") is None:
        return
    kept = found["kept"]
    if any((folder / LOOKS).is_file() for folder in folders):
        for folder in folders:
            _strip(folder)
    else:  # media that lie in the source itself: a change of them is one of the source
        kept = {**kept, "pieces": {}}
        for folder in folders:
            shutil.rmtree(folder)
    with whole_file(pieces / KEPT) as partial:
        partial.write_text(json.dumps(kept, sort_keys=True), encoding="utf-8")
    place.parent.mkdir(parents=True, exist_ok=True)
    pieces.rename(place)


def _strip(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in SMALL:
            path.unlink()


def changed_pieces(output: Path, config: ImportConfig, access: Access) -> dict[int, str]:
    """Pieces of a finished import of which a medium is another now, each with one such medium.

    Raises:
        DataError: they cannot be told apart any more, as rows of the quarantine were mended or imported.
    """
    name, place = config.name, kept_directory(output, config.name)
    if not config.mapping.has_media:
        return {}
    if not (place / KEPT).is_file():
        _say(f"what the media of {name} looked like is not recorded in {output}: they were not compared")
        return {}
    joins = sorted(place.glob(f"{JOINS}/*.parquet"))
    later = frozenset(one.value for path in joins for media in media_of(path) for one in media)
    eyes, seen = eyes_of(config, access), Seen()
    _look_again(place, eyes, seen, later)
    for number, path in enumerate(joins):
        look_again(path, -1 - number, eyes, seen)
    if seen.changed and seen.mostly_gone:
        _say(
            f"{seen.missing} of the {seen.looked} media that {name} was made of are gone, {_first(seen)} among them: "
            f"{output} stays as it is; give --fresh to import what is left"
        )
        return {}
    if seen.changed:
        _expect_untouched(output, name, place, joins, seen)
    return seen.changed


def _expect_untouched(output: Path, name: str, place: Path, joins: list[Path], seen: Seen) -> None:
    rows = quarantine_file(output, name)
    recorded = json.loads((place / KEPT).read_text(encoding="utf-8"))["quarantine"]
    if joins:
        why = "rows of its quarantine have been imported since, and would be lost"
    elif recorded != (file_digest(rows) if rows.is_file() else None):
        why = f"{rows} was mended since, and would be written anew: import it first (--from-quarantine)"
    else:
        return
    raise DataError(
        f"media of {name} changed since they were imported, such as {_first(seen)}; {why}. Undo the change, or give "
        "--fresh to import the source from the start"
    )


def restore(output: Path, work: Path, name: str, changed: dict[int, str]) -> None:
    """Make the pieces whose media are what they were from the shards of the corpus; the others are left to do.

    A piece of which a row lost its id to another one is left to do as well, and so is one whose shard is not as it was.
    """
    place = kept_directory(output, name)
    shutil.rmtree(work / "pieces", ignore_errors=True)
    for number, shards in json.loads((place / KEPT).read_text(encoding="utf-8"))["pieces"].items():
        if int(number) not in changed:
            target = piece_directory(work, int(number))
            _restore(
                output, place / target.name, work / "attempts" / f"{target.name}-{uuid.uuid4().hex}", shards, target
            )


def _restore(output: Path, kept: Path, attempt: Path, shards: list[str], target: Path) -> None:
    found = Summary.read(kept)
    sidecars = [output / DIRECTORY / shard for shard in shards]
    if not all(path.is_file() for path in (*sidecars, *(output / shard for shard in shards))):
        return
    if [part["sha256"] for part in found.parts] != [file_digest(output / shard) for shard in shards]:
        return
    (attempt / DIRECTORY).mkdir(parents=True)
    for number, (shard, findings) in enumerate(zip(shards, sidecars, strict=True)):
        path = part_path(attempt, number)
        link_or_copy(output / shard, path)
        link_or_copy(findings, attempt / DIRECTORY / path.name)
    for small in SMALL:
        if (kept / small).is_file():
            shutil.copyfile(kept / small, attempt / small)
    target.parent.mkdir(parents=True, exist_ok=True)
    attempt.rename(target)


def forget_changed(work: Path, config: ImportConfig, access: Access) -> None:
    """Of an import that was interrupted, drop the pieces of which a medium is another now.

    Raises:
        DataError: most media are gone.
    """
    if not config.mapping.has_media:
        return
    eyes, seen = eyes_of(config, access), Seen()
    _look_again(work / "pieces", eyes, seen)
    if seen.changed and seen.mostly_gone:
        raise DataError(
            f"{seen.missing} of the {seen.looked} media that are imported already are gone, {_first(seen)} among them: "
            "bring them back, or give --fresh to begin again without them"
        )
    for number in seen.changed:
        drop_piece(piece_directory(work, number), work)
    if seen.changed:
        _say(f"media changed since they were imported, such as {_first(seen)}: {len(seen.changed)} pieces begin again")


def _look_again(pieces: Path, eyes: Eyes, seen: Seen, later: frozenset[str] = frozenset()) -> None:
    if found := sorted(pieces.glob(f"[0-9]*/{LOOKS}")):
        for path in progress(found, desc="look at the media again", unit="piece"):
            look_again(path, int(path.parent.name), eyes, seen, later)


def _first(seen: Seen) -> str:
    return next(iter(seen.changed.values()))


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
