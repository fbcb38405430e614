"""A radix tree over token ids: which prefixes are in a KV cache, what is in use, what to evict next.

After RadixAttention (arXiv 2312.07104). An edge holds a run of tokens and, where the cache needs it,
one slot number per token. What is locked is never evicted; the rest goes least recently used
first, and from the end of a sequence, as the beginning is what others share. Not thread-safe.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

__all__ = ["Match", "Node", "RadixTree"]

Tokens = tuple[int, ...]


class Node:
    """An edge of the tree, and the prefix that ends with it; a handle for `lock` and `unlock`."""

    __slots__ = ("children", "locks", "parent", "queued", "slots", "tokens", "used")

    def __init__(self, tokens: Tokens, slots: list[int], parent: Node | None, used: int) -> None:
        self.tokens = tokens
        self.slots = slots
        self.parent = parent
        self.children: dict[int, Node] = {}
        self.locks = 0
        self.used = used
        self.queued = False  # whether it stands in the tree's eviction queue

    def path(self) -> Iterator[Node]:
        """The nodes from here to the top, the root left out."""
        node = self
        while node.parent is not None:
            yield node
            node = node.parent


class Match(NamedTuple):
    """The longest prefix found."""

    length: int
    node: Node
    """The node that ends exactly there; lock it to keep the prefix."""
    slots: list[int]
    """The slots of the prefix, where the tree has slots."""


class RadixTree:
    """Sequences of token ids that share their prefixes.

    Either every insertion brings slots, one per token, or none does.
    """

    def __init__(self) -> None:
        self.tokens = 0
        """Tokens in the tree."""
        self.locked = 0
        """Of these, the tokens that are in use."""
        self._root = Node((), [], None, 0)
        self._clock = 0
        self._queue: list[tuple[int, int, Node]] = []
        self._entries = 0

    def match(self, tokens: Tokens, under: Node | None = None) -> Match:
        """The longest prefix of `tokens` in the tree, which becomes the most recently used.

        With a locked node as `under`, `tokens` is what follows behind it.
        """
        self._clock += 1
        node = under or self._root
        for above in node.path():
            above.used = self._clock
        length = 0
        slots: list[int] = []
        while length < len(tokens):
            child = node.children.get(tokens[length])
            if child is None:
                break
            shared = _shared(child.tokens, tokens, length)
            node = child if shared == len(child.tokens) else self._split(child, shared)
            node.used = self._clock
            slots += node.slots
            length += shared
        return Match(length, node, slots)

    def find(self, tokens: Tokens) -> int:
        """The length that `match` would find; changes nothing."""
        node, length = self._root, 0
        while length < len(tokens):
            child = node.children.get(tokens[length])
            if child is None:
                break
            shared = _shared(child.tokens, tokens, length)
            length += shared
            if shared < len(child.tokens):
                break
            node = child
        return length

    def insert(self, tokens: Tokens, slots: Sequence[int] = (), under: Node | None = None) -> Match:
        """Add `tokens`; returns the match before, but with the node that ends behind the last token.

        The slots that were there stay in use; the caller frees those of its own, `slots[:length]`,
        that are others.
        """
        length, node, known = self.match(tokens, under)
        if length < len(tokens):
            leaf = Node(tokens[length:], list(slots[length:]), node, self._clock)
            node.children[tokens[length]] = leaf
            self.tokens += len(leaf.tokens)
            self._offer(leaf)
            node = leaf
        return Match(length, node, known)

    def lock(self, node: Node) -> None:
        """Keep the prefix that ends with `node` until it is unlocked as many times."""
        for above in node.path():
            if not above.locks:
                self.locked += len(above.tokens)
            above.locks += 1

    def unlock(self, node: Node) -> None:
        """Take back one `lock` of the same node."""
        if node.parent is not None and not node.locks:
            raise ValueError("Expected a locked node, got one that nobody holds.")
        for above in node.path():
            above.locks -= 1
            if not above.locks:
                self.locked -= len(above.tokens)
        self._offer(node)

    def evict(self, count: int) -> list[int]:
        """Drop `count` tokens, or all that are not in use if there are fewer; returns their slots."""
        slots: list[int] = []
        while count > 0 and self._queue:
            used, _, node = heappop(self._queue)
            node.queued = False
            if used < node.used:
                self._offer(node)
            elif not node.locks and not node.children:
                dropped = min(count, len(node.tokens))
                count -= dropped
                self.tokens -= dropped
                slots += node.slots[len(node.tokens) - dropped :]
                self._shorten(node, dropped)
        return slots

    def _split(self, node: Node, length: int) -> Node:
        """Put a node of its own on the first tokens of `node`, which keeps the rest and its handles."""
        assert node.parent is not None
        upper = Node(node.tokens[:length], node.slots[:length], node.parent, node.used)
        upper.locks = node.locks
        upper.children[node.tokens[length]] = node
        node.parent.children[upper.tokens[0]] = upper
        node.tokens, node.slots, node.parent = node.tokens[length:], node.slots[length:], upper
        return upper

    def _shorten(self, node: Node, dropped: int) -> None:
        assert node.parent is not None
        if dropped < len(node.tokens):
            node.tokens, node.slots = node.tokens[:-dropped], node.slots[:-dropped]
            self._offer(node)
        else:
            del node.parent.children[node.tokens[0]]
            self._offer(node.parent)

    def _offer(self, node: Node) -> None:
        """Queue a node for eviction if it can be evicted now; later uses are seen when its turn comes."""
        if not (node.queued or node.locks or node.children or node.parent is None):
            node.queued = True
            self._entries += 1
            heappush(self._queue, (node.used, self._entries, node))


def _shared(edge: Tokens, tokens: Tokens, start: int) -> int:
    """How many tokens of `edge` stand in `tokens` from `start` on."""
    part = tokens[start : start + len(edge)]
    if part == edge:
        return len(edge)
    for index, (ours, theirs) in enumerate(zip(edge, part, strict=False)):
        if ours != theirs:
            return index
    return len(part)
