from __future__ import annotations

import asyncio
from typing import Any

import pytest

import flowdecode
from flowdecode.backend import Load, ModelProfile
from flowdecode.errors import ConfigurationError, ContextTooLong, RequestRejected
from flowdecode.events import AnswerDelta, FellBack, NodeFinished, NodeStarted
from flowdecode.result import Result
from flowdecode_backends.scripted import Fault, Reply, Scripted
from flowdecode_backends.simulated import simulate
from flowdecode_graphs.auto import BUSY, PATIENCE, Auto
from flowdecode_graphs.plato import DIRECT, SERIAL
from tests.graphs.scripts import ANSWER, DIAMOND, PLAIN, PLANNER, part, script

pytestmark = pytest.mark.anyio

SLOW_PLAIN = Reply(PLAIN, delay=60)


class Telling(Scripted):
    """An engine with a load."""

    def __init__(self, load: Load | None, plan: str = DIAMOND) -> None:
        super().__init__(script(plan, plain=Reply(PLAIN, delay=0.3)))
        self.told = load

    async def load(self) -> Load | None:  # type: ignore[override]
        return self.told


def ran(result: Result) -> set[str]:
    """Which of the two ways were begun."""
    return {record.id for record in result.nodes} & {"answer", "plan"}


@pytest.mark.parametrize(
    ("load", "begun"),
    [
        (None, {"answer", "plan"}),
        (Load(running=31, waiting=0), {"answer", "plan"}),
        (Load(running=32, waiting=0), {"plan"}),
        (Load(running=60, waiting=0, slowdown=1.2), {"answer", "plan"}),
        (Load(running=3, waiting=0, slowdown=1.6), {"answer"}),
        (Load(running=3, waiting=1, slowdown=1.0), {"answer"}),
        (Load(running=3, waiting=1), {"answer"}),
    ],
    ids=str,
)
async def test_the_load_decides_what_is_begun(load: Load | None, begun: set[str]) -> None:
    result = await flowdecode.run("Tea or coffee?", backend=Telling(load))
    assert ran(result) == begun
    assert (result.strategy, result.text) == (("plato", ANSWER) if "plan" in begun else ("sequential", PLAIN))


async def test_on_a_busy_engine_the_answer_is_that_of_sequential_byte_for_byte() -> None:
    alone, busy = Telling(None), Telling(Load(running=1, waiting=1))
    expected = await flowdecode.run("Tea?", backend=alone, strategy="sequential", seed=7)
    async with flowdecode.connect(busy) as flow, flow.stream("Tea?", seed=7) as run:
        events = [event async for event in run]
        result = await run.result()
    assert (result.text, result.status, result.fallback_reason) == (expected.text, "done", BUSY)
    assert [event.reason for event in events if isinstance(event, FellBack)] == [BUSY]
    (asked,), (sent,) = alone.requests, busy.requests
    assert (sent.sampling, sent.context.messages()) == (asked.sampling, asked.context.messages())


async def test_where_the_connection_s_own_places_are_taken_the_answer_is_plain() -> None:
    engine = Telling(None)
    async with flowdecode.connect(engine, concurrency=1) as flow:
        first, second = await asyncio.gather(
            flow.run("Tea?", strategy="sequential"), flow.run("Tea or coffee?")
        )
    assert first.text == second.text == PLAIN
    assert (second.strategy, second.fallback_reason) == ("sequential", BUSY)


def test_an_engine_that_does_not_tell_its_load_in_time_is_not_waited_for() -> None:
    class Silent(Scripted):
        async def load(self) -> Load:
            await asyncio.sleep(60)
            return Load(running=0, waiting=0)

    result = simulate(flowdecode.run("Tea or coffee?", backend=Silent(script(plain=SLOW_PLAIN))))
    assert (result.text, result.strategy) == (ANSWER, "plato")
    assert PATIENCE <= result.duration < 60


async def test_of_an_engine_that_tells_nothing_the_connection_s_own_requests_count() -> None:
    engine = Telling(None)
    async with flowdecode.connect(engine) as flow:
        results = await asyncio.gather(
            *(flow.run("Tea?", strategy="sequential") for _ in range(3)),
            flow.run("Tea or coffee?", strategy=Auto(busy=3)),
            flow.run("Tea or coffee?", strategy=Auto(busy=30)),
        )
    assert [ran(result) for result in results[3:]] == [{"plan"}, {"answer", "plan"}]


