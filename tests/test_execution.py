"""The life of a run: when parts of it fail, when it is cut short, and cancelled at every moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal

import pytest
from anyio import CancelScope

import flowdecode
from flowdecode import Flow, Graph, Node, Strategy
from flowdecode.attempt import CONTINUE, Retry
from flowdecode.backend import Capabilities, Request
from flowdecode.errors import (
    BackendUnavailable,
    ConfigurationError,
    FlowdecodeError,
    NodeError,
    PlanError,
    PlanSyntaxError,
    RequestRejected,
    RunTimeout,
)
from flowdecode.events import Event, FellBack
from flowdecode.execution import OnError
from flowdecode.result import Result
from flowdecode_backends import words
from flowdecode_backends.scripted import Fault, FaultKind, Reply, Scripted
from flowdecode_backends.simulated import SimulatedLoop, simulate
from tests.leaks import no_leaks
from tests.parts import Door, Part, Parts, asked, check_consistent

TEXTS = ("Alpha, beta, gamma.", "Delta: epsilon!", "Zeta and eta 🍵 theta.", "Iota.")
WHOLE = "\n".join(TEXTS[:3])
"""What the parts together and the plain answer to `All?` both say."""
PARTS = Parts(parts=("0?", "1?", "2?"), retry=Retry(first=0.0))

FULL = Capabilities(token_ids=True, assistant_prefill=True)
NOTHING = Capabilities()


def engine(
    faults: dict[str, Fault] | None = None, *, able: Capabilities = FULL, pace: float | None = 0
) -> Scripted:
    """Answers parts and the whole; a fault strikes every time that its question is asked."""

    def choose(request: Request) -> Reply:
        question = asked(request)
        fault = (faults or {}).get(question)
        if question == CONTINUE:
            said = [m["content"] for m in request.context.messages() if m["role"] == "assistant"]
            return Reply(WHOLE.removeprefix("".join(said)), pace=pace, fault=fault)
        return Reply(WHOLE if question == "All?" else TEXTS[int(question[0])], pace=pace, fault=fault)

    return Scripted(choose, capabilities=able)


class Outcome:
    """All that one run showed."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.error: Exception | None = None
        self.duration = 0.0
        self._result: Result | None = None

    @property
    def result(self) -> Result:
        assert self._result is not None
        return self._result

    async def run(self, backend: Scripted, strategy: str | Strategy, **settings: Any) -> None:
        async with (
            no_leaks(backend),
            flowdecode.stream("All?", backend=backend, strategy=strategy, **settings) as run,
        ):
            self.events = [event async for event in run]
            try:
                self._result = await run.result()
            except FlowdecodeError as error:
                self.error = error
                self._result = error.partial
            self.duration = asyncio.get_running_loop().time()
        check_consistent(self.result, self.events)


def outcome(backend: Scripted, strategy: str | Strategy = PARTS, **settings: Any) -> Outcome:
    """A run of parts in virtual time; it leaves nothing behind and tells one story."""
    seen = Outcome()
    simulate(seen.run(backend, strategy, **settings))
    return seen


def statuses(result: Result) -> dict[str, str]:
    return {record.id: record.status for record in result.nodes}


# Nothing fails


@pytest.mark.parametrize("on_error", ["fallback", "partial", "raise"])
def test_parts_make_an_answer(on_error: OnError) -> None:
    seen = outcome(engine(), on_error=on_error)
    assert seen.error is None
    assert (seen.result.text, seen.result.status, seen.result.strategy) == (WHOLE, "done", "parts")
    assert seen.result.usage.wasted_tokens == 0
    assert seen.result.work == sum(len(words.split(text)) for text in TEXTS[:3])
    assert seen.result.span == max(len(words.split(text)) for text in TEXTS[:3])


def test_a_dependent_part_lengthens_the_span() -> None:
    chain = Parts(parts=("0?", Part(question="1?", parents=(0,)), "2?"))
    lengths = [len(words.split(text)) for text in TEXTS]
    assert outcome(engine(), chain).result.span == max(lengths[0] + lengths[1], lengths[2])


# A part fails


