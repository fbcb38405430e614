"""A plan: inert data that says which parts an answer has, and which of them need which."""

from __future__ import annotations

from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Literal

import msgspec

from flowdecode.errors import PlanCycleError, PlanError
from flowdecode.mermaid import flowchart
from flowdecode.span import Step, span_of

__all__ = ["DEFAULT_EXPECTED_TOKENS", "Difficulty", "Plan", "PlanNode"]

DEFAULT_EXPECTED_TOKENS = 120
"""What a node is taken to need where its plan line does not say: a paragraph."""

Difficulty = Literal["easy", "hard"]


class PlanNode(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One part of an answer."""

    id: int
    title: str
    instruction: str = ""
    """What the node is told beyond its title."""
    parents: tuple[int, ...] = ()
    expected_tokens: int = DEFAULT_EXPECTED_TOKENS
    shown: bool = True
    """Whether its text is part of the answer, or only seen by the nodes that name it as a parent."""
    difficulty: Difficulty | None = None
    offset: int = 0
    """Plan tokens that were decoded when the node's line was complete."""
    expected_prompt_tokens: int = 0
    """Tokens that its prompt should have, where that was predicted."""
    expected_cached_tokens: int = 0
    """Of them, those that the engine should find in its prefix cache."""


class Plan(msgspec.Struct, frozen=True, dict=True, omit_defaults=True):
    """The parts of an answer as a directed acyclic graph; checked when it is made. Raises PlanError."""

    nodes: tuple[PlanNode, ...]
    tokens: int = 0
    """Tokens of the plan's own text."""
    remarks: tuple[str, ...] = ()
    """What was repaired or dropped when the plan was read."""

    def __post_init__(self) -> None:
        known = {node.id for node in self.nodes}
        if len(known) < len(self.nodes):
            raise PlanError("Expected every node id once, got one twice - at `nodes`.")
        for index, node in enumerate(self.nodes):
            for parent in node.parents:
                if parent not in known:
                    raise PlanError(
                        f"Expected the id of a node, got {parent} - at `nodes[{index}].parents`. "
                        f"The plan's ids: {', '.join(map(str, sorted(known)))}."
                    )
        _ = self.order

    @cached_property
    def order(self) -> tuple[PlanNode, ...]:
        """The nodes, parents first."""
        by_id = {node.id: node for node in self.nodes}
        try:
            ids = tuple(TopologicalSorter({node.id: node.parents for node in self.nodes}).static_order())
        except CycleError as error:
            cycle: list[int] = error.args[1]
            raise PlanCycleError(tuple(cycle)) from None
        return tuple(by_id[node_id] for node_id in ids)

    @property
    def work(self) -> int:
        """Tokens expected in all, the plan's own included."""
        return self.tokens + sum(node.expected_tokens for node in self.nodes)

    @property
    def span(self) -> int:
        """Tokens expected on the longest chain: the plan up to a node's line, then the chain of nodes."""
        return span_of(Step(node.id, node.parents, node.expected_tokens, node.offset) for node in self.order)

    @property
    def parallelism(self) -> float:
        """Work over span."""
        return self.work / self.span if self.span else 1.0

    def to_json(self) -> str:
        """The plan as JSON; `from_json` reads it."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """Read what `to_json` wrote. Raises PlanError, which says what is wrong and where."""
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise PlanError(f"{error} (plan)") from None

    def to_mermaid(self) -> str:
        """The plan as a Mermaid flowchart; nodes that are not shown are dashed."""
        return flowchart(
            ((node.id, f"{node.title} ({node.expected_tokens})", node.parents) for node in self.nodes),
            dashed=[node.id for node in self.nodes if not node.shown],
        )