@pytest.mark.parametrize(
    ("load", "width", "abreast"),
    [
        (Load(running=0, waiting=0, slowdown=1.0, growth=0.5), None, 2),
        (Load(running=4, waiting=0, slowdown=1.4, growth=0.5), None, 2),
        (Load(running=4, waiting=0, slowdown=1.4, growth=1.0), None, 1),
        (Load(running=4, waiting=0, slowdown=1.4, growth=1.0), 2, 2),
    ],
    ids=["nobody else", "room for two", "room for one", "a width of its own"],
)
async def test_a_run_leaves_others_in_the_batch_their_pace(
    load: Load, width: int | None, abreast: int
) -> None:
    started, ended, most = set[str](), set[str](), 0
    strategy = Auto(hedge=False)
    async with flowdecode.stream("?", backend=Telling(load), strategy=strategy, width=width) as run:
        async for event in run:
            if isinstance(event, NodeStarted):
                started.add(event.node_id)
            elif isinstance(event, NodeFinished):
                ended.add(event.node_id)
            most = max(most, len(started - ended))
    assert (await run.result()).strategy == ("plato" if abreast > 1 else "sequential")
    assert most == abreast


async def test_a_plan_that_gains_wins_and_the_plain_answer_is_aborted() -> None:
    engine = Scripted(script(plain=SLOW_PLAIN))
    result = await flowdecode.run("Tea or coffee?", backend=engine)
    assert (result.text, result.strategy, result.fallback_reason) == (ANSWER, "plato", None)
    assert len(engine.aborted) == 1
    assert engine.running == 0
    by_id = {record.id: record for record in result.nodes}
    assert by_id["answer"].status == "cancelled"


async def test_the_planner_commits_at_the_first_line_that_overlaps() -> None:
    """What the plain stream had decoded by then is wasted, and nothing else."""
    engine = Scripted(script(plain=Reply("tea " * 500, pace=0.0)))
    result = await flowdecode.run("Tea or coffee?", backend=engine)
    answer = next(record for record in result.nodes if record.id == "answer")
    assert result.text == ANSWER
    assert result.plan is not None
    assert 0 < answer.usage.completion_tokens <= result.plan.nodes[1].offset + 2
    assert result.usage.wasted_tokens == answer.usage.wasted_tokens == answer.usage.completion_tokens
    assert result.work == result.usage.completion_tokens - result.usage.wasted_tokens


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        ("direct\n", DIRECT),
        ("1. Tea (8)\n2. Coffee (8) <- 1\n", SERIAL),
        ("It depends.", "Expected a plan or the word direct, got 'It depends.'."),
    ],
    ids=["direct", "chain", "malformed"],
)
async def test_else_the_plain_answer_is_the_answer_byte_for_byte(plan: str, reason: str) -> None:
    plain = "Tea is mild. " * 20
    alone, hedged = Scripted([Reply(plain, pace=0.0)]), Scripted(script(plan, plain=Reply(plain, pace=0.0)))
    expected = await flowdecode.run("Tea?", backend=alone, strategy="sequential", seed=7)
    result = await flowdecode.run("Tea?", backend=hedged, seed=7)
    assert result.text == expected.text
    assert (result.strategy, result.fallback_reason, result.status) == ("sequential", reason, "done")
    sent = next(request for request in hedged.requests if request.context.messages()[-1]["content"] == "Tea?")
    assert sent.sampling == alone.requests[0].sampling
    assert sent.context.messages() == alone.requests[0].context.messages()
    assert hedged.running == 0
    assert result.work == result.span == expected.work
    assert result.usage.wasted_tokens > 0


async def test_nothing_of_either_is_emitted_before_the_choice() -> None:
    engine = Scripted(script("1. Tea (8)\n2. Coffee (8) <- 1\n", plain=Reply(PLAIN * 9, pace=0.0)))
    async with flowdecode.connect(engine) as flow, flow.stream("Tea?") as run:
        events = [event async for event in run]
    fell_back = next(index for index, event in enumerate(events) if isinstance(event, FellBack))
    answer = [index for index, event in enumerate(events) if isinstance(event, AnswerDelta)]
    assert fell_back < answer[0]


async def test_a_plain_answer_that_is_complete_first_is_taken() -> None:
    engine = Scripted(script(plain=Reply("Tea.")))
    result = await flowdecode.run("Tea or coffee?", backend=engine)
    assert (result.text, result.strategy) == ("Tea.", "sequential")
    assert engine.running == 0


async def test_a_planner_that_fails_costs_nothing() -> None:
    plan = Reply(DIAMOND, match=PLANNER, pace=0.0, fault=Fault(2, "rejected"))
    engine = Scripted(script(plan, plain=Reply(PLAIN * 9, pace=0.0)))
    result = await flowdecode.run("Tea?", backend=engine)
    assert (result.text, result.strategy, result.status) == (PLAIN * 9, "sequential", "done")
    assert "plan" in (result.fallback_reason or "")


async def test_a_plain_answer_that_fails_leaves_the_plan() -> None:
    engine = Scripted(script(plain=Reply(PLAIN, pace=0.0, fault=Fault(2, "rejected"))))
    result = await flowdecode.run("Tea?", backend=engine)
    assert (result.text, result.strategy, result.status) == (ANSWER, "plato", "done")


