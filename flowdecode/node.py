"""A node of a live graph: a coroutine that runs once its parents' outputs are there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from anyio import CancelScope

from flowdecode.context import Context
from flowdecode.errors import ConfigurationError, FlowdecodeError, NodeError
from flowdecode.result import NodeKind, NodeRecord, NodeStatus
from flowdecode.usage import Usage

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from flowdecode.answer import Slot
    from flowdecode.attempt import Decode
    from flowdecode.graph import Graph

__all__ = ["Node"]

T_co = TypeVar("T_co", covariant=True)


class Node(Generic[T_co]):
    """A handle to one output of a graph: await it inside the graph, or read `output` once it is done."""

    status: NodeStatus = "waiting"
    error: FlowdecodeError | None = None
    truncated = False
    wasted = False
    context: Context | None = None
    """The conversation that a decode ended with, its own text included."""
    usage = Usage()
    expected_cached_tokens = 0
    attempts = 0
    ready_at: float | None = None
    sent_at: float | None = None
    first_token_at: float | None = None
    finished_at: float | None = None
    span_context: SpanContext | None = None
    scope: CancelScope | None = None
    unfinished_parents = 0
    remaining = 0
    """Expected tokens to the end of the run, as of the ranking `ranked`."""
    ranked = -1
    _output: T_co
    _callbacks: list[Callable[[], object]] | None = None

    def __init__(
        self,
        graph: Graph,
        node_id: str,
        kind: NodeKind,
        action: Decode | Callable[[], Awaitable[T_co]],
        *,
        parents: tuple[Node[Any], ...],
        title: str,
        expected_tokens: int | None,
        offset: int,
        slot: Slot | None,
        planned_at: float,
    ) -> None:
        self.graph = graph
        self.id = node_id
        self.kind: NodeKind = kind
        self.action = action
        self.parents = parents
        self.title = title
        self.expected_tokens = expected_tokens
        self.offset = offset
        self.slot = slot
        self.planned_at = planned_at
        self.children: list[Node[Any]] = []
        self.pieces: list[str] = []

    def __format__(self, spec: str) -> str:
        raise ConfigurationError(
            "Expected a node as a field, got it formatted into a text before it has an output. "
            'Write graph.decode("... {facts}", facts=node) in place of an f-string.'
        )

    def __repr__(self) -> str:
        return f"<Node {self.id!r} {self.status}>"

    @property
    def output(self) -> T_co:
        """What the node returned.

        Raises NodeError where it failed or was cancelled, ConfigurationError before it has ended.
        """
        if self.error is not None:
            raise self.error
        if self.status == "cancelled":
            raise NodeError(self.id, asyncio.CancelledError("it was cancelled before it had an output"))
        if not self.ended:
            raise ConfigurationError(
                f"Expected node {self.id!r} to be done, it is {self.status}. "
                "Await it, or leave the graph's `async with` block first."
            )
        return self._output

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to the node."""
        return self.finished_at is not None

    def __await__(self) -> Generator[Any, None, T_co]:
        if not self.ended:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def wake() -> None:
                if not future.done():
                    future.set_result(None)

            self.when_ended(wake)
            yield from future
        return self.output

    def when_ended(self, callback: Callable[[], object]) -> None:
        """Have `callback` called when the node ends."""
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append(callback)

    def end(self, status: NodeStatus, at: float, error: FlowdecodeError | None = None) -> None:
        """Enter a final state and wake who awaits the node."""
        self.status = status
        self.wasted = self.wasted or status in ("failed", "cancelled")
        self.finished_at = at
        self.error = error
        if self.slot is not None:
            self.slot.close()
        for callback in self._callbacks or ():
            callback()
        self._callbacks = None

    def succeed(self, output: Any, at: float) -> None:
        """End with an output."""
        self._output = output
        self.end("truncated" if self.truncated else "done", at)

    def record(self) -> NodeRecord:
        """The node as inert data."""
        return NodeRecord(
            id=self.id,
            kind=self.kind,
            title=self.title,
            parents=tuple([parent.id for parent in self.parents]),
            text="".join(self.pieces),
            status=self.status,
            error=str(self.error) if self.error else None,
            shown=self.slot is not None,
            expected_tokens=self.expected_tokens,
            offset=self.offset,
            planned_at=self.planned_at,
            ready_at=self.ready_at,
            sent_at=self.sent_at,
            first_token_at=self.first_token_at,
            finished_at=self.finished_at,
            usage=self.usage.as_wasted() if self.wasted else self.usage,
            expected_cached_tokens=self.expected_cached_tokens,
            attempts=self.attempts,
        )
