"""What every command of the benchmark can be told."""

import argparse
import os
from pathlib import Path

from benchmarks.setting import Setting
from components.environment import Environment

CORPUS = Path(__file__).resolve().parents[1] / "data" / "starter"
INFINITY = "OMNIVEC_INFINITY"


def add_options(parser: argparse.ArgumentParser, *, rounds: int) -> None:
    """Options of a setting."""
    known = os.environ.get(INFINITY)
    parser.add_argument("--model", type=Path, help="artifact directory; by default the initial weights")
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="shards that the inputs come from")
    parser.add_argument("--threads", type=int, default=2, help="processor threads of each side")
    parser.add_argument("--rounds", type=int, default=rounds, help="counted runs of each side")
    parser.add_argument(
        "--infinity",
        type=Path,
        default=Path(known) if known else None,
        help=f"Python of a virtual environment with infinity-emb; by default what {INFINITY} names",
    )


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
