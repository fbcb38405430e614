"""One plan under way: its text becomes nodes, line by line, and nodes become text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from flowdecode.attempt import Decode
from flowdecode.backend import Backend, Delta
from flowdecode.context import Block, Context
from flowdecode.errors import PlanSyntaxError
from flowdecode.graph import Graph
from flowdecode.node import Node
from flowdecode.plan import Plan, PlanNode
from flowdecode.template import fill_template
from flowdecode_graphs.plato.grammar import PLAN_GRAMMAR
from flowdecode_graphs.plato.language import PlanParser, plan_text
from flowdecode_graphs.plato.layout import Source, overlaps, sources
from flowdecode_graphs.plato.text import PlanText
from flowdecode_graphs.prompts import Prompts

if TYPE_CHECKING:
    from flowdecode_graphs.plato import Plato

__all__ = ["Planning"]

MAX_PLAN_TOKENS = 640
"""Sixteen lines of forty tokens."""

WORDS_PER_TOKEN = 0.75


class Planning:
    """The planner's stream, and the graph that grows from it."""

    def __init__(
        self,
        settings: Plato,
        graph: Graph,
        *,
        backends: Mapping[str, Backend] | None = None,
        dry: bool = False,
        committed: Callable[[], object] = lambda: None,
    ) -> None:
        self.settings = settings
        self.graph = graph
        self.nodes: list[PlanNode] = []
        self._prompts = settings.prompts or Prompts.for_engine(graph.run.backend.engine)
        self._backends = backends or {}
        self._pipelined = settings.pipelined and settings.plan_view != "full"
        self._dry = dry
        self._committed = committed
        self._is_committed = False
        self._any_shown = False
        self._parser = PlanParser()
        self._text = PlanText()
        self._length = 0
        self._sources: dict[int, Source] = {}
        self._decodes: dict[int, Node[str]] = {}
        rules = self._prompts.rules + (self._prompts.difficulty if settings.backends else "")
        cache = graph.run.cache
        head = graph.prompt.context(rules)
        self._head = cache.context(head.blocks(), _without_thinking(head.chat_template_kwargs))
        self._asked = cache.extend(self._head, Block("user", self._prompts.plan))
        self._lines: list[Context] = []
        """The planner's conversation up to each line."""

    async def decode(self) -> None:
        """Decode the plan; its nodes join the graph as their lines come.

        Raises PlanSyntaxError where no line was of use, NodeError where the planner failed.
        """
        run = self.graph.run
        planner = self.graph.add(
            Decode(
                context=lambda: self._asked,
                sampling=msgspec.structs.replace(run.sampling, max_tokens=MAX_PLAN_TOKENS, stop=()),
                grammar=PLAN_GRAMMAR,
                observe=self._observe,
                shares_allowance=False,
            ),
            id=run.executor.free_node_id("plan"),
            kind="plan",
            title="Plan",
        )
        text = await planner
        tokens = planner.usage.completion_tokens
        self._complete(self._parser.finish(tokens))
        for context in self._lines:
            run.cache.sent(context)
        if not self.nodes and not self.direct:
            raise PlanSyntaxError(f"Expected a plan or the word direct, got {text[:200]!r}.")
        self.graph.growing = False
        run.plan = self.plan(tokens)
        if not self._pipelined and self.gains:
            for node in self.nodes:
                self._start(node, offset=tokens)

    @property
    def direct(self) -> bool:
        """Whether the model chose to answer without a plan."""
        return self._parser.direct

    @property
    def gains(self) -> bool:
        """Whether any two of the nodes can be decoded side by side."""
        return any(overlaps(self.nodes))

    def plan(self, tokens: int) -> Plan:
        """The plan as far as it has come."""
        return Plan(tuple(self.nodes), tokens, tuple(self._parser.remarks))

    def _observe(self, delta: Delta, tokens: int) -> bool:
        """Read a piece of the plan, line end by line end; True when no more is wanted."""
        self._text.add(delta)
        *lines, rest = delta.text.split("\n")
        for line in lines:
            self._length += len(line) + 1
            self._complete(self._parser.feed(line + "\n", tokens))
        self._length += len(rest)
        self._complete(self._parser.feed(rest, tokens))
        return self._parser.done

    def _complete(self, nodes: list[PlanNode]) -> None:
        """Lines are complete: their nodes start as soon as they may."""
        for node in nodes:
            blocks = self._text.cut(self._length)
            self._length = 0
            self._lines.append(
                self.graph.run.cache.extend(self._lines[-1] if self._lines else self._asked, *blocks)
            )
            self.nodes.append(node)
            self._sources = sources(self.nodes, self.settings.layout)
            self.nodes[-1] = self._predicted(node)
            self.graph.run.plan = self.plan(node.offset)
            if self._pipelined:
                self._start(self.nodes[-1], offset=node.offset)
            if not self._is_committed and self.gains:
                self._is_committed = True
                self._committed()

    def _start(self, node: PlanNode, *, offset: int) -> None:
        """Add a plan's node to the graph, and its place to the answer."""
        if self._dry:
            return
        slot = None
        if node.shown:
            gap = self._prompts.gap if self._any_shown else ""
            self._any_shown = True
            heading = fill_template(self._prompts.heading, id=node.id, title=node.title)
            slot = self.graph.answer.open(gap + heading)
        self._decodes[node.id] = self.graph.add(
            Decode(
                context=lambda: self._context(node),
                sampling=self.graph.run.sampling,
                backend=self._backends.get(node.difficulty or ""),
            ),
            parents=[self._decodes[parent] for parent in node.parents],
            id=self.graph.run.executor.free_node_id(str(node.id)),
            title=node.title,
            expected_tokens=node.expected_tokens,
            offset=offset,
            slot=slot,
        )

    def _context(self, node: PlanNode) -> Context:
        """A node's context: the spine, the lines that it lacks, the other parents, the instruction."""
        source = self._sources[node.id]
        base = self._base(node)
        missing = ""
        if source.spine is not None:
            spoken = self._decodes[source.spine].context
            assert spoken is not None, "a parent's context is there when the parent is done"
            base = spoken
            missing = self._missing(source.spine, node)
        turn = [Block("user", missing)] if missing else []
        turn += [Block("user", self._answer_of(other)) for other in source.others]
        turn.append(Block("user", self._instruction(node)))
        if base.block.role == "user":
            turn.insert(0, Block("user", "\n\n"))
        if self._backends:
            base = self.graph.run.cache.context(
                [Block(block.role, block.text) for block in base.blocks()], base.chat_template_kwargs
            )
        return self.graph.run.cache.extend(base, *turn)

    def _base(self, node: PlanNode) -> Context:
        """The head, with as much of the plan as the settings let a node see."""
        if self.settings.plan_view == "none":
            return self._head
        return self._lines[-1] if self.settings.plan_view == "full" else self._lines[self._index(node.id)]

    def _missing(self, spine: int, node: PlanNode) -> str:
        """The lines that came after the spine's own and up to the node's."""
        if self.settings.plan_view != "so-far":
            return ""
        lines = plan_text(self.nodes[self._index(spine) + 1 : self._index(node.id) + 1])
        return fill_template(self._prompts.lines, lines=lines)

    def _index(self, node_id: int) -> int:
        return next(index for index, node in enumerate(self.nodes) if node.id == node_id)

    def _answer_of(self, node_id: int) -> str:
        node = self.nodes[self._index(node_id)]
        return fill_template(
            self._prompts.parent, id=node.id, title=node.title, text=self._decodes[node_id].output
        )

    def _instruction(self, node: PlanNode) -> str:
        return fill_template(
            self._prompts.part,
            id=node.id,
            title=node.title,
            tokens=node.expected_tokens,
            words=max(5, round(node.expected_tokens * WORDS_PER_TOKEN)),
        )

    def _predicted(self, node: PlanNode) -> PlanNode:
        """The node with the tokens that its prompt should have, and should find in the prefix cache."""
        count = self.graph.run.backend.count_tokens
        source = self._sources[node.id]
        expected = {each.id: each.expected_tokens for each in self.nodes}
        turn = count(Context(Block("user", self._instruction(node)))) + sum(
            expected[other] for other in source.others
        )
        if source.spine is None:
            begun = [self._base(self.nodes[self._index(parent)]) for parent in node.parents]
            prompt = count(self._base(node))
            planned = (
                self._asked if self._pipelined and self.settings.plan_view != "none" else self._base(node)
            )
            cached = max(count(each) for each in (planned, *begun))
        else:
            spine = self.nodes[self._index(source.spine)]
            prompt = cached = spine.expected_prompt_tokens + spine.expected_tokens
            if missing := self._missing(source.spine, node):
                turn += count(Context(Block("user", missing)))
        return msgspec.structs.replace(
            node, expected_prompt_tokens=prompt + turn, expected_cached_tokens=min(prompt, cached)
        )


def _without_thinking(kwargs: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Parts are written, not thought about: tell a reasoning model's template, unless the user did."""
    return {"enable_thinking": False, **(kwargs or {})}
