"""The page of a soak: memory, throughput and statuses over time."""

from pathlib import Path
from typing import Any

from components import pages
from model.files import whole_file

COLOURS = {"200": "#2a7", "429": "#e90", "connection lost": "#999", "ended": "#bbb"}
BIN_SECONDS = 5


def write_page(result: dict[str, Any], path: Path) -> None:
    """Write the page."""
    verdict = result["problems"] or ["nothing was wrong"]
    memory, rest = result["memory"], result["rest"]
    facts = [
        ("good requests answered", str(result["good_answers"])),
        ("lowest cosine to the offline vector", f"{result['lowest_cosine']:.6f}"),
        (
            "memory after the warm-up, at the end, growth",
            f"{memory['first_mb']:.0f} MB, {memory['last_mb']:.0f} MB, {memory['growth']:+.1%}",
        ),
        ("peak of memory", f"{memory['peak_mb']:.0f} MB"),
        ("came back when told, and got", ", ".join(f"{n} x {what}" for what, n in result["came_as_told"].items())),
        ("seconds that were told", ", ".join(f"{name} {n:g}" for name, n in result["told_seconds"].items())),
        ("same worker at the end", "yes" if result["same_worker"] else "no"),
        ("open files idle and at the end", f"{result['idle']['descriptors']}, {rest['end_descriptors']}"),
        ("threads idle and at the end", f"{result['idle']['threads']}, {rest['end_threads']}"),
        ("an answer at rest", f"{rest['answer_seconds'] * 1000:.0f} ms"),
        ("hardware", result["hardware"]),
    ]
    kinds = [
        [kind, ", ".join(f"{count} x {status}" for status, count in sorted(counts.items()))]
        for kind, counts in result["kinds"].items()
    ]
    bad = bool(result["problems"])
    document = pages.page(
        "A service under more load than it can serve, a fifth of it hostile",
        pages.section("Verdict", *(pages.paragraph(line, bad=bad) for line in verdict)),
        pages.section("Over time", pages.svg(plot(result))),
        pages.section("Numbers", pages.table(["what", "value"], facts)),
        pages.section("Answers by kind of request", pages.table(["kind", "answers"], kinds)),
    )
    with whole_file(path) as partial:
        partial.write_text(document, encoding="utf-8")


def plot(result: dict[str, Any]) -> Any:
    """Three panels above each other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 8), layout="constrained")
    memory, rate, open_ = figure.subplots(3, 1, sharex=True)
    samples = result["samples"]
    seconds = [sample["second"] for sample in samples]
    memory.plot(seconds, [sample["megabytes"] for sample in samples], color="#357")
    memory.set(ylabel="memory (PSS), MB", ylim=(0, None))
    statuses = sorted({status for counts in result["statuses"].values() for status in counts})
    bins = sorted({int(second) // BIN_SECONDS for second in result["statuses"]})
    for status in statuses:
        per_bin = dict.fromkeys(bins, 0)
        for second, counts in result["statuses"].items():
            per_bin[int(second) // BIN_SECONDS] += counts.get(status, 0)
        rate.plot(
            [b * BIN_SECONDS for b in bins],
            [n / BIN_SECONDS for n in per_bin.values()],
            label=status,
            color=COLOURS.get(status),
        )
    rate.set(ylabel="answers a second", yscale="symlog", ylim=(0, None))
    rate.legend(ncols=6, fontsize="small")
    open_.plot(seconds, [sample["descriptors"] for sample in samples], label="open files")
    open_.plot(seconds, [sample["threads"] for sample in samples], label="threads")
    open_.set(ylabel="of the worker", xlabel="seconds", ylim=(0, None))
    open_.legend()
    return figure
