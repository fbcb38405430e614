"""`max_tokens`: a number of tokens that the nodes of an answer share by expected length."""

from __future__ import annotations

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
        self._expected: dict[str, int] = {}

    def expect(self, node_id: str, tokens: int | None) -> None:
        """A node was planned that will want about `tokens`."""
        self._expected[node_id] = tokens or DEFAULT_EXPECTED_TOKENS

    def grant(self, node_id: str, *, growing: bool) -> int | None:
        """How many tokens the node may decode now: None without a limit, 0 when all are spent."""
        if self._left is None:
            return None
        others = sum(self._expected.values()) - self._expected.get(node_id, 0)
        expected = self._expected.pop(node_id, DEFAULT_EXPECTED_TOKENS)
        share = max(min(self._left, 1), self._left * expected // (expected + others))
        if growing:
            share = min(share, expected)
        self._left -= share
        return share

    def give_back(self, granted: int | None, used: int) -> None:
        """A request of `granted` tokens ended after `used`."""
        if self._left is not None and granted is not None:
            self._left += max(0, granted - used)
