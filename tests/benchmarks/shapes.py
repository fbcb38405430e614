"""Four graphs of n nodes that do nothing: as bare asyncio tasks, and through `call` and `decode`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from functools import cache
from typing import Any

from flowdecode import Flow, Graph, Node

__all__ = ["BARE", "SHAPES", "Add", "Work", "add_call", "add_decode", "nothing"]

LAYER = 10
"""Nodes in a layer of the layered graph; each has up to three parents in the layer before."""

Add = Callable[[Graph, list[Node[object]]], Node[object]]
Work = Callable[[], Coroutine[Any, Any, None]]


async def nothing(*_: object) -> None:
    """A node's work."""


def add_call(graph: Graph, parents: list[Node[object]]) -> Node[object]:
    """A node that calls a coroutine function."""
    return graph.call(nothing, *parents)


def add_decode(graph: Graph, parents: list[Node[object]]) -> Node[object]:
    """A node that decodes one token."""
    return graph.decode("{parents}?", parents=parents) if parents else graph.decode("?")


@cache
def layered_parents(count: int) -> list[list[int]]:
    """For each node, the places of its parents: always the same graph, drawn before the clock starts."""
    chance = random.Random(7)
    parents: list[list[int]] = []
    for place in range(count):
        before = range(max(0, place - place % LAYER - LAYER), place - place % LAYER)
        parents.append(sorted(chance.sample(before, min(len(before), chance.randint(1, 3)))))
    return parents


async def chain(flow: Flow, count: int, add: Add) -> None:
    """Each node waits for the one before."""
    async with flow.graph() as graph:
        node: list[Node[object]] = []
        for _ in range(count):
            node = [add(graph, node)]


async def fan_out(flow: Flow, count: int, add: Add) -> None:
    """No node waits for another."""
    async with flow.graph() as graph:
        for _ in range(count):
            add(graph, [])


async def layered(flow: Flow, count: int, add: Add) -> None:
    """Layers of ten, each node with up to three parents in the layer before."""
    async with flow.graph() as graph:
        nodes: list[Node[object]] = []
        for parents in layered_parents(count):
            nodes.append(add(graph, [nodes[place] for place in parents]))


async def growing(flow: Flow, count: int, add: Add) -> None:
    """Each node is added when the one before it has ended."""
    async with flow.graph() as graph:
        for _ in range(count):
            await add(graph, [])


async def bare_chain(count: int, work: Work) -> None:
    for _ in range(count):
        await asyncio.create_task(work())


async def bare_fan_out(count: int, work: Work) -> None:
    await asyncio.gather(*[asyncio.create_task(work()) for _ in range(count)])


async def bare_layered(count: int, work: Work) -> None:
    tasks: list[asyncio.Task[None]] = []

    async def node(parents: list[asyncio.Task[None]]) -> None:
        for parent in parents:
            await parent
        await work()

    for parents in layered_parents(count):
        tasks.append(asyncio.create_task(node([tasks[place] for place in parents])))
    await asyncio.gather(*tasks)


SHAPES: dict[str, Callable[[Flow, int, Add], Awaitable[None]]] = {
    "chain": chain,
    "fan-out": fan_out,
    "layered": layered,
    "growing": growing,
}
BARE: dict[str, Callable[[int, Work], Awaitable[None]]] = {
    "chain": bare_chain,
    "fan-out": bare_fan_out,
    "layered": bare_layered,
    "growing": bare_chain,
}
