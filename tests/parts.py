"""What the tests of the runtime share: a strategy of given parts, and a look at what a run says of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import ClassVar

from flowdecode.attempt import Decode, Retry
from flowdecode.backend import Request
from flowdecode.context import Block, Context
from flowdecode.events import (
    AnswerDelta,
    Event,
    NodeDelta,
    NodeFailed,
    NodeFinished,
    RunFinished,
    RunStarted,
)
from flowdecode.graph import Graph
from flowdecode.node import Node
from flowdecode.result import Result
from flowdecode.strategy import Strategy
from flowdecode.usage import Usage
from flowdecode_backends.scripted import Replies, Scripted

__all__ = ["Door", "Part", "Parts", "asked", "check_consistent", "until"]


class Door(Scripted):
    """A backend that counts how often it was opened and closed, and takes some turns for both."""

    def __init__(self, replies: Replies, *, error: Exception | None = None) -> None:
        super().__init__(replies)
        self.error = error
        """What is raised instead of opening."""
        self.opened = 0
        self.closed = 0

    async def __aenter__(self) -> Door:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.opened += 1
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.closed += 1
        await asyncio.sleep(0)
        await asyncio.sleep(0)


class Part(Strategy, frozen=True):
    """One part of an answer: what it asks, and behind which others."""

    name: ClassVar[str] = "part"

    question: str
    parents: tuple[int, ...] = ()
    expected_tokens: int | None = None


class Parts(Strategy, frozen=True):
    """Decodes its parts side by side, one slot each, a line break between two."""

    name: ClassVar[str] = "parts"

    parts: tuple[Part | str, ...]
    retry: Retry = Retry()
    watch: Callable[[Graph, list[Node[str]]], object] = lambda _, __: None

    async def grow(self, graph: Graph) -> None:
        nodes: list[Node[str]] = []
        for index, given in enumerate(self.parts):
            part = Part(question=given) if isinstance(given, str) else given
            nodes.append(
                graph.add(
                    Decode(context=_context(part.question), sampling=graph.run.sampling, retry=self.retry),
                    parents=[nodes[parent] for parent in part.parents],
                    id=f"p{index}",
                    title=part.question,
                    expected_tokens=part.expected_tokens,
                    slot=graph.answer.open(heading="\n" if index else ""),
                )
            )
        self.watch(graph, nodes)


async def until(reached: Callable[[], object], *, turns: int = 100_000) -> None:
    """Let other tasks run until something is the case."""
    for _ in range(turns):
        if reached():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")


def asked(request: Request) -> str:
    """The last thing that the user said in a request."""
    return [message["content"] for message in request.context.messages() if message["role"] == "user"][-1]


def _context(question: str) -> Callable[[], Context]:
    return lambda: Context.of([Block("user", question)])


def check_consistent(result: Result, events: Sequence[Event]) -> None:
    """Fail if a run's result and its events tell different stories, or either contradicts itself."""
    assert isinstance(events[0], RunStarted)
    assert events[0].run_id == result.id
    assert isinstance(events[-1], RunFinished)
    assert events[-1].status == result.status
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert "".join(event.text for event in events if isinstance(event, AnswerDelta)) == result.text
    assert sum((record.usage for record in result.nodes), Usage()) == result.usage
    assert result.work == result.usage.completion_tokens - result.usage.wasted_tokens
    assert 0 <= result.span <= result.work + max((record.offset for record in result.nodes), default=0)
    ends = [event.node_id for event in events if isinstance(event, NodeFinished | NodeFailed)]
    assert sorted(ends) == sorted(record.id for record in result.nodes), "every node ends once"
    for record in result.nodes:
        deltas = [event for event in events if isinstance(event, NodeDelta) and event.node_id == record.id]
        assert "".join(event.text for event in deltas) == record.text or record.kind == "plan"
        assert record.status in ("done", "truncated", "failed", "skipped", "cancelled")
        times = [
            record.planned_at,
            record.ready_at,
            record.sent_at,
            record.first_token_at,
            record.finished_at,
        ]
        known = [time for time in times if time is not None]
        assert known == sorted(known)
        assert record.finished_at is not None
        assert record.finished_at <= result.duration
    assert Result.from_json(result.to_json()) == result
