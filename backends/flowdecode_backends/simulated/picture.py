"""The picture of a sweep: how much sooner answers come, over the load."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from flowdecode_backends.simulated.sweep import BASELINE, Sweep

__all__ = ["draw"]

COLOURS = ("#1f6feb", "#d1242f", "#8250df", "#bf8700", "#1a7f37", "#57606a")
MARKERS = "osD^vP"
COLUMNS = 2


def draw(sweeps: Sequence[Sweep], path: Path) -> None:
    """A panel for every engine and a line for every strategy; the format is the file's suffix."""
    matplotlib: Any = import_module("matplotlib")
    figures: Any = import_module("matplotlib.figure")  # without pyplot there is no global state
    names = list(dict.fromkeys(variant.name for sweep in sweeps for variant in sweep.variants[1:]))
    columns = min(COLUMNS, len(sweeps))
    rows = -(-len(sweeps) // columns)
    with matplotlib.rc_context({"svg.hashsalt": "flowdecode", "svg.fonttype": "none", "font.size": 9}):
        figure = figures.Figure(figsize=(4.6 * columns, 3.3 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for place, axis in enumerate(axes.flat):
            if place < len(sweeps):
                _panel(axis, sweeps[place], names)
            else:
                axis.set_visible(False)
        figure.supylabel(f"times as fast as {BASELINE}", fontsize=9)
        metadata = {"Date": None} if path.suffix == ".svg" else None  # the same numbers, the same file
        figure.savefig(path, dpi=120, metadata=metadata)


def _panel(axis: Any, sweep: Sweep, names: Sequence[str]) -> None:
    """One engine; a strategy looks the same in every panel."""
    users = [row[0].users for row in sweep.points]
    axis.axhline(1, color="#57606a", linewidth=0.8, linestyle="--")
    for number, variant in enumerate(sweep.variants[1:], 1):
        style = names.index(variant.name) % len(COLOURS)
        axis.plot(
            users,
            sweep.gains(number),
            label=variant.name,
            color=COLOURS[style],
            marker=MARKERS[style],
            markersize=4,
            linewidth=1.4,
        )
    axis.set_xscale("log", base=2)
    axis.set_xticks(users, [str(number) for number in users])
    axis.minorticks_off()
    axis.set_title(sweep.url, fontsize=7, family="monospace")
    axis.set_xlabel("runs under way at once, for each engine")
    axis.grid(color="#d0d7de", linewidth=0.5)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8)
