"""The public API: `run`, `stream`, and `connect` for many runs over one connection."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Literal, Self, Unpack, cast

from anyio import CancelScope

from flowdecode.backend import Backend
from flowdecode.context import Message
from flowdecode.errors import ConfigurationError
from flowdecode.execution import Execution, OnError
from flowdecode.explanation import Explanation
from flowdecode.graph import Graph
from flowdecode.plugins import default_backend_url, open_backend, open_strategy
from flowdecode.prompt import Prompt
from flowdecode.ready import Admission
from flowdecode.result import Result
from flowdecode.sampling import Sampling, SamplingParams
from flowdecode.strategy import Strategy
from flowdecode.streaming import OwnGraph, Streaming

__all__ = ["Flow", "connect", "run", "stream"]


class Flow:
    """A connection to an engine, with one fair admission queue for all its runs.

    It holds no cancel scope: it may be opened in one task and closed in another of the same loop.
    """

    def __init__(self, backend: Backend, *, concurrency: int | None = None) -> None:
        _check_positive("concurrency", concurrency)
        self._backend = backend
        self._admission = Admission(concurrency)
        self._limited = concurrency is not None
        self._executions: set[Execution] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        if self._loop is not None:
            raise ConfigurationError(
                "Expected a connection that is not open yet. Open it once, and share it."
            )
        self._loop = asyncio.get_running_loop()
        try:
            await self._backend.__aenter__()
        except BaseException:
            self._loop = None
            raise
        if not self._limited:
            self._admission.limit = self._backend.engine.slots
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End every run that is still under way, then the connection."""
        self._loop = None
        with CancelScope(shield=True):
            for execution in self._executions:
                execution.cancel(
                    ConfigurationError(
                        "Expected an open connection: it was closed while the run was under way."
                    )
                )
            try:
                for execution in list(self._executions):
                    await execution.ended()
            finally:
                await self._backend.__aexit__(exc_type, exc, traceback)

    async def run(
        self,
        prompt: str | Sequence[Message],
        *,
        strategy: str | Strategy = "auto",
        system: str | None = None,
        width: int | None = None,
        timeout: float | None = None,
        token_budget: int | None = None,
        on_error: OnError = "fallback",
        **sampling: Unpack[Sampling],
    ) -> Result:
        """Decode an answer to its end; see `flowdecode.run`."""
        streaming = self.stream(
            prompt,
            strategy=strategy,
            system=system,
            width=width,
            timeout=timeout,
            token_budget=token_budget,
            on_error=on_error,
            **sampling,
        )
        async with streaming as run:
            return await run.result()

    def stream(
        self,
        prompt: str | Sequence[Message],
        *,
        strategy: str | Strategy = "auto",
        system: str | None = None,
        width: int | None = None,
        timeout: float | None = None,
        token_budget: int | None = None,
        on_error: OnError = "fallback",
        **sampling: Unpack[Sampling],
    ) -> Streaming:
        """Decode an answer and follow it on the way; see `flowdecode.stream`."""
        _check_positive("token_budget", token_budget)
        _check_choice("on_error", on_error, ("fallback", "partial", "raise"))
        return Streaming(
            self,
            prompt=Prompt.read(
                prompt, system=system, chat_template_kwargs=sampling.get("chat_template_kwargs")
            ),
            strategy=open_strategy(strategy),
            sampling=SamplingParams.read(sampling),
            width=width,
            timeout=timeout,
            token_budget=token_budget,
            on_error=on_error,
        )

    async def explain(
        self,
        prompt: str | Sequence[Message],
        *,
        strategy: str | Strategy = "plato",
        system: str | None = None,
        **sampling: Unpack[Sampling],
    ) -> Explanation:
        """Decode only the plan and say what it should gain. Raises PlanError where there is none."""
        found: list[Explanation] = []

        class Explain(Strategy, frozen=True):
            name = "explain"

            async def grow(self, graph: Graph) -> None:
                found.append(await planner.explain(graph))

        planner = open_strategy(strategy)
        explain = Explain()
        async with self.stream(prompt, strategy=explain, system=system, on_error="raise", **sampling) as run:
            await run.result()
        return found[0]

    def graph(
        self,
        *,
        width: int | None = None,
        timeout: float | None = None,
        on_error: Literal["partial", "raise"] = "raise",
    ) -> AbstractAsyncContextManager[Graph, None]:
        """A graph of one's own: add nodes inside the block; leaving it waits for all of them.

        With `on_error="raise"` the first failure ends the graph, and leaving it raises a NodeError;
        with `"partial"` the other nodes go on, and only reading a failed node's output raises.
        """
        _check_choice("on_error", on_error, ("partial", "raise"))
        return OwnGraph(self, width=width, timeout=timeout, on_error=on_error)

    def start(self, *, width: int | None, timeout: float | None, **settings: Any) -> Execution:
        """Start a run of this connection. Raises ConfigurationError where it is not open here."""
        if self._loop is not asyncio.get_running_loop():
            state = "is not open" if self._loop is None else "belongs to another event loop"
            raise ConfigurationError(
                f"Expected an open connection of this event loop, but it {state}. "
                "Use `async with flowdecode.connect(...)` in the loop that runs it."
            )
        _check_positive("width", width)
        _check_positive("timeout", timeout)
        execution = Execution(
            self._backend,
            self._admission,
            width=width,
            timeout=timeout,
            on_end=self._executions.discard,
            **settings,
        )
        self._executions.add(execution)
        execution.start()
        return execution


