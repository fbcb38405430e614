"""The prefix cache: which tokens of the pool others may start from, and what of it is dropped first."""

from __future__ import annotations

from flowdecode_backends.local.job import Job
from flowdecode_backends.local.pool import Pool
from flowdecode_backends.local.thread import Thread
from flowdecode_backends.radix import RadixTree

__all__ = ["WORTH_SHARING", "Prefixes"]

WORTH_SHARING = 16
"""Tokens from which on a prefix is shared: shorter ones, a chat template's first, are sooner computed
once more than attended over apart from the rest at every step."""

_EVICTED_AT_ONCE = 64
"""The part of the pool that is freed when it is full, so that not every step has to look for slots."""


class Prefixes:
    """A radix tree over the pool's slots. The prefixes of running jobs are in it too, and held."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.tree = RadixTree()

    @property
    def evictable(self) -> int:
        """Tokens that could be dropped."""
        return self.tree.tokens - self.tree.locked

    def known(self, tokens: tuple[int, ...]) -> int:
        """How many of the first tokens are cached; the last one is always computed, for its logits."""
        known = self.tree.find(tokens[:-1])
        return known if known >= WORTH_SHARING else 0

    def open(self, job: Job, tokens: tuple[int, ...], known_length: int) -> None:
        """Give a job a thread behind the first `known_length` of `tokens`, the rest pending."""
        thread = Thread(self.pool)
        known = self.tree.match(tokens[:known_length])
        self.tree.lock(known.node)
        job.node, job.base, job.published = known.node, known.length, known.length
        job.given = set()
        thread.inherit(known.slots)
        thread.position = known.length
        thread.say(tokens[known.length :])
        job.main.thread = thread

    def publish(self, job: Job) -> None:
        """Let others use what a job has fed by now."""
        end = job.shareable
        if end <= job.published:
            return
        assert job.node is not None
        tokens = tuple(job.tokens[job.published : end])
        slots = job.main.thread.own[job.published - job.base : end - job.base]
        before = self.tree.insert(tokens, slots, under=job.node)
        self.tree.lock(before.node)
        self.tree.unlock(job.node)
        job.given.update(slots[before.length :])
        job.node, job.published = before.node, end

    def close(self, job: Job) -> None:
        """Take a job out of the pool; what it leaves in the cache can be dropped."""
        self.publish(job)
        assert job.node is not None
        own = [slot for strand in job.strands for slot in strand.thread.close()]
        self.pool.give_back([slot for slot in own if slot not in job.given])
        self.tree.unlock(job.node)
        job.node = None

    def make_room(self, count: int) -> bool:
        """Drop the least recently used until so many slots are free; whether they are."""
        if count > self.pool.free:
            more = self.pool.slots // _EVICTED_AT_ONCE
            self.pool.give_back(self.tree.evict(count - self.pool.free + more))
        return count <= self.pool.free
