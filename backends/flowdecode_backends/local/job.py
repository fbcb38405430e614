"""Jobs: requests inside the engine, each of one strand of decoding, or of several that share their KV."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count

import msgspec

from flowdecode.backend import Delta, FinishReason, Piece
from flowdecode.errors import BackendError
from flowdecode.sampling import SamplingParams
from flowdecode_backends.local.grammar import Matcher
from flowdecode_backends.local.sampler import Defaults, Sampler
from flowdecode_backends.local.thread import Thread
from flowdecode_backends.radix import Node
from flowdecode_backends.tokens import ChatTokens, Detokenizer

__all__ = ["Job", "Steer", "Strand"]

Steer = Callable[["Strand", int], None]
"""Called in the engine's thread behind each token that a strand has sampled: quick, and never blocking."""

_arrivals = count()


class Strand:
    """One line of sampling within a job. What it offers is for its `steer`, in the engine's thread."""

    def __init__(
        self,
        job: Job,
        thread: Thread | None,
        sampling: SamplingParams,
        steer: Steer | None,
        *,
        before: Sequence[int],
        matcher: Matcher | None = None,
    ) -> None:
        self.job = job
        self.before = before
        """The tokens that it goes on behind."""
        self.id = len(job.strands)
        self.tokens: list[int] = []
        """What has been sampled, the id that ended it included."""
        self.delta = Delta("")
        """What the last token added to its text."""
        self.finish_reason: FinishReason | None = None
        self._thread = thread
        self.limit = sampling.max_tokens
        if sampling.seed is not None:
            sampling = msgspec.structs.replace(sampling, seed=sampling.seed + self.id)
        self.sampler = Sampler(sampling, job.defaults, before=before, matcher=matcher)
        self.detokenizer = Detokenizer(job.chat_tokens, before=before, stop=sampling.stop)
        self.joined: tuple[Strand, ...] = ()
        """Strands that it has just joined, whose last token is still to be fed."""
        self._steer = steer
        self._awaited: tuple[Strand, ...] = ()
        self._forked_at = -1
        job.strands.append(self)

    @property
    def thread(self) -> Thread:
        """Its place in the pool; there while its job is in the batch."""
        assert self._thread is not None
        return self._thread

    @thread.setter
    def thread(self, thread: Thread) -> None:
        self._thread = thread

    @property
    def position(self) -> int:
        """The position of the next token."""
        return self.thread.position

    def fork(
        self, tokens: Sequence[int], *, steer: Steer | None = None, max_tokens: int | None = None
    ) -> Strand:
        """A strand that goes on with `tokens` behind what this one has said; starts with the next step."""
        self.job.share_no_more()
        child = self.thread.fork()
        child.say(tokens)
        self._forked_at = len(self.tokens)
        sampling = msgspec.structs.replace(self.job.sampling, max_tokens=max_tokens)
        return Strand(self.job, child, sampling, steer, before=(*self.before, *self.tokens, *tokens))

    def skip(self, positions: int) -> None:
        """Leave the next positions to a fork; if it needs more they overlap, if less a gap stays."""
        self.job.share_no_more()
        self.thread.skip(positions)

    def join(self, *others: Strand) -> None:
        """Wait until `others` have ended, then see what they said, from the pending token on.

        A strand can be joined once. Raises ValueError behind a fork at the same token, which needs it first.
        """
        if self._forked_at == len(self.tokens):
            raise ValueError("Expected a join at a later token than the fork, got both at one.")
        self._awaited += others

    def end(self) -> None:
        """Sample nothing more."""
        self.finish_reason = self.finish_reason or "stop"

    @property
    def ready(self) -> bool:
        """Whether it samples on and waits for nothing."""
        return self.finish_reason is None and not self._awaited

    def prepare(self) -> bool:
        """Join what has ended, where that was all that it waited for; whether it is ready."""
        self.joined = ()
        if self.finish_reason is None and all(other.finish_reason for other in self._awaited):
            for other in self._awaited:
                self.thread.join(other.thread)
            self.joined = tuple(other for other in self._awaited if other.thread.pending)
            self._awaited = ()
        return self.ready

    def take(self, token: int, context_length: int) -> Piece | None:
        """Note a token that was sampled; what the client is told of it."""
        self.tokens.append(token)
        self.job.completed += 1
        self.thread.say([token])
        delta = Delta("")
        if token in self.job.stop_ids:
            self.finish_reason = "stop"
        else:
            self.delta = delta = self.detokenizer.feed(token)
            if self.sampler.bends:
                self.sampler.accept(token)
            if self.detokenizer.stopped or self.sampler.ended:
                self.finish_reason = "stop"
            elif len(self.tokens) == self.limit or self.position >= context_length:
                self.finish_reason = "length"
            elif self._steer is not None:
                self._steer(self, token)
        if self.finish_reason is not None:
            self.thread.end()
            rest = self.detokenizer.finish()
            delta = Delta(delta.text + rest.text, delta.tokens + rest.tokens)
        if delta.text or delta.tokens or self.finish_reason:
            return Piece(self.id, delta, self.finish_reason, len(self.tokens))
        return None