@pytest.mark.parametrize("bad", range(3))
@pytest.mark.parametrize("able", [FULL, NOTHING], ids=["continues", "is told to go on"])
@pytest.mark.parametrize("after", range(9))
def test_falls_back_behind_every_token_with_nothing_lost_or_repeated(
    bad: int, able: Capabilities, after: int
) -> None:
    backend = engine({f"{bad}?": Fault(after, "rejected")}, able=able)
    seen = outcome(backend)
    if after > len(words.split(TEXTS[bad])):
        assert seen.result.fallback_reason is None
    else:
        assert "refused" in (seen.result.fallback_reason or "")
        assert [event.reason for event in seen.events if isinstance(event, FellBack)] == [
            seen.result.fallback_reason
        ]
    assert seen.error is None
    assert (seen.result.text, seen.result.status) == (WHOLE, "done")
    assert statuses(seen.result)[f"p{bad}"] in ("failed", "done")


def test_a_fallback_before_the_first_text_is_the_plain_answer() -> None:
    backend = engine({"0?": Fault(0, "rejected")})
    seen = outcome(backend)
    assert (seen.result.strategy, seen.result.text) == ("sequential", WHOLE)
    assert asked(backend.requests[-1]) == "All?"
    assert backend.requests[-1].context.block.role == "user"
    assert seen.result.work == len(words.split(WHOLE))
    others = [record for record in seen.result.nodes if record.id.startswith("p")]
    assert all(record.usage.useful_tokens == 0 for record in others)


def test_a_fallback_before_the_first_text_wastes_what_was_complete() -> None:
    plain = engine()

    def choose(request: Request) -> Reply:
        late = Reply("", delay=9.0, fault=Fault(0, "rejected"))
        return late if asked(request) == "0?" else plain.script.reply(request)

    seen = outcome(Scripted(choose))
    assert seen.result.text == WHOLE
    assert statuses(seen.result) == {"p0": "failed", "p1": "done", "p2": "done", "answer": "done"}
    assert seen.result.work == len(words.split(WHOLE))
    assert seen.result.usage.wasted_tokens == sum(len(words.split(text)) for text in TEXTS[1:3])


def test_a_fallback_behind_text_goes_on_from_it() -> None:
    backend = engine({"1?": Fault(1, "rejected")}, pace=None)
    seen = outcome(backend)
    assert (seen.result.strategy, seen.result.text) == ("parts", WHOLE)
    said = backend.requests[-1].context.block
    assert said.role == "assistant"
    assert WHOLE.startswith(said.text)
    assert said.text.startswith(TEXTS[0])


@pytest.mark.parametrize("limit", [1, 5, 9, 12, 16])
def test_a_fallback_stays_within_what_is_left_of_the_limit(limit: int) -> None:
    seen = outcome(engine({"1?": Fault(1, "rejected")}, pace=None), max_tokens=limit)
    assert WHOLE.startswith(seen.result.text)
    assert len(words.split(seen.result.text)) <= limit


def test_a_part_leaves_a_hole_where_a_partial_answer_will_do() -> None:
    parts = Parts(parts=("0?", "1?", Part(question="2?", parents=(1,))))
    seen = outcome(engine({"1?": Fault(2, "rejected")}), parts, on_error="partial")
    assert seen.error is None
    assert seen.result.status == "partial"
    assert seen.result.text == f"{TEXTS[0]}\nDelta:[Missing: 1?]\n[Missing: 2?]"
    assert statuses(seen.result) == {"p0": "done", "p1": "failed", "p2": "skipped"}
    assert seen.result.fallback_reason is None


def test_where_no_part_has_any_text_there_is_nothing_partial() -> None:
    everything = {question: Fault(0, "rejected") for question in ("0?", "1?", "2?")}
    seen = outcome(engine(everything), on_error="partial")
    assert isinstance(seen.error, NodeError)
    assert seen.result.status == "failed"


def test_a_part_that_fails_ends_the_run_where_that_is_asked_for() -> None:
    backend = engine({"1?": Fault(1, "rejected")})
    seen = outcome(backend, on_error="raise")
    assert isinstance(seen.error, NodeError)
    assert (seen.error.node_id, type(seen.error.__cause__)) == ("p1", RequestRejected)
    assert seen.result.status == "failed"
    assert WHOLE.startswith(seen.result.text)
    assert statuses(seen.result) == {"p0": "cancelled", "p1": "failed", "p2": "cancelled"}
    assert len(backend.aborted) == 2


