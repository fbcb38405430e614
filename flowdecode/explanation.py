"""What `explain` returns: the plan of a prompt, and what it should gain."""

from __future__ import annotations

import msgspec

from flowdecode.plan import Plan

__all__ = ["Explanation"]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A dry run: only the plan was decoded."""

    plan: Plan
    note: str | None = None
    """Why there would be no parallel decoding, if there would be none."""

    @property
    def predicted_speedup(self) -> float:
        """The expected tokens of the shown nodes, which one stream would decode, over the span."""
        answer = sum(node.expected_tokens for node in self.plan.nodes if node.shown)
        return answer / self.plan.span if self.plan.span else 1.0
