"""Where a node's time went: the phases between the times of its record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from flowdecode.result import NodeRecord

__all__ = ["PHASES", "Phase", "PhaseName", "critical_path", "phases_of"]

PhaseName = Literal["plan", "parents", "width", "engine", "decode", "call"]

PHASES: dict[PhaseName, str] = {
    "plan": "waits for the plan",
    "parents": "waits for parents",
    "width": "waits for a place",
    "engine": "engine: queue and prefill",
    "decode": "decodes",
    "call": "calls a function",
}
"""What a node does in each phase, in the order of the phases."""


class Phase(NamedTuple):
    """A part of a node's life, in seconds since the run's start."""

    name: PhaseName
    start: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


def phases_of(record: NodeRecord, duration: float) -> tuple[Phase, ...]:
    """The phases of a node of a run that took `duration`, one behind the other.

    Those that took no time are left out. A node that ended early, such as one that was cancelled, ends in
    the phase that it had reached. A time that is missing between two others leaves its phase out.
    """
    last: PhaseName = "call" if record.kind == "call" else "decode"
    ends: list[tuple[PhaseName, float | None]] = [
        ("plan", record.planned_at),
        ("parents", record.ready_at),
        ("width", record.sent_at),
    ]
    if last == "decode":
        ends.append(("engine", record.first_token_at))
    ends.append((last, None))
    reached = max((index for index, (_, end) in enumerate(ends) if end is not None), default=-1) + 1
    ends[reached] = ends[reached][0], duration if record.finished_at is None else record.finished_at
    phases: list[Phase] = []
    start = 0.0
    for name, end in ends[: reached + 1]:
        if end is not None and end > start:
            phases.append(Phase(name, start, end))
            start = end
    return tuple(phases)


def critical_path(nodes: Sequence[NodeRecord]) -> tuple[str, ...]:
    """The ids of the nodes that set the pace, from the first one to the last one.

    The last one to be done, before it the parent that was done last, and so on; and before all of them the
    plan that named the first.
    """
    done = {node.id: node for node in nodes if node.status in ("done", "truncated")}
    node = max(done.values(), key=_finished, default=None)
    path: list[NodeRecord] = []
    while node is not None and node not in path:
        path.append(node)
        node = max((done[parent] for parent in node.parents if parent in done), key=_finished, default=None)
    plans = [plan for plan in done.values() if plan.kind == "plan"]
    if path and path[-1].offset and plans and plans[-1] not in path:
        path.append(plans[-1])
    return tuple([node.id for node in reversed(path)])


def _finished(node: NodeRecord) -> float:
    return node.finished_at or 0.0
