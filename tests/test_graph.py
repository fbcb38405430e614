"""Graphs of one's own: nodes, their parents, their outputs and their failures."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, NamedTuple, TypeVar, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowdecode
from flowdecode import Graph, Node
from flowdecode.backend import Request
from flowdecode.context import Block
from flowdecode.errors import (
    BackendUnavailable,
    ConfigurationError,
    FlowdecodeError,
    NodeError,
    RequestRejected,
)
from flowdecode.events import NodeFailed, NodeFinished, NodePlanned, NodeReady, NodeStarted
from flowdecode.result import Result
from flowdecode_backends import words
from flowdecode_backends.scripted import Fault, Reply, Scripted
from flowdecode_backends.simulated import simulate
from tests.leaks import no_leaks
from tests.parts import asked, check_consistent, until

pytestmark = pytest.mark.anyio


def echo() -> Scripted:
    """A backend that answers with what it was asked, in angle brackets, a token at a time."""
    return Scripted(lambda request: Reply(f"<{asked(request)}>", pace=0))


class OwnGraph(AbstractAsyncContextManager[Graph, None]):
    """A graph of a connection of its own, which leaves nothing behind."""

    def __init__(
        self, backend: Scripted | None = None, *, concurrency: int | None = None, **settings: Any
    ) -> None:
        self._backend = backend or echo()
        self._flow = flowdecode.connect(self._backend, concurrency=concurrency)
        self._settings = settings
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Graph:
        await self._stack.enter_async_context(no_leaks(self._backend))
        await self._stack.enter_async_context(self._flow)
        return await self._stack.enter_async_context(self._flow.graph(**self._settings))

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(exc_type, exc, traceback)


E = TypeVar("E", bound=BaseException)
Grow = Callable[[Graph], Awaitable[object]]


async def broken(
    error: type[E], grow: Grow, backend: Scripted | None = None, match: str | None = None, **settings: Any
) -> tuple[E, Graph]:
    """The error with which a graph is left that `grow` has grown, and the graph."""
    graphs: list[Graph] = []

    async def whole() -> None:
        async with OwnGraph(backend, **settings) as graph:
            graphs.append(graph)
            await grow(graph)

    with pytest.raises(error, match=match) as raised:
        await whole()
    return raised.value, graphs[0]


async def give(value: Any = None) -> Any:
    return value


async def boom(*_: object) -> str:
    raise ValueError("boom")


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def statuses(result: Result) -> dict[str, str]:
    return {record.id: record.status for record in result.nodes}


# Decodes


async def test_nodes_decode_from_templates_and_each_other() -> None:
    async with OwnGraph() as graph:
        facts = graph.decode("Facts?")
        essay = graph.decode("Essay from {facts}, {tone}.", facts=facts, tone="warm")
        assert await essay == "<Essay from <Facts?>, warm.>"
        assert await essay == essay.output
    assert graph.result.status == "done"
    assert graph.result.text == ""
    assert graph.result.strategy is None
    assert [record.text for record in graph.result.nodes] == ["<Facts?>", essay.output]
    assert graph.result.nodes[1].parents == (graph.result.nodes[0].id,)


async def test_fields_are_block_borders_and_values_are_never_scanned() -> None:
    backend = echo()
    async with OwnGraph(backend) as graph:
        graph.decode("a {x} b {y}{x}", x="{y} {0} %s", y=7)
    assert backend.requests[0].context.blocks() == [
        Block("user", "a "),
        Block("user", "{y} {0} %s"),
        Block("user", " b "),
        Block("user", "7"),
        Block("user", "{y} {0} %s"),
    ]


async def test_without_fields_braces_are_literal() -> None:
    backend = echo()
    async with OwnGraph(backend) as graph:
        graph.decode('Return {"name": {x}} and {}')
    assert asked(backend.requests[0]) == 'Return {"name": {x}} and {}'


async def test_a_node_has_its_own_sampling() -> None:
    backend = echo()
    async with OwnGraph(backend) as graph:
        short = graph.decode(
            "a", sampling={"max_tokens": 1, "chat_template_kwargs": {"enable_thinking": True}}
        )
        graph.decode("b")
    assert (short.output, short.status) == ("<", "truncated")
    assert [request.sampling.max_tokens for request in backend.requests] == [1, None]
    kwargs = [request.context.chat_template_kwargs for request in backend.requests]
    assert kwargs == [{"enable_thinking": True}, None]


async def test_a_prefix_should_be_cached_once_the_first_token_of_another_node_has_come() -> None:
    backend = echo()
    async with OwnGraph(backend) as graph:
        for question in ("one", "two"):
            graph.decode("{book}{question}", book="A long book. " * 20, question=question)
            await until(lambda: len(backend.requests) == len(graph.nodes))
            await turns()
        assert [node.status for node in graph.nodes] == ["running"] * 2
    first, second = graph.result.nodes
    assert (first.expected_cached_tokens, first.usage.cached_tokens) == (0, 0)
    *_, book = backend.requests[0].context.prefixes()
    assert second.expected_cached_tokens == words.count(book)
    assert second.usage.cached_tokens == second.expected_cached_tokens


async def test_a_conversation_goes_on_from_the_sampled_tokens() -> None:
    backend = echo()
    async with OwnGraph(backend) as graph:
        first = graph.decode("One.", system="Be brief.")
        second = graph.decode("Two.", after=first)
        graph.decode("Three {x}.", after=second, x=first)
    blocks = backend.requests[2].context.blocks()
    assert [block.role for block in blocks[:5]] == ["system", "user", "assistant", "user", "assistant"]
    assert blocks[2].tokens is not None
    assert [block.text for block in blocks[5:]] == ["Three ", "<One.>", "."]
    records = graph.result.nodes
    assert records[1].parents == ("1",)
    assert records[2].parents == ("2", "1")
    assert records[1].expected_cached_tokens > 0
    assert records[1].usage.cached_tokens >= records[1].expected_cached_tokens


MISTAKES: list[tuple[Callable[[Graph], object], str]] = [
    (lambda graph: graph.decode(""), "got an empty one"),
    (lambda graph: graph.decode(" \n"), "got an empty one"),
    (lambda graph: graph.decode("{a} {b}", a=1), "got none for b"),
    (lambda graph: graph.decode("{a}", a=1, b=2), r"Expected \{b\} in the template"),
    (lambda graph: graph.decode("About {title}.", title="Tea"), r"another name for the field \{title\}"),
    (lambda graph: graph.decode("{a} {id}", a=1, id="x"), r"another name for the field \{id\}"),
    (lambda graph: graph.decode("x", after=graph.call(give)), "Expected `after` to be a node that decodes"),
    (lambda graph: graph.decode("x", after=graph.decode("y"), system="z"), "`after` without `system`"),
    (
        lambda graph: graph.decode("x", after=graph.decode("y"), sampling={"chat_template_kwargs": {"a": 1}}),
        "`after` without",
    ),
    (lambda graph: graph.decode("x", sampling={"max_tokens": 0}), "at `max_tokens`"),
    (lambda graph: [graph.decode("x", id="same") for _ in range(2)], "no other node has, got 'same'"),
    (lambda graph: graph.prompt, "a graph of one's own has none"),
    (lambda graph: graph.result, "Leave its `async with` block first"),
]


@pytest.mark.parametrize(("act", "message"), MISTAKES)
async def test_a_call_that_can_not_work_says_so_at_once(act: Callable[[Graph], object], message: str) -> None:
    async def grow(graph: Graph) -> None:
        act(graph)

    error, graph = await broken(ConfigurationError, grow, match=message)
    assert error.partial == graph.result


async def test_a_template_of_nothing_but_empty_fields_fails_clearly() -> None:
    async def grow(graph: Graph) -> None:
        graph.decode("{x}", x="")

    await broken(NodeError, grow, match=r"every field of '\{x\}' is empty")


async def test_a_settings_name_in_braces_is_literal_where_it_is_not_passed() -> None:
    async with OwnGraph() as graph:
        assert await graph.decode("A {title}, an {id}.", expected_tokens=5) == "<A {title}, an {id}.>"


@pytest.mark.parametrize(
    "text", ["日本茶 🍵", "\u05e9\u05dc\u05d5\u05dd", "a\ud800b", "e\u0301", "\x00", "🏳️‍🌈"]
)
async def test_any_text_goes_through(text: str) -> None:
    async with OwnGraph() as graph:
        node = graph.decode("{x}", x=text)
        again = graph.decode("{node}{text}", node=node, text=text)
    assert again.output == f"<<{text}>{text}>"
    assert graph.result.nodes[1].text == again.output


# Calls


async def test_a_call_gets_the_outputs_of_its_arguments() -> None:
    async def join(*parts: str, sep: str) -> str:
        return sep.join(parts)

    async with OwnGraph() as graph:
        one = graph.decode("1")
        joined = graph.call(join, one, "x", graph.call(give, "2"), sep=graph.call(give, "-"))
        assert await joined == "<1>-x-2"
    record = graph.result.nodes[-1]
    assert (record.kind, record.title, record.parents) == ("call", "join", ("1", "2", "3"))


async def test_a_call_may_return_anything() -> None:
    async with OwnGraph() as graph:
        values: list[object] = [None, 0, [], Exception("a value")]
        nodes = [graph.call(give, value) for value in values]
    assert [node.output for node in nodes[:3]] == [None, 0, []]
    assert isinstance(nodes[3].output, Exception)


@pytest.mark.parametrize("function", [lambda: 3, print, lambda: None])
async def test_a_function_that_is_no_coroutine_function_is_named(function: Any) -> None:
    async def grow(graph: Graph) -> None:
        graph.call(function)

    error, _ = await broken(NodeError, grow, match=r"Expected a coroutine function, got .*to_thread")
    assert isinstance(error.__cause__, ConfigurationError)


async def test_any_awaitable_will_do() -> None:
    def future() -> asyncio.Future[int]:
        made = asyncio.get_running_loop().create_future()
        made.set_result(7)
        return made

    async with OwnGraph() as graph:
        assert await graph.call(future) == 7
        assert await graph.call(asyncio.to_thread, len, "tea") == 3


@pytest.mark.parametrize(
    "error",
    [
        ValueError("boom"),
        ExceptionGroup("several", [ValueError(1), KeyError(2)]),
        TimeoutError(),
        BackendUnavailable("gone"),
        NodeError("other", ValueError()),
        ConfigurationError("wrong"),
        StopAsyncIteration(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_a_call_raises_is_the_cause_of_its_nodes_error(error: Exception) -> None:
    async def fail() -> None:
        raise error

    async def grow(graph: Graph) -> None:
        graph.call(fail)

    raised, graph = await broken(NodeError, grow)
    assert raised.node_id == "1"
    assert raised.__cause__ is error
    assert raised.partial == graph.result
    assert graph.result.status == "failed"


async def test_stop_iteration_and_an_exception_group_of_a_task_group_are_errors_too() -> None:
    async def stop() -> None:
        raise StopIteration

    def stop_at_once() -> Any:
        raise StopIteration

    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(boom())

    async with OwnGraph(on_error="partial") as graph:
        nodes = [graph.call(each) for each in (stop, stop_at_once, group)]
    causes = [cast(NodeError, node.error).__cause__ for node in nodes]
    assert [type(cause) for cause in causes] == [RuntimeError, StopIteration, ExceptionGroup]


async def test_a_call_that_cancels_itself_has_failed() -> None:
    async def cancelled_elsewhere() -> None:
        task = asyncio.create_task(asyncio.Event().wait())
        task.cancel()
        await task

    async def cancel_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    def at_once() -> Any:
        raise asyncio.CancelledError

    for function in (cancelled_elsewhere, cancel_itself, at_once):
        async with OwnGraph(on_error="partial") as graph:
            node = graph.call(function)
            behind = graph.call(give, node)
            other = graph.decode("Go on.")
        assert statuses(graph.result) == {"1": "failed", "2": "skipped", "3": "done"}
        assert other.output == "<Go on.>"
        with pytest.raises(NodeError):
            _ = behind.output


async def test_a_call_that_swallows_cancellation_is_ended_all_the_same() -> None:
    swallowed = 0

    async def stubborn() -> str:
        nonlocal swallowed
        while swallowed < 20:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
        return "at last"

    async def grow(graph: Graph) -> None:
        node = graph.call(stubborn)
        graph.call(give, node)
        await turns()
        raise KeyError

    _, graph = await broken(KeyError, grow)
    assert swallowed == 20
    assert statuses(graph.result) == {"1": "done", "2": "cancelled"}
    assert [node.error for node in graph.nodes] == [None, None]


async def test_a_call_that_fails_when_it_is_cancelled_does_no_harm() -> None:
    async def clumsy() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("in the way out")

    async def grow(graph: Graph) -> None:
        graph.call(clumsy)
        await turns()
        raise KeyError

    _, graph = await broken(KeyError, grow)
    assert graph.result.status == "cancelled"


async def test_a_call_may_grow_the_graph() -> None:
    async with OwnGraph() as graph:

        async def plan(depth: int) -> str:
            children = [graph.call(plan, depth - 1) for _ in range(2)] if depth else []
            return "".join([str(depth), *[await child for child in children]])

        root = graph.call(plan, 3)
    assert root.output == "32100100210" + "0100"
    assert len(graph.result.nodes) == 15


async def test_nodes_see_the_variables_that_were_set_before_the_graph_and_change_only_their_own() -> None:
    variable = contextvars.ContextVar("variable", default="unset")

    async def look_and_set(value: str) -> str:
        seen = variable.get()
        variable.set(value)
        await asyncio.sleep(0)
        assert variable.get() == value
        return seen

    variable.set("before")
    async with OwnGraph() as graph:
        one = graph.call(look_and_set, "one")
        other = graph.call(look_and_set, "other")
        behind = graph.call(look_and_set, one)
    assert (one.output, other.output, behind.output) == ("before", "before", "before")
    assert variable.get() == "before"


# Order


async def test_a_node_starts_when_its_last_parent_is_done_and_not_before() -> None:
    gates = {name: asyncio.Event() for name in "ab"}
    started: list[str] = []

    async def wait(name: str) -> str:
        await gates[name].wait()
        return name

    async def behind(*parts: str) -> str:
        started.append("".join(parts))
        return "".join(parts)

    async with OwnGraph() as graph:
        first, second = graph.call(wait, "a"), graph.call(wait, "b")
        both = graph.call(behind, first, second, first)
        only = graph.call(behind, first)
        await turns()
        assert started == []
        gates["a"].set()
        assert await only == "a"
        assert (started, both.status) == (["a"], "waiting")
        gates["b"].set()
    assert both.output == "aba"
    assert graph.result.nodes[2].parents == ("1", "2")


async def test_a_late_node_of_finished_parents_starts_at_once() -> None:
    async with OwnGraph() as graph:
        node = graph.decode("One.")
        await node
        late = graph.decode("Two {node}.", node=node)
        assert late.status == "running"


async def test_a_node_has_its_events_and_times_in_order() -> None:
    async with OwnGraph() as graph:
        parent = graph.decode("One.")
        graph.call(give, parent)
    events = graph.run.journal.events
    for record in graph.result.nodes:
        mine = [type(event) for event in events if getattr(event, "node_id", None) == record.id]
        assert [kind for kind in mine if kind.__name__ != "NodeDelta"] == [
            NodePlanned,
            NodeReady,
            NodeStarted,
            NodeFinished,
        ]
        times = [
            record.planned_at,
            record.ready_at,
            record.sent_at,
            record.first_token_at,
            record.finished_at,
        ]
        known = [time for time in times if time is not None]
        assert known == sorted(known)
        assert len(known) == (5 if record.kind == "decode" else 4)
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert (type(events[0]).__name__, type(events[-1]).__name__) == ("RunStarted", "RunFinished")


async def test_ids_are_numbers_unless_they_are_given() -> None:
    async with OwnGraph() as graph:
        nodes = [graph.call(give), graph.call(give), graph.decode("x", id="5"), graph.decode("x", id="a")]
        nodes += [graph.call(give), graph.call(give)]
    assert [node.id for node in nodes] == ["1", "2", "5", "a", "5-2", "6"]


@pytest.mark.parametrize("width", [None, 3])
async def test_a_thousand_nodes(width: int | None) -> None:
    async def add(*numbers: int) -> int:
        return sum(numbers) + 1

    async with OwnGraph(width=width) as graph:
        layer: list[Node[Any]] = [graph.call(give, 1) for _ in range(100)]
        for _ in range(4):
            layer = [graph.call(add, layer[i - 1], layer[i]) for i in range(100)]
        texts = [graph.decode("{x}", x=node) for node in [*layer, *layer, *layer]]
        total = graph.call(add, *layer)
    assert total.output == 100 * 31 + 1
    assert [text.output for text in texts] == ["<31>"] * 300
    assert len(graph.result.nodes) == 801
    assert set(statuses(graph.result).values()) == {"done"}


async def test_a_chain_of_a_thousand_decodes() -> None:
    async with OwnGraph() as graph:
        node = graph.decode("{x}", x=0)
        for _ in range(999):
            node = graph.decode("{x}", x=graph.call(len_of, node))
    assert node.output == "<3>"
    assert graph.result.span == graph.result.usage.completion_tokens == graph.result.work


async def len_of(text: str) -> int:
    return len(text)


async def test_a_deep_chain_of_failures_needs_no_recursion() -> None:
    async with OwnGraph(on_error="partial") as graph:
        node = graph.call(boom)
        for _ in range(3_000):
            node = graph.call(boom, node)
    assert statuses(graph.result)["3001"] == "skipped"


async def test_the_width_counts_decodes_and_never_calls() -> None:
    running = most = 0

    async def wait() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await turns()
        running -= 1

    backend = echo()
    open_at_once: list[int] = []
    async with OwnGraph(backend, width=2) as graph:
        for index in range(10):
            graph.decode(f"{index} one two three")
            graph.call(wait)
        for _ in range(30):
            open_at_once.append(backend.running)
            await asyncio.sleep(0)
    assert max(open_at_once) == 2
    assert most == 10


async def test_the_longest_path_goes_first() -> None:
    backend = echo()
    async with OwnGraph(backend, width=1) as graph:
        graph.decode("first")
        graph.decode("short", expected_tokens=10)
        long = graph.decode("long", expected_tokens=10)
        graph.decode("behind {long}", long=long, expected_tokens=100)
        graph.decode("middle", expected_tokens=50)
    assert [asked(request) for request in backend.requests] == [
        "first",
        "long",
        "behind <long>",
        "middle",
        "short",
    ]
    assert [request.priority for request in backend.requests][1:] == [110, 100, 50, 10]


# Failures


async def test_the_first_failure_ends_the_graph() -> None:
    async def grow(graph: Graph) -> None:
        graph.call(asyncio.Event().wait)
        graph.decode("one two three")
        bad = graph.add(boom, id="bad")
        graph.decode("{bad}", bad=bad)

    backend = echo()
    error, graph = await broken(NodeError, grow, backend, match="Node 'bad' failed: boom")
    assert statuses(graph.result) == {"1": "cancelled", "2": "cancelled", "bad": "failed", "4": "skipped"}
    assert len(backend.aborted) == len(backend.requests)
    assert error.partial == graph.result
    assert graph.result.status == "failed"
    for node in graph.nodes:
        with pytest.raises(NodeError) as again:
            _ = node.output
        assert again.value is error


@pytest.mark.parametrize("others", [0, 2])
async def test_awaiting_a_node_that_fails_raises_the_same(others: int) -> None:
    async def grow(graph: Graph) -> None:
        for _ in range(others):
            graph.decode("one two three")
        await graph.call(give, graph.call(boom))

    error, graph = await broken(NodeError, grow)
    assert error.partial == graph.result
    assert graph.result.status == "failed"


async def test_a_single_decode_fails_as_a_node_too() -> None:
    async def grow(graph: Graph) -> None:
        graph.decode("x")

    refusing = Scripted([Reply("", fault=Fault(0, "rejected"))])
    error, graph = await broken(NodeError, grow, refusing, match="refused")
    assert isinstance(error.__cause__, RequestRejected)
    assert error.partial == graph.result


async def test_an_error_of_ones_own_leaves_the_graph_and_cancels_it() -> None:
    mine = KeyError("mine")

    async def grow(graph: Graph) -> None:
        graph.decode("one two three")
        await turns(4)
        raise mine

    backend = echo()
    error, graph = await broken(KeyError, grow, backend)
    assert error is mine
    assert graph.result.status == "cancelled"
    assert len(backend.aborted) == 1
    assert graph.result.nodes[0].text != ""
    with pytest.raises(NodeError, match="it was cancelled"):
        _ = graph.nodes[0].output


async def test_a_failure_that_is_caught_ends_the_graph_all_the_same() -> None:
    async def grow(graph: Graph) -> None:
        with contextlib.suppress(NodeError):
            await graph.call(boom)

    await broken(NodeError, grow, match="boom")


async def test_with_partial_the_others_go_on() -> None:
    async with OwnGraph(on_error="partial") as graph:
        bad = graph.call(boom)
        behind = graph.decode("{bad}", bad=bad)
        far = graph.call(give, behind)
        good = graph.decode("Good.")
        for node in (bad, behind, far):
            with pytest.raises(NodeError, match="Node '1' failed: boom"):
                await node
        late = graph.call(give, far)
        assert late.status == "skipped"
    assert statuses(graph.result) == {
        "1": "failed",
        "2": "skipped",
        "3": "skipped",
        "4": "done",
        "5": "skipped",
    }
    assert good.output == "<Good.>"
    assert graph.result.status == "partial"
    failed = [event for event in graph.run.journal.events if isinstance(event, NodeFailed)]
    assert {event.error for event in failed} == {"Node '1' failed: boom"}


async def test_a_backends_fault_is_partial_too() -> None:
    backend = Scripted([Reply("x", match="bad", fault=Fault(0, "rejected")), Reply("fine")])
    async with OwnGraph(backend, on_error="partial") as graph:
        graph.decode("bad")
        graph.decode("good")
    assert statuses(graph.result) == {"1": "failed", "2": "done"}


# Any graph at all


class Given(NamedTuple):
    """A node of an arbitrary graph."""

    parents: list[int]
    decodes: bool
    fails: bool
    seconds: int
    expected_tokens: int | None


@st.composite
def graphs(draw: st.DrawFn) -> list[Given]:
    return [
        Given(
            draw(st.lists(st.integers(0, index - 1), max_size=3)) if index else [],
            draw(st.booleans()),
            draw(st.integers(0, 9)) == 0,
            draw(st.integers(0, 4)),
            draw(st.none() | st.integers(1, 50)),
        )
        for index in range(draw(st.integers(1, 12)))
    ]


def play(given_nodes: list[Given], width: int | None, on_error: str) -> tuple[list[Node[Any]], Result]:
    """Run a graph in virtual time; a node waits its seconds and says its number and its parents' texts."""

    def choose(request: Request) -> Reply:
        number, _, text = asked(request).partition(":")
        here = given_nodes[int(number)]
        fault = Fault(0, "rejected") if here.fails else None
        return Reply(f"({number}{text})", delay=float(here.seconds), fault=fault)

    async def call(number: int, *texts: str) -> str:
        await asyncio.sleep(given_nodes[number].seconds)
        if given_nodes[number].fails:
            raise ValueError(number)
        return f"({number}{''.join(texts)})"

    async def run() -> tuple[list[Node[Any]], Result]:
        backend, nodes, own = Scripted(choose), list[Node[Any]](), list[Graph]()
        with contextlib.suppress(NodeError):
            async with OwnGraph(backend, width=width, on_error=on_error) as graph:
                own.append(graph)
                for number, here in enumerate(given_nodes):
                    fields: Any = {f"x{index}": nodes[index] for index in here.parents}
                    places = "".join(f"{{x{index}}}" for index in here.parents)
                    if here.decodes:
                        node: Node[Any] = graph.decode(
                            f"{number}:{places}", expected_tokens=here.expected_tokens, **fields
                        )
                    else:
                        node = graph.call(call, number, *(nodes[index] for index in here.parents))
                    nodes.append(node)
        assert len(backend.requests) == sum(
            node.sent_at is not None and here.decodes for node, here in zip(nodes, given_nodes, strict=True)
        )
        check_consistent(own[0].result, own[0].run.journal.events)
        return nodes, own[0].result

    return simulate(run())


