"""Threads: lines of decoding over one pool, which fork at no cost and join in place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flowdecode_backends.local.pool import Pool, Slots

__all__ = ["Thread"]

_ROOM = 256
"""Slots that a thread claims for what it will say, at least."""

_ROUND = 128
"""What it claims is a multiple of this: the ranges of similar threads then lie at equal distances."""


class Thread:
    """What one line of decoding sees, and the tokens that it has yet to feed to the model.

    A fork sees all that its origin has said so far, and nothing that it says later. A join makes
    what another thread said visible in place, at the positions it was decoded at, from the next
    token on. Neither copies or computes anything of the KV.
    """

    def __init__(self, pool: Pool, position: int = 0) -> None:
        pool.open_thread()
        self.pool = pool
        self.position = position
        """The position of the next token that is said. It never moves back."""
        self.pending: list[tuple[int, int]] = []
        """Tokens that were said and not yet fed, with their positions."""
        self.own: list[int] = []
        """Slots of the tokens that it fed itself, and of the threads that it joined, in order."""
        self.count = 0
        """How many slots it sees."""
        self.straight = True
        """Whether what it has fed itself, and nothing else that it sees, is one range of slots."""
        self.held = False
        """Whether it can't be fed yet, as its origin has not been."""
        self._seen: Slots = np.empty(0, np.int64)
        self._stem = 0
        self._next, self._end = 0, 0  # what is left of its claim
        self._forks: list[Thread] = []
        self._joined: list[Thread] = []

    @property
    def seen(self) -> Slots:
        """The slots that it sees, those that it saw last at the end."""
        return self._seen[: self.count]

    @property
    def origin(self) -> tuple[int, int]:
        """The stem, how many slots it inherited, and the last of them: equal where the stem is the same."""
        return (self._stem, int(self._seen[self._stem - 1])) if self._stem else (0, -1)

    @property
    def start(self) -> int:
        """The first slot that it has fed itself."""
        return int(self._seen[self._stem])

    def say(self, tokens: Sequence[int]) -> None:
        """Queue tokens behind all others."""
        self.pending += zip(tokens, range(self.position, self.position + len(tokens)), strict=True)
        self.position += len(tokens)

    def skip(self, positions: int) -> None:
        """Leave positions to another thread; where it needs more they overlap, where less a gap stays."""
        if positions < 0:
            raise ValueError(f"Expected at least 0 positions, got {positions}.")
        self.position += positions

    def inherit(self, slots: Sequence[int] | Slots) -> None:
        """Begin behind what others have fed. A slot tells what all before it are: they were fed in order."""
        self._see(slots)
        self._stem = self.count
        self.held = False

    def fork(self) -> Thread:
        """A thread that goes on behind what this one has said so far. Raises PoolFull."""
        child = Thread(self.pool, self.position)
        if self.pending:
            child.held = True
            self._forks.append(child)
        else:
            child.inherit(self.seen)
        return child

    def join(self, other: Thread) -> None:
        """See what `other`, which says nothing more, has said itself; its slots are this thread's now."""
        self._joined.append(other)

    def first(self) -> list[Thread]:
        """The joined threads that have tokens pending: to be fed before this one, at the latest beside it."""
        return [other for other in self._joined if other.pending]

    def feed(self, count: int) -> tuple[list[int], list[int], list[int]]:
        """Take the first `count` pending tokens: their ids, positions and new slots. Raises PoolFull."""
        slots = self._take(count)
        if self._joined:
            self.straight = False
        for other in self._joined:
            self._see(other.own)
            self.own += other.own
            other.own = []
        self._joined.clear()
        fed, self.pending = self.pending[:count], self.pending[count:]
        tokens, positions = [token for token, _ in fed], [position for _, position in fed]
        self.pool.positions[slots] = positions
        self.straight = self.straight and _consecutive([*self.own[-1:], *slots])
        self.own += slots
        self._see(slots)
        if not self.pending:
            self._let_go()
        return tokens, positions, slots

    def end(self) -> None:
        """Say nothing more; forks that wait for what is pending say it themselves."""
        for child in self._forks:
            child.pending = self.pending + child.pending
        self._let_go()

    def close(self) -> list[int]:
        """Leave the pool; returns its own slots, which the caller frees when nobody sees them."""
        self.pool.close_thread()
        self.pool.unclaim(self._next, self._end)
        for other in self._joined:
            self.own += other.own
            other.own = []
        own, self.own = self.own, []
        return own

    def _take(self, count: int) -> list[int]:
        """New slots: of its claim, of a new claim, or wherever there are any. Raises PoolFull."""
        if self._next + count > self._end:
            self.pool.unclaim(self._next, self._end)
            room = -(-(len(self.pending) + _ROOM) // _ROUND) * _ROUND
            start = self.pool.claim(room, self.own[-1] + 1 if self.own else 0)
            self._next, self._end = (0, 0) if start is None else (start, start + room)
        start = self._next
        if start + count <= self._end and self.pool.take_run(start, count):
            self._next += count
            return list(range(start, start + count))
        return [int(slot) for slot in self.pool.take_any(count)]

    def _see(self, slots: Sequence[int] | Slots) -> None:
        """Make slots visible that were not."""
        count = self.count + len(slots)
        if count > len(self._seen):
            grown = np.empty(count + max(_ROOM, count // 2), np.int64)
            grown[: self.count] = self.seen
            self._seen = grown
        self._seen[self.count : count] = slots
        self.count = count

    def _let_go(self) -> None:
        for child in self._forks:
            child.inherit(self.seen)
        self._forks.clear()


def _consecutive(slots: list[int]) -> bool:
    return slots == list(range(slots[0], slots[0] + len(slots)))
