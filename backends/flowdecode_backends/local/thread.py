"""Threads: lines of decoding over one pool, which fork at no cost and join in place."""

from __future__ import annotations

from collections.abc import Sequence

from flowdecode_backends.local.pool import Pool

__all__ = ["Thread"]


class Thread:
    """What one line of decoding sees, and the tokens that it has yet to feed to the model.

    A fork sees all that its origin has said so far, and nothing that it says later. A join makes
    what another thread said visible in place, at the positions it was decoded at, from the next
    token on. Neither copies or computes anything.
    """

    def __init__(self, pool: Pool, position: int = 0) -> None:
        self.pool = pool
        self.row = pool.open_row()
        self.position = position
        """The position of the next token that is said. It never moves back."""
        self.pending: list[tuple[int, int]] = []
        """Tokens that were said and not yet fed, with their positions."""
        self.own: list[int] = []
        """Slots of the tokens that it fed itself, and of the threads that it joined, in order."""
        self.low, self.high, self.count = pool.slots, 0, 0
        """The first slot that it sees, the one behind the last, and how many it sees."""
        self.held = False
        """Whether it can't be fed yet, as its origin has not been."""
        self._forks: list[Thread] = []
        self._joined: list[Thread] = []

    def say(self, tokens: Sequence[int]) -> None:
        """Queue tokens behind all others."""
        self.pending += zip(tokens, range(self.position, self.position + len(tokens)), strict=True)
        self.position += len(tokens)

    def skip(self, positions: int) -> None:
        """Leave positions to another thread; where it needs more they overlap, where less a gap stays."""
        if positions < 0:
            raise ValueError(f"Expected at least 0 positions, got {positions}.")
        self.position += positions

    def see(self, slots: Sequence[int]) -> None:
        """Make slots visible that were not."""
        if slots:
            self.pool.visible[self.row, slots] = True
            self.low, self.high = min(self.low, min(slots)), max(self.high, max(slots) + 1)
            self.count += len(slots)

    def fork(self) -> Thread:
        """A thread that goes on behind what this one has said so far. Raises PoolFull."""
        child = Thread(self.pool, self.position)
        if self.pending:
            child.held = True
            self._forks.append(child)
        else:
            child._inherit(self)
        return child

    def join(self, other: Thread) -> None:
        """See what `other`, which says nothing more, has said itself; its slots are this thread's now."""
        self._joined.append(other)

    def first(self) -> list[Thread]:
        """The joined threads that have tokens pending: to be fed before this one, at the latest beside it."""
        return [other for other in self._joined if other.pending]

    def feed(self, count: int) -> tuple[list[int], list[int], list[int]]:
        """Take the first `count` pending tokens: their ids, positions and new slots. Raises PoolFull."""
        slots = self.pool.take(count, self.high).tolist()
        for other in self._joined:
            self.see(other.own)
            self.own += other.own
            other.own = []
        self._joined.clear()
        fed, self.pending = self.pending[:count], self.pending[count:]
        tokens, positions = [token for token, _ in fed], [position for _, position in fed]
        self.pool.positions[slots] = positions
        self.own += slots
        self.see(slots)
        if not self.pending:
            self._let_go()
        return tokens, positions, slots

    def end(self) -> None:
        """Say nothing more; forks that wait for what is pending say it themselves."""
        for child in self._forks:
            child.pending = self.pending + child.pending
        self._let_go()

    def close(self) -> list[int]:
        """Give the row back; returns its own slots, which the caller frees when nobody sees them."""
        self.pool.close_row(self.row, self.low, self.high)
        for other in self._joined:
            self.own += other.own
            other.own = []
        own, self.own = self.own, []
        return own

    def _let_go(self) -> None:
        for child in self._forks:
            child._inherit(self)
        self._forks.clear()

    def _inherit(self, origin: Thread) -> None:
        seen = slice(origin.low, origin.high)
        self.pool.visible[self.row, seen] = self.pool.visible[origin.row, seen]
        self.low, self.high, self.count = origin.low, origin.high, origin.count
        self.held = False
