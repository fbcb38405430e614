"""The backend `local:`: contexts in, text out, by an engine in this process."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Generic, TypeVar

import msgspec

from flowdecode.backend import Capabilities, Delta, FinishReason, Load, Piece, Request
from flowdecode.backend import Engine as EngineFacts
from flowdecode.context import Context
from flowdecode.errors import ConfigurationError, ContextTooLong, RequestRejected
from flowdecode.plugins import BackendURL
from flowdecode.usage import Usage
from flowdecode_backends.local.bundled import DEFAULT, bundled
from flowdecode_backends.local.engine import Engine
from flowdecode_backends.local.job import Job, Steer
from flowdecode_backends.local.model import LanguageModel, Source
from flowdecode_backends.tokens import ChatTokens

__all__ = ["Local", "LocalStream", "open_engine", "read_url"]

DEFAULT_MEMORY = 1 << 30
"""Bytes of the KV pool, if not told otherwise; the system gives them as they are first used."""

_MEMORY = re.compile(r"(\d+)\s*(|[kmg]ib)", re.IGNORECASE)
_UNITS = {"": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_engines: dict[Source, Engine] = {}
_opening = threading.Lock()

T = TypeVar("T")


class Local:
    """A model in this process. All that name the same weights, dtype and device share one engine.

    The first one that is entered loads the model. It stays when nobody uses it any more, until another
    model is loaded.
    """

    def __init__(self, source: Source, *, memory: int | None = None, threads: int | None = None) -> None:
        """`memory` limits the KV pool, in bytes; `threads` is the number of CPU threads of torch."""
        self.source = source
        self._memory = memory
        self._threads = threads
        self._engine: Engine | None = None
        self._facts: EngineFacts | None = None
        self._entered = 0

    @property
    def shared(self) -> Engine:
        """The engine that it shares with others; known while it is entered."""
        if self._engine is None:
            raise _not_entered()
        return self._engine

    @property
    def engine(self) -> EngineFacts:
        if self._facts is None:
            raise _not_entered()
        return self._facts

    async def __aenter__(self) -> Local:
        opening = asyncio.ensure_future(
            asyncio.to_thread(open_engine, self.source, self._memory, self._threads)
        )
        try:
            self._engine = engine = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_let_go)
            raise
        self._entered += 1
        self._tokens = ChatTokens(engine.model.tokens.tokenizer, engine.model.name)
        self._facts = EngineFacts(
            model=engine.model.name,
            provider="flowdecode",
            capabilities=Capabilities(
                token_ids=True,
                assistant_prefill=True,
                grammar=engine.model.grammars is not None,
                priority=True,
                cached_tokens=True,
                shared_kv=True,
            ),
            context_length=engine.context_length,
            profile=engine.model.profile,
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shared.release()
        self._entered -= 1
        if not self._entered:
            self._engine = None

    def decode(self, request: Request) -> LocalStream[Delta]:
        return LocalStream(
            lambda tell: self._job(request, tell, None), self.shared, lambda piece: piece.delta
        )

    def interleave(self, request: Request, steer: Steer) -> LocalStream[Piece]:
        """Decode strands that share their KV: `steer` sees each token of the main one, may fork and join.

        It is called in the engine's thread. The stream tells what each strand says.
        """
        return LocalStream(lambda tell: self._job(request, tell, steer), self.shared, lambda piece: piece)

    def count_tokens(self, context: Context) -> int:
        return self._tokens.count(context)

    async def load(self) -> Load:
        return self.shared.load

    def _job(self, request: Request, tell: Callable[[], None], steer: Steer | None) -> Job:
        """The job of a request, checked. Raises RequestRejected or ContextTooLong."""
        engine, sampling = self.shared, request.sampling
        prompt = self._tokens.render(request.context)
        if not any(prefix.block.tokens or prefix.block.text for prefix in request.context.prefixes()):
            raise RequestRejected(
                f"Expected a prompt of at least one token, got none - at request {request.id!r}."
            )
        if not 0 <= min(prompt) <= max(prompt) < engine.model.vocabulary:
            raise RequestRejected(
                f"Expected token ids below {engine.model.vocabulary:,}, got {max(prompt):,} "
                f"- at request {request.id!r}. Were they decoded by another model?"
            )
        for name, ids in (("logit_bias", sampling.logit_bias), ("stop_token_ids", sampling.stop_token_ids)):
            if ids and max(ids) >= engine.model.vocabulary:
                raise RequestRejected(
                    f"Expected token ids below {engine.model.vocabulary:,}, got {max(ids):,} - at `{name}`."
                )
        matcher = None
        if request.grammar is not None:
            if engine.model.grammars is None:
                raise RequestRejected("Expected no grammar, this engine has none (`capabilities.grammar`).")
            matcher = engine.model.grammars.matcher(request.grammar)
        limit, most = engine.context_length, sampling.max_tokens
        if len(prompt) + (most or 1) > limit:
            what = "the prompt and one token" if most is None else "the prompt and `max_tokens`"
            raise ContextTooLong(tokens=len(prompt) + (most or 1), limit=limit, what=what)
        return Job(
            prompt,
            sampling,
            run_id=request.run_id,
            priority=request.priority,
            stop_ids=engine.model.stop_ids.union(sampling.stop_token_ids),
            chat_tokens=self._tokens,
            defaults=engine.model.defaults,
            loop=asyncio.get_running_loop(),
            tell=tell,
            steer=steer,
            matcher=matcher,
        )


class LocalStream(AbstractAsyncContextManager["LocalStream[T]"], Generic[T]):
    """One request to the local engine: context manager and stream in one object."""

    def __init__(
        self, make: Callable[[Callable[[], None]], Job], engine: Engine, show: Callable[[Piece], T]
    ) -> None:
        self.finish_reason: FinishReason | None = None
        self._make = make
        self._engine = engine
        self._show = show
        self._waiter: asyncio.Future[None] | None = None

    async def __aenter__(self) -> LocalStream[T]:
        self._job = self._make(self._tell)
        self._engine.submit(self._job)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._job.done:
            self._engine.cancel(self._job)
            while not self._job.done:
                await self._news()
        if self.finish_reason is None and self._job.error is None:
            self.finish_reason = "abort"

    @property
    def usage(self) -> Usage:
        job = self._job
        return Usage(prompt_tokens=len(job.prompt), cached_tokens=job.cached, completion_tokens=job.completed)

    def __aiter__(self) -> LocalStream[T]:
        return self

    async def __anext__(self) -> T:
        job = self._job
        while True:
            done = job.done  # read first: what came before it is in `pieces`
            if job.pieces:
                return self._show(job.pieces.popleft())
            if done:
                break
            await self._news()
        if job.error is not None:
            raise job.error
        self.finish_reason = job.main.finish_reason
        raise StopAsyncIteration

    def _news(self) -> Coroutine[Any, Any, None]:
        """Wait until the engine tells something."""
        self._waiter = asyncio.get_running_loop().create_future()
        return _wait(self._waiter)

    def _tell(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


async def _wait(waiter: asyncio.Future[None]) -> None:
    await waiter


def _not_entered() -> ConfigurationError:
    return ConfigurationError("Expected a backend that was entered. Use `async with`, or a Flow.")


def _let_go(opening: asyncio.Future[Engine]) -> None:
    """Of an engine that nobody waits for any more."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().release()


