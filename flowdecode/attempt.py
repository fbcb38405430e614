"""One node's decode: requests until it is complete, through retries and token limits."""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING

import anyio
import msgspec

from flowdecode.backend import Backend, Decoding, Delta, FinishReason, Grammar, Request
from flowdecode.context import Block, Context
from flowdecode.errors import BackendError
from flowdecode.events import NodeDelta, PlanDelta
from flowdecode.node import Node
from flowdecode.sampling import SamplingParams
from flowdecode.telemetry import Chat, chat
from flowdecode.usage import Usage

if TYPE_CHECKING:
    from flowdecode.execution import Execution

__all__ = ["CONTINUE", "Decode", "Retry", "continued", "decode", "derived_seed"]

_log = logging.getLogger("flowdecode")

CONTINUE = "Go on exactly where you stopped. Repeat nothing and comment on nothing."
"""What an engine is told that can continue neither token ids nor an assistant's text."""

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
        backoff = min(self.longest, self.first * 2.0 ** (failures - 1)) * random.uniform(0.5, 1.0)
        return max(backoff, error.retry_after or 0.0)


class Decode(msgspec.Struct, frozen=True, kw_only=True):
    """What a decoding node does: `Graph.add` takes it, `Graph.decode` makes one of a template."""

    context: Callable[[], Context]
    """Called once, when the parents' outputs are there."""
    sampling: SamplingParams
    """`max_tokens` bounds the node; its share of the run's own `max_tokens` does too."""
    grammar: Grammar | None = None
    observe: Callable[[Delta, int], None] | None = None
    """Told each delta, and how many tokens have been decoded with it."""
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
    able = backend.engine.capabilities
    if able.assistant_prefill or (able.token_ids and said.tokens):
        return context
    return context.extend(Block("user", CONTINUE))


async def decode(run: Execution, node: Node[str], job: Decode) -> str:
    """Decode `node` to its end; returns its text. Raises BackendError, or TimeoutError."""
    attempts = _Attempts(run, node, job)
    with chat(run, node, job) as span:
        attempts.span = span
        try:
            if job.timeout is None:
                await attempts.complete()
            else:
                with anyio.fail_after(job.timeout):
                    await attempts.complete()
        finally:
            span.finished(attempts.reason, node.usage)
    node.context = run.cache.extend(attempts.context, attempts.said())
    run.cache.sent(node.context)
    return "".join(node.pieces)


class _Attempts:
    """The requests of one node, and what they have decoded so far."""

    span: Chat

    def __init__(self, run: Execution, node: Node[str], job: Decode) -> None:
        self.run = run
        self.node = node
        self.job = job
        self.backend = job.backend or run.backend
        self.context = job.context()
        self.tokens: list[int] = []
        self.reason: FinishReason | None = None

    def said(self) -> Block:
        return Block("assistant", "".join(self.node.pieces), tuple(self.tokens) or None)

    async def complete(self) -> None:
        """Send requests until the node is complete, its tokens are spent, or an error is final."""
        failures = 0
        while self.reason is None:
            try:
                await self.send()
            except BackendError as error:
                failures += 1
                if not error.retryable or failures >= self.job.retry.attempts:
                    raise
                await anyio.sleep(self.job.retry.delay(failures, error))
        self.node.truncated = self.reason == "length"

    async def send(self) -> None:
        """Send one request and read it to its end; `reason` stays None where another one is to follow."""
        node, job, allowance = self.node, self.job, self.node.graph.allowance
        granted = allowance.grant(node.id, growing=node.graph.growing) if job.shares_allowance else None
        own = job.sampling.max_tokens
        limits = [
            granted,
            None if own is None else own - node.usage.completion_tokens,
            self.run.tokens_left,
        ]
        limit = min((tokens for tokens in limits if tokens is not None), default=None)
        if limit is not None and limit <= 0:
            self.reason = "length"
            return
        before = node.usage
        try:
            reason = await self.read(limit, before)
        finally:
            used = node.usage.completion_tokens - before.completion_tokens
            allowance.give_back(granted, used)
        resume = reason == "length" and granted is not None and granted == limit == used
        self.reason = None if resume else reason

    async def read(self, limit: int | None, before: Usage) -> FinishReason:
        """Read one request's stream into the node."""
        run, node, job = self.run, self.node, self.job
        append, slot, observe = run.journal.append, node.slot, job.observe
        is_plan = node.kind == "plan"
        counted = 0
        async with _Stream(self.backend.decode(self.request(limit))) as decoding:
            try:
                async for delta in decoding:
                    now = run.now()
                    if node.first_token_at is None:
                        node.first_token_at = now
                        self.span.first_chunk(now - (node.sent_at or 0.0))
                        run.cache.sent(self.context)
                    self.tokens += delta.tokens
                    if delta.text:
                        node.pieces.append(delta.text)
                        append(PlanDelta(now, delta.text) if is_plan else NodeDelta(now, node.id, delta.text))
                        if slot is not None:
                            slot.write(delta.text)
                    if observe is not None:
                        observe(delta, before.completion_tokens + decoding.usage.completion_tokens)
                    if run.tokens_left is not None:
                        run.tokens_left -= decoding.usage.completion_tokens - counted
                        counted = decoding.usage.completion_tokens
                        if run.tokens_left <= 0:
                            return "length"
                    if run.journal.congested:
                        await run.journal.drained()
            finally:
                node.usage = before + decoding.usage
        return decoding.finish_reason or "stop"

    def request(self, limit: int | None) -> Request:
        """The next request: the node's context, and what has been decoded of it."""
        run, node, job = self.run, self.node, self.job
        node.attempts += 1
        resumed = bool(node.pieces)
        seed = None if job.sampling.seed is None else derived_seed(job.sampling.seed, node.id)
        return Request(
            id=run.new_request_id(),
            run_id=run.id,
            context=continued(self.context, self.said(), self.backend) if resumed else self.context,
            sampling=msgspec.structs.replace(job.sampling, max_tokens=limit, seed=seed),
            grammar=None if resumed or not self.backend.engine.capabilities.grammar else job.grammar,
            priority=run.lane.remaining(node) if self.backend.engine.capabilities.priority else 0,
            headers=self.span.headers,
        )


def derived_seed(seed: int, node_id: str) -> int:
    """A node's own seed, so that nodes differ and a run repeats: 31 bits of BLAKE2b."""
    digest = hashlib.blake2b(f"{seed}:{node_id}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1


class _Stream:
    """A backend's decoding, whose end is shielded: an abort reaches the engine though we are cancelled."""

    def __init__(self, decoding: AbstractAsyncContextManager[Decoding]) -> None:
        self._decoding = decoding

    async def __aenter__(self) -> Decoding:
        return await self._decoding.__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        if exc_type is None:
            return await self._decoding.__aexit__(None, None, None)
        with anyio.move_on_after(ABORT_DEADLINE, shield=True):
            return await self._decoding.__aexit__(exc_type, exc, traceback)
        _log.warning("The engine did not confirm within %g s that a request was aborted.", ABORT_DEADLINE)
        return None
