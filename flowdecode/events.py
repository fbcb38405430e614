"""What happens in a run, as it happens: a closed union, tagged by `type` in JSON.

`at` is seconds since the run's start.
"""

from __future__ import annotations

import msgspec

from flowdecode.result import NodeKind, NodeStatus, RunStatus

__all__ = [
    "AnswerDelta",
    "Event",
    "FellBack",
    "NodeDelta",
    "NodeFailed",
    "NodeFinished",
    "NodePlanned",
    "NodeReady",
    "NodeStarted",
    "PlanDelta",
    "RunFinished",
    "RunStarted",
]


class _Event(msgspec.Struct, frozen=True, tag_field="type", tag=True, gc=False):
    at: float


class RunStarted(_Event, frozen=True):
    """The run exists; its strategy is about to grow the graph."""

    run_id: str
    strategy: str | None
    model: str


class PlanDelta(_Event, frozen=True):
    """A piece of the plan's own text."""

    text: str


class NodePlanned(_Event, frozen=True):
    """A node joined the graph."""

    node_id: str
    kind: NodeKind
    title: str
    parents: tuple[str, ...]
    expected_tokens: int | None


class NodeReady(_Event, frozen=True):
    """A node's parents are done; from here it waits for nothing but the width."""

    node_id: str


class NodeStarted(_Event, frozen=True):
    """A node runs: a decode was admitted, a call was begun."""

    node_id: str


class NodeDelta(_Event, frozen=True):
    """A piece of a node's text, in the order of decoding."""

    node_id: str
    text: str


class NodeFinished(_Event, frozen=True):
    """A node came to its end, with success or by a token limit, or because it was no longer wanted."""

    node_id: str
    status: NodeStatus


class NodeFailed(_Event, frozen=True):
    """A node failed after all its retries, or was skipped because a parent of it did."""

    node_id: str
    status: NodeStatus
    error: str


class FellBack(_Event, frozen=True):
    """The run goes on with the plain sequential answer."""

    reason: str


class AnswerDelta(_Event, frozen=True):
    """The next piece of the answer, in order; what was emitted is never withdrawn."""

    text: str


class RunFinished(_Event, frozen=True):
    """The last event of every run."""

    status: RunStatus
    error: str | None = None


Event = (
    RunStarted
    | PlanDelta
    | NodePlanned
    | NodeReady
    | NodeStarted
    | NodeDelta
    | NodeFinished
    | NodeFailed
    | FellBack
    | AnswerDelta
    | RunFinished
)
