"""`max_tokens`: a number of tokens that the nodes of an answer share by expected length."""

from __future__ import annotations

import asyncio

from flowdecode.plan import DEFAULT_EXPECTED_TOKENS

__all__ = ["Allowance"]


class Allowance:
    """Grants are upper bounds of single requests; what a request did not use goes back.

    A hint is never a hard limit: a node whose grant is used up asks for another one. While more
    nodes may come (`growing`), a grant is no larger than the hint, so that the first nodes leave
    something for those that are not planned yet.
    """

    def __init__(self, tokens: int | None) -> None:
        self._left = tokens
        self._granted = 0
        self._expected: dict[str, int] = {}
        self._expected_in_all = 0
        self._given_back = asyncio.Event()

    @property
    def limited(self) -> bool:
        """Whether there is a number to share at all."""
        return self._left is not None

    @property
    def recovers(self) -> bool:
        """Whether somebody may still give something back."""
        return self._granted > 0

    def expect(self, node_id: str, tokens: int | None) -> None:
        """A node was planned that will want about `tokens`."""
        self.forget(node_id)
        self._expected[node_id] = expected = max(1, tokens or DEFAULT_EXPECTED_TOKENS)
        self._expected_in_all += expected

    def forget(self, node_id: str) -> int:
        """A node needs no share kept for it any more; returns what it was expected to want."""
        expected = self._expected.pop(node_id, 0)
        self._expected_in_all -= expected
        return expected

    def grant(self, node_id: str, *, growing: bool) -> int | None:
        """How many tokens the node may decode now: None without a limit, 0 when all are spent."""
        if self._left is None:
            return None
        expected = self.forget(node_id) or DEFAULT_EXPECTED_TOKENS
        share = max(min(self._left, 1), self._left * expected // (expected + self._expected_in_all))
        if growing:
            share = min(share, expected)
        self._left -= share
        self._granted += share
        return share

    def give_back(self, granted: int | None, used: int) -> None:
        """A request of `granted` tokens ended after `used`."""
        if self._left is not None and granted:
            self._left += max(0, granted - used)
            self._granted -= granted
            self._given_back.set()
            self._given_back = asyncio.Event()

    async def given_back(self) -> None:
        """Wait for the next request to end."""
        await self._given_back.wait()
