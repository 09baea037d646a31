"""What every command of the benchmark can be told."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.setting import Setting
from components.environment import Environment
from data.shards import shard_paths
from model.artifact import artifact_kind
from model.errors import ArtifactError, ConfigError, OmnivecError
from model.integrity import artifact_digest

CORPUS = Path(__file__).resolve().parents[1] / "data" / "starter"
INFINITY = "OMNIVEC_INFINITY"


def add_options(parser: argparse.ArgumentParser, *, rounds: int) -> None:
    """Options of a setting."""
    known = os.environ.get(INFINITY)
    given = Checked.as_action
    parser.add_argument("--model", type=Path, action=given(_model), help="artifact; by default the initial weights")
    parser.add_argument(
        "--corpus", type=Path, action=given(shard_paths), default=CORPUS, help="shards that the inputs come from"
    )
    parser.add_argument("--threads", type=int, action=given(_some), default=2, help="processor threads of each side")
    parser.add_argument("--rounds", type=int, action=given(_some), default=rounds, help="counted runs of each side")
    parser.add_argument(
        "--infinity",
        type=Path,
        action=given(_program),
        default=Path(known) if known else None,
        help=f"Python of a virtual environment with infinity-emb; by default what {INFINITY} names",
    )


class Checked(argparse.Action):
    """An option whose value is looked at before anything is done; what is wrong with it is one line."""

    def __init__(self, *, check: Callable[[Any], object], **options: Any) -> None:
        super().__init__(**options)
        self.check = check

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, _: Any = None
    ) -> None:
        """Take the value, or end."""
        try:
            self.check(value)
        except OmnivecError as error:
            parser.exit(2, f"{parser.prog}: {self.option_strings[0]} {value}: {error}\n")
        setattr(namespace, self.dest, value)

    @classmethod
    def as_action(cls, check: Callable[[Any], object]) -> Callable[..., "Checked"]:
        """For ``add_argument``."""
        return lambda **options: cls(check=check, **options)


def _model(directory: Path) -> None:
    way_out = "give the directory that an export or a training step wrote, or leave --model out for the initial weights"
    try:
        kind = artifact_kind(directory)
        artifact_digest(directory)
    except ArtifactError as error:
        raise ArtifactError(f"{error}; {way_out}") from error
    if kind != "unified":
        raise ArtifactError(f"it is a {kind!r} model, and the rows measure models of the family 'unified'; {way_out}")


def _program(path: Path) -> None:
    if not os.access(path, os.X_OK) or not path.is_file():
        raise ConfigError(
            "it is no program; give bin/python of an environment with infinity-emb, or leave it out to skip its rows"
        )


def _some(number: int) -> None:
    if number < 1:
        raise ConfigError("it has to be 1 or more")


def setting_of(arguments: argparse.Namespace) -> Setting:
    """The setting that the options describe."""
    import torch

    torch.set_num_threads(arguments.threads)
    bench = bench_home()
    return Setting(
        artifact=arguments.model or _initial_model(bench),
        corpus=arguments.corpus,
        cache=bench / "cache",
        threads=arguments.threads,
        rounds=arguments.rounds,
        infinity=arguments.infinity,
    )


def bench_home() -> Path:
    """Where results and what they need are kept."""
    return Environment.from_env().home / "bench"


def _initial_model(bench: Path) -> Path:
    """Artifact of the initial weights: speed does not depend on training."""
    from components.init_model.config import InitModelConfig
    from components.init_model.run import run

    target = bench / "model"
    if not (target / "config.json").is_file():
        run(InitModelConfig(source="packages"), home=bench.parent, output=target)
    return target