@given(graphs(), st.none() | st.integers(1, 3))
def test_any_graph_does_what_its_nodes_say_no_later_than_it_must(
    given_nodes: list[Given], width: int | None
) -> None:
    nodes, result = play(given_nodes, width, "partial")
    texts: list[str | None] = []
    for number, (here, node) in enumerate(zip(given_nodes, nodes, strict=True)):
        inputs = [texts[index] for index in here.parents]
        if None in inputs:
            assert node.status == "skipped"
            texts.append(None)
        elif here.fails:
            assert node.status == "failed"
            texts.append(None)
        else:
            texts.append(f"({number}{''.join(map(str, inputs))})")
            assert (node.status, node.output) == ("done", texts[-1])
        if node.status != "skipped":
            parents_ended = [nodes[index].finished_at or 0.0 for index in here.parents]
            assert node.ready_at == max([node.planned_at, *parents_ended])
            assert node.finished_at == (node.sent_at or 0.0) + here.seconds
            if width is None or not here.decodes:
                assert node.sent_at == node.ready_at
    if width is not None:
        check_width(result, width)
    ends: list[int] = []
    for here, record in zip(given_nodes, result.nodes, strict=True):
        ends.append(max([0, *(ends[index] for index in here.parents)]) + record.usage.useful_tokens)
    assert result.span == max(ends)


