"""Prefix warming: requests that share a cold prefix wait until the first of them has it prefilled.

An engine that gets eight siblings at once prefills what they share eight times: a prefix can be found
in its radix cache only when a request that has it is through its prefill. So the first goes ahead, and the
others follow behind its first token.
"""

from __future__ import annotations

import asyncio

from flowdecode_backends.radix import RadixTree

__all__ = ["WORTH_WARMING", "Leader", "Warming"]

WORTH_WARMING = 64
"""Shared tokens from which on siblings wait for the first of them, if not told otherwise."""
LONGEST_HOLD = 2.0
"""Seconds after which a request goes its own way: the server's queue may be long."""
CAPACITY = 1_000_000
"""Tokens that are remembered where the server does not tell the size of its cache."""

Tokens = tuple[int, ...]


class Leader:
    """A request that has been sent, until its first token comes."""

    __slots__ = ("prompt", "through")

    def __init__(self, prompt: Tokens) -> None:
        self.prompt = prompt
        self.through = asyncio.Event()


class Warming:
    """What one server's cache should hold, from what it has been sent, and who is at it now."""

    def __init__(self, *, worth: int, page_size: int = 1, capacity: int | None = None) -> None:
        """`worth`: the shared tokens from which on it pays to wait; 0: never."""
        self.held = 0
        """Requests that have waited."""
        self._worth = worth
        self._page = page_size
        self._capacity = capacity or CAPACITY
        self._tree = RadixTree()
        self._leaders: dict[Leader, None] = {}

    async def turn(self, prompt: Tokens) -> Leader | None:
        """Wait for one's turn; None: the prompt has no tokens that others could wait for.

        The caller gives what it gets to `through` at its first token, and when it ends.
        """
        if not self._worth:
            return None
        loop = asyncio.get_running_loop()
        deadline: float | None = None
        while True:
            cached = self._tree.find(prompt) // self._page * self._page
            least = -(-(cached + self._worth) // self._page) * self._page
            if len(prompt) <= least:
                return None
            beginning = prompt[:least]
            ahead = next((leader for leader in self._leaders if leader.prompt[:least] == beginning), None)
            if ahead is None:
                break
            if deadline is None:
                deadline = loop.time() + LONGEST_HOLD
                self.held += 1
            try:
                async with asyncio.timeout_at(deadline):
                    await ahead.through.wait()
            except TimeoutError:
                break
        leader = Leader(prompt)
        self._leaders[leader] = None
        return leader

    def through(self, leader: Leader | None, *, prefilled: bool) -> None:
        """A leader's first token has come, or it has ended before."""
        if leader is not None and leader in self._leaders:
            del self._leaders[leader]
            leader.through.set()
            if prefilled:
                self.cached(leader.prompt)

    def cached(self, tokens: Tokens) -> None:
        """The server's cache should hold these now."""
        if self._worth:
            self._tree.insert(tokens)
            self._tree.evict(self._tree.tokens - self._capacity)

    def forget(self) -> None:
        """The server has lost its cache."""
        self._tree = RadixTree()
