"""What a streamed token costs: runtime, events and ordered answer, less what the test double itself takes."""

from __future__ import annotations

import time
from functools import partial

import anyio

import flowdecode
from flowdecode.backend import Capabilities, Request
from flowdecode.context import Block, Context
from flowdecode.sampling import SamplingParams
from flowdecode_backends.scripted import Reply, Scripted
from tests.benchmarks.measure import Case, interleaved, table

__all__ = ["main"]

NODES = 8


def _engine(count: int) -> Scripted:
    return Scripted([Reply(" word" * count)], capabilities=Capabilities(token_ids=True))


async def double_alone(count: int) -> float:
    """The scripted engine, read by a bare loop."""
    request = Request(id="1", run_id="1", context=Context(Block("user", "?")), sampling=SamplingParams())
    start = time.perf_counter()
    async with _engine(count).decode(request) as decoding:
        async for _ in decoding:
            pass
    return (time.perf_counter() - start) / count * 1e6


async def one_stream(count: int, *, readers: str) -> float:
    """One run with nobody, a reader of the text, or a reader of all events."""
    async with flowdecode.connect(_engine(count)) as flow:
        start = time.perf_counter()
        async with flow.stream("?", strategy="sequential") as run:
            if readers == "text":
                async for _ in run.text:
                    pass
            elif readers == "events":
                async for _ in run:
                    pass
            await run.result()
        return (time.perf_counter() - start) / count * 1e6


async def side_by_side(count: int) -> float:
    """Eight nodes that stream at once."""
    async with flowdecode.connect(_engine(count // NODES)) as flow:
        start = time.perf_counter()
        async with flow.graph() as graph:
            for _ in range(NODES):
                graph.decode("?")
        return (time.perf_counter() - start) / count * 1e6


async def memory_stream(count: int) -> float:
    """For comparison: one anyio memory object stream from a task to another, and nothing else."""
    send, receive = anyio.create_memory_object_stream[str](1024)

    async def produce() -> None:
        async with send:
            for _ in range(count):
                await send.send(" word")

    start = time.perf_counter()
    async with anyio.create_task_group() as group, receive:
        group.start_soon(produce)
        async for _ in receive:
            pass
    return (time.perf_counter() - start) / count * 1e6


async def main(*, quick: bool) -> str:
    """The table."""
    count = 2_000 if quick else 20_000
    cases: dict[str, Case] = {
        "the test double alone": partial(double_alone, count),
        "one run, nobody reads": partial(one_stream, count, readers="none"),
        "one run, its text is read": partial(one_stream, count, readers="text"),
        "one run, its events are read": partial(one_stream, count, readers="events"),
        f"{NODES} nodes side by side": partial(side_by_side, count),
        "an anyio memory object stream alone": partial(memory_stream, count),
    }
    took = await interleaved(cases, rounds=1 if quick else 5)
    own = took["the test double alone"].median
    rows = [
        [name, sample, f"{sample.median - own:.2f}" if "run" in name or "nodes" in name else ""]
        for name, sample in took.items()
    ]
    return table(["", "µs a token", "less the double"], rows)
