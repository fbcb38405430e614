"""One node's decode: requests until it is complete, through retries and token limits."""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import anyio
import msgspec

from flowdecode.backend import Backend, Delta, FinishReason, Grammar, Request
from flowdecode.context import Block, Context
from flowdecode.errors import BackendError, BackendUnavailable
from flowdecode.events import NodeDelta, PlanDelta
from flowdecode.node import Node
from flowdecode.sampling import SamplingParams
from flowdecode.telemetry import Chat
from flowdecode.thought import ThoughtFilter
from flowdecode.usage import Usage

if TYPE_CHECKING:
    from flowdecode.execution import Execution

__all__ = ["CONTINUE", "Decode", "Retry", "Shielded", "continued", "decode", "derived_seed"]

_log = logging.getLogger("flowdecode")

CONTINUE = "Go on exactly where you stopped. Repeat nothing and comment on nothing."
"""What an engine is told that can't continue an assistant's text."""

ABORT_DEADLINE = 5.0
"""Seconds that a backend has for ending a request that is no longer wanted."""


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How often a request is sent again after an error that is worth it, and how long is waited before."""

    attempts: int = 4
    first: float = 0.25
    """Seconds before the second attempt; doubled before each further one, and jittered by half."""
    longest: float = 8.0

    def delay(self, failures: int, error: BackendError) -> float:
        """Seconds to wait after so many failures; no less than the engine asked for."""
        backoff = min(self.longest, self.first * 2.0 ** min(failures - 1, 64)) * random.uniform(0.5, 1.0)
        return max(backoff, error.retry_after or 0.0)


class Decode(msgspec.Struct, frozen=True, kw_only=True):
    """What a decoding node does: `Graph.add` takes it, `Graph.decode` makes one of a template."""

    context: Callable[[], Context]
    """Called once, when the parents' outputs are there."""
    sampling: SamplingParams
    """`max_tokens` bounds the node; its share of the run's own `max_tokens` does too."""
    grammar: Grammar | None = None
    observe: Callable[[Delta, int], bool] | None = None
    """Told each delta, and how many tokens have been decoded with it; True: that is enough."""
    shares_allowance: bool = True
    """Whether the node's tokens are part of the answer that the run's `max_tokens` bounds."""
    backend: Backend | None = None
    """Decodes this node in place of the run's own backend."""
    timeout: float | None = None
    """Seconds for all attempts together, from the moment when the node is admitted."""
    retry: Retry = Retry()


def continued(context: Context, said: Block, backend: Backend) -> Context:
    """`context` such that an engine goes on behind what it has said, by the best means that it has."""
    context = context.extend(said)
    if backend.engine.capabilities.assistant_prefill:
        return context
    return context.extend(Block("user", CONTINUE))


async def decode(run: Execution, node: Node[str], job: Decode) -> str:
    """Decode `node` to its end; returns its text. Raises BackendError, or TimeoutError."""
    attempts = _Attempts(run, node, job)
    with run.telemetry.chat(node, attempts.backend) as span:
        attempts.span = span
        try:
            if job.timeout is None:
                await attempts.complete()
            else:
                await attempts.complete_within(job.timeout)
        finally:
            span.reason = attempts.reason
    node.context = run.cache.extend(attempts.context, attempts.said())
    run.cache.sent(node.context)
    return "".join(attempts.output)