def test_a_fallback_that_fails_too_raises_its_own_error() -> None:
    faults = {"1?": Fault(0, "rejected"), "All?": Fault(12, "drop"), CONTINUE: Fault(0, "drop")}
    seen = outcome(engine(faults, able=NOTHING))
    assert isinstance(seen.error, BackendUnavailable)
    assert seen.result.status == "failed"
    assert WHOLE.startswith(seen.result.text)
    assert seen.result.text


@pytest.mark.parametrize("on_error", ["fallback", "partial", "raise"])
@pytest.mark.parametrize("after", [0, 3])
def test_a_plain_answer_that_fails_keeps_what_it_has(on_error: OnError, after: int) -> None:
    seen = outcome(engine({"All?": Fault(after, "rejected")}), "sequential", on_error=on_error)
    text = "".join(words.split(WHOLE)[:after])
    if on_error == "partial" and after:
        assert seen.error is None
        assert (seen.result.status, seen.result.text) == (
            "partial",
            f"{text}[Missing: the rest of the answer]",
        )
    else:
        assert isinstance(seen.error, RequestRejected | NodeError)
        assert seen.result.status == "failed"
        assert seen.result.text.startswith(text)


class Failing(Strategy, frozen=True):
    """Says something, and raises what it is told."""

    name: ClassVar[str] = "failing"
    error: Exception
    said: str = ""

    async def grow(self, graph: Graph) -> None:
        if self.said:
            graph.answer.literal(self.said)
        raise self.error


@pytest.mark.parametrize(
    "error", [PlanError("no plan"), PlanSyntaxError("no lines"), BackendUnavailable("gone")]
)
@pytest.mark.parametrize("on_error", ["fallback", "partial"])
def test_a_strategy_that_can_not_decode_the_prompt_falls_back(error: Exception, on_error: OnError) -> None:
    seen = outcome(engine(), Failing(error=error), on_error=on_error)
    assert (seen.result.text, seen.result.status) == (WHOLE, "done")
    assert seen.result.fallback_reason == str(error)


def test_a_strategy_that_fails_behind_text_goes_on_from_it_or_leaves_it() -> None:
    failing = Failing(error=PlanError("no plan"), said="Alpha,")
    seen = outcome(engine(), failing)
    assert (seen.result.text, seen.result.status) == (WHOLE, "done")
    seen = outcome(engine(), failing, on_error="raise")
    assert (type(seen.error), seen.result.text) == (PlanError, "Alpha,")


class GivesUp(Strategy, frozen=True):
    """Falls back by itself."""

    name: ClassVar[str] = "gives up"

    async def grow(self, graph: Graph) -> None:
        await graph.fall_back("nothing to gain")


@pytest.mark.parametrize("on_error", ["fallback", "partial", "raise"])
def test_a_strategy_may_fall_back_itself_and_only_once(on_error: OnError) -> None:
    seen = outcome(engine(), GivesUp(), on_error=on_error)
    assert (seen.result.text, seen.result.status, seen.result.strategy) == (WHOLE, "done", "sequential")
    assert seen.result.fallback_reason == "nothing to gain"
    backend = engine({"All?": Fault(0, "rejected")})
    seen = outcome(backend, GivesUp(), on_error=on_error)
    assert isinstance(seen.error, RequestRejected)
    assert len(backend.requests) == 1


def test_a_strategys_own_error_is_raised_as_it_is() -> None:
    backend = engine()

    async def run() -> None:
        async with no_leaks(backend):
            with pytest.raises(ZeroDivisionError):
                await flowdecode.run("All?", backend=backend, strategy=Failing(error=ZeroDivisionError()))

    simulate(run())
    assert backend.requests == []


# A run is cut short


@pytest.mark.parametrize("budget", [1, 5, 9, 14])
@pytest.mark.parametrize("width", [1, None])
@pytest.mark.parametrize("strategy", [PARTS, "sequential"], ids=["parts", "sequential"])
def test_a_budget_stops_everything_near_its_number(
    budget: int, width: int | None, strategy: str | Strategy
) -> None:
    backend = engine()
    seen = outcome(backend, strategy, token_budget=budget, width=width)
    assert seen.error is None
    assert seen.result.status == "partial"
    assert budget <= seen.result.usage.completion_tokens <= budget + 3
    assert set(statuses(seen.result).values()) <= {"done", "truncated"}
    if width == 1:
        assert WHOLE.startswith(seen.result.text)


