"""Three ways to run one streamed plan of forced lengths on one engine: dataflow, polling, supersteps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import flowdecode
from flowdecode.backend import Request
from flowdecode.context import Block, Context
from flowdecode.sampling import SamplingParams
from flowdecode.span import Step, span_of
from flowdecode_backends.scripted import Reply, Scripted

__all__ = ["PLAN", "SCHEDULES", "Part", "engine", "span"]

LINE = 14
"""Tokens of a plan's line."""
POLL = 0.01
"""LLMCompiler looks for finished tasks every 10 ms."""


class Part(NamedTuple):
    """A node of forced length."""

    parents: tuple[int, ...]
    tokens: int


PLAN = (
    Part((), 12),
    Part((), 30),
    Part((), 6),
    Part((0,), 24),
    Part((0, 2), 9),
    Part((1,), 15),
    Part((3,), 18),
    Part((4,), 40),
    Part((5, 6), 12),
    Part((2,), 33),
    Part((7, 8), 21),
    Part((9, 10), 10),
)


def span() -> int:
    """Tokens on the longest chain: the plan up to a node's line, then the chain of nodes."""
    return span_of(
        Step(number, part.parents, part.tokens, (number + 1) * LINE) for number, part in enumerate(PLAN)
    )


async def planned(pace: float) -> AsyncIterator[tuple[int, Part]]:
    """The lines of the plan, as a planner streams them."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    for number, part in enumerate(PLAN):
        await asyncio.sleep(start + (number + 1) * LINE * pace - loop.time())
        yield number, part


def engine(pace: float) -> Scripted:
    """An engine that takes `pace` seconds a token, and as many tokens as a prompt asks for."""

    def reply(request: Request) -> Reply:
        return Reply(" x" * int(request.context.block.text.split()[0]), delay=pace, pace=pace)

    return Scripted(reply)


async def decode(backend: Scripted, number: int, tokens: int) -> None:
    """One request, without the runtime."""
    context = Context(Block("user", f"{tokens} tokens for {number}"))
    request = Request(id=str(number), run_id="run", context=context, sampling=SamplingParams())
    async with backend.decode(request) as decoding:
        async for _ in decoding:
            pass


async def dataflow(backend: Scripted, pace: float) -> None:
    """Through `flow.graph`: a node starts when its line is there and its parents are done."""
    async with flowdecode.connect(backend) as flow, flow.graph() as graph:
        nodes: list[flowdecode.Node[str]] = []
        async for number, part in planned(pace):
            seen, last = [nodes[parent] for parent in part.parents], f"{part.tokens} tokens for {number}"
            nodes.append(graph.decode("{seen}{last}", seen=seen, last=last))


async def polled(backend: Scripted, pace: float) -> None:
    """LLMCompiler's schedule: it waits for the next line while parents finish, then looks every 10 ms."""
    tasks: dict[int, asyncio.Task[None]] = {}
    waiting: list[int] = []

    def start_ready() -> None:
        for number in waiting[:]:
            if all(parent in tasks and tasks[parent].done() for parent in PLAN[number].parents):
                tasks[number] = asyncio.create_task(decode(backend, number, PLAN[number].tokens))
                waiting.remove(number)

    async for number, _ in planned(pace):
        waiting.append(number)
        start_ready()
    while waiting:
        await asyncio.sleep(POLL)
        start_ready()
    await asyncio.gather(*tasks.values())


async def supersteps(backend: Scripted, pace: float) -> None:
    """The whole plan first; then all that is ready, to its end, before anything else begins."""
    async for _ in planned(pace):
        pass
    done: set[int] = set()
    while len(done) < len(PLAN):
        ready = [n for n, part in enumerate(PLAN) if n not in done and done.issuperset(part.parents)]
        await asyncio.gather(*(decode(backend, number, PLAN[number].tokens) for number in ready))
        done.update(ready)


SCHEDULES: dict[str, Callable[[Scripted, float], Awaitable[None]]] = {
    "flowdecode": dataflow,
    "wait for lines, then poll (LLMCompiler's)": polled,
    "whole plan, then supersteps": supersteps,
}