def check_width(result: Result, width: int) -> None:
    """Never more decodes at once than the width, and never fewer while one waits."""
    decodes = [record for record in result.nodes if record.kind == "decode" and record.sent_at is not None]
    times = sorted(
        {time for record in decodes for time in (record.ready_at, record.sent_at) if time is not None}
    )
    for time in times:
        running = sum((record.sent_at or 0) <= time < (record.finished_at or 0) for record in decodes)
        waiting = any((record.ready_at or 0) <= time < (record.sent_at or 0) for record in decodes)
        assert running <= width
        assert not waiting or running == width


@given(graphs(), st.none() | st.integers(1, 3))
def test_any_graph_ends_with_its_first_failure(given_nodes: list[Given], width: int | None) -> None:
    nodes, result = play(given_nodes, width, "raise")
    failed = [node for node in nodes if node.status == "failed"]
    assert result.status == ("failed" if failed else "done")
    for node in nodes:
        assert node.ended
        if node.status != "done":
            assert isinstance(node.error, NodeError)
            assert node.error.node_id in {each.id for each in failed}


# Outputs and ends


async def test_an_output_is_there_once_the_node_is_done() -> None:
    gate = asyncio.Event()
    async with OwnGraph() as graph:
        node = graph.call(gate.wait)
        behind = graph.call(give, node)
        for early in (node, behind):
            with pytest.raises(ConfigurationError, match=r"to be done, it is (running|waiting).*Await it"):
                _ = early.output
        gate.set()
    assert behind.output is True


