"""The same chain and fan-out in other graph runtimes. Building and compiling a graph is not counted."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any, TypedDict

__all__ = ["PEERS"]


class _State(TypedDict):
    done: int


async def dask_threaded(shape: str, count: int) -> float:
    """Dask's threaded scheduler, with its default number of threads."""
    import dask.threaded

    def work(*_: object) -> None:
        return None

    if shape == "chain":
        tasks: dict[str, tuple[object, ...]]
        tasks = {f"n{i}": (work, f"n{i - 1}") if i else (work,) for i in range(count)}
        last = f"n{count - 1}"
    else:
        tasks = {f"n{i}": (work,) for i in range(count)}
        tasks["last"] = (work, *tasks)
        last = "last"
    start = time.perf_counter()
    dask.threaded.get(tasks, last)  # pyright: ignore[reportUnknownMemberType]
    return time.perf_counter() - start


async def langgraph(shape: str, count: int) -> float:
    """LangGraph's compiled state graph, without a checkpointer."""
    from langgraph.graph import END, START, StateGraph  # pyright: ignore[reportMissingTypeStubs]

    async def work(_: _State) -> dict[str, int]:
        return {}

    builder: Any = StateGraph(_State)
    for i in range(count):
        builder.add_node(f"n{i}", work)
        builder.add_edge(f"n{i - 1}" if i and shape == "chain" else START, f"n{i}")
        if shape == "fan-out" or i == count - 1:
            builder.add_edge(f"n{i}", END)
    graph = builder.compile()
    start = time.perf_counter()
    await graph.ainvoke({"done": 0}, {"recursion_limit": count + 5})
    return time.perf_counter() - start


async def pydantic_graph(shape: str, count: int) -> float:
    """pydantic-graph's builder: a chain of steps, or one step mapped over a list and joined."""
    from pydantic_graph import GraphBuilder
    from pydantic_graph.join import reduce_sum

    async def work(context: Any) -> int:
        return int(context.inputs)

    async def items(context: Any) -> list[int]:
        return [1] * int(context.inputs)

    builder: Any = GraphBuilder(input_type=int, output_type=int)
    if shape == "chain":
        steps = [builder.step(work, node_id=f"n{i}") for i in range(count)]
        path = [builder.start_node, *steps, builder.end_node]
        builder.add(*(builder.edge_from(a).to(b) for a, b in pairwise(path)))
    else:
        split, step = builder.step(items), builder.step(work)
        join = builder.join(reduce_sum, initial=0)
        builder.add(
            builder.edge_from(builder.start_node).to(split),
            builder.edge_from(split).map().to(step),
            builder.edge_from(step).to(join),
            builder.edge_from(join).to(builder.end_node),
        )
    graph = builder.build()
    start = time.perf_counter()
    await graph.run(inputs=count)
    return time.perf_counter() - start


PEERS: dict[str, Callable[[str, int], Awaitable[float]]] = {
    "Dask, threaded": dask_threaded,
    "LangGraph": langgraph,
    "pydantic-graph": pydantic_graph,
}
