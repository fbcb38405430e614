"""Critical-path efficiency: the time of the longest chain, as a share of the time that a schedule took."""

from __future__ import annotations

import time
from functools import partial

from tests.benchmarks.measure import Case, interleaved, table
from tests.benchmarks.schedules import PLAN, SCHEDULES, engine, span

__all__ = ["main"]

PACE = 0.02
"""Seconds a token."""


async def schedule(name: str) -> float:
    """Span time over wall time."""
    start = time.perf_counter()
    await SCHEDULES[name](engine(PACE), PACE)
    return span() * PACE / (time.perf_counter() - start)


async def main(*, quick: bool) -> str:
    """The table."""
    cases: dict[str, Case] = {name: partial(schedule, name) for name in SCHEDULES}
    took = await interleaved(cases, rounds=1 if quick else 5)
    work = sum(part.tokens for part in PLAN)
    rows = [
        [name, f"{sample.median:.3f} ({sample.low:.3f} to {sample.high:.3f})"]
        for name, sample in took.items()
    ]
    title = f"{len(PLAN)} nodes of {work} tokens, span {span()} tokens at {PACE * 1000:g} ms"
    return table([title, "span / wall"], rows)