def open_engine(source: Source, memory: int | None, threads: int | None) -> Engine:
    """The engine of these weights, held for the caller, who calls `release`. Raises ConfigurationError.

    It is loaded where it is missing, or unused and of another `memory`: all unused engines are stopped
    first. `threads` counts for whoever loads it.
    """
    source = source.resolved()
    with _opening:
        engine = _engines.get(source)
        if engine is not None and memory not in (None, engine.memory):
            if engine.users:
                raise ConfigurationError(
                    f"Expected the memory limit that {source.path} was loaded with in this process, "
                    f"{engine.memory:,} bytes, got {memory:,} - at `memory`."
                )
            engine = None
        if engine is None:
            for unused in [each for each, loaded in _engines.items() if not loaded.users]:
                _engines.pop(unused).stop()
            engine = _engines[source] = Engine(LanguageModel(source), memory or DEFAULT_MEMORY, threads)
        engine.hold()
        return engine


class _Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may stand behind `local:DIR?`."""

    dtype: str | None = None
    device: str | None = None
    threads: int | None = None
    memory: str | None = None


def read_url(url: BackendURL) -> Local:
    """The backend that a URL names, not yet loaded. Raises ConfigurationError."""
    path = url.location
    if not path or path.startswith("@"):
        path = str(bundled(path[1:] or DEFAULT))
    try:
        query = msgspec.convert(url.query, type=_Query, strict=False)
    except msgspec.ValidationError as error:
        keys = ", ".join(_Query.__struct_fields__)
        raise ConfigurationError(f"{error} (the query of 'local:'). It has: {keys}.") from None
    if query.threads is not None and query.threads < 1:
        raise ConfigurationError(f"Expected at least 1, got {query.threads} - at `threads`.")
    source = Source(path, query.dtype, query.device)
    return Local(source, memory=_bytes(query.memory), threads=query.threads)


def _bytes(memory: str | None) -> int | None:
    if memory is None:
        return None
    match = _MEMORY.fullmatch(memory)
    if match is None or not int(match[1]):
        raise ConfigurationError(f"Expected a size such as 512MiB or 2GiB, got {memory!r} - at `memory`.")
    return int(match[1]) * _UNITS[match[2].lower()]