async def test_a_node_can_be_awaited_by_many_before_and_after_its_end() -> None:
    async with OwnGraph() as graph:
        node = graph.decode("One.")

        async def follow() -> str:
            return await node

        waiting = [asyncio.create_task(follow()) for _ in range(5)]
        await turns(2)
        waiting[0].cancel()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1:] == ["<One.>"] * 4
    assert await node == "<One.>"


async def test_a_task_that_awaits_a_node_learns_that_the_graph_was_cancelled() -> None:
    following: list[asyncio.Task[object]] = []

    async def follow(node: Node[object]) -> object:
        return await node

    async def grow(graph: Graph) -> None:
        following.append(asyncio.create_task(follow(graph.call(asyncio.Event().wait))))
        await turns()
        raise KeyError

    await broken(KeyError, grow)
    with pytest.raises(NodeError, match="it was cancelled"):
        await following[0]


async def test_nothing_is_added_to_a_graph_that_was_left() -> None:
    async with OwnGraph() as graph:
        node = graph.decode("One.")
    for add in (lambda: graph.decode("x"), lambda: graph.call(give), lambda: graph.call(give, node)):
        with pytest.raises(ConfigurationError, match="its block was left"):
            add()


async def test_nothing_is_added_to_a_graph_that_has_failed() -> None:
    async def grow(graph: Graph) -> None:
        graph.call(boom)
        await turns()
        graph.decode("x")

    error, graph = await broken(NodeError, grow, match="boom")
    assert error.partial == graph.result


