"""One run: its root task, the life of its nodes, and what they share."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import anyio
from anyio import CancelScope

from flowdecode.attempt import ABORT_DEADLINE, Decode, decode
from flowdecode.backend import Backend
from flowdecode.cache import ContextCache
from flowdecode.errors import (
    BackendError,
    ConfigurationError,
    FlowdecodeError,
    NodeError,
    PlanError,
    RunTimeout,
)
from flowdecode.events import (
    AnswerDelta,
    FellBack,
    NodeFailed,
    NodeFinished,
    NodePlanned,
    NodeReady,
    NodeStarted,
    RunFinished,
    RunStarted,
)
from flowdecode.graph import Graph
from flowdecode.journal import Journal
from flowdecode.node import Node
from flowdecode.plan import Plan
from flowdecode.prompt import Prompt
from flowdecode.ready import Admission
from flowdecode.result import NodeRecord, NodeStatus, Result, RunStatus
from flowdecode.sampling import SamplingParams
from flowdecode.span import Step, span_of
from flowdecode.strategy import Strategy
from flowdecode.telemetry import Workflow
from flowdecode.usage import Usage

__all__ = ["Execution", "OnError"]

OnError = Literal["fallback", "partial", "raise"]

HOLE = "[Missing: {title}]"
"""What stands in a partial answer where a node failed."""

_log = logging.getLogger("flowdecode")


class Execution:
    """The state of one run, from its start to its result.

    It lives in a root task of its own, so that it can be left from any task. Its nodes are plain
    asyncio tasks, each with an anyio cancel scope: cancelling is level, and costs a fifth of what
    an anyio task group takes to start a task.
    """

    def __init__(
        self,
        backend: Backend,
        admission: Admission,
        *,
        sampling: SamplingParams | None = None,
        prompt: Prompt | None = None,
        strategy: Strategy | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        width: int | None = None,
        timeout: float | None = None,
        token_budget: int | None = None,
        on_error: OnError = "fallback",
        on_end: Callable[[Execution], object] = lambda _: None,
    ) -> None:
        self.id = uuid.uuid4().hex
        self.backend = backend
        self.sampling = sampling or SamplingParams()
        self.strategy = strategy
        self.strategy_name = strategy.name if strategy else None
        self.chat_template_kwargs = chat_template_kwargs
        self.timeout = timeout
        self.tokens_left = token_budget
        self.on_error: OnError = on_error
        self.fallback_reason: str | None = None
        self.plan: Plan | None = None
        self.journal = Journal()
        self.cache = ContextCache(backend.count_tokens)
        self.lane = admission.lane(self._start, width=width)
        self.graph = Graph(self, prompt)
        self.graphs = [self.graph]
        self.outcome: Result | None = None
        self.error: BaseException | None = None
        self._nodes: dict[str, Node[Any]] = {}
        self._emitted: list[str] = []
        self._requests = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._scope = CancelScope()
        self._new_scope = type(self._scope)
        """What anyio makes on this event loop: asking for it by CancelScope() takes twice as long."""
        self.closing = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self.telemetry = Workflow(self)
        self._context = contextvars.copy_context()
        self._root: asyncio.Task[None] | None = None
        self._on_end = on_end

    # -- the root task ---------------------------------------------------------------------

    def start(self) -> None:
        """Begin: from here on the run lives in its root task."""
        self._context.run(self.telemetry.start)
        self.journal.append(RunStarted(self.now(), self.id, self.strategy_name, self.backend.engine.model))
        self._root = self._loop.create_task(self._live(), name=f"flowdecode-{self.id}", context=self._context)

    def close(self) -> None:
        """No more nodes will be added to a graph of one's own."""
        self.closing.set()

    def cancel(self, error: FlowdecodeError | None = None) -> None:
        """End the run, for a reason that its result raises; `join` waits for every engine request's end."""
        self.error = self.error or error
        self._scope.cancel()

    async def ended(self) -> None:
        """Wait for the run's end."""
        if self._root is not None:
            await asyncio.wait([self._root])

    async def _live(self) -> None:
        status: RunStatus = "cancelled"
        try:
            with self._scope:
                with anyio.move_on_after(self.timeout) as deadline:
                    await self._answer()
                    status = "partial" if self._has_holes() else "done"
                if deadline.cancelled_caught:
                    status = "timeout"
        except Exception as error:
            status, self.error = "failed", error
        finally:
            try:
                with CancelScope(shield=True):
                    await self._end_nodes(status)
            finally:
                self._conclude(status)

    async def _answer(self) -> None:
        """Let the strategy grow the graph; where that fails, do what `on_error` says."""
        try:
            await self.graph.grow(self.strategy or _OneOwn())
        except (PlanError, NodeError, BackendError) as error:
            if (
                self.on_error == "raise"
                or self.fallback_reason is not None
                or self.strategy_name == "sequential"
            ):
                raise
            if self.on_error == "partial" and self._emitted:
                self.graph.stop()
            else:
                await self.graph.fall_back(str(error))
        if self.strategy is not None and not any(node.slot and node.pieces for node in self._nodes.values()):
            for graph in self._lasting():
                graph.check()

    async def _end_nodes(self, status: RunStatus) -> None:
        """Cancel what is left, and wait for it for as long as an abort may take."""
        if status == "timeout":
            assert self.timeout is not None
            self.error = RunTimeout(self.timeout)
        error = self.error if isinstance(self.error, FlowdecodeError) else None
        for graph in self.graphs:
            graph.stop(error)
        if self._tasks:
            _, pending = await asyncio.wait(self._tasks, timeout=2 * ABORT_DEADLINE)
            if pending:
                _log.warning(
                    "%d nodes of run %s did not end when they were cancelled.", len(pending), self.id
                )

    def _conclude(self, status: RunStatus) -> None:
        """Turn the run into its result."""
        records = tuple(node.record() for node in self._nodes.values())
        self.outcome = Result(
            id=self.id,
            text=self.text,
            model=self.backend.engine.model,
            strategy=self.strategy_name,
            status=status,
            fallback_reason=self.fallback_reason,
            plan=self.plan,
            nodes=records,
            usage=sum((record.usage for record in records), Usage()),
            work=sum(record.usage.useful_tokens for record in records),
            span=_span(records),
            duration=self.now(),
        )
        if isinstance(self.error, FlowdecodeError):
            self.error.partial = self.outcome
        self.journal.append(RunFinished(self.now(), status, str(self.error) if self.error else None))
        self.journal.close()
        self.telemetry.end(self.error)
        self._on_end(self)
        if status == "timeout" and self.on_error == "partial":
            self.error = None

    def _has_holes(self) -> bool:
        spent = self.tokens_left is not None and self.tokens_left <= 0
        return spent or (self.on_error == "partial" and any(graph.failures for graph in self._lasting()))

    def _lasting(self) -> list[Graph]:
        return [graph for graph in self.graphs if not graph.discarded]

    # -- what graphs and strategies use ----------------------------------------------------

    def now(self) -> float:
        """Seconds since the run's start."""
        return self._loop.time() - self._started

    @property
    def text(self) -> str:
        """The answer as far as it was emitted."""
        return "".join(self._emitted)

    def emit(self, text: str) -> None:
        """Add to the answer, for good."""
        self._emitted.append(text)
        self.journal.append(AnswerDelta(self.now(), text))

    def decided(self, strategy: str | None, reason: str | None = None) -> None:
        """Say which strategy answers, if that has changed; `reason`: why it is not what was asked for."""
        self.strategy_name = strategy or self.strategy_name
        if reason is not None:
            self.fallback_reason = reason
            self.journal.append(FellBack(self.now(), reason))

    def span(self) -> int:
        """Useful tokens on the longest chain so far."""
        return _span([node.record() for node in self._nodes.values()])

    def check_open(self) -> None:
        """Raise what ended the run, if something did."""
        if isinstance(self.error, FlowdecodeError):
            raise self.error
        if self.outcome is not None or self._scope.cancel_called:
            raise ConfigurationError(
                "Expected a graph that is still open: its block was left, or its run has ended."
            )

    def new_node_id(self, wanted: str | None) -> str:
        """`wanted`, or the next free number. Raises ConfigurationError where it is taken."""
        if wanted is not None:
            if wanted in self._nodes:
                raise ConfigurationError(f"Expected an id that no other node has, got {wanted!r}.")
            return wanted
        number = len(self._nodes) + 1
        while str(number) in self._nodes:
            number += 1
        return str(number)

    def free_node_id(self, wanted: str) -> str:
        """`wanted`, or the same with a number behind it where it is taken."""
        taken, number = wanted in self._nodes, 2
        while taken and f"{wanted}-{number}" in self._nodes:
            number += 1
        return f"{wanted}-{number}" if taken else wanted

    def new_request_id(self) -> str:
        """Ids of one length, so that none is a prefix of another."""
        self._requests += 1
        return f"{self.id}-{self._requests:08x}"

    # -- the life of a node: waiting, ready, running, ended --------------------------------

    def admit(self, node: Node[Any]) -> None:
        """A new node waits for its parents, or is ready."""
        self._nodes[node.id] = node
        self.lane.grew()
        self.journal.append(
            NodePlanned(
                node.planned_at,
                node.id,
                node.kind,
                node.title,
                tuple(parent.id for parent in node.parents),
                node.expected_tokens,
            )
        )
        for parent in node.parents:
            if not parent.ended:
                node.unfinished_parents += 1
                parent.children.append(node)
            elif parent.error is not None or parent.status == "cancelled":
                self._skip(node, parent)
                return
        if not node.unfinished_parents:
            self._ready(node)

    def cancel_node(self, node: Node[Any], error: FlowdecodeError | None) -> None:
        """End a node that is no longer wanted: at once, or as soon as its engine request has ended."""
        if node.scope is not None:
            node.error = error
            node.scope.cancel()
            return
        self.lane.withdraw(node)
        self._end(node, "cancelled", error)

    def _ready(self, node: Node[Any]) -> None:
        node.status = "ready"
        node.ready_at = self.now()
        self.journal.append(NodeReady(node.ready_at, node.id))
        if isinstance(node.action, Decode):
            self.lane.submit(node)
        else:
            self._start(node)

    def _start(self, node: Node[Any]) -> None:
        node.status = "running"
        node.sent_at = self.now()
        node.scope = self._new_scope()
        self.journal.append(NodeStarted(node.sent_at, node.id))
        node.task = self._loop.create_task(self._drive(node), context=self._context.copy())
        self._tasks.add(node.task)

    async def _drive(self, node: Node[Any]) -> None:
        """The task of a running node."""
        assert node.scope is not None
        action = node.action
        try:
            with node.scope:
                try:
                    output = await (decode(self, node, action) if isinstance(action, Decode) else action())
                except Exception as error:
                    self._fail(node, error)
                else:
                    self._succeed(node, output)
        finally:
            if node.scope.cancel_called and not node.ended:
                self._end(node, "cancelled", node.error)
            elif not node.ended:
                self._fail(node, asyncio.CancelledError("the node's own code, or the end of the event loop"))
            if isinstance(action, Decode):
                self.lane.release()
            self._tasks.discard(node.task)

    def _succeed(self, node: Node[Any], output: Any) -> None:
        node.succeed(output, self.now())
        self._ended(node)
        for child in node.children:
            child.unfinished_parents -= 1
            if not child.unfinished_parents and not child.ended:
                self._ready(child)

    def _fail(self, node: Node[Any], cause: BaseException) -> None:
        error = NodeError(node.id, cause)
        if self.on_error != "partial":
            node.graph.answer.cut()
        self._mark_hole(node)
        self._end(node, "failed", error)
        for child in node.children:
            self._skip(child, node)
        node.graph.failed(error)

    def _skip(self, node: Node[Any], parent: Node[Any]) -> None:
        """A parent of `node` will never have an output, so neither will it, nor those behind it."""
        skipped = [(node, parent)]
        while skipped:
            node, parent = skipped.pop()
            if node.ended:
                continue
            self._mark_hole(node)
            error = parent.error or NodeError(parent.id, asyncio.CancelledError("it was cancelled"))
            self._end(node, "skipped", error)
            skipped += [(child, node) for child in node.children]

    def _mark_hole(self, node: Node[Any]) -> None:
        if node.slot is not None:
            node.slot.write(HOLE.format(title=node.title or "the rest of the answer"))

    def _end(self, node: Node[Any], status: NodeStatus, error: FlowdecodeError | None) -> None:
        node.end(status, self.now(), error)
        self._ended(node)
        for child in node.children:
            if child.graph is not node.graph:
                self._skip(child, node)

    def _ended(self, node: Node[Any]) -> None:
        at = node.finished_at or 0.0
        if node.status in ("failed", "skipped"):
            self.journal.append(NodeFailed(at, node.id, node.status, str(node.error)))
        else:
            self.journal.append(NodeFinished(at, node.id, node.status))
        node.graph.ended()


class _OneOwn(Strategy, frozen=True):
    """A graph that its user grows, until its block is left."""

    async def grow(self, graph: Graph) -> None:
        await graph.run.closing.wait()


def _span(records: Iterable[NodeRecord]) -> int:
    return span_of(
        Step(record.id, record.parents, record.usage.useful_tokens, record.offset) for record in records
    )
