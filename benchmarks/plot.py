"""Draw the curves of results.json: `python plot.py RESULTS.json FOLDER`. Runs in an environment of its own, with Matplotlib."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams.update(
    {
        "svg.fonttype": "none",  # text stays text: small files that search and scale
        "svg.hashsalt": "longrun",
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "figure.figsize": (6.4, 3.8),
    }
)
from matplotlib import pyplot as plt  # noqa: E402 - after its settings


def draw(curve: dict[str, Any], path: Path) -> None:
    """One plot."""
    figure, axes = plt.subplots()
    for name, points in curve["series"].items():
        x, y = zip(*points, strict=True)
        if name == "ideal":
            axes.plot(x, y, color="0.7", linewidth=1, linestyle="--", label=name)
        else:
            axes.plot(x, y, marker="o", markersize=4, label=name)
    if "x" in curve["log"]:
        axes.set_xscale("symlog", linthresh=min((x for points in curve["series"].values() for x, _ in points if x > 0), default=1))
    if "y" in curve["log"]:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    ticks = sorted({x for points in curve["series"].values() for x, _ in points})
    axes.set_xticks(ticks, [f"{tick:,g}" if tick < 10_000 else f"{tick:,.0f}" for tick in ticks])
    axes.minorticks_off()
    axes.set(title=curve["title"], xlabel=curve["x"], ylabel=curve["y"])
    axes.legend(frameon=False, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    for each in json.loads(Path(sys.argv[1]).read_text())["curves"]:
        draw(each, folder / f"{each['name']}.svg")
