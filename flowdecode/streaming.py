"""A run or a graph under way, as its user holds it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from anyio import CancelScope

from flowdecode.errors import FlowdecodeError
from flowdecode.events import AnswerDelta
from flowdecode.execution import Execution
from flowdecode.graph import Graph
from flowdecode.journal import Cursor
from flowdecode.result import Result

if TYPE_CHECKING:
    from flowdecode.flow import Flow

__all__ = ["AnswerText", "OwnGraph", "Run", "Streaming"]


class Run:
    """One run under way: iterate over its events, or over its `text`, or await its `result()`."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    @property
    def id(self) -> str:
        """The run's id, as in its result, its spans and its engine requests."""
        return self._execution.id

    def __aiter__(self) -> Cursor:
        """All events, from the first one on; ends after `RunFinished`."""
        return self._execution.journal.cursor()

    @property
    def text(self) -> AnswerText:
        """The answer, in order, as early as possible; raises at its end what ended the run."""
        return AnswerText(self._execution)

    async def result(self) -> Result:
        """Wait for the run's end. Raises FlowdecodeError, which carries what was reached as `partial`."""
        execution = self._execution
        execution.journal.unbind()
        await execution.ended()
        if execution.error is not None:
            raise execution.error
        assert execution.outcome is not None
        return execution.outcome


class AnswerText:
    """An asynchronous iterator over the pieces of an answer."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._events = execution.journal.cursor()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        async for event in self._events:
            if isinstance(event, AnswerDelta):
                return event.text
        if self._execution.error is not None:
            raise self._execution.error
        raise StopAsyncIteration


class Streaming(AbstractAsyncContextManager[Run, None]):
    """A run as a context manager: leaving it cancels the run and waits for its clean-up."""

    owned = False
    """Whether the connection is this run's own, to be opened and closed with it."""

    def __init__(self, flow: Flow, **settings: Any) -> None:
        self._flow = flow
        self._settings = settings

    async def __aenter__(self) -> Run:
        if self.owned:
            await self._flow.__aenter__()
        try:
            self._execution = self._flow.start(**self._settings)
        except BaseException as error:
            if self.owned:
                await self._flow.__aexit__(type(error), error, error.__traceback__)
            raise
        return Run(self._execution)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with CancelScope(shield=True):
            self._execution.cancel()
            try:
                await self._execution.ended()
            finally:
                if self.owned:
                    await self._flow.__aexit__(exc_type, exc, traceback)


class OwnGraph(AbstractAsyncContextManager[Graph, None]):
    """A user's graph as a context manager: leaving it waits for all its nodes."""

    def __init__(self, flow: Flow, **settings: Any) -> None:
        self._flow = flow
        self._settings = settings

    async def __aenter__(self) -> Graph:
        self._execution = self._flow.start(**self._settings)
        return self._execution.graph

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        execution = self._execution
        ends_anyway = execution.on_error == "raise" and exc in execution.graph.failures
        if exc is None or ends_anyway:
            execution.close()
            try:
                await execution.ended()
            except BaseException:
                await self._cancel(None)
                raise
            if execution.error is not None and execution.error is not exc:
                raise execution.error
        else:
            await self._cancel(exc)

    async def _cancel(self, error: BaseException | None) -> None:
        with CancelScope(shield=True):
            self._execution.cancel(error if isinstance(error, FlowdecodeError) else None)
            await self._execution.ended()
