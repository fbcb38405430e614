"""The scripted backend: the public test double, which replays given texts with given delays and faults.

An application is tested without an engine like this:

    backend = Scripted([Reply("Leaves and water.", match="What is tea"), Reply("I don't know.", pace=0.02)])
    result = await flowdecode.run("What is tea?", strategy="sequential", backend=backend)
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from flowdecode.backend import Capabilities, Delta, Engine, FinishReason, Load, ModelProfile, Request
from flowdecode.context import Context
from flowdecode.errors import ConfigurationError
from flowdecode.plugins import BackendURL
from flowdecode.usage import Usage
from flowdecode_backends import words
from flowdecode_backends.radix import RadixTree
from flowdecode_backends.replies import (
    ALL_CAPABILITIES,
    Fault,
    FaultKind,
    Replies,
    Reply,
    Script,
    admit,
    answer,
    failure,
    read_replies,
    strike,
)

__all__ = ["Fault", "FaultKind", "Replies", "Reply", "Scripted", "ScriptedDecoding", "open_scripted"]

_CACHE_TOKENS = 1 << 20


class Scripted:
    """A backend that answers from a script: of several replies, the first that fits answers.

    A function may pick the reply instead. Nothing is awaited that the replies don't ask for, so that
    what a run costs beside it is the runtime's own.
    """

    def __init__(
        self,
        replies: Replies,
        *,
        model: str = "scripted",
        capabilities: Capabilities = ALL_CAPABILITIES,
        context_length: int | None = None,
        profile: ModelProfile | None = None,
    ) -> None:
        self.engine = Engine(
            model=model,
            provider="scripted",
            capabilities=capabilities,
            context_length=context_length,
            profile=profile or ModelProfile(),
        )
        self.requests: list[Request] = []
        """Every request that was made, the refused ones too."""
        self.running = 0
        """Streams that are open now."""
        self.aborted: list[str] = []
        """The ids of the requests whose stream was left before its end."""
        self.script = Script(replies)
        self.cache = RadixTree() if capabilities.cached_tokens else None

    async def __aenter__(self) -> Scripted:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def decode(self, request: Request) -> ScriptedDecoding:
        return ScriptedDecoding(self, request)

    def count_tokens(self, context: Context) -> int:
        return words.count(context)

    async def load(self) -> Load:
        return Load(self.running, 0)


class ScriptedDecoding(AbstractAsyncContextManager["ScriptedDecoding"]):
    """One request to a `Scripted` backend: context manager and stream in one cheap object."""

    def __init__(self, backend: Scripted, request: Request) -> None:
        self.finish_reason: FinishReason | None = None
        self._backend = backend
        self._request = request
        self._count = 0
        self._cached = 0
        self._failed = False

    async def __aenter__(self) -> ScriptedDecoding:
        backend, request = self._backend, self._request
        backend.requests.append(request)
        self._prompt = admit(request, backend.engine)
        self._reply = reply = backend.script.reply(request)
        self._timed = reply.pace is not None or reply.delay > 0
        self._start = asyncio.get_running_loop().time()
        if reply.fault is not None and reply.fault.refuses:
            await asyncio.sleep(reply.delay)
            raise failure(reply.fault, 0)
        self._answer = answer(reply, request, backend.engine, len(self._prompt))
        self._deltas = self._answer.deltas
        if backend.cache is not None:
            known = backend.cache.insert(self._prompt)
            self._cached = min(known.length, len(self._prompt) - 1)
            self._node = known.node
            backend.cache.lock(known.node)
        backend.running += 1
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        backend = self._backend
        backend.running -= 1
        if self.finish_reason is None and not self._failed:
            self.finish_reason = "abort"
            backend.aborted.append(self._request.id)
        if backend.cache is not None:
            decoded = tuple(token for delta in self._deltas[: self._count] for token in delta.tokens)
            backend.cache.insert(decoded, under=self._node)
            backend.cache.unlock(self._node)
            backend.cache.evict(backend.cache.tokens - _CACHE_TOKENS)

    @property
    def usage(self) -> Usage:
        return Usage(
            prompt_tokens=len(self._prompt), cached_tokens=self._cached, completion_tokens=self._count
        )

    def __aiter__(self) -> ScriptedDecoding:
        return self

    async def __anext__(self) -> Delta:
        count = self._count
        if count == len(self._deltas) and self._answer.fault is None:
            self.finish_reason = self._answer.finish_reason
            raise StopAsyncIteration
        if self._timed:
            await self._pause(count)
        if count == len(self._deltas):
            assert self._answer.fault is not None
            self._failed = self._answer.fault.error != "hang"
            await strike(self._answer.fault, count)
        self._count = count + 1
        return self._deltas[count]

    async def _pause(self, count: int) -> None:
        """Wait for a token's time, which does not depend on when the one before was read."""
        delay, pace = self._reply.delay, self._reply.pace
        self._timed = pace is not None
        due = self._start + delay + count * (pace or 0)
        await asyncio.sleep(max(0, due - asyncio.get_running_loop().time()))


def open_scripted(url: BackendURL, *, api_key: str | None, headers: Mapping[str, str]) -> Scripted:
    """The backend of `scripted:FILE`, a `Reply` as JSON on each line. Raises ConfigurationError."""
    if not url.location:
        raise ConfigurationError(
            "Expected a file of replies, as in 'scripted:replies.jsonl', got 'scripted:'."
        )
    if url.query:
        raise ConfigurationError(f"Expected no query behind 'scripted:FILE', got {min(url.query)!r}.")
    return Scripted(read_replies(url.location))