def connect(
    backend: str | Backend | None = None,
    *,
    api_key: str | None = None,
    headers: Mapping[str, str] | None = None,
    concurrency: int | None = None,
) -> Flow:
    """A connection to an engine, for `async with`.

    `backend` is a URL such as `simulated:` or a Backend; by default the variable
    FLOWDECODE_BACKEND, else the bundled demo model. `concurrency` limits the decodes that are under
    way at once, over all runs; by default to what the engine's batch holds, where it tells.
    Raises ConfigurationError, and BackendUnavailable when entered.
    """
    if backend is None or isinstance(backend, str):
        url = default_backend_url() if backend is None else backend
        backend = open_backend(url, api_key=api_key, headers=headers)
    elif api_key is not None or headers:
        raise ConfigurationError("Expected a URL beside `api_key` and `headers`: a Backend has its own.")
    return Flow(backend, concurrency=concurrency)


async def run(
    prompt: str | Sequence[Message],
    *,
    backend: str | Backend | None = None,
    strategy: str | Strategy = "auto",
    system: str | None = None,
    width: int | None = None,
    timeout: float | None = None,
    token_budget: int | None = None,
    on_error: OnError = "fallback",
    **sampling: Unpack[Sampling],
) -> Result:
    """Decode the answer to `prompt`, its independent parts side by side.

    `prompt` is a text or chat messages, the last one the user's. `backend` is as in `connect`.
    `strategy` is a name (`auto`, `sequential`, `skeleton`, `plato`, `pasta`, or a plugin's) or a Strategy.
    `width` limits the nodes that decode at once (None: nothing does, but `auto` leaves the others in a
    busy engine's batch their pace), `timeout` is in seconds, `max_tokens` bounds the
    answer, `token_budget` all that is decoded for it. `on_error` says what happens when a part
    fails: go on sequentially, leave a hole, or raise. Raises FlowdecodeError; what had been reached
    is in its `partial`.
    """
    streaming = stream(
        prompt,
        backend=backend,
        strategy=strategy,
        system=system,
        width=width,
        timeout=timeout,
        token_budget=token_budget,
        on_error=on_error,
        **sampling,
    )
    async with streaming as under_way:
        return await under_way.result()


def stream(
    prompt: str | Sequence[Message],
    *,
    backend: str | Backend | None = None,
    strategy: str | Strategy = "auto",
    system: str | None = None,
    width: int | None = None,
    timeout: float | None = None,
    token_budget: int | None = None,
    on_error: OnError = "fallback",
    **sampling: Unpack[Sampling],
) -> Streaming:
    """The same as `run`, followed on the way: for `async with`; leaving the block cancels the run."""
    streaming = connect(backend).stream(
        prompt,
        strategy=strategy,
        system=system,
        width=width,
        timeout=timeout,
        token_budget=token_budget,
        on_error=on_error,
        **sampling,
    )
    streaming.owned = True
    return streaming


def _check_positive(name: str, value: float | None) -> None:
    if value is not None and not (isinstance(cast(object, value), int | float) and value > 0):
        raise ConfigurationError(f"Expected more than 0, or None for no limit, got {value!r} - at `{name}`.")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigurationError(f"Expected one of {', '.join(choices)}, got {value!r} - at `{name}`.")