@pytest.mark.parametrize("more", [0, 1, 1_000])
def test_a_budget_that_is_not_exceeded_changes_nothing(more: int) -> None:
    budget = sum(len(words.split(text)) for text in TEXTS[:3]) + more
    seen = outcome(engine(), token_budget=budget)
    assert (seen.result.text, seen.result.status) == (WHOLE, "done")


def test_a_budget_counts_what_failed_and_holds_for_the_fallback() -> None:
    seen = outcome(engine({"0?": Fault(5, "rejected")}), token_budget=12)
    assert seen.result.status == "partial"
    assert 12 <= seen.result.usage.completion_tokens <= 15


@pytest.mark.parametrize("on_error", ["fallback", "raise", "partial"])
def test_a_timeout_keeps_what_was_reached(on_error: OnError) -> None:
    backend = engine({"2?": Fault(3, "hang")}, pace=1.0)
    seen = outcome(backend, timeout=30.0, on_error=on_error)
    assert seen.duration == pytest.approx(30.0)
    assert seen.result.status == "timeout"
    assert seen.result.text == f"{TEXTS[0]}\n{TEXTS[1]}\n" + "".join(words.split(TEXTS[2])[:3])
    assert statuses(seen.result) == {"p0": "done", "p1": "done", "p2": "cancelled"}
    assert len(backend.aborted) == 1
    if on_error == "partial":
        assert seen.error is None
    else:
        assert isinstance(seen.error, RunTimeout)
        assert str(seen.error) == "The run did not finish within its timeout of 30 s."


def test_a_timeout_in_a_fallback_or_a_retry_ends_them_too() -> None:
    seen = outcome(engine({"0?": Fault(0, "rejected"), "All?": Fault(2, "hang")}), timeout=5.0)
    assert isinstance(seen.error, RunTimeout)
    assert seen.result.fallback_reason is not None
    backend = engine({"All?": Fault(0, "rate_limited", retry_after=100.0)})
    seen = outcome(backend, "sequential", timeout=5.0)
    assert isinstance(seen.error, RunTimeout)
    assert seen.duration == pytest.approx(5.0)
    assert len(backend.requests) == 1


def test_a_graph_of_ones_own_times_out() -> None:
    backend = engine({"1?": Fault(1, "hang")}, pace=1.0)
    graphs: list[Graph] = []

    async def run() -> None:
        async with (
            no_leaks(backend),
            flowdecode.connect(backend) as flow,
            flow.graph(timeout=20.0) as graph,
        ):
            graphs.append(graph)
            graph.decode("0?")
            graph.decode("2? {x}", x=graph.decode("1?"))

    with pytest.raises(RunTimeout) as raised:
        simulate(run())
    done, *others = graphs[0].nodes
    assert done.output == TEXTS[0]
    for node in others:
        with pytest.raises(RunTimeout):
            _ = node.output
    assert raised.value.partial == graphs[0].result
    assert graphs[0].result.status == "timeout"


def test_a_graph_that_has_timed_out_takes_no_more_nodes() -> None:
    async def run() -> None:
        async with flowdecode.connect(engine()) as flow, flow.graph(timeout=20.0) as graph:
            await asyncio.sleep(30.0)
            graph.decode("0?")

    with pytest.raises(RunTimeout):
        simulate(run())


def test_a_result_is_exactly_repeatable() -> None:
    def story() -> list[Any]:
        seen = outcome(engine(pace=0.5))
        return [(type(event), event.at) for event in seen.events]

    assert story() == story()


# Cancelled at every moment


class SteppingLoop(SimulatedLoop):
    """Calls something before a given turn."""

    turns_left = -1
    then: Callable[[], object] = staticmethod(lambda: None)

    def _run_once(self) -> None:
        self.turns_left -= 1
        if self.turns_left == 0:
            self.then()
        super()._run_once()  # type: ignore[misc]


