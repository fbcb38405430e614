"""The live DAG of one run: nodes are added, start when their parents are done, and can be awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar, cast, overload

from anyio import CancelScope

from flowdecode.allowance import Allowance
from flowdecode.answer import Answer, Slot
from flowdecode.attempt import Decode
from flowdecode.context import Block, Context
from flowdecode.errors import ConfigurationError, FlowdecodeError
from flowdecode.node import Node
from flowdecode.plugins import open_strategy
from flowdecode.prompt import Prompt
from flowdecode.result import NodeKind, Result
from flowdecode.sampling import Sampling, SamplingParams
from flowdecode.template import Field, parse_template

if TYPE_CHECKING:
    from flowdecode.backend import Backend
    from flowdecode.execution import Execution
    from flowdecode.strategy import Strategy

__all__ = ["Graph"]

T = TypeVar("T")

_SETTINGS = ("after", "system", "id", "title", "expected_tokens", "timeout", "sampling")
"""The keywords of `Graph.decode` that can't be fields."""


class Graph:
    """Nodes that belong together, and the answer that they fill."""

    def __init__(
        self,
        run: Execution,
        prompt: Prompt | None = None,
        *,
        held: bool = False,
        said: str = "",
        offset: int = 0,
    ) -> None:
        self.run = run
        self._prompt = prompt
        self.said = said
        """What was already emitted of the answer that this graph is to continue."""
        self.offset = offset
        """Tokens on the longest chain that had to be decoded before this graph could begin."""
        self.answer = Answer(run.emit, held=held)
        tokens = run.sampling.max_tokens
        if tokens is not None and said:
            tokens = max(0, tokens - run.backend.count_tokens(Context.of([Block("assistant", said)])))
        self.allowance = Allowance(tokens)
        self.nodes: list[Node[Any]] = []
        self.unfinished = 0
        self.growing = True
        self.discarded = False
        self.failures: list[FlowdecodeError] = []
        self._scope = CancelScope()
        self._settled: asyncio.Event | None = None

    @property
    def prompt(self) -> Prompt:
        """What the run was asked. Raises ConfigurationError in a graph of one's own."""
        if self._prompt is None:
            raise ConfigurationError("Expected a run with a prompt; a graph of one's own has none.")
        return self._prompt

    @property
    def backend(self) -> Backend:
        """The run's own engine."""
        return self.run.backend

    @property
    def sampling(self) -> SamplingParams:
        """The run's sampling parameters."""
        return self.run.sampling

    def context(self, blocks: Iterable[Block]) -> Context:
        """A conversation of this run, in whose cache equal prefixes are one object."""
        kwargs = self._prompt.chat_template_kwargs if self._prompt else None
        return self.run.cache.context(blocks, kwargs)

    @property
    def result(self) -> Result:
        """What the graph left behind, once it was left. Raises ConfigurationError before."""
        if self.run.outcome is None:
            raise ConfigurationError("Expected the graph to have ended. Leave its `async with` block first.")
        return self.run.outcome

    @overload
    def add(
        self,
        action: Decode,
        *,
        parents: Iterable[Node[Any]] = (),
        id: str | None = None,
        kind: NodeKind = "decode",
        title: str = "",
        expected_tokens: int | None = None,
        offset: int = 0,
        slot: Slot | None = None,
    ) -> Node[str]: ...

    @overload
    def add(
        self,
        action: Callable[[], Awaitable[T]],
        *,
        parents: Iterable[Node[Any]] = (),
        id: str | None = None,
        kind: NodeKind = "call",
        title: str = "",
        expected_tokens: int | None = None,
        offset: int = 0,
        slot: Slot | None = None,
    ) -> Node[T]: ...

    def add(
        self,
        action: Decode | Callable[[], Awaitable[Any]],
        *,
        parents: Iterable[Node[Any]] = (),
        id: str | None = None,
        kind: NodeKind | None = None,
        title: str = "",
        expected_tokens: int | None = None,
        offset: int = 0,
        slot: Slot | None = None,
    ) -> Node[Any]:
        """Add a node: the one door through which all of them come.

        A `Decode` waits for its parents and for a place within the width; any other action is a
        coroutine function that waits for its parents alone. `offset` counts the plan tokens that
        had to be decoded before the node was known; the text of a decode goes to `slot`. An `id`
        that is taken gets a number behind it.
        """
        run = self.run
        run.check_open()
        parents = tuple(dict.fromkeys(parents))
        for parent in parents:
            if parent.graph.run is not run:
                raise ConfigurationError(
                    f"Expected nodes of this run, got {parent!r} of another one. Pass its `output` instead."
                )
        decodes = isinstance(action, Decode)
        node: Node[Any] = Node(
            self,
            run.executor.free_node_id(id),
            kind or ("decode" if decodes else "call"),
            action,
            parents=parents,
            title=title,
            expected_tokens=expected_tokens,
            offset=max(offset, self.offset),
            slot=slot,
            planned_at=run.now(),
        )
        self.nodes.append(node)
        self.unfinished += 1
        if isinstance(action, Decode) and action.shares_allowance:
            self.allowance.expect(node.id, expected_tokens)
        run.executor.admit(node)
        return node

    def decode(
        self,
        template: str,
        /,
        *,
        after: Node[str] | None = None,
        system: str | None = None,
        id: str | None = None,
        title: str = "",
        expected_tokens: int | None = None,
        timeout: float | None = None,
        sampling: Sampling | None = None,
        **fields: object,
    ) -> Node[str]:
        """Decode the answer to a template; `{name}` stands for the field of that name.

        A field is a node, whose output is waited for, a value, or a list of these. `after` is a
        node whose whole conversation goes on: the engine finds all of it in its prefix cache.
        `timeout` is in seconds, for all attempts together. Raises ConfigurationError where template
        and fields don't match.
        """
        parts: list[str | Field] = [template]
        if fields or "{" in template:
            settings = (after, system, id, title, expected_tokens, timeout, sampling)
            taken = [name for name, value in zip(_SETTINGS, settings, strict=True) if value]
            parts = parse_template(template, fields, taken=taken)
        if not template.strip():
            raise ConfigurationError("Expected a template with a text, got an empty one.")
        if after is not None and not (_is_node(after) and isinstance(after.action, Decode)):
            raise ConfigurationError(f"Expected `after` to be a node that decodes, got {after!r}.")
        if id is not None and id in self.run.executor.nodes:
            raise ConfigurationError(f"Expected an id that no other node has, got {id!r}.")
        params = self.run.sampling if sampling is None else SamplingParams.read(sampling)
        template_kwargs = (sampling or {}).get("chat_template_kwargs")
        if after is not None and (system or template_kwargs):
            raise ConfigurationError(
                "Expected `after` without `system` and `chat_template_kwargs`: "
                "a conversation goes on as it began."
            )

        def context() -> Context:
            texts = [_text(fields[part.name]) if isinstance(part, Field) else part for part in parts]
            blocks = [Block("user", text) for text in texts if text]
            if not blocks:
                raise ConfigurationError(
                    f"Expected a text to decode from, but every field of {template!r} is empty."
                )
            if after is not None:
                assert after.context is not None
                return self.run.cache.extend(after.context, *blocks)
            head = [Block("system", system)] if system else []
            return self.run.cache.context([*head, *blocks], template_kwargs)

        parents = _nodes(fields.values())
        return self.add(
            Decode(context=context, sampling=params, timeout=timeout),
            parents=parents if after is None else [after, *parents],
            id=id,
            title=title,
            expected_tokens=expected_tokens,
        )

    def call(self, function: Callable[..., Awaitable[T]], /, *args: object, **kwargs: object) -> Node[T]:
        """Call a coroutine function with its arguments; their outputs stand for nodes, also in a list."""

        def action() -> Awaitable[T]:
            called = function(*map(_value, args), **{name: _value(value) for name, value in kwargs.items()})
            if not isawaitable(cast(object, called)):
                raise ConfigurationError(
                    f"Expected a coroutine function, got {function!r}, which returned {called!r}. "
                    "Make it `async def`, or pass `asyncio.to_thread` before it."
                )
            return called

        return self.add(
            action,
            parents=_nodes((*args, *kwargs.values())),
            title=getattr(function, "__name__", ""),
        )

    def branch(self, *, held: bool = False, said: str = "", offset: int = 0) -> Graph:
        """Another graph of the same run, with an answer of its own."""
        branch = Graph(self.run, self._prompt, held=held, said=said, offset=offset)
        self.run.graphs.append(branch)
        return branch

    async def grow(self, strategy: Strategy) -> None:
        """Let `strategy` grow this graph, and wait for all its nodes. Raises what made it fail."""
        with self._scope:
            await strategy.grow(self)
            self.growing = False
            await self.settled()
        self.growing = False
        if self.run.on_error != "partial":
            self.check()

    def check(self) -> None:
        """Raise what made the graph fail; an answer of one node fails as that node does."""
        if self.failures:
            error = self.failures[0]
            cause = error.__cause__
            plain = self._prompt is not None and len(self.nodes) == 1
            raise cause if plain and isinstance(cause, FlowdecodeError) else error

    async def settled(self) -> None:
        """Wait until every node has ended."""
        while self.unfinished:
            if self._settled is None or self._settled.is_set():
                self._settled = asyncio.Event()
            await self._settled.wait()

    async def fall_back(self, reason: str) -> None:
        """Stop all nodes of the run and go on with the plain sequential answer, behind what was emitted."""
        for graph in self.run.graphs:
            graph.stop()
            await graph.settled()
            for node in graph.nodes:
                node.wasted = node.wasted or (node.kind != "plan" and not self.run.text)
        offset = self.run.span()
        self.run.decided("sequential" if not self.run.text else None, reason)
        branch = self.branch(said=self.run.text, offset=offset)
        await branch.grow(open_strategy("sequential"))

    def stop(self, error: FlowdecodeError | None = None) -> None:
        """Cancel what has not ended, and emit nothing more."""
        self.answer.cut()
        for node in self.nodes:
            if not node.ended:
                self.run.executor.cancel(node, error)

    def abandon(self) -> None:
        """Stop the graph, whose tokens are all wasted, and the `grow` that is under way."""
        self.discarded = True
        self.stop()
        for node in self.nodes:
            node.wasted = True
        self._scope.cancel()

    def failed(self, error: FlowdecodeError) -> None:
        """A node of this graph has failed, which ends the graph unless a partial answer will do."""
        self.failures.append(error)
        if self.run.on_error != "partial":
            self._scope.cancel()

    def ended(self) -> None:
        """A node of this graph has come to its end."""
        self.unfinished -= 1
        if not self.unfinished and self._settled is not None:
            self._settled.set()


def _is_node(value: object) -> TypeGuard[Node[object]]:
    return isinstance(value, Node)


def _is_sequence(value: object) -> TypeGuard[list[object] | tuple[object, ...]]:
    return type(value) in (list, tuple)


def _nodes(values: Iterable[object]) -> list[Node[object]]:
    """The nodes among values, and in the lists and tuples among them."""
    found: list[Node[object]] = []
    for value in values:
        if _is_node(value):
            found.append(value)
        elif _is_sequence(value):
            found += _nodes(value)
    return found


def _value(value: object) -> object:
    """A value with outputs in the place of nodes."""
    if _is_node(value):
        return value.output
    return type(value)(map(_value, value)) if _is_sequence(value) and _nodes(value) else value


def _text(value: object) -> str:
    """A field's value as text: of a list, its items with a blank line between them."""
    value = _value(value)
    return "\n\n".join(map(_text, value)) if _is_sequence(value) else str(value)
