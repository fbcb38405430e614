"""The types that users see; mypy and pyright check this file, and nothing runs it."""

from __future__ import annotations

from typing import Any, Literal, assert_never, assert_type

import flowdecode
from flowdecode import (
    Backend,
    Flow,
    FlowdecodeError,
    Graph,
    Node,
    NodeError,
    NodeRecord,
    Plan,
    PlanNode,
    Result,
    Run,
    RunTimeout,
    Sampling,
    Strategy,
    Usage,
)
from flowdecode.attempt import Decode
from flowdecode.context import Block, Context, Message
from flowdecode.events import (
    AnswerDelta,
    Event,
    FellBack,
    NodeDelta,
    NodeFailed,
    NodeFinished,
    NodePlanned,
    NodeReady,
    NodeStarted,
    PlanDelta,
    RunFinished,
    RunStarted,
)
from flowdecode.result import NodeKind, NodeStatus, RunStatus
from flowdecode.sampling import SamplingParams


async def running(backend: Backend, messages: list[Message], sampling: Sampling) -> None:
    assert_type(await flowdecode.run("Tea?"), Result)
    assert_type(await flowdecode.run(messages, backend=backend, strategy="auto", max_tokens=5), Result)
    assert_type(await flowdecode.run("Tea?", backend="scripted:x", on_error="partial", **sampling), Result)
    await flowdecode.run([{"role": "user", "content": "Tea?"}], stop="###", temperature=0, seed=None)
    await flowdecode.run([{"role": "user", "content": "Tea?"}], stop=["a", "b"])
    await flowdecode.run("Tea?", repetition_penalty=1.1, logit_bias={5: -100}, stop_token_ids=(2, 3))
    async with flowdecode.stream("Tea?", width=4, timeout=5, token_budget=100) as run:
        assert_type(run, Run)
        assert_type(run.id, str)
        async for event in run:
            assert_type(
                event,
                RunStarted
                | PlanDelta
                | NodePlanned
                | NodeReady
                | NodeStarted
                | NodeDelta
                | NodeFinished
                | NodeFailed
                | FellBack
                | AnswerDelta
                | RunFinished,
            )
        async for text in run.text:
            assert_type(text, str)
        assert_type(await run.result(), Result)


async def connecting(backend: Backend) -> None:
    async with flowdecode.connect("sglang://x", api_key="k", headers={"a": "b"}, concurrency=4) as flow:
        assert_type(flow, Flow)
        assert_type(await flow.run("Tea?", strategy="sequential"), Result)
        async with flow.stream("Tea?") as run:
            assert_type(run, Run)
        async with flow.graph(width=None, timeout=None, on_error="raise") as graph:
            assert_type(graph, Graph)
            essay = graph.decode("Essay?")
        assert_type(essay.output, str)
        assert_type(graph.result, Result)
    assert_type(flowdecode.connect(backend), Flow)


async def count(text: str, *, times: int = 1) -> int:
    return len(text) * times


async def nothing() -> None: ...


class Lookup:
    async def find(self, key: str) -> dict[str, list[int]]:
        return {key: []}

    async def __call__(self) -> bytes:
        return b""


async def growing(graph: Graph, lookup: Lookup) -> None:
    facts = graph.decode("Facts?")
    assert_type(facts, Node[str])
    essay = graph.decode("From {facts}, {tone}.", facts=facts, tone=7, title="Essay", timeout=5)
    assert_type(essay, Node[str])
    assert_type(graph.decode("And?", after=essay, sampling={"max_tokens": 5}), Node[str])
    assert_type(await essay, str)
    assert_type(essay.output, str)
    assert_type(graph.call(count, essay), Node[int])
    assert_type(graph.call(count, essay, times=2), Node[int])
    assert_type(await graph.call(count, essay), int)
    assert_type(graph.call(nothing), Node[None])
    assert_type(graph.call(lookup.find, facts).output, dict[str, list[int]])
    assert_type(graph.call(lookup), Node[bytes])
    job = Decode(context=lambda: Context.of([Block("user", "?")]), sampling=SamplingParams())
    assert_type(graph.add(job, parents=[facts, essay]), Node[str])
    assert_type(graph.add(nothing, parents=[facts]), Node[None])


def widening(node: Node[bool]) -> Node[int]:
    """A node gives its output and takes none: it is covariant."""
    return node


def reading(result: Result) -> None:
    assert_type(result.text, str)
    assert_type(result.strategy, str | None)
    assert_type(result.fallback_reason, str | None)
    assert_type(result.plan, Plan | None)
    assert_type(result.nodes, tuple[NodeRecord, ...])
    assert_type(result.nodes[0].usage, Usage)
    assert_type(result.nodes[0].first_token_at, float | None)
    assert_type(result.nodes[0].kind, NodeKind)
    assert_type(result.usage.cached_tokens, int)
    assert_type(result.parallelism, float)
    assert_type(Result.from_json(result.to_json()), Result)
    if result.plan is not None:
        assert_type(result.plan.order, tuple[PlanNode, ...])


def ending(status: RunStatus) -> int:
    match status:
        case "done" | "truncated" | "partial":
            return 0
        case "failed" | "cancelled" | "timeout":
            return 1
        case _:
            assert_never(status)


def over(status: NodeStatus) -> bool:
    match status:
        case "waiting" | "ready" | "running":
            return False
        case "done" | "truncated" | "failed" | "skipped" | "cancelled":
            return True
        case _:
            assert_never(status)


def telling(event: Event) -> str:
    """The union is closed: whoever forgets a kind of event hears of it from the type checker."""
    match event:
        case RunStarted(model=model):
            return model
        case PlanDelta(text=text) | NodeDelta(text=text) | AnswerDelta(text=text):
            return text
        case NodePlanned(title=title):
            return title
        case NodeReady(node_id=node_id) | NodeStarted(node_id=node_id) | NodeFinished(node_id=node_id):
            return node_id
        case NodeFailed(error=error):
            return error
        case FellBack(reason=reason):
            return reason
        case RunFinished(status=status):
            assert_type(status, Literal["done", "truncated", "partial", "failed", "cancelled", "timeout"])
            return status
        case _:
            assert_never(event)


class Mine(Strategy, frozen=True):
    depth: int = 2

    async def grow(self, graph: Graph) -> None:
        assert_type(graph.prompt.text, str)


async def with_a_strategy() -> None:
    assert_type(Mine(depth=3).depth, int)
    await flowdecode.run("Tea?", strategy=Mine(depth=3))


def failing(error: FlowdecodeError, node: NodeError, late: RunTimeout) -> None:
    assert_type(error.partial, Result | None)
    assert_type(node.node_id, str)
    raised: TimeoutError = late
    assert raised


async def any_output(graph: Graph) -> None:
    async def anything() -> Any:
        return None

    assert_type(graph.call(anything), Node[Any])