class Scene:
    """One run of a kind, and what it leaves to look at."""

    def __init__(self, backend: Scripted) -> None:
        self.backend = backend
        self.followed: Callable[[], Awaitable[tuple[Result, list[Event]]]] | None = None

    async def stream(self, flow: Flow, strategy: str | Strategy, **settings: Any) -> str:
        async with flow.stream("All?", strategy=strategy, **settings) as run:

            async def follow() -> tuple[Result, list[Event]]:
                return await run.result(), [event async for event in run]

            self.followed = follow
            return "".join([text async for text in run.text])

    async def run(self, flow: Flow, strategy: str | Strategy, **settings: Any) -> str:
        return (await flow.run("All?", strategy=strategy, **settings)).text

    async def own_graph(self, flow: Flow) -> str:
        async with flow.graph(width=2) as graph:

            async def follow() -> tuple[Result, list[Event]]:
                await graph.run.ended()
                return graph.result, graph.run.journal.events

            self.followed = follow
            first = graph.decode("0?")
            second = graph.decode("1?", after=first, timeout=50.0)
            upper = graph.call(self.upper, first, graph.decode("2?"))
            last = graph.decode("2? {x}", x=upper)
            seen = await second
        return f"{first.output}\n{seen}\n{last.output}"

    async def upper(self, *texts: str) -> str:
        await asyncio.sleep(0)
        await asyncio.sleep(0.5)
        return "".join(texts).upper()


Play = Callable[[Scene, Flow], Awaitable[str]]

DROP = {"0?": Fault(2, "drop"), "All?": Fault(3, "unavailable")}
SCENES: dict[str, tuple[dict[str, Fault], Play]] = {
    "sequential": ({}, lambda scene, flow: scene.stream(flow, "sequential")),
    "sequential, not followed": ({}, lambda scene, flow: scene.run(flow, "sequential")),
    "sequential with faults": (DROP, lambda scene, flow: scene.stream(flow, "sequential")),
    "parts": ({}, lambda scene, flow: scene.stream(flow, PARTS, width=2, max_tokens=20)),
    "parts with faults": (DROP, lambda scene, flow: scene.stream(flow, PARTS)),
    "parts that fall back": (
        {"1?": Fault(2, "rejected")},
        lambda scene, flow: scene.stream(flow, PARTS, timeout=100.0),
    ),
    "graph": ({}, lambda scene, flow: scene.own_graph(flow)),
    "graph with faults": (DROP, lambda scene, flow: scene.own_graph(flow)),
}


def faulty_once(faults: dict[str, Fault]) -> Scripted:
    """As `engine`, but a fault worth a retry strikes once."""
    backend = engine()
    struck: set[str] = set()
    plain = backend.script

    def choose(request: Request) -> Reply:
        reply, question = plain.reply(request), asked(request)
        fault = faults.get(question)
        if fault is None or (question in struck and fault.error != "rejected"):
            return reply
        struck.add(question)
        return Reply(reply.text, pace=0, fault=fault)

    return Scripted(choose, capabilities=FULL)


Kind = Literal["task", "scope", "twice"]
NEVER = 1_000_000


def cancel_at(turn: int, kind: Kind, faults: dict[str, Fault], play: Play) -> int:
    """Cancel a run at a turn of the event loop, and look at what is left; returns the turns that it took."""
    backend = faulty_once(faults)
    scene = Scene(backend)

    async def main() -> int:
        loop, scope = asyncio.get_running_loop(), CancelScope()
        assert isinstance(loop, SteppingLoop)
        async with no_leaks(backend), flowdecode.connect(backend, concurrency=3) as flow:

            async def user() -> str | None:
                if kind != "scope":
                    return await play(scene, flow)
                with scope:
                    return await play(scene, flow)
                return None

            def cancel() -> None:
                if kind == "scope":
                    scope.cancel()
                    return
                task.cancel()
                if kind == "twice":
                    loop.call_soon(lambda: loop.call_soon(task.cancel))

            task = asyncio.create_task(user())
            loop.turns_left, loop.then = turn, cancel
            try:
                text = await task
            except asyncio.CancelledError:
                text = None
            turns = turn - loop.turns_left
            if text is None and kind != "twice":
                assert backend.running == 0, "the engine is quiet as soon as the user has left"
                assert asyncio.all_tasks() == {asyncio.current_task()}
            if scene.followed is not None:
                result, events = await scene.followed()
                check_consistent(result, events)
                assert result.status in (("cancelled", "done", "partial") if text is None else ("done",))
            places = [flow.run("3?", strategy="sequential") for _ in range(4)]
            assert [result.text for result in await asyncio.gather(*places)] == ["Iota."] * 4
            return turns

    with asyncio.Runner(loop_factory=SteppingLoop) as runner:
        return runner.run(main())


