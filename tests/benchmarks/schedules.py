"""Three ways to run one streamed plan of forced lengths on one engine: dataflow, polling, supersteps."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, NamedTuple

import flowdecode
from flowdecode.backend import Request
from flowdecode.context import Block, Context
from flowdecode.sampling import SamplingParams
from flowdecode.span import Step, span_of
from flowdecode_backends.scripted import Reply, Scripted
from tests.benchmarks.methods import llmcompiler
from tests.benchmarks.methods.llmcompiler import Task

__all__ = ["PLAN", "SCHEDULES", "Part", "engine", "random_plan", "span"]

LINE = 14
"""Tokens of a plan's line."""


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


def random_plan(chance: random.Random) -> tuple[Part, ...]:
    """As many nodes as in `PLAN`, each with up to two parents among those before it."""
    return tuple(
        Part(tuple(chance.sample(range(number), min(number, chance.randint(0, 2)))), chance.randint(5, 60))
        for number in range(len(PLAN))
    )


def span(plan: Sequence[Part]) -> int:
    """Tokens on the longest chain: the plan up to a node's line, then the chain of nodes."""
    return span_of(
        Step(number, part.parents, part.tokens, (number + 1) * LINE) for number, part in enumerate(plan)
    )


async def planned(pace: float, plan: Sequence[Part]) -> AsyncIterator[tuple[int, Part]]:
    """The lines of the plan, as a planner streams them."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    for number, part in enumerate(plan):
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


async def dataflow(backend: Scripted, pace: float, plan: Sequence[Part]) -> None:
    """Through `flow.graph`: a node starts when its line is there and its parents are done."""
    async with flowdecode.connect(backend) as flow, flow.graph() as graph:
        nodes: list[flowdecode.Node[str]] = []
        async for number, part in planned(pace, plan):
            seen, last = [nodes[parent] for parent in part.parents], f"{part.tokens} tokens for {number}"
            nodes.append(graph.decode("{seen}{last}", seen=seen, last=last))


async def polled(backend: Scripted, pace: float, plan: Sequence[Part]) -> None:
    """LLMCompiler's schedule: it waits for the next line while parents finish, then looks every 10 ms."""
    lines: asyncio.Queue[Task | None] = asyncio.Queue()

    async def write_plan() -> None:
        async for number, part in planned(pace, plan):
            lines.put_nowait(Task(number, part.parents))
        lines.put_nowait(None)

    async def run(number: int) -> None:
        await decode(backend, number, plan[number].tokens)

    await asyncio.gather(write_plan(), llmcompiler.schedule(lines, run))


async def supersteps(backend: Scripted, pace: float, plan: Sequence[Part]) -> None:
    """The whole plan first; then all that is ready, to its end, before anything else begins."""
    async for _ in planned(pace, plan):
        pass
    done: set[int] = set()
    while len(done) < len(plan):
        ready = [n for n, part in enumerate(plan) if n not in done and done.issuperset(part.parents)]
        await asyncio.gather(*(decode(backend, number, plan[number].tokens) for number in ready))
        done.update(ready)


SCHEDULES: dict[str, Callable[[Scripted, float, Sequence[Part]], Coroutine[Any, Any, None]]] = {
    "flowdecode": dataflow,
    "wait for lines, then poll (LLMCompiler's)": polled,
    "whole plan, then supersteps": supersteps,
}