async def test_a_graph_without_nodes_is_done() -> None:
    async with OwnGraph() as graph:
        pass
    assert graph.result.status == "done"
    assert graph.result.nodes == ()
    assert (graph.result.work, graph.result.span, graph.result.parallelism) == (0, 0, 1.0)


async def test_parents_are_of_the_same_run() -> None:
    async with OwnGraph() as one, OwnGraph() as other:
        node = one.decode("One.")
        for add in (
            lambda: other.decode("{x}", x=node),
            lambda: other.decode("x", after=node),
            lambda: other.call(give, node),
            lambda: other.add(give, parents=[node]),
        ):
            with pytest.raises(ConfigurationError, match=r"Expected nodes of this run.*Pass its `output`"):
                add()
        assert await other.decode("{x}", x=await node) == "<<One.>>"
    assert len(other.result.nodes) == 1


async def test_a_branch_is_of_the_same_run_and_ends_with_it() -> None:
    async with OwnGraph() as graph:
        branch = graph.branch()
        parent = graph.decode("One.")
        child = branch.decode("Two {parent}.", parent=parent)
        assert await child == "<Two <One.>.>"


async def test_a_branch_whose_parents_graph_is_stopped_does_not_wait_for_ever() -> None:
    async with OwnGraph() as graph:
        branch = graph.branch()
        running = branch.call(asyncio.Event().wait)
        waiting = branch.call(give, running)
        children = [graph.call(give, running), graph.call(give, waiting)]
        behind = graph.call(give, children[0])
        await turns()
        branch.abandon()
        late = graph.call(give, waiting)
        for node in (*children, behind, late):
            with pytest.raises(NodeError, match="cancelled"):
                await node
    assert graph.result.status == "done"