@pytest.mark.parametrize("kind", ["task", "scope", "twice"])
@pytest.mark.parametrize("scene", SCENES)
def test_cancelled_at_any_turn_nothing_is_left_behind(scene: str, kind: Kind) -> None:
    faults, play = SCENES[scene]
    turns = cancel_at(NEVER, kind, faults, play)
    assert turns > 10
    for turn in range(1, turns):
        cancel_at(turn, kind, faults, play)


@asynccontextmanager
async def interrupted(turn: int) -> AsyncGenerator[None]:
    """Cancel the current task after so many turns of any event loop."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    handle: asyncio.Handle | None = None

    def tick(left: int) -> None:
        nonlocal handle
        if left:
            handle = loop.call_soon(tick, left - 1)
        else:
            task.cancel()

    tick(turn)
    try:
        yield
    finally:
        if handle is not None:
            handle.cancel()


@pytest.mark.anyio
async def test_cancelled_at_any_turn_of_either_event_loop() -> None:
    texts: list[str] = []
    turn = 0
    while not texts:
        backend = faulty_once({"0?": Fault(1, "drop")})
        try:
            async with no_leaks(backend), interrupted(turn), flowdecode.connect(backend) as flow:
                async with flow.stream("All?", strategy=PARTS) as run:
                    text = "".join([text async for text in run.text])
                texts.append(text)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            assert task.uncancel() == 0
            assert backend.running == 0
        turn += 1
    assert texts == [WHOLE]
    assert turn > 10


@pytest.mark.parametrize("kind", ["once", "twice", "three times"])
def test_a_connection_of_ones_own_is_closed_whenever_the_run_is_cancelled(kind: str) -> None:
    def cancel_at(turn: int) -> bool:
        backend = Door([Reply(WHOLE, pace=0)])

        async def main() -> bool:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, SteppingLoop)
            async with no_leaks(backend):
                task = asyncio.create_task(flowdecode.run("All?", backend=backend, strategy="sequential"))

                def cancel() -> None:
                    task.cancel()
                    for again in range(["once", "twice", "three times"].index(kind)):
                        loop.call_later(again * 1e-3, task.cancel)

                loop.turns_left, loop.then = turn, cancel
                try:
                    await task
                except asyncio.CancelledError:
                    return True
                return False

        with asyncio.Runner(loop_factory=SteppingLoop) as runner:
            cancelled = runner.run(main())
        assert backend.opened == backend.closed
        assert backend.running == 0
        return cancelled

    turn = 1
    while cancel_at(turn):
        turn += 1
    assert turn > 10


@pytest.mark.parametrize("kind", ["unavailable", "configuration"])
def test_a_connection_that_does_not_open_leaves_nothing_behind(kind: str) -> None:
    error = BackendUnavailable("refused") if kind == "unavailable" else ConfigurationError("no model")
    backend = Door([], error=error)

    async def run() -> None:
        async with no_leaks(backend):
            with pytest.raises(type(error)) as raised:
                await flowdecode.run("All?", backend=backend, strategy="sequential")
            assert raised.value is error

    simulate(run())
    assert backend.closed == 0


def test_nodes_that_wait_for_a_place_are_cancelled_at_once() -> None:
    backend = engine(pace=1.0)

    async def run() -> None:
        async with no_leaks(backend), flowdecode.connect(backend, concurrency=1) as flow:
            nodes: list[Node[str]] = []

            async def leave() -> None:
                async with flow.graph() as graph:
                    nodes.extend(graph.decode("0?") for _ in range(5))
                    await asyncio.sleep(1.5)
                    raise KeyError

            with pytest.raises(KeyError):
                await leave()
            assert {node.status for node in nodes} == {"cancelled"}
            assert len(backend.requests) == 1
            assert (await flow.run("All?", strategy="sequential")).text == WHOLE

    simulate(run())


@pytest.mark.parametrize("error", ["drop", "unavailable", "rejected", "hang"])
@pytest.mark.parametrize("after", range(0, 20, 3))
def test_whatever_an_engine_does_a_run_ends_and_the_text_is_whole_or_a_prefix(
    error: FaultKind, after: int
) -> None:
    fault = Fault(after, error)
    backend = engine({"0?": fault, "1?": fault, "2?": fault, "All?": fault})
    seen = outcome(backend, timeout=60.0)
    assert WHOLE.startswith(seen.result.text)
    assert (seen.result.text == WHOLE) == (seen.error is None)
