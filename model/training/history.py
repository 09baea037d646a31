"""The scalars of a stage along its steps, kept beside its checkpoints so that a resumed stage has the whole curve."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

Row = dict[str, float]
NAME = "history.jsonl"


class History:
    """Scalars by step in ``history.jsonl``; a step that a resumed run does again replaces what it said before."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / NAME

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        """Append the scalars of a step."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **scalars}) + "\n")

    def follow(self) -> Callable[[], Iterator[Row]]:
        """What to call again and again for the rows that came since the last call, the first time since now."""
        done = self.path.stat().st_size if self.path.is_file() else 0

        def news() -> Iterator[Row]:
            nonlocal done
            if not self.path.is_file():
                return
            with self.path.open("rb") as file:
                file.seek(done)
                for line in file:
                    if not line.endswith(b"\n"):
                        return  # is being written
                    done += len(line)
                    yield json.loads(line)

        return news

    def rows(self) -> list[Row]:
        """All rows in the order of their steps; a line that a kill cut short is left out."""
        found: dict[int, Row] = {}
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else []:
            try:
                row = json.loads(line)
                found[int(row["step"])] = row
            except (ValueError, KeyError, TypeError):
                continue
        return [found[step] for step in sorted(found)]