async def test_settling_can_be_waited_for_by_many() -> None:
    gate = asyncio.Event()
    async with OwnGraph() as graph:
        graph.call(gate.wait)
        waiting = [asyncio.create_task(graph.settled()) for _ in range(3)]
        await turns()
        assert not any(task.done() for task in waiting)
        gate.set()
        await asyncio.gather(*waiting)
        graph.call(give)


@pytest.mark.parametrize(
    "settings", [{"width": 0}, {"width": -1}, {"timeout": 0.0}, {"on_error": "fallback"}]
)
async def test_settings_that_make_no_sense_are_refused(settings: Any) -> None:
    backend = echo()
    async with flowdecode.connect(backend) as flow:
        with pytest.raises(ConfigurationError, match="Expected"):
            async with flow.graph(**settings):
                pass


async def test_every_error_that_leaves_a_graph_is_one_of_the_tree_or_the_users_own() -> None:
    async def grow(graph: Graph) -> None:
        for _ in range(5):
            graph.call(boom)

    error, _ = await broken(FlowdecodeError, grow)
    assert not isinstance(error, BaseExceptionGroup)


# Lists of nodes


async def test_lists_of_nodes_are_inputs() -> None:
    async def count(parts: list[str], more: tuple[object, ...] = ()) -> str:
        return f"{len(parts)}{more}"

    async with OwnGraph() as graph:
        parts = [graph.decode("a"), graph.decode("b")]
        text = graph.decode("All: {parts}.", parts=parts)
        counted = graph.call(count, parts, more=(graph.call(give, 1), [parts[0]]))
    assert text.output == "<All: <a>\n\n<b>.>"
    assert counted.output == "2(1, ['<a>'])"
    assert graph.result.nodes[2].parents == ("1", "2")


async def test_a_list_without_nodes_is_passed_as_it_is() -> None:
    collected: list[str] = []

    async def collect(text: str, into: list[str]) -> None:
        into.append(text)

    async with OwnGraph() as graph:
        for number in range(3):
            graph.call(collect, graph.decode("{n}", n=number), collected)
    assert sorted(collected) == ["<0>", "<1>", "<2>"]
