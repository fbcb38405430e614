"""Several jobs at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

__all__ = ["work_off"]

Each = TypeVar("Each")


async def work_off(jobs: Iterable[Each], work: Callable[[Each], Awaitable[None]], *, workers: int) -> None:
    """Do all jobs in their order, so many at once; the first error ends them all, and is raised as it is."""
    left = iter(jobs)
    tasks = [asyncio.ensure_future(_take(left, work)) for _ in range(workers)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _take(left: Iterator[Each], work: Callable[[Each], Awaitable[None]]) -> None:
    for job in left:
        await work(job)
