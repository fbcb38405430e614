"""A thousand runs of eight nodes at once in one process: time, memory, and how long the loop was held up."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc

import flowdecode
from flowdecode import Flow
from flowdecode_backends.scripted import Reply, Scripted
from tests.benchmarks.measure import table

__all__ = ["main"]

NODES = 8
TOKENS = 20
TICK = 0.005


async def one_run(flow: Flow) -> int:
    """Four nodes, and four more that need them."""
    async with flow.graph() as graph:
        first = [graph.decode("List facts about tea.") for _ in range(NODES // 2)]
        for node in first:
            graph.decode("A paragraph from these: {facts}", facts=node)
    return len([record for record in graph.result.nodes if record.status == "done"])


async def longest_wait(stop: asyncio.Event) -> float:
    """The most that the event loop was late for a timer; the timer leaves it idle in between."""
    longest = 0.0
    while not stop.is_set():
        start = time.perf_counter()
        await asyncio.sleep(TICK)
        longest = max(longest, time.perf_counter() - start - TICK)
    return longest


async def main(*, quick: bool) -> str:
    """The table."""
    runs = 100 if quick else 1_000
    engine = Scripted([Reply(" word" * TOKENS, pace=0.05)])
    async with flowdecode.connect(engine) as flow:
        assert await one_run(flow) == NODES
        gc.collect()
        stop = asyncio.Event()
        watch = asyncio.create_task(longest_wait(stop))
        start = time.perf_counter()
        done = await asyncio.gather(*(one_run(flow) for _ in range(runs)))
        took = time.perf_counter() - start
        stop.set()
        held_up = await watch
        assert done == [NODES] * runs
        engine.requests.clear()
        gc.collect()
        tracemalloc.start()
        tasks = [asyncio.create_task(one_run(flow)) for _ in range(runs)]
        await asyncio.sleep(0.5)  # within it, all first nodes decode
        memory = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        await asyncio.gather(*tasks)
    rows = [
        ["runs, nodes, tokens", f"{runs:,}, {runs * NODES:,}, {runs * NODES * TOKENS:,}"],
        ["complete", f"{len(done):,}"],
        ["seconds (at least 2.0 by the engine's pace)", f"{took:.1f}"],
        ["KiB a run while it decodes, the test double's share included", f"{memory / runs / 1024:.0f}"],
        ["the most that a timer was late, ms", f"{held_up * 1000:.0f}"],
    ]
    return table(["", ""], rows)
