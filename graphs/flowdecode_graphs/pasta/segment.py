"""The main thread between two syncs: what it was promised, and what it has said."""

from __future__ import annotations

from functools import cached_property

import msgspec

from flowdecode.backend import Delta
from flowdecode.context import Block
from flowdecode.node import Node

__all__ = ["Segment"]


class Segment:
    """The main thread from its beginning, or from a sync, to the next sync, or to its end."""

    node: Node[str]

    def __init__(self, node_id: int, before: Segment | None) -> None:
        self.before = before
        self.ids = [node_id]
        """The plan's ids: its own, then its chunks'."""
        self.parents = tuple(before.ids) if before else ()
        """What has to be done before it, and so before its chunks."""
        self.chunks: list[Node[str]] = []
        """What it was promised, in order."""
        self.tokens = 0
        """Said so far."""
        self.unread: list[str] = []
        """Of its text, what has come and was not read for tags yet."""
        self.synced = False
        """Whether it has come to its sync: another segment follows."""
        self.rest = ""
        """What came behind the sync, in the delta that completed it."""
        self._said: list[Delta] = []
        self._attempts = 0

    @cached_property
    def start(self) -> int:
        """Tokens on the longest chain before it; known once what is before it has ended."""
        if self.before is None:
            return self.node.graph.offset
        ends = [chunk.offset + chunk.usage.completion_tokens for chunk in self.before.chunks]
        return max(self.before.start + self.before.tokens, *ends)

    def add(self, delta: Delta, tokens: int) -> None:
        """More was decoded: `tokens` in all, of which an engine may not have told some yet."""
        if self.node.attempts != self._attempts:
            self._attempts = self.node.attempts
            while self._said and not self._said[-1].text:  # a new request decodes what never became text
                self._said.pop()
        self._said.append(delta)
        self.tokens = self.tokens + len(delta.tokens) if delta.tokens else max(self.tokens, tokens)

    def waste_the_rest(self) -> None:
        """What the engine decoded behind the sync, before it heard of it, is of no use."""
        usage = self.node.usage
        wasted = max(0, usage.completion_tokens - self.tokens)
        self.node.usage = msgspec.structs.replace(usage, wasted_tokens=wasted)

    def said(self, left: int) -> list[Block]:
        """What it has said but for the last `left` characters; whole deltas keep their token ids."""
        whole, cut = self._said, ""
        if left:
            whole, cut = self._said[:-1], self._said[-1].text[:-left]
        ids = tuple(token for delta in whole for token in delta.tokens)
        blocks = [Block("assistant", "".join(delta.text for delta in whole), ids or None)]
        return [block for block in (*blocks, Block("assistant", cut)) if block.text]
