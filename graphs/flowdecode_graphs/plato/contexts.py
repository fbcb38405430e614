"""The contexts of planner and parts: what is shared comes first, what only one part needs comes last."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from flowdecode.context import Block, Context
from flowdecode.graph import Graph
from flowdecode.node import Node
from flowdecode.plan import PlanNode
from flowdecode.template import fill_template
from flowdecode_graphs.plato.language import plan_text
from flowdecode_graphs.plato.layout import Layout, Source, sources
from flowdecode_graphs.prompts import Prompts

if TYPE_CHECKING:
    from flowdecode_graphs.plato import Plato

__all__ = ["Contexts", "PlanView"]

PlanView = Literal["so-far", "full", "none"]

WORDS_PER_TOKEN = 0.75


class Contexts:
    """What every part is decoded from, as the plan grows. A part's id is its place in the plan."""

    def __init__(self, settings: Plato, prompts: Prompts, graph: Graph) -> None:
        self.nodes: list[PlanNode] = []
        self.outputs: dict[int, Node[str]] = {}
        """The parts' decodes, by the ids of the plan."""
        self._prompts = prompts
        self._view: PlanView = settings.plan_view
        self._layout: Layout = settings.layout
        self._sources: dict[int, Source] = {}
        self._several_models = bool(settings.backends)
        self._cache = graph.run.cache
        self._count = graph.backend.count_tokens
        rules = prompts.rules + (prompts.difficulty if self._several_models else "")
        kwargs = _without_thinking(graph.prompt.chat_template_kwargs)
        self.head = self._cache.context(graph.prompt.with_rules(rules), kwargs)
        """The system message with the rules, and the conversation up to the question."""
        self.planner = self._cache.extend(self.head, Block("user", prompts.plan))
        self._lines: list[Context] = []
        """The planner's conversation up to the end of each line."""

    def add(self, node: PlanNode, line: list[Block], *, plan_is_cached: bool) -> PlanNode:
        """A line of the plan is complete; returns its node with the predicted tokens of its prompt."""
        self._lines.append(self._cache.extend(self._lines[-1] if self._lines else self.planner, *line))
        self.nodes.append(node)
        self._sources = sources(self.nodes, self._layout)
        self.nodes[-1] = self._predicted(node, plan_is_cached)
        return self.nodes[-1]

    def plan_is_decoded(self) -> None:
        """The planner's request has ended: the engine's prefix cache holds every line."""
        if self._lines:
            self._cache.sent(self._lines[-1])

    def part(self, node: PlanNode) -> Context:
        """A part's context: its base, the lines that this lacks, the other parents, the instruction."""
        base, turn = self._known(node)
        return self._cache.extend(base, *turn, Block("user", self._instruction(node)))

    def beginning(self, node: PlanNode) -> Context | None:
        """What of a part's context is there while parents still decode; None: no more than its base."""
        source = self._sources[node.id]
        if source.spine is not None and not self.outputs[source.spine].ended:
            return None
        base, turn = self._known(node)
        return self._cache.extend(base, *turn) if turn else None

    def _known(self, node: PlanNode) -> tuple[Context, list[Block]]:
        """A part's base, and what follows it up to the first parent that has no answer yet."""
        source = self._sources[node.id]
        base = self._base(node)
        if source.spine is not None:
            spoken = self.outputs[source.spine].context
            assert spoken is not None, "a parent's context is there when the parent is done"
            base = spoken
        if self._several_models:  # token ids mean nothing to another model's tokenizer
            plain = [Block(block.role, block.text) for block in base.blocks()]
            base = self._cache.context(plain, base.chat_template_kwargs)
        turn = ["\n\n" if base.block.role == "user" else "", self._missing_lines(node, source)]
        answered = takewhile(lambda parent: self.outputs[parent].ended, source.others)
        turn += [self._answer_of(parent) for parent in answered]
        return base, [Block("user", text) for text in turn if text]

    def _base(self, node: PlanNode) -> Context:
        """The head, with as much of the plan as a part is to see."""
        if self._view == "none":
            return self.head
        return self._lines[-1] if self._view == "full" else self._lines[node.id - 1]

    def _missing_lines(self, node: PlanNode, source: Source) -> str:
        """The lines behind the spine's own, up to the part's."""
        if source.spine is None or self._view != "so-far":
            return ""
        return fill_template(self._prompts.lines, lines=plan_text(self.nodes[source.spine : node.id]))

    def _answer_of(self, node_id: int) -> str:
        title, text = self.nodes[node_id - 1].title, self.outputs[node_id].output
        return fill_template(self._prompts.parent, id=node_id, title=title, text=text)

    def _instruction(self, node: PlanNode) -> str:
        told = fill_template(
            self._prompts.part,
            id=node.id,
            title=node.title,
            tokens=node.expected_tokens,
            words=max(5, round(node.expected_tokens * WORDS_PER_TOKEN)),
        )
        return f"{told} {node.instruction}" if node.instruction else told

    def _predicted(self, node: PlanNode, plan_is_cached: bool) -> PlanNode:
        """The node with the tokens that its prompt should have, and should find in the prefix cache."""
        source = self._sources[node.id]
        own = [self._missing_lines(node, source), self._instruction(node)]
        turn = sum(self._count(Context(Block("user", text))) for text in own if text)
        turn += sum(self.nodes[parent - 1].expected_tokens for parent in source.others)
        if source.spine is not None:
            spine = self.nodes[source.spine - 1]
            base = cached = spine.expected_prompt_tokens + spine.expected_tokens
        else:
            base = self._count(self._base(node))
            held = [self._base(node) if plan_is_cached else self.planner]
            held += [self._base(self.nodes[parent - 1]) for parent in node.parents]
            cached = min(base, max(self._count(context) for context in held))
        return msgspec.structs.replace(
            node, expected_prompt_tokens=base + turn, expected_cached_tokens=cached
        )


def _without_thinking(kwargs: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Parts are written, not thought about: tell a reasoning model's template, unless the user did."""
    return {"enable_thinking": False, **(kwargs or {})}
