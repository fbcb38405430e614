"""A node of a live graph: a coroutine that runs once its parents' outputs are there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from anyio import CancelScope

from flowdecode.context import Context
from flowdecode.errors import ConfigurationError, FlowdecodeError
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

    __slots__ = (
        "__weakref__",
        "_output",
        "_waiters",
        "action",
        "attempts",
        "children",
        "context",
        "error",
        "expected_cached_tokens",
        "expected_tokens",
        "finished_at",
        "first_token_at",
        "graph",
        "id",
        "kind",
        "offset",
        "parents",
        "pieces",
        "planned_at",
        "ranked",
        "ready_at",
        "remaining",
        "scope",
        "sent_at",
        "slot",
        "span_context",
        "status",
        "title",
        "truncated",
        "unfinished_parents",
        "usage",
    )

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
        self.children: list[Node[Any]] = []
        self.title = title
        self.expected_tokens = expected_tokens
        self.offset = offset
        self.slot = slot
        self.status: NodeStatus = "waiting"
        self.error: FlowdecodeError | None = None
        self.truncated = False
        self.unfinished_parents = 0
        self.remaining = 0
        self.ranked = -1
        self.scope: CancelScope | None = None
        self.context: Context | None = None
        self.pieces: list[str] = []
        self.usage = Usage()
        self.expected_cached_tokens = 0
        self.attempts = 0
        self.planned_at = planned_at
        self.ready_at: float | None = None
        self.sent_at: float | None = None
        self.first_token_at: float | None = None
        self.finished_at: float | None = None
        self.span_context: SpanContext | None = None
        self._waiters: list[asyncio.Future[None]] | None = None

    def __repr__(self) -> str:
        return f"<Node {self.id!r} {self.status}>"

    @property
    def output(self) -> T_co:
        """What the node returned. Raises NodeError where it failed, ConfigurationError before it is done."""
        if self.error is not None:
            raise self.error
        if self.status not in ("done", "truncated"):
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
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(future)
            yield from future
        return self.output

    def end(self, status: NodeStatus, at: float, error: FlowdecodeError | None = None) -> None:
        """Enter a final state and wake who awaits the node."""
        self.status = status
        self.finished_at = at
        self.error = error
        if self.slot is not None:
            self.slot.close()
        for future in self._waiters or ():
            if not future.done():
                future.set_result(None)
        self._waiters = None

    def succeed(self, output: Any, at: float) -> None:
        """End with an output."""
        self._output: T_co = output
        self.end("truncated" if self.truncated else "done", at)

    def record(self) -> NodeRecord:
        """The node as inert data."""
        return NodeRecord(
            id=self.id,
            kind=self.kind,
            title=self.title,
            parents=tuple(parent.id for parent in self.parents),
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
            usage=self.usage.as_wasted()
            if self.status == "cancelled" or self.graph.discarded
            else self.usage,
            expected_cached_tokens=self.expected_cached_tokens,
            attempts=self.attempts,
        )
