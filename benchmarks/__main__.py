"""``python -m benchmarks``: measure every row and write the result under ``OMNIVEC_HOME``/bench."""

import argparse
from pathlib import Path

from benchmarks import auditing, encode, importing, loading, loading_tars, loss, train
from benchmarks.report import markdown, write_report
from benchmarks.setting import Setting
from components.environment import Environment

ROWS = {
    **encode.ROWS,
    **loss.ROWS,
    **train.ROWS,
    **loading.ROWS,
    **loading_tars.ROWS,
    **importing.ROWS,
    **auditing.ROWS,
}
CORPUS = Path(__file__).resolve().parents[1] / "data" / "starter"


def main() -> None:
    """Entry of ``make bench``."""
    import torch

    arguments = _parse()
    torch.set_num_threads(arguments.threads)
    bench = Environment.from_env().home / "bench"
    setting = Setting(
        artifact=arguments.model or _initial_model(bench),
        corpus=arguments.corpus,
        cache=bench / "cache",
        threads=arguments.threads,
        rounds=arguments.rounds,
    )
    rows = []
    for name in arguments.rows or ROWS:
        print(f"measuring {name} ...", flush=True)
        rows.append(ROWS[name](setting))
        document, table = write_report(rows, bench)  # after each row: a later failure loses nothing
    print(f"\n{markdown(rows)}\n{document}\n{table}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="rows to measure; all by default")
    parser.add_argument("--model", type=Path, help="artifact directory; by default the initial weights")
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="shards that the inputs come from")
    parser.add_argument("--threads", type=int, default=2, help="processor threads of each side")
    parser.add_argument("--rounds", type=int, default=5, help="counted runs of each side")
    return parser.parse_args()


def _initial_model(bench: Path) -> Path:
    """Artifact of the initial weights: speed does not depend on training."""
    from components.init_model.config import InitModelConfig
    from components.init_model.run import run

    target = bench / "model"
    if not (target / "config.json").is_file():
        run(InitModelConfig(source="packages"), home=bench.parent, output=target)
    return target


if __name__ == "__main__":
    main()
