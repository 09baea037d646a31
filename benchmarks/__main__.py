"""``python -m benchmarks``: measure every row and write the result under ``OMNIVEC_HOME``/bench."""

import argparse

from benchmarks import auditing, encode, importing, loading, loading_tars, loss, serving, serving_start, train
from benchmarks.options import add_options, bench_home, setting_of
from benchmarks.report import markdown, write_report
from benchmarks.rows import MissingPeerError

ROWS = {
    **encode.ROWS,
    **loss.ROWS,
    **train.ROWS,
    **loading.ROWS,
    **loading_tars.ROWS,
    **importing.ROWS,
    **auditing.ROWS,
    **serving_start.ROWS,
    **serving.ROWS,
}


def main() -> None:
    """Entry of ``make bench``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="rows to measure; all by default")
    add_options(parser, rounds=5)
    arguments = parser.parse_args()
    setting = setting_of(arguments)
    rows = []
    for name in arguments.rows or ROWS:
        print(f"measuring {name} ...", flush=True)
        try:
            rows.append(ROWS[name](setting))
        except MissingPeerError as reason:
            print(f"skipped: {reason}", flush=True)
        write_report(rows, bench_home())  # after each row: a later failure loses nothing
    print("\n", markdown(rows), *write_report(rows, bench_home()), sep="\n")


if __name__ == "__main__":
    main()
