"""One plan under way: its text becomes nodes, line by line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from flowdecode.attempt import Decode
from flowdecode.backend import Backend, Delta
from flowdecode.errors import PlanSyntaxError
from flowdecode.graph import Graph
from flowdecode.plan import Difficulty, Plan, PlanNode
from flowdecode.template import fill_template
from flowdecode_graphs.plato.contexts import Contexts
from flowdecode_graphs.plato.grammar import PLAN_GRAMMAR
from flowdecode_graphs.plato.language import PlanParser
from flowdecode_graphs.plato.layout import can_overlap
from flowdecode_graphs.plato.prefill import EarlyPrefill
from flowdecode_graphs.plato.text import PlanText
from flowdecode_graphs.prompts import Prompts

if TYPE_CHECKING:
    from flowdecode_graphs.plato import Plato

__all__ = ["Planning"]

MAX_PLAN_TOKENS = 640
"""Sixteen lines of forty tokens."""

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
"""A line with its newline, or what is left behind the last one."""


class Planning:
    """The planner's stream, and the graph that grows from it."""

    def __init__(
        self,
        settings: Plato,
        graph: Graph,
        *,
        backends: Mapping[Difficulty, Backend] | None = None,
        committed: Callable[[], object] = lambda: None,
    ) -> None:
        self._graph = graph
        self._prompts = settings.prompts or Prompts.for_engine(graph.backend.engine)
        self._contexts = Contexts(settings, self._prompts, graph)
        self._pipelined = settings.pipelined and settings.plan_view != "full"
        self._backends = backends or {}
        worth = settings.early_prefill
        self._prefill = EarlyPrefill(graph, self._contexts, worth=worth) if worth else None
        self._committed = committed
        self._is_committed = False
        self._any_shown = False
        self._parser = PlanParser()
        self._text = PlanText()
        self._length = 0
        """Characters of the plan that have been read since the last line that became a node."""

    async def decode(self, *, dry: bool = False) -> Plan:
        """Decode the plan; its nodes join the graph as their lines come, or not at all in a `dry` run.

        Raises PlanSyntaxError where no line was of use, NodeError where the planner failed.
        """
        run, at_once = self._graph.run, self._pipelined and not dry

        def observe(delta: Delta, tokens: int) -> bool:
            self._text.add(delta)
            for line in _LINE.findall(delta.text):
                self._length += len(line)
                self._complete(self._parser.feed(line, tokens), start=at_once)
            return self._parser.done

        planner = self._graph.add(
            Decode(
                context=lambda: self._contexts.planner,
                sampling=msgspec.structs.replace(
                    self._graph.sampling, max_tokens=MAX_PLAN_TOKENS, stop=(), stop_token_ids=()
                ),
                grammar=PLAN_GRAMMAR,
                observe=observe,
                shares_allowance=False,
            ),
            id="plan",
            kind="plan",
            title="Plan",
        )
        text = await planner
        tokens = planner.usage.completion_tokens
        self._complete(self._parser.finish(tokens), start=at_once)
        self._contexts.plan_is_decoded()
        if not self._contexts.nodes and not self.direct:
            raise PlanSyntaxError(f"Expected a plan or the word direct, got {text[:200]!r}.")
        self._graph.growing = False
        run.plan = self.plan(tokens)
        if not self._pipelined and not dry and self.gains:
            for node in self._contexts.nodes:
                self._start(node, offset=tokens)
        return run.plan

    @property
    def direct(self) -> bool:
        """Whether the model chose to answer without a plan."""
        return self._parser.direct

    @property
    def gains(self) -> bool:
        """Whether any two of the nodes can be decoded side by side."""
        return can_overlap(self._contexts.nodes)

    def plan(self, tokens: int) -> Plan:
        """The plan as far as it has come."""
        return Plan(tuple(self._contexts.nodes), tokens, tuple(self._parser.remarks))

    def _complete(self, nodes: list[PlanNode], *, start: bool) -> None:
        """Lines are complete: their nodes `start` as soon as they may."""
        for found in nodes:
            line, self._length = self._text.cut(self._length), 0
            node = self._contexts.add(found, line, plan_is_cached=not self._pipelined)
            self._graph.run.plan = self.plan(node.offset)
            if start:
                self._start(node, offset=node.offset)
            if not self._is_committed and self.gains:
                self._is_committed = True
                self._committed()

    def _start(self, node: PlanNode, *, offset: int) -> None:
        """Add a plan's node to the graph, and its place to the answer."""
        slot = None
        if node.shown:
            heading = fill_template(self._prompts.heading, id=node.id, title=node.title)
            slot = self._graph.answer.open(self._prompts.gap + heading if self._any_shown else heading)
            self._any_shown = True
        outputs = self._contexts.outputs
        backend = self._backends.get(node.difficulty) if node.difficulty else None
        outputs[node.id] = self._graph.add(
            Decode(
                context=lambda: self._contexts.part(node),
                sampling=self._graph.sampling,
                shares_allowance=node.shown,
                backend=backend,
            ),
            parents=[outputs[parent] for parent in node.parents],
            id=str(node.id),
            title=node.title,
            expected_tokens=node.expected_tokens,
            offset=offset,
            slot=slot,
        )
        if self._prefill is not None:
            self._prefill.watch(node, backend)
