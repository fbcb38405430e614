"""One run: its root task, the life of its nodes, and what they share."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from typing import Literal

import anyio
from anyio import CancelScope

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
    RunFinished,
    RunStarted,
)
from flowdecode.executor import Executor
from flowdecode.graph import Graph
from flowdecode.journal import Journal
from flowdecode.plan import Plan
from flowdecode.plugins import open_backend
from flowdecode.prompt import Prompt
from flowdecode.ready import Admission
from flowdecode.result import NodeRecord, Result, RunStatus
from flowdecode.sampling import SamplingParams
from flowdecode.span import Step, span_of
from flowdecode.strategy import Strategy
from flowdecode.telemetry import Workflow
from flowdecode.usage import Usage

__all__ = ["Execution", "OnError"]

OnError = Literal["fallback", "partial", "raise"]


class Execution:
    """The state of one run, from its start to its result.

    It lives in a root task of its own, so that it can be left from any task.
    """

    def __init__(
        self,
        backend: Backend,
        admission: Admission,
        *,
        sampling: SamplingParams | None = None,
        prompt: Prompt | None = None,
        strategy: Strategy | None = None,
        width: int | None = None,
        timeout: float | None = None,
        token_budget: int | None = None,
        on_error: OnError = "fallback",
        on_end: Callable[[Execution], object] = lambda _: None,
    ) -> None:
        self.id = uuid.uuid4().hex
        self.backend = backend
        self.admission = admission
        """The connection's queue, which this run shares with all others."""
        self.sampling = sampling or SamplingParams()
        self.strategy = strategy
        self.strategy_name = strategy.name if strategy else None
        self.timeout = timeout
        self.tokens_left = token_budget
        self.on_error: OnError = on_error
        self.fallback_reason: str | None = None
        self.plan: Plan | None = None
        self.journal = Journal()
        self.cache = ContextCache(backend.count_tokens)
        self.executor = Executor(self, admission, width=width)
        self.graph = Graph(self, prompt)
        self.graphs = [self.graph]
        self.outcome: Result | None = None
        self.error: BaseException | None = None
        self._emitted: list[str] = []
        self._requests = 0
        self._scope = CancelScope()
        self.closing = asyncio.Event()
        self._backends = AsyncExitStack()
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self.telemetry = Workflow(self)
        self._root: asyncio.Task[None] | None = None
        self._on_end = on_end

    def start(self) -> None:
        """Begin: from here on the run lives in its root task."""
        context = self.executor.context
        context.run(self.telemetry.start)
        self.journal.append(RunStarted(self.now(), self.id, self.strategy_name, self.backend.engine.model))
        self._root = asyncio.Task(
            self._live(), loop=self._loop, name=f"flowdecode-{self.id}", context=context
        )

    def close(self) -> None:
        """No more nodes will be added to a graph of one's own."""
        self.closing.set()

    def cancel(self, error: FlowdecodeError | None = None) -> None:
        """End the run, for a reason that its result raises; `ended` waits for every engine request's end."""
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
                    status = self._reached()
                if deadline.cancelled_caught:
                    status = "timeout"
        except Exception as error:
            if not self._scope.cancel_called:  # what a cancelled run stumbles over is not why it ended
                status, self.error = "failed", error
        finally:
            try:
                await self._end_nodes(status)
                await self._backends.aclose()
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
        if self.strategy is not None and not any(
            node.slot and node.pieces for node in self.executor.nodes.values()
        ):
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
        await self.executor.wait_for_tasks()

    def _conclude(self, status: RunStatus) -> None:
        """Turn the run into its result."""
        records = tuple([node.record() for node in self.executor.nodes.values()])
        usage = Usage.total([record.usage for record in records])
        self.outcome = Result(
            id=self.id,
            text=self.text,
            model=self.backend.engine.model,
            strategy=self.strategy_name,
            status=status,
            fallback_reason=self.fallback_reason,
            plan=self.plan,
            nodes=records,
            usage=usage,
            work=usage.useful_tokens,
            span=_span(records),
            duration=self.now(),
        )
        if status == "timeout" and self.on_error == "partial":
            self.error = None
        if isinstance(self.error, FlowdecodeError):
            self.error.partial = self.outcome
        self.journal.append(RunFinished(self.now(), status, str(self.error) if self.error else None))
        self.journal.close()
        self.telemetry.end(self.error)
        self._on_end(self)

    def _reached(self) -> RunStatus:
        """How whole the answer is: a part of it failed, or a limit on tokens ended it."""
        nodes = [node for graph in self._lasting() for node in graph.nodes]
        cut = any(node.truncated for node in nodes)
        spent = self.tokens_left is not None and self.tokens_left <= 0
        if (cut and spent) or (self.on_error == "partial" and any(node.error for node in nodes)):
            return "partial"
        return "truncated" if any(node.truncated and node.slot for node in nodes) else "done"

    def _lasting(self) -> list[Graph]:
        return [graph for graph in self.graphs if not graph.discarded]

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

    async def open_backend(self, backend: str | Backend) -> Backend:
        """Connect to another engine, by URL or instance, until the run has ended."""
        opened = open_backend(backend) if isinstance(backend, str) else backend
        return await self._backends.enter_async_context(opened)

    def decided(self, strategy: str | None, reason: str | None = None) -> None:
        """Say which strategy answers, if that has changed; `reason`: why it is not what was asked for."""
        self.strategy_name = strategy or self.strategy_name
        if reason is not None:
            self.fallback_reason = reason
            self.journal.append(FellBack(self.now(), reason))

    def spend(self, decoded: int, counted: int) -> int:
        """Take what a request has `decoded` beyond what was counted from the budget; returns `decoded`."""
        if self.tokens_left is not None:
            self.tokens_left -= decoded - counted
        return decoded

    def span(self) -> int:
        """Useful tokens on the longest chain so far."""
        return _span([node.record() for node in self.executor.nodes.values()])

    def check_open(self) -> None:
        """Raise what ended the run, if something did."""
        if isinstance(self.error, FlowdecodeError):
            raise self.error
        if self.outcome is not None or self._scope.cancel_called:
            raise ConfigurationError(
                "Expected a graph that is still open: its block was left, or its run has ended."
            )

    def new_request_id(self) -> str:
        """Ids of one length, so that none is a prefix of another."""
        self._requests += 1
        return f"{self.id}-{self._requests:08x}"


class _OneOwn(Strategy, frozen=True):
    """A graph that its user grows, until its block is left."""

    async def grow(self, graph: Graph) -> None:
        await graph.run.closing.wait()


def _span(records: Iterable[NodeRecord]) -> int:
    return span_of(
        Step(record.id, record.parents, record.usage.useful_tokens, record.offset) for record in records
    )
