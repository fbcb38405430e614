"""What a run leaves behind: the answer, and the record of every node."""

from __future__ import annotations

from typing import Literal

import msgspec

from flowdecode.errors import FlowdecodeError
from flowdecode.plan import Plan
from flowdecode.usage import Usage

__all__ = ["NodeKind", "NodeRecord", "NodeStatus", "Result", "RunStatus"]

NodeKind = Literal["decode", "call", "plan"]
NodeStatus = Literal["waiting", "ready", "running", "done", "truncated", "failed", "skipped", "cancelled"]
"""`truncated`: ended by a token limit; `skipped`: a parent failed or no tokens were left."""
RunStatus = Literal["done", "truncated", "partial", "failed", "cancelled", "timeout"]
"""`truncated`: `max_tokens` or the model's context cut the answer; `partial`: a part of it is missing."""


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A node's life; times are seconds since the run's start."""

    id: str
    kind: NodeKind
    title: str
    parents: tuple[str, ...] = ()
    text: str = ""
    status: NodeStatus
    error: str | None = None
    shown: bool = True
    expected_tokens: int | None = None
    offset: int = 0
    """Plan tokens that had to be decoded before the node was known."""
    planned_at: float
    ready_at: float | None = None
    sent_at: float | None = None
    first_token_at: float | None = None
    finished_at: float | None = None
    usage: Usage = Usage()
    expected_cached_tokens: int = 0
    """Prompt tokens that this run had already sent or decoded when the node was sent."""
    attempts: int = 0
    """Requests sent: more than one after a retry, or when the node was resumed."""


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One execution, complete: reports and timelines read nothing else. It round-trips through JSON."""

    id: str
    text: str
    model: str
    strategy: str | None
    """The strategy that ran; None for a graph of one's own."""
    status: RunStatus
    fallback_reason: str | None = None
    plan: Plan | None = None
    nodes: tuple[NodeRecord, ...] = ()
    usage: Usage = Usage()
    work: int = 0
    """Decoded tokens that were of use."""
    span: int = 0
    """Tokens on the longest chain of them."""
    duration: float = 0.0
    """Seconds from the run's start to its end."""

    @property
    def parallelism(self) -> float:
        """Work over span."""
        return self.work / self.span if self.span else 1.0

    def to_json(self) -> str:
        """The result as JSON; `from_json` reads it."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Result:
        """Read what `to_json` wrote. Raises FlowdecodeError, which says what is wrong and where."""
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise FlowdecodeError(f"{error} (result)") from None
