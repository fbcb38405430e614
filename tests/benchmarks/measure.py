"""Side by side: cases take turns within a round, so that a slow moment of the machine hits all alike."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

__all__ = ["Case", "Sample", "interleaved", "table"]

Case = Callable[[], Awaitable[float]]
"""Does something once and returns what it measured."""


class Sample(NamedTuple):
    """What one case measured, over all rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        digits = 0 if self.median >= 100 else 1 if self.median >= 10 else 2
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f} to {self.high:,.{digits}f})"


async def interleaved(cases: Mapping[str, Case], *, rounds: int = 5) -> dict[str, Sample]:
    """The medians of `rounds` rounds, with the spread; a round before them warms up and is not counted."""
    measured: dict[str, list[float]] = {name: [] for name in cases}
    for counted in [False] + [True] * rounds:
        for name, case in cases.items():
            gc.collect()
            value = await case()
            if counted:
                measured[name].append(value)
    return {
        name: Sample(statistics.median(values), min(values), max(values)) for name, values in measured.items()
    }


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [columns, ["---"] + ["---:"] * (len(columns) - 1), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
