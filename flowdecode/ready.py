"""Which ready node goes next: width, fairness between runs, longest remaining path first.

Everything here is synchronous: state never changes across an await.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any

from flowdecode.node import Node
from flowdecode.plan import DEFAULT_EXPECTED_TOKENS

__all__ = ["Admission", "Lane", "Paths"]


class Admission:
    """The one queue of a connection: its places are given out round robin among the runs that wait."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.running = 0
        self._turns: deque[Lane] = deque()

    def lane(self, start: Callable[[Node[Any]], None], *, width: int | None = None) -> Lane:
        """A place in the queue for one run, which calls `start` with each node that is admitted."""
        return Lane(self, start, width)

    @property
    def full(self) -> bool:
        return self.limit is not None and self.running >= self.limit

    def queue(self, lane: Lane) -> None:
        """Give `lane` a turn if it could use one."""
        if not lane.queued and lane.waiting and not lane.full:
            lane.queued = True
            self._turns.append(lane)

    def pump(self) -> None:
        """Start nodes while there are places: one from each run in turn."""
        while self._turns and not self.full:
            lane = self._turns.popleft()
            lane.queued = False
            if lane.waiting and not lane.full:
                lane.start_next()
                self.queue(lane)


class Lane:
    """One run's ready nodes, and how many of its nodes run."""

    def __init__(self, admission: Admission, start: Callable[[Node[Any]], None], width: int | None) -> None:
        self.width = width
        self.running = 0
        self.waiting: set[Node[Any]] = set()
        self.queued = False
        self._admission = admission
        self._start = start
        self._heap: list[tuple[int, int, Node[Any]]] = []
        self._heap_generation = 0
        self._arrivals = 0
        self._paths = Paths()

    @property
    def full(self) -> bool:
        return self.width is not None and self.running >= self.width

    def narrow(self, width: int | None) -> None:
        """Limit a run that has no `width` of its own; before its first node."""
        if self.width is None:
            self.width = width

    def grew(self) -> None:
        """A node joined the run's graph: paths may be longer than they were."""
        self._paths.added += 1

    def submit(self, node: Node[Any]) -> None:
        """A node is ready: start it, or let it wait for a place."""
        if not self.waiting and not self.full and not self._admission.full:
            self._run(node)
            return
        self._arrivals += 1
        self.waiting.add(node)
        heappush(self._heap, (-self._paths.remaining(node), self._arrivals, node))
        self._admission.queue(self)
        self._admission.pump()

    def withdraw(self, node: Node[Any]) -> None:
        """A waiting node is no longer wanted."""
        self.waiting.discard(node)

    def release(self) -> None:
        """A node that was started has ended."""
        self.running -= 1
        self._admission.running -= 1
        self._admission.queue(self)
        self._admission.pump()

    def start_next(self) -> None:
        """Start the waiting node with the longest remaining path, the one that came first among equals."""
        if self._paths.refresh() != self._heap_generation:
            self._heap_generation = self._paths.generation
            self._heap = [
                (-self._paths.remaining(node), arrival, node)
                for _, arrival, node in self._heap
                if node in self.waiting
            ]
            heapify(self._heap)
        node = heappop(self._heap)[2]
        while node not in self.waiting:
            node = heappop(self._heap)[2]
        self.waiting.remove(node)
        self._run(node)

    def remaining(self, node: Node[Any]) -> int:
        """Expected tokens on the longest path from the start of `node` to the end of the run."""
        return self._paths.remaining(node)

    def _run(self, node: Node[Any]) -> None:
        self.running += 1
        self._admission.running += 1
        self._start(node)


class Paths:
    """Longest remaining paths, computed only when somebody asks.

    They outdate when the graph grows; in a large graph only when it has grown by an eighth, so that
    keeping them costs O(1) a node in all.
    """

    def __init__(self) -> None:
        self.added = 0
        self.generation = 0
        self._known = 0

    def refresh(self) -> int:
        """Forget all paths if the graph has grown enough to look again; returns the generation."""
        if self.added > (self._known // 8 if self._known > 64 else 0):
            self.generation += 1
            self._known = self.added = 0
        return self.generation

    def remaining(self, node: Node[Any]) -> int:
        """Expected tokens from the start of `node` to the end of the longest chain behind it."""
        generation = self.refresh()
        stack = [node]
        while stack:
            last = stack[-1]
            unknown = [child for child in last.children if child.ranked != generation]
            if unknown:
                stack += unknown
                continue
            _ = stack.pop()
            if last.ranked != generation:
                last.ranked = generation
                last.remaining = _cost(last) + max((child.remaining for child in last.children), default=0)
                self._known += 1
        return node.remaining


def _cost(node: Node[Any]) -> int:
    if node.expected_tokens is not None:
        return node.expected_tokens
    return 0 if node.kind == "call" else DEFAULT_EXPECTED_TOKENS
