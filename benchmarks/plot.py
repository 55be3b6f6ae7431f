"""Draw how the cost grows: ``python -m benchmarks.plot RECORD.json... -o growth.png``.

Records are those of ``python -m benchmarks --only growth``; several are drawn together, such as one
with a single device and one with several.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

INK, COLOURS = "#222222", ("#1f6f8b", "#c8553d")


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plot", description=__doc__)
    parser.add_argument("records", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    rows = [
        row
        for path in arguments.records
        for row in json.loads(path.read_text(encoding="utf-8"))["growth"]
        if "median_seconds" in row
    ]
    matplotlib.use("agg")
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    _pixels(axes[0], [row for row in rows if "pixels" in row])
    _counts(axes[1], [row for row in rows if "pairs" in row], "pairs")
    _counts(axes[2], [row for row in rows if "devices" in row], "devices")
    figure.savefig(arguments.output, dpi=120)
    print(arguments.output)


def _pixels(axes: Axes, rows: list[dict[str, Any]]) -> None:
    for colour, name in zip(COLOURS, dict.fromkeys(row["network"] for row in rows), strict=False):
        points = sorted(
            (row["pixels"], row["median_seconds"]) for row in rows if row["network"] == name
        )
        x, y = zip(*points, strict=True)
        axes.loglog(x, y, "o-", color=colour, label=name)
        axes.loglog(x, [y[-1] * pixels / x[-1] for pixels in x], ":", color=colour)
    axes.set(xlabel="pixels", ylabel="seconds", title="one step (dotted: proportional)")
    axes.legend(frameon=False)


def _counts(axes: Axes, rows: list[dict[str, Any]], what: str) -> None:
    points = sorted((row[what], row["median_seconds"]) for row in rows)
    if not points:
        axes.text(0.5, 0.5, "not measured", ha="center", color=INK, transform=axes.transAxes)
    else:
        x, y = zip(*points, strict=True)
        axes.plot(x, y, "o-", color=COLOURS[0])
        axes.set_xticks(x)
        axes.set_ylim(bottom=0)
    axes.set(xlabel=what, ylabel="seconds", title=f"a picture of a batch, by {what}")


if __name__ == "__main__":
    main()