class Job:
    """One request: its prompt, its strands, and what it holds in the pool and in the prefix cache."""

    def __init__(
        self,
        prompt: tuple[int, ...],
        sampling: SamplingParams,
        *,
        run_id: str,
        priority: int,
        stop_ids: frozenset[int],
        chat_tokens: ChatTokens,
        defaults: Defaults,
        tell: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
        steer: Steer | None = None,
        matcher: Matcher | None = None,
    ) -> None:
        self.prompt = prompt
        self.sampling = sampling
        self.run_id = run_id
        self.priority = priority
        self.stop_ids = stop_ids
        self.chat_tokens = chat_tokens
        self.defaults = defaults
        self.loop = loop
        self.tell = tell
        """Called in the loop's thread when there is something new."""
        self.arrival = next(_arrivals)
        self.cached = 0
        """Prompt tokens that were found in the prefix cache."""
        self.strands: list[Strand] = []
        self.pieces: deque[Piece] = deque()
        """What the client has not taken yet."""
        self.completed = 0
        """Tokens sampled so far, by all strands."""
        self.done = False
        self.cancelled = False
        """Set by the client: the job ends at the next step."""
        self.error: BackendError | None = None
        self.admitted = False
        self.node: Node | None = None
        """The prefix that it holds in the cache."""
        self.base = 0
        """The tokens that it found there when it was admitted."""
        self.published = 0
        """Tokens of the main strand that are in the cache."""
        self.given: set[int] = set()
        """Of its slots, those that the cache has now."""
        self._shareable: int | None = None
        self.main = Strand(self, None, sampling, steer, before=prompt, matcher=matcher)

    @property
    def tokens(self) -> list[int]:
        """The prompt and what the main strand has sampled."""
        return [*self.prompt, *self.main.tokens]

    def prepare(self) -> bool:
        """Let its strands join those that have ended; whether any is ready."""
        return sum(strand.prepare() for strand in self.strands) > 0

    @property
    def ended(self) -> bool:
        """Whether nothing more will be sampled."""
        return self.error is not None or all(strand.finish_reason for strand in self.strands)

    @property
    def shareable(self) -> int:
        """How many tokens have been fed that any other request could use."""
        fed = len(self.prompt) + len(self.main.tokens) - len(self.main.thread.pending)
        return fed if self._shareable is None else min(fed, self._shareable)

    def share_no_more(self) -> None:
        """From here on positions or what is seen are the job's own."""
        if self._shareable is None:
            self._shareable = len(self.prompt) + len(self.main.tokens)

    @property
    def interleaved(self) -> bool:
        """Whether its strands share KV in a way that can't be computed anew from tokens alone."""
        return self._shareable is not None
