"""One simulated engine: continuous batching over a radix prefix cache."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Literal

import msgspec

from flowdecode.backend import Delta
from flowdecode.errors import BackendError, BackendUnavailable
from flowdecode_backends.moments import NO_STEPS, counted
from flowdecode_backends.radix import Node, RadixTree
from flowdecode_backends.simulated.cost import CostModel

__all__ = ["BatchingEngine", "EngineSettings", "Job", "Scheduling"]

Scheduling = Literal["fcfs", "priority"]


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The size of an engine and its costs."""

    cost: CostModel
    slots: int
    """The most requests in a batch."""
    kv_tokens: int
    """The most tokens in the KV cache: of running requests, and of ended ones as long as there is room."""
    prefill_chunk: int
    """The most prompt tokens that one step prefills; what is longer takes several."""
    stream_interval: int
    """Tokens between two wake-ups of a stream."""
    scheduling: Scheduling
    mixed: bool
    """Whether a step that prefills decodes too; else all that decodes waits for it."""


class Job:
    """A request inside an engine: what it will decode, and how far it is."""

    __slots__ = (
        "arrived", "cached", "deltas", "done", "error", "left", "node", "pending", "priority", "produced",
        "prompt", "reserved", "steps", "waiter",
    )  # fmt: skip

    def __init__(self, prompt: tuple[int, ...], deltas: tuple[Delta, ...], priority: int) -> None:
        self.prompt = prompt
        self.deltas = deltas
        self.priority = priority
        self.arrived = 0
        """Steps that the engine had begun before it came."""
        self.cached = 0
        self.pending = len(prompt)
        """Prompt tokens that are neither cached nor prefilled."""
        self.produced = 0
        self.steps = False
        """Whether it gets a token at the end of the present step."""
        self.done = False
        """Whether nothing more will come."""
        self.error: BackendError | None = None
        self.left = False
        self.node: Node | None = None
        """The prefix that it holds in the tree, once admitted: what was cached, later the whole prompt."""
        self.reserved = 0
        """Tokens of the KV cache that it has beside these, its answer to come included."""
        self.waiter: asyncio.Future[None] | None = None
        """Set when something has changed, where its reader waits for that."""

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class BatchingEngine:
    """Runs a batch step by step while there is work; every step is one timer of the event loop.

    A step prefills the prompts that join the batch, and decodes one token of every request, of the new
    ones too; where steps are not `mixed`, of these alone, if there are any. Others see a prompt in the
    cache when it is prefilled, what was decoded when its request has ended or was left, as measured on
    SGLang. A request joins when there is room for its whole answer, so that none is ever put back.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self.tree = RadixTree()
        self.waiting = 0
        """Requests in the queue."""
        self.steps = 0
        """Steps taken so far."""
        self.moments: Sequence[float] = NO_STEPS
        """Of the steps that did nothing but decode; times in seconds."""
        self._batch: list[Job] = []
        self._queue: list[tuple[int, int, Job]] = []
        self._new = 0
        """Requests in the queue that no step has looked at yet."""
        self._arrivals = count()
        self._reserved = 0
        self._due = 0.0
        self._timer: asyncio.Handle | None = None

    @property
    def running(self) -> int:
        """Requests in the batch."""
        return len(self._batch)

    @property
    def load(self) -> int:
        """Requests in the batch and in the queue."""
        return len(self._batch) + self.waiting

    @property
    def passed_over(self) -> int:
        """Requests in the queue for which the last step had no place; SGLang tells no others either."""
        return self.waiting - self._new

    def submit(self, job: Job) -> None:
        """Queue a job; it may join the next step."""
        job.arrived = self.steps
        rank = -job.priority if self.settings.scheduling == "priority" else 0
        heappush(self._queue, (rank, next(self._arrivals), job))
        self.waiting += 1
        self._new += 1
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._due = loop.time()
            self._timer = loop.call_soon(self._turn)

    def leave(self, job: Job) -> None:
        """Give a job up: its slot is free from the next step on."""
        job.left = True
        if job.node is None:
            self.waiting -= 1
            self._new -= job.arrived == self.steps

    def close(self) -> None:
        """Stop and forget everything; requests that are still there fail."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for job in (*self._batch, *(job for _, _, job in self._queue)):
            job.error = BackendUnavailable("The simulated engine was closed while the request ran.")
            job.done = True
            job.wake()
        self._batch, self._queue, self.waiting, self._new = [], [], 0, 0
        self.tree, self._reserved = RadixTree(), 0

    def _turn(self) -> None:
        """End a step and begin the next one."""
        try:
            self._end()
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        tokens, pairs = self._prefill()
        if not self._batch:
            self._timer = None
            return
        apart = tokens > 0 and not self.settings.mixed
        batch = kv_tokens = 0
        for job in self._batch:
            job.steps = not job.pending and not (apart and job.produced)
            if job.steps and not apart:
                batch += 1
                kv_tokens += len(job.prompt) + job.produced
        cost = self.settings.cost
        decoding = 0.0 if apart else cost.decoding(batch, kv_tokens)
        if not tokens:
            self.moments = counted(self.moments, batch, decoding)
        self.steps += 1
        self._new = 0
        self._due += decoding + cost.prefilling(tokens, pairs)
        self._timer = asyncio.get_running_loop().call_at(self._due, self._turn)

    def _prefill(self) -> tuple[int, int]:
        """Fill a chunk with prompts: what is left of the last one, then new ones.

        Returns its tokens, and the pairs of one of them and one that it attends to.
        """
        room, pairs = self.settings.prefill_chunk, 0
        while room:
            job = self._batch[-1] if self._batch and self._batch[-1].pending else self._admit()
            if job is None:
                break
            tokens = min(room, job.pending)
            before = len(job.prompt) - job.pending
            pairs += tokens * before + tokens * (tokens + 1) // 2
            job.pending -= tokens
            room -= tokens
        return self.settings.prefill_chunk - room, pairs

    def _admit(self) -> Job | None:
        """Move the first job of the queue into the batch, if it fits."""
        while self._queue and self._queue[0][2].left:
            heappop(self._queue)
        if not self._queue or len(self._batch) == self.settings.slots:
            return None
        job = self._queue[0][2]
        if not self._reserve(job):
            return None
        heappop(self._queue)
        self.waiting -= 1
        self._batch.append(job)
        return job

    def _reserve(self, job: Job) -> bool:
        """Take room in the cache for a job, whose last prompt token is always computed anew."""
        tree = self.tree
        cached, node, _ = tree.match(job.prompt[:-1])
        tree.lock(node)
        needed = len(job.prompt) - cached + len(job.deltas)
        free = self.settings.kv_tokens - tree.tokens - self._reserved
        if needed > free + tree.tokens - tree.locked:
            tree.unlock(node)
            return False
        tree.evict(needed - free)
        self._reserved += needed
        job.reserved, job.node = needed, node
        job.cached, job.pending = cached, len(job.prompt) - cached
        return True

    def _end(self) -> None:
        """Hand out the tokens of a step."""
        kept: list[Job] = []
        interval = self.settings.stream_interval
        for job in self._batch:
            if job.left:
                self._release(job)
            elif not job.steps:
                kept.append(job)
            else:
                if not job.produced:
                    self._publish(job)
                if job.produced < len(job.deltas):
                    job.produced += 1
                if job.produced == len(job.deltas):
                    job.done = True
                    self._release(job)
                    job.wake()
                else:
                    kept.append(job)
                    if job.produced % interval == 0:
                        job.wake()
        self._batch = kept

    def _publish(self, job: Job) -> None:
        """Put a prefilled prompt into the tree."""
        cached = job.node
        assert cached is not None
        job.node = self.tree.insert(job.prompt[job.cached :], under=cached).node
        self.tree.lock(job.node)
        self.tree.unlock(cached)
        self._keep_reserved(job, len(job.deltas))

    def _release(self, job: Job) -> None:
        """Take a job out of the cache; what it has decoded becomes visible to others."""
        assert job.node is not None
        self._keep_reserved(job, 0)
        decoded = tuple(token for delta in job.deltas[: job.produced] for token in delta.tokens)
        self.tree.insert(decoded, under=job.node)
        self.tree.unlock(job.node)

    def _keep_reserved(self, job: Job, tokens: int) -> None:
        self._reserved += tokens - job.reserved
        job.reserved = tokens