async def test_where_both_fail_the_run_fails() -> None:
    replies = [Reply("x", pace=0.0, fault=Fault(1, "rejected"))]
    with pytest.raises(RequestRejected) as caught:
        await flowdecode.run("Tea?", backend=Scripted(replies))
    assert caught.value.partial is not None
    assert caught.value.partial.status == "failed"


async def test_a_part_that_fails_after_the_choice_falls_back() -> None:
    parts = {1: Reply("Tea", match=part(1), pace=0.0, fault=Fault(0, "rejected"))}
    engine = Scripted(script(parts=parts, plain=Reply(PLAIN * 20, pace=0.0)))
    result = await flowdecode.run("Tea or coffee?", backend=engine)
    assert result.text == PLAIN * 20
    assert engine.running == 0


@pytest.mark.parametrize("plan", [DIAMOND, "direct\n"], ids=["plan", "direct"])
async def test_without_the_hedge_no_plain_stream_runs_beside_the_planner(plan: str) -> None:
    for engine, strategy in (
        (Scripted(script(plan)), Auto(hedge=False)),
        (Telling(Load(running=32, waiting=0), plan), Auto()),
    ):
        result = await flowdecode.run("Tea or coffee?", backend=engine, strategy=strategy)
        assert result.text == (ANSWER if plan == DIAMOND else PLAIN)
        assert engine.requests[0].context.messages()[-1]["content"].endswith("the word direct.")
        assert result.usage.wasted_tokens == 0


async def test_a_model_that_was_trained_for_a_strategy_uses_it() -> None:
    engine = Scripted([Reply("Plain.")], profile=ModelProfile(strategies=("sequential",)))
    result = await flowdecode.run("Tea?", backend=engine)
    assert (result.text, result.strategy, len(engine.requests)) == ("Plain.", "sequential", 1)


async def test_auto_is_the_default() -> None:
    result = await flowdecode.run("Tea or coffee?", backend=Scripted(script(plain=SLOW_PLAIN)))
    assert (result.strategy, result.nodes[0].id) == ("plato", "answer")


async def test_the_plain_answer_is_one_request_whatever_max_tokens_says() -> None:
    engine = Scripted(script("direct\n", plain=Reply("tea " * 300, pace=0.0)))
    result = await flowdecode.run("Tea?", backend=engine, max_tokens=400)
    sent = {request.context.block.text: request.sampling.max_tokens for request in engine.requests}
    assert sent["Tea?"] == 400
    assert len(engine.requests) == 2
    assert result.text == "tea " * 300


@pytest.mark.parametrize("settings", [{"width": 1}, {"width": 1, "max_tokens": 5}], ids=str)
async def test_a_planner_that_never_got_a_place_costs_nothing(settings: Any) -> None:
    engine = Scripted(script(plain=Reply(PLAIN, pace=0.0)))
    result = await flowdecode.run("Tea or coffee?", backend=engine, **settings)
    assert (result.strategy, result.fallback_reason) == ("sequential", "the plain answer came first")
    assert PLAIN.startswith(result.text)


async def test_many_runs_over_few_places() -> None:
    engine = Scripted(script(plain=Reply(PLAIN, pace=0.0)))
    async with flowdecode.connect(engine, concurrency=2) as flow:
        results = await asyncio.gather(*(flow.run("Tea or coffee?") for _ in range(20)))
    assert {result.text for result in results} <= {PLAIN, ANSWER}
    assert {result.status for result in results} == {"done"}


async def test_a_model_s_own_strategy_is_the_one_that_is_explained() -> None:
    engine = Scripted([Reply("Plain.")], profile=ModelProfile(strategies=("sequential",)))
    async with flowdecode.connect(engine) as flow:
        with pytest.raises(ConfigurationError, match="got 'sequential'"):
            await flow.explain("Tea?", strategy="auto")


async def test_leaving_early_is_no_choice() -> None:
    engine = Scripted([Reply("one two", fault=Fault(2, "hang"), pace=0)])
    async with flowdecode.connect(engine) as flow:
        async with flow.stream("Tea?") as run:
            pass
        result = await run.result()
    assert (result.strategy, result.status, result.fallback_reason) == ("auto", "cancelled", None)


@pytest.mark.parametrize("strategy", ["auto", "sequential", "skeleton", "plato"])
async def test_a_prompt_longer_than_the_context_says_so_whatever_the_strategy(strategy: str) -> None:
    engine = Scripted(script(), context_length=50)
    with pytest.raises(ContextTooLong, match="Expected at most 50 tokens, got") as caught:
        await flowdecode.run("tea " * 60, backend=engine, strategy=strategy)
    assert caught.value.partial is not None
    assert (caught.value.partial.text, engine.running) == ("", 0)
