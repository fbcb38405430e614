"""The public API: `run`, `stream`, `connect`, and who may close what from where."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import warnings
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, ClassVar

import pytest

import flowdecode
from flowdecode import Flow, Graph, Run, Strategy
from flowdecode.errors import (
    BackendUnavailable,
    ConfigurationError,
    FlowdecodeError,
    NodeError,
    RequestRejected,
)
from flowdecode.events import Event, RunFinished
from flowdecode.journal import MAX_LAG
from flowdecode.result import Result
from flowdecode_backends.scripted import Fault, Reply, Scripted
from flowdecode_backends.simulated import simulate
from tests.leaks import no_leaks
from tests.parts import Door, Parts, asked, check_consistent, until

pytestmark = pytest.mark.anyio

TEXT = "One, two, three."


def engine(text: str = TEXT, **reply: Any) -> Door:
    settings: Any = {"pace": 0, **reply}
    return Door([Reply(text, **settings)])


def silent() -> Door:
    """Says two tokens, and then nothing any more."""
    return engine(fault=Fault(2, "hang"))


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def first_text(run: Run) -> str:
    async for text in run.text:
        return text
    raise AssertionError("no text came")


# Ways to run


async def test_run_gives_the_result() -> None:
    backend = engine()
    async with no_leaks(backend):
        result = await flowdecode.run("Count.", backend=backend, strategy="sequential")
    assert (result.text, result.status, result.strategy, result.model) == (
        TEXT,
        "done",
        "sequential",
        "scripted",
    )
    assert result.fallback_reason is None
    assert (backend.opened, backend.closed) == (1, 1)


async def test_stream_gives_events_text_and_result() -> None:
    backend = engine()
    async with (
        no_leaks(backend),
        flowdecode.stream("Count.", backend=backend, strategy="sequential") as run,
    ):
        events = [event async for event in run]
        assert "".join([text async for text in run.text]) == TEXT
        result = await run.result()
        assert await run.result() is result
    assert result.id == run.id
    check_consistent(result, events)


async def test_the_text_comes_as_early_as_the_tokens() -> None:
    backend = engine()
    async with flowdecode.stream("Count.", backend=backend, strategy="sequential") as run:
        pieces = [text async for text in run.text]
    assert pieces == ["One", ",", " two", ",", " three", "."]


async def test_every_consumer_sees_everything_however_late() -> None:
    backend = engine()
    async with flowdecode.stream("Count.", backend=backend, strategy="sequential") as run:

        async def follow() -> list[Event]:
            return [event async for event in run]

        early = asyncio.create_task(follow())
        await run.result()
        assert await early == await follow()
    assert await follow() == await early, "also when the run was left"


async def test_connections_are_shared_by_many_runs() -> None:
    backend = Door(lambda request: Reply(f"<{asked(request)}>", pace=0))
    async with no_leaks(backend), flowdecode.connect(backend, concurrency=3) as flow:
        questions = [f"Question {number}?" for number in range(50)]
        runs = [flow.run(question, strategy="sequential") for question in questions]
        results = await asyncio.gather(*runs)
    assert [result.text for result in results] == [f"<{question}>" for question in questions]
    assert len({result.id for result in results}) == 50
    assert (backend.opened, backend.closed) == (1, 1)


async def test_the_queue_is_fair_between_runs_and_never_overfull() -> None:
    backend = Door(lambda _: Reply("x " * 10, pace=0))
    most = 0
    async with no_leaks(backend), flowdecode.connect(backend, concurrency=1) as flow:
        parts = Parts(parts=tuple(f"a{number}" for number in range(4)))
        long = asyncio.create_task(flow.run("Long.", strategy=parts))
        await turns(2)
        short = asyncio.create_task(flow.run("Short.", strategy=Parts(parts=("b0", "b1"))))
        while not (long.done() and short.done()):
            most = max(most, backend.running)
            await asyncio.sleep(0)
    assert most == 1
    assert [asked(request) for request in backend.requests] == ["a0", "a1", "b0", "a2", "b1", "a3"]


def test_a_hundred_runs_repeat_exactly_in_virtual_time() -> None:
    async def main() -> list[float]:
        backend = engine(pace=0.1)
        async with no_leaks(backend), flowdecode.connect(backend, concurrency=7) as flow:
            runs = [flow.run("Count.", strategy=Parts(parts=("a", "b"))) for _ in range(100)]
            return [result.duration for result in await asyncio.gather(*runs)]

    assert simulate(main()) == simulate(main())


# Settings that can't work


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt": ""}, "empty text - at `prompt`"),
        ({"prompt": []}, "at `prompt`"),
        ({"strategy": "best"}, "got 'best' - at strategies"),
        ({"on_error": "ignore"}, "Expected one of fallback, partial, raise, got 'ignore'"),
        ({"token_budget": 0}, "at `token_budget`"),
        ({"width": 0}, "at `width`"),
        ({"timeout": -1.0}, "at `timeout`"),
        ({"timeout": float("nan")}, "at `timeout`"),
        ({"max_tokens": 0}, "at `max_tokens`"),
        ({"temprature": 1}, "got `temprature`"),
    ],
)
async def test_a_setting_that_can_not_work_is_named(settings: dict[str, Any], message: str) -> None:
    backend = engine()
    arguments: dict[str, Any] = {"prompt": "Count.", "backend": backend, "strategy": "sequential", **settings}
    async with no_leaks(backend):
        with pytest.raises(ConfigurationError, match=message):
            await flowdecode.run(**arguments)
        with pytest.raises(ConfigurationError, match=message):
            async with flowdecode.stream(**arguments):
                pass
    assert backend.opened == backend.closed
    assert backend.requests == []


@pytest.mark.parametrize("concurrency", [0, -1])
def test_a_connection_has_at_least_one_place(concurrency: int) -> None:
    with pytest.raises(ConfigurationError, match="at `concurrency`"):
        flowdecode.connect(engine(), concurrency=concurrency)


async def test_a_backend_that_does_not_open_is_not_closed() -> None:
    backend = Door([], error=BackendUnavailable("nobody there"))
    async with no_leaks(backend):
        with pytest.raises(BackendUnavailable, match="nobody there"):
            await flowdecode.run("Count.", backend=backend, strategy="sequential")
        with pytest.raises(BackendUnavailable, match="nobody there"):
            async with flowdecode.connect(backend):
                pass
    assert backend.closed == 0


async def test_a_connection_is_opened_once_and_used_while_it_is_open() -> None:
    flow = flowdecode.connect(engine())
    with pytest.raises(ConfigurationError, match="it is not open"):
        await flow.run("Count.", strategy="sequential")
    async with flow:
        with pytest.raises(ConfigurationError, match="not open yet"):
            await flow.__aenter__()
        assert (await flow.run("Count.", strategy="sequential")).text == TEXT
    with pytest.raises(ConfigurationError, match="it is not open"):
        async with flow.stream("Count.", strategy="sequential"):
            pass
    with pytest.raises(ConfigurationError, match="it is not open"):
        async with flow.graph():
            pass


# Leaving early


async def test_leaving_a_stream_cancels_the_run_and_the_engines_request() -> None:
    backend = silent()
    async with no_leaks(backend), flowdecode.connect(backend) as flow:
        async with flow.stream("Count.", strategy="sequential") as run:
            assert await first_text(run) == "One"
            assert backend.running == 1
        assert backend.running == 0
        assert len(backend.aborted) == 1
        result = await run.result()
        assert result.status == "cancelled"
        assert result.text == "One,"
        assert result.nodes[0].status == "cancelled"
        assert (result.usage.completion_tokens, result.usage.wasted_tokens) == (2, 2)
        assert "".join([text async for text in run.text]) == "One,"
        events = [event async for event in run]
        assert isinstance(events[-1], RunFinished)
        async with flow.stream("Count.", strategy="sequential") as again:
            assert await first_text(again) == "One"


async def test_leaving_a_stream_at_once_is_no_harm() -> None:
    backend = engine()
    async with no_leaks(backend), flowdecode.connect(backend) as flow:
        async with flow.stream("Count.", strategy="sequential") as run:
            pass
        assert (await run.result()).status == "cancelled"
    assert backend.requests == []


async def test_an_error_of_ones_own_leaves_a_stream_as_it_is() -> None:
    backend = silent()
    error = KeyError("mine")

    async def leave() -> None:
        async with flowdecode.stream("Count.", backend=backend, strategy="sequential") as run:
            await first_text(run)
            raise error

    async with no_leaks(backend):
        with pytest.raises(KeyError) as raised:
            await leave()
    assert raised.value is error
    assert (backend.opened, backend.closed) == (1, 1)


async def test_cancelling_who_awaits_a_run_cancels_it() -> None:
    backend = silent()
    async with no_leaks(backend):
        task = asyncio.create_task(flowdecode.run("Count.", backend=backend, strategy="sequential"))
        await until(lambda: backend.running)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert backend.running == 0
    assert (len(backend.aborted), backend.closed) == (1, 1)


async def test_cancelling_one_who_awaits_a_result_cancels_only_the_waiting() -> None:
    backend = engine()
    async with flowdecode.stream("Count.", backend=backend, strategy="sequential") as run:
        waiting = [asyncio.create_task(run.result()) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        assert (await waiting[1]).text == TEXT


@pytest.mark.parametrize("limit", ["timeout", "wait_for"])
def test_a_time_limit_of_the_users_ends_a_run(limit: str) -> None:
    backend = silent()

    async def main() -> float:
        run = flowdecode.run("Count.", backend=backend, strategy="sequential")

        async def limited() -> None:
            async with asyncio.timeout(3.0):
                await run

        async with no_leaks(backend):
            with pytest.raises(TimeoutError):
                await (limited() if limit == "timeout" else asyncio.wait_for(run, timeout=3.0))
        return asyncio.get_running_loop().time()

    assert simulate(main()) == pytest.approx(3.0)
    assert len(backend.aborted) == 1


async def answer(flow: Flow) -> AsyncGenerator[str]:
    """What a web framework holds: a generator that holds a stream."""
    async with flow.stream("Count.", strategy="sequential") as run:
        async for text in run.text:
            yield text


async def test_a_generator_may_be_closed_from_another_task() -> None:
    backend = silent()
    async with no_leaks(backend), flowdecode.connect(backend) as flow:
        generator = answer(flow)
        read = asyncio.create_task(anext(generator))
        assert await read == "One"
        assert backend.running == 1
        await asyncio.create_task(generator.aclose())
        assert backend.running == 0
    assert len(backend.aborted) == 1


async def test_a_generator_that_is_dropped_ends_its_run() -> None:
    backend = silent()
    async with no_leaks(backend), flowdecode.connect(backend) as flow:
        generator = answer(flow)
        assert await anext(generator) == "One"
        del generator
        gc.collect()
        await turns(30)
        assert backend.running == 0


async def test_a_stream_may_be_entered_and_left_in_different_tasks() -> None:
    backend = silent()
    streaming = flowdecode.stream("Count.", backend=backend, strategy="sequential")
    async with no_leaks(backend):
        run = await asyncio.create_task(streaming.__aenter__())
        assert await asyncio.create_task(first_text(run)) == "One"
        await asyncio.create_task(streaming.__aexit__(None, None, None))
        assert backend.running == 0
    assert (backend.opened, backend.closed) == (1, 1)


async def test_a_graph_may_be_left_in_another_task() -> None:
    backend = engine()
    async with no_leaks(backend), flowdecode.connect(backend) as flow:
        block = flow.graph()
        graph = await asyncio.create_task(block.__aenter__())
        node = graph.decode("Count.")
        await asyncio.create_task(block.__aexit__(None, None, None))
        assert node.output == TEXT


# Closing a connection


async def test_a_connection_may_be_closed_in_another_task_than_it_was_opened_in() -> None:
    backend = engine()
    async with no_leaks(backend):
        flow = flowdecode.connect(backend)
        await asyncio.create_task(flow.__aenter__())
        assert (await flow.run("Count.", strategy="sequential")).text == TEXT
        await asyncio.create_task(flow.__aexit__(None, None, None))
    assert (backend.opened, backend.closed) == (1, 1)


async def test_closing_a_connection_ends_its_runs() -> None:
    backend = silent()
    async with no_leaks(backend):
        flow = flowdecode.connect(backend, concurrency=2)
        await flow.__aenter__()
        waiting = [asyncio.create_task(flow.run("Count.", strategy="sequential")) for _ in range(3)]
        streaming = flow.stream("Count.", strategy="sequential")
        run = await streaming.__aenter__()

        async def follow() -> str:
            return "".join([text async for text in run.text])

        following = asyncio.create_task(follow())
        await until(lambda: backend.running == 2)
        await flow.__aexit__(None, None, None)
        assert (backend.running, backend.closed) == (0, 1)
        await streaming.__aexit__(None, None, None)
        reached: list[Result] = []
        for ending in [*waiting, following, run.result()]:
            with pytest.raises(ConfigurationError, match="closed while the run was under way") as raised:
                await ending
            assert raised.value.partial is not None
            reached.append(raised.value.partial)
    assert [result.status for result in reached] == ["cancelled"] * 5
    assert len({result.id for result in reached}) == 4, "each run has its own"
    assert reached[-1] == reached[-2]
    assert len(backend.aborted) == 2


async def test_closing_a_connection_ends_a_graph_that_is_open() -> None:
    backend = silent()
    flow = flowdecode.connect(backend)

    async def grow() -> None:
        async with flow.graph() as graph:
            node = graph.decode("Count.")
            await turns()
            await flow.__aexit__(None, None, None)
            with pytest.raises(ConfigurationError, match="closed while the run was under way"):
                _ = node.output
            graph.decode("More.")

    async with no_leaks(backend):
        await flow.__aenter__()
        with pytest.raises(ConfigurationError, match="closed while the run was under way"):
            await grow()


async def test_a_connection_can_be_closed_by_a_node_of_its_own() -> None:
    backend = engine()
    flow = flowdecode.connect(backend)
    await flow.__aenter__()
    closing: list[asyncio.Task[None]] = []

    async def close() -> None:
        closing.append(asyncio.create_task(flow.__aexit__(None, None, None)))

    async def grow() -> None:
        async with flow.graph() as graph:
            graph.call(close)
            graph.call(asyncio.Event().wait)

    async with no_leaks(backend):
        with pytest.raises(ConfigurationError, match="closed while"):
            await grow()
        await closing[0]


# Event loops


def test_a_connection_belongs_to_its_event_loop() -> None:
    backend = engine()
    flow = flowdecode.connect(backend)

    async def elsewhere() -> None:
        for use in (
            lambda: flow.run("Count.", strategy="sequential"),
            lambda: flow.stream("Count.", strategy="sequential").__aenter__(),
            lambda: flow.graph().__aenter__(),
        ):
            with pytest.raises(ConfigurationError, match="belongs to another event loop"):
                await use()

    async def open_and_use() -> None:
        async with flow:
            await asyncio.to_thread(asyncio.run, elsewhere())
            assert (await flow.run("Count.", strategy="sequential")).text == TEXT

    asyncio.run(open_and_use())
    assert backend.running == 0


Ending = Callable[[Flow], Any]


async def hold_a_stream(flow: Flow) -> None:
    run = await flow.stream("Count.", strategy="sequential").__aenter__()
    await first_text(run)


async def hold_a_generator(flow: Flow) -> AsyncIterator[str]:
    generator = answer(flow)
    await anext(generator)
    return generator


async def leave_a_task(flow: Flow) -> asyncio.Task[Result]:
    task = asyncio.create_task(flow.run("Count.", strategy="sequential"))
    await turns(20)
    return task


async def leave_a_graph(flow: Flow) -> None:
    graph = await flow.graph().__aenter__()
    node = graph.decode("Count.")
    graph.call(asyncio.Event().wait)
    graph.decode("More {node}.", node=node)
    await turns(20)


async def leave_a_run_that_has_not_begun(flow: Flow) -> None:
    await flow.stream("Count.", strategy="sequential").__aenter__()
    await flow.graph().__aenter__()


@pytest.mark.parametrize(
    "leave",
    [hold_a_stream, hold_a_generator, leave_a_task, leave_a_graph, leave_a_run_that_has_not_begun],
    ids=lambda leave: leave.__name__,
)
def test_the_end_of_the_event_loop_ends_every_run(leave: Ending, caplog: pytest.LogCaptureFixture) -> None:
    backend = silent()

    async def main() -> object:
        flow = flowdecode.connect(backend)
        await flow.__aenter__()
        return await leave(flow)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        left = asyncio.run(main())
        del left
        gc.collect()
    assert backend.running == 0
    assert len(backend.aborted) == len(backend.requests)
    assert not [record for record in caplog.records if record.name == "asyncio"]


# Consumers and back-pressure


def long(count: int) -> Door:
    return engine("x " * (count // 2))


async def test_without_a_consumer_nothing_stalls() -> None:
    backend = long(4 * MAX_LAG)
    async with flowdecode.stream("Count.", backend=backend, strategy="sequential") as run:
        result = await run.result()
    assert len(result.text) == 4 * MAX_LAG


async def test_a_consumer_that_lags_holds_the_engine_back_until_it_reads_on() -> None:
    backend = long(4 * MAX_LAG)
    async with (
        no_leaks(backend),
        flowdecode.stream("Count.", backend=backend, strategy="sequential") as run,
    ):
        texts = run.text
        seen = await anext(texts)
        for _ in range(3):
            await turns(2 * MAX_LAG)
            assert backend.running == 1, "the engine waits"
            seen += "".join([await anext(texts) for _ in range(100)])
        assert seen + "".join([text async for text in texts]) == "x " * (2 * MAX_LAG)


async def test_a_consumer_that_lags_holds_nothing_back_once_the_result_is_awaited() -> None:
    backend = long(4 * MAX_LAG)
    async with flowdecode.stream("Count.", backend=backend, strategy="sequential") as run:
        texts = run.text
        first = await anext(texts)
        await turns(2 * MAX_LAG)
        assert backend.running == 1
        result = await run.result()
        assert first + "".join([text async for text in texts]) == result.text


async def test_breaking_out_of_a_loop_lets_the_run_go_on() -> None:
    backend = long(4 * MAX_LAG)
    async with flowdecode.stream("Count.", backend=backend, strategy="sequential") as run:
        async for _ in run:
            break
        async for _ in run.text:
            break
        await until(lambda: backend.requests and not backend.running)


async def test_leaving_while_a_consumer_lags_ends_the_run() -> None:
    backend = long(4 * MAX_LAG)
    async with no_leaks(backend):
        async with flowdecode.stream("Count.", backend=backend, strategy="sequential") as run:
            texts = run.text
            await anext(texts)
            await turns(2 * MAX_LAG)
            assert backend.running == 1
        assert backend.running == 0
        rest = "".join([text async for text in texts])
    assert len(rest) < 4 * MAX_LAG


async def test_the_text_ends_with_the_error_that_ended_the_run() -> None:
    backend = engine(fault=Fault(2, "rejected"))
    async with flowdecode.stream("Count.", backend=backend, strategy="sequential") as run:
        texts = run.text
        assert [await anext(texts), await anext(texts)] == ["One", ","]
        with pytest.raises(RequestRejected) as raised:
            await anext(texts)
        with pytest.raises(RequestRejected):
            await anext(texts)
        with pytest.raises(RequestRejected) as again:
            await run.result()
        assert again.value is raised.value
        assert raised.value.partial is not None
        assert raised.value.partial.text == "One,"
        events = [event async for event in run]
    assert isinstance(events[-1], RunFinished)
    assert (events[-1].status, events[-1].error) == ("failed", str(raised.value))


async def test_a_text_that_is_held_but_not_read_holds_nothing_back_without_a_thousand_events() -> None:
    backend = engine()
    async with flowdecode.stream("Count.", backend=backend, strategy="sequential") as run:
        held = run.text
        await until(lambda: backend.requests and not backend.running)
        assert await anext(held) == "One"


# Memory


@pytest.mark.parametrize("leave", ["whole", "early", "failed"])
async def test_a_run_that_is_over_is_forgotten(leave: str) -> None:
    backend = engine() if leave != "failed" else engine(fault=Fault(1, "rejected"))
    async with flowdecode.connect(backend) as flow:

        async def once() -> list[weakref.ref[object]]:
            held: list[Any] = []
            with contextlib.suppress(RequestRejected):
                async with flow.stream("Count.", strategy="sequential") as run:
                    held = [run, run.text]
                    if leave == "early":
                        await anext(held[1])
                    else:
                        await run.result()
            with contextlib.suppress(NodeError):
                async with flow.graph() as graph:
                    node = graph.decode("Count.")
                    held += [graph, node, graph.run]
                    await node
            return [weakref.ref(each) for each in held]

        watched = [each for _ in range(3) for each in await once()]
        await turns()
        gc.collect()
        assert [each() for each in watched if each() is not None] == []
        assert len(watched) == 15


# Strategies that do odd things


class Odd(Strategy, frozen=True):
    name: ClassVar[str] = "odd"
    act: Callable[[Graph], Any]

    async def grow(self, graph: Graph) -> None:
        await self.act(graph)


async def run_odd(act: Callable[[Graph], Any], backend: Scripted | None = None) -> Result:
    backend = backend or engine()
    async with no_leaks(backend):
        return await flowdecode.run("Count.", backend=backend, strategy=Odd(act=act))


async def test_a_node_may_run_another_run_of_the_same_connection() -> None:
    backend = engine()
    async with no_leaks(backend), flowdecode.connect(backend, concurrency=1) as flow:

        async def ask(text: str) -> str:
            return text + (await flow.run("Again.", strategy="sequential")).text

        async with flow.graph(width=1) as graph:
            node = graph.call(ask, graph.decode("Once."))
    assert node.output == TEXT * 2


async def test_a_strategy_that_does_nothing_answers_nothing() -> None:
    async def nothing(_: Graph) -> None:
        return None

    result = await run_odd(nothing)
    assert (result.text, result.status, result.nodes) == ("", "done", ())


async def test_a_strategy_may_leave_a_slot_open() -> None:
    async def leave_open(graph: Graph) -> None:
        graph.answer.literal("a")
        slot = graph.answer.open()
        slot.write("b")
        graph.answer.literal("never reached")

    assert (await run_odd(leave_open)).text == "ab"


async def test_a_strategy_that_swallows_its_end_is_ended() -> None:
    async def stubborn(graph: Graph) -> None:
        graph.decode("x")
        for _ in range(5):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    backend = engine(fault=Fault(0, "rejected"))
    with pytest.raises(FlowdecodeError):
        await run_odd(stubborn, backend)


async def test_a_strategy_that_starts_tasks_of_its_own_may_wait_for_them() -> None:
    async def with_tasks(graph: Graph) -> None:
        async with asyncio.TaskGroup() as tasks:
            for slot in [graph.answer.open() for _ in range(3)]:

                async def fill(slot: Any = slot) -> None:
                    slot.write(await graph.decode("x"))
                    slot.close()

                tasks.create_task(fill())

    assert (await run_odd(with_tasks)).text == TEXT * 3