class _Attempts:
    """The requests of one node, and what they have decoded so far."""

    span: Chat

    def __init__(self, run: Execution, node: Node[str], job: Decode) -> None:
        self.run = run
        self.node = node
        self.job = job
        self.backend = job.backend or run.backend
        self.context = job.context()
        node.expected_cached_tokens = run.cache.expected_cached_tokens(self.context)
        self.tokens: list[int] = []
        self.shown = 0
        """Of the tokens, those whose text has come."""
        self.reason: FinishReason | None = None
        self.thought = ThoughtFilter()
        self.output: list[str] = []

    def said(self) -> Block:
        return Block("assistant", "".join(self.node.pieces), tuple(self.tokens) or None)

    def answer(self, text: str) -> None:
        """Add to the node's output, and to its place in the answer."""
        if text:
            self.output.append(text)
            if self.node.slot is not None:
                self.node.slot.write(text)

    async def complete(self) -> None:
        """Send requests until the node is complete, its tokens are spent, or an error is final."""
        node, allowance, failures = self.node, self.node.graph.allowance, 0
        shared = self.job.shares_allowance and allowance.limited
        pause = 0.0
        while self.reason is None:
            if pause:
                await anyio.sleep(pause)
            granted = await self.granted() if shared else None
            limit = self.limit(granted)
            if limit is not None and limit <= 0:
                self.reason = "length"
                break
            before = node.usage
            try:
                reason = await self.read(self.request(limit), before)
                used = node.usage.completion_tokens - before.completion_tokens
                wants_more = reason == "length" and granted is not None and granted == limit == used
                self.reason, pause = None if wants_more else reason, 0.0
            except BackendError as error:
                failures += 1
                if not error.retryable or failures >= self.job.retry.attempts:
                    raise
                pause = self.job.retry.delay(failures, error)
            finally:
                allowance.give_back(granted, node.usage.completion_tokens - before.completion_tokens)
        self.answer(self.thought.end())
        node.truncated = self.reason == "length"

    async def complete_within(self, seconds: float) -> None:
        """The same, in so many seconds."""
        with anyio.move_on_after(seconds) as deadline:
            await self.complete()
        if deadline.cancelled_caught:
            raise TimeoutError(
                f"Expected the decode to end within its timeout of {seconds:g} s. "
                "Give it more time, or fewer tokens."
            )

    async def granted(self) -> int | None:
        """The node's next share of the answer's tokens; where none are left, what others give back."""
        graph = self.node.graph
        while True:
            share = graph.allowance.grant(self.node.id, growing=graph.growing)
            if share != 0 or not graph.allowance.recovers:
                return share
            await graph.allowance.given_back()

    def limit(self, granted: int | None) -> int | None:
        """How many tokens the next request may decode; None: as many as the model can."""
        own = self.job.sampling.max_tokens
        if own is not None:
            own -= self.node.usage.completion_tokens
        limits = [limit for limit in (granted, own, self.run.tokens_left) if limit is not None]
        return min(limits) if limits else None

    async def read(self, request: Request, before: Usage) -> FinishReason:
        """Read one request's stream into the node."""
        run, node, observe, thought = self.run, self.node, self.job.observe, self.thought
        journal, is_plan, counted = run.journal, node.kind == "plan", 0
        self.span.sending(request)
        async with Shielded(self.backend.decode(request)) as decoding:
            try:
                async for delta in decoding:
                    now = run.now()
                    if node.first_token_at is None:
                        node.first_token_at = now
                        run.cache.sent(self.context)
                    self.tokens += delta.tokens
                    if text := delta.text:
                        self.shown = len(self.tokens)
                        node.pieces.append(text)
                        journal.append(PlanDelta(now, text) if is_plan else NodeDelta(now, node.id, text))
                        self.answer(thought.feed(text))
                    if observe is not None:
                        decoded = before.completion_tokens + decoding.usage.completion_tokens
                        if observe(delta, decoded):
                            return "stop"
                    if run.tokens_left is not None:
                        counted = run.spend(decoding.usage.completion_tokens, counted)
                        if run.tokens_left < 0:
                            return "length"
                    if journal.congested:
                        await journal.drained()
            finally:
                node.usage = before + decoding.usage
                run.spend(decoding.usage.completion_tokens, counted)
        if decoding.finish_reason == "abort":
            raise BackendUnavailable("Expected a whole answer, but the engine aborted the request.")
        return decoding.finish_reason or "stop"

    def request(self, limit: int | None) -> Request:
        """The next request: the node's context, and what has been decoded of it."""
        run, node, job = self.run, self.node, self.job
        node.attempts += 1
        resumed = bool(node.pieces)
        del self.tokens[self.shown :]  # the engine decodes them again: their text never came
        sampling, able = job.sampling, self.backend.engine.capabilities
        if limit is not None or sampling.seed is not None:
            seed = None if sampling.seed is None else derived_seed(sampling.seed, node.id)
            sampling = msgspec.structs.replace(sampling, max_tokens=limit, seed=seed)
        return Request(
            id=run.new_request_id(),
            run_id=run.id,
            context=continued(self.context, self.said(), self.backend) if resumed else self.context,
            sampling=sampling,
            grammar=job.grammar if able.grammar and not resumed else None,
            priority=run.executor.lane.remaining(node) if able.priority else 0,
            headers=self.span.headers,
        )


def derived_seed(seed: int, node_id: str) -> int:
    """A node's own seed, so that nodes differ and a run repeats: 31 bits of BLAKE2b."""
    digest = hashlib.blake2b(f"{seed}:{node_id}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1


class _Ends(Protocol):
    @property
    def finish_reason(self) -> FinishReason | None: ...


S = TypeVar("S", bound=_Ends)


class Shielded(Generic[S]):
    """A backend's stream, whose end is shielded: an abort reaches the engine though we are cancelled."""

    def __init__(self, decoding: AbstractAsyncContextManager[S]) -> None:
        self._decoding = decoding

    async def __aenter__(self) -> S:
        self._stream = await self._decoding.__aenter__()
        return self._stream

    def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> Awaitable[bool | None]:
        leave = self._decoding.__aexit__(exc_type, exc, traceback)
        complete = exc_type is None and self._stream.finish_reason is not None
        return leave if complete else self._abort(leave)

    async def _abort(self, leave: Awaitable[bool | None]) -> bool | None:
        with anyio.move_on_after(ABORT_DEADLINE, shield=True):
            return await leave
        _log.warning("The engine did not confirm within %g s that a request was aborted.", ABORT_DEADLINE)
        return None
