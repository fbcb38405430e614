"""What a streamed token costs: runtime, events and ordered answer, less what the test double itself takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
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


def _engine(count: int, pace: float | None = None) -> Scripted:
    """Of `pace` None the engine never lets another task run; of 0 it does after every token."""
    return Scripted([Reply(" word" * count, pace=pace)], capabilities=Capabilities(token_ids=True))


async def double_alone(count: int, *, pace: float | None, streams: int = 1) -> float:
    """The scripted engine, read by bare loops side by side."""
    engine = _engine(count // streams, pace)

    async def read(number: int) -> None:
        context = Context(Block("user", "?"))
        request = Request(id=str(number), run_id="1", context=context, sampling=SamplingParams())
        async with engine.decode(request) as decoding:
            async for _ in decoding:
                pass

    start = time.perf_counter()
    await asyncio.gather(*map(read, range(streams)))
    return (time.perf_counter() - start) / count * 1e6


async def one_stream(count: int, *, pace: float | None, readers: str) -> float:
    """One run with nobody, a reader of the text, or a reader of all events."""
    async with flowdecode.connect(_engine(count, pace)) as flow:
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


async def side_by_side(count: int, *, pace: float | None) -> float:
    """Eight nodes; with a pace of 0 their tokens take turns."""
    async with flowdecode.connect(_engine(count // NODES, pace)) as flow:
        start = time.perf_counter()
        async with flow.graph() as graph:
            for _ in range(NODES):
                graph.decode("?")
        return (time.perf_counter() - start) / count * 1e6


async def memory_stream(count: int, *, pace: float | None) -> float:
    """For comparison: one anyio memory object stream from a task to another, and nothing else."""
    send, receive = anyio.create_memory_object_stream[str](1024)

    async def produce() -> None:
        async with send:
            for _ in range(count):
                await send.send(" word")
                if pace is not None:
                    await asyncio.sleep(pace)

    start = time.perf_counter()
    async with anyio.create_task_group() as group, receive:
        group.start_soon(produce)
        async for _ in receive:
            pass
    return (time.perf_counter() - start) / count * 1e6


async def main(*, quick: bool) -> str:
    """The table."""
    count = 2_000 if quick else 20_000
    rows: list[Sequence[object]] = []
    for way, pace in {"in bursts": None, "one at a time": 0.0}.items():
        cases: dict[str, Case] = {
            "double": partial(double_alone, count, pace=pace),
            "doubles": partial(double_alone, count, pace=pace, streams=NODES),
            "one run, nobody reads": partial(one_stream, count, pace=pace, readers="none"),
            "one run, its text is read": partial(one_stream, count, pace=pace, readers="text"),
            "one run, its events are read": partial(one_stream, count, pace=pace, readers="events"),
            f"{NODES} nodes": partial(side_by_side, count, pace=pace),
            "an anyio memory object stream alone": partial(memory_stream, count, pace=pace),
        }
        took = await interleaved(cases, rounds=1 if quick else 5)
        for name in list(cases)[2:]:
            own = took["doubles" if name == f"{NODES} nodes" else "double"]
            alone = name.startswith("an anyio")
            rest = "" if alone else f"{took[name].median - own.median:.2f}"
            rows.append([f"{name}, tokens {way}", took[name], "" if alone else own, rest])
    return table(["", "µs a token", "of it the double", "the rest"], rows)
