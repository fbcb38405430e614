"""What mypy and pyright must refuse: an excuse that either of them does not need is an error itself."""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import assert_never

import flowdecode
from flowdecode import Flow, Graph, Node, Result
from flowdecode.backend import Backend
from flowdecode.events import AnswerDelta, Event, RunFinished


async def running() -> None:
    await flowdecode.run(7)  # type: ignore[arg-type]
    await flowdecode.run("?", max_token=5)  # type: ignore[call-arg]
    await flowdecode.run("?", stop=5)  # type: ignore[arg-type]
    await flowdecode.run("?", logit_bias={"5": 1.0})  # type: ignore[dict-item]
    await flowdecode.run("?", stop_token_ids=5)  # type: ignore[arg-type]
    await flowdecode.run("?", on_error="ignore")  # type: ignore[arg-type]
    await flowdecode.run("?", strategy=7)  # type: ignore[arg-type]
    await flowdecode.run("?", None)  # type: ignore[call-arg]
    await flowdecode.run([{"role": "user"}])  # type: ignore[typeddict-item]
    result: str = await flowdecode.run("?")  # type: ignore[assignment]
    assert result
    flowdecode.run("?")  # type: ignore[unused-coroutine]


async def streaming(flow: Flow) -> None:
    with flowdecode.stream("?") as run:  # type: ignore[attr-defined]
        assert run
    async with flow.stream("?") as run:
        for event in run:  # type: ignore[attr-defined]
            assert event
    async with flow.graph(on_error="fallback"):  # type: ignore[arg-type]
        pass


async def count(text: str) -> int:
    return len(text)


def plain(text: str) -> int:
    return len(text)


async def growing(graph: Graph) -> None:
    node: Node[int] = graph.decode("?")  # type: ignore[assignment]
    text: Node[str] = graph.call(count, node)  # type: ignore[arg-type]
    output: str = await graph.call(count, text)  # type: ignore[arg-type]
    assert output
    graph.call(plain, text)  # type: ignore[arg-type]
    graph.decode(template="?")  # type: ignore[call-arg]
    graph.decode("?", after=graph.call(count, "x"))  # type: ignore[arg-type]
    graph.add(plain)  # type: ignore[arg-type]
    text.output = "x"  # type: ignore[misc]


def narrowing(node: Node[int]) -> Node[bool]:
    return node  # type: ignore[return-value]


def changing(result: Result) -> None:
    result.text = "x"  # type: ignore[misc]
    result.nodes[0].usage.cached_tokens = 1  # type: ignore[misc]


def forgetting(event: Event) -> str:
    match event:
        case AnswerDelta(text=text):
            return text
        case RunFinished(status=status):
            return status
        case _:
            assert_never(event)  # type: ignore[arg-type]


class Half:
    """No backend: it can't decode."""

    async def __aenter__(self) -> Half:
        return self


def connecting() -> Backend:
    flowdecode.connect(Half())  # type: ignore[arg-type]
    return Half()  # type: ignore[return-value]
