"""The methods that `python -m tests.benchmarks methods` compares: what they send, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import pytest

from flowdecode.backend import Backend, Request
from flowdecode.span import Step, span_of
from flowdecode_backends import words
from flowdecode_backends.local.model import Source
from flowdecode_backends.scripted import Reply, Scripted
from flowdecode_backends.simulated import simulate
from tests.benchmarks import efficiency, schedules
from tests.benchmarks.forced_engines import EndlessLocal, forced_text
from tests.benchmarks.forced_plan import GUIDE, LATE, TEA, VERDICT, ForcedPlan, Part
from tests.benchmarks.methods import llmcompiler, plato
from tests.benchmarks.methods.client import Client, Written, measure
from tests.benchmarks.methods.llmcompiler import INTERVAL, Task
from tests.benchmarks.methods.measured import Measured
from tests.benchmarks.peer_methods import METHODS, systems
from tests.sglang_server.model import DEMO

PACE = 0.02
"""Seconds a token."""
SYSTEM = "Session 1."
SHORT = ForcedPlan(
    VERDICT.question,
    {1: Part("Food", 6), 2: Part("Craft", 9), 3: Part("Festival", 14, (1,)), 4: Part("Verdict", 8, (2, 3))},
)


def engine() -> Scripted:
    """Decodes what a grammar wants, or as many tokens as it is asked for."""
    return Scripted(lambda request: Reply(forced_text(request), delay=PACE, pace=PACE))


def size(text: str) -> int:
    """Tokens of a text for that engine."""
    return len(words.split(text))


def took(method: str, plan: ForcedPlan) -> tuple[Measured, list[Request]]:
    """What an answer takes in virtual time, and its requests."""
    backend = engine()
    return simulate(measure(METHODS[method], backend, plan, SYSTEM)), backend.requests


def texts(request: Request) -> list[str]:
    """What a request is asked, turn by turn."""
    return [message["content"] for message in request.context.messages()]


@pytest.mark.parametrize("plan", [GUIDE, VERDICT, TEA, LATE], ids=["guide", "verdict", "tea", "late"])
@pytest.mark.parametrize("method", METHODS)
def test_every_part_is_written_at_its_length_behind_a_prefix_of_its_own(
    method: str, plan: ForcedPlan
) -> None:
    async def written(backend: Backend) -> Mapping[int, Written]:
        return await METHODS[method](Client(backend, SYSTEM), plan)

    backend = engine()
    parts = simulate(written(backend))
    assert {number: len(part.times) for number, part in parts.items()} == {
        number: part.tokens for number, part in plan.parts.items()
    }
    assert {texts(request)[0].partition("\n")[0] for request in backend.requests} == {SYSTEM}


def test_levels_are_as_deep_as_the_parents_say() -> None:
    assert GUIDE.levels == [[1, 2, 3, 4, 5]]
    assert VERDICT.levels == [[1, 2, 3], [4, 5], [6]]
    assert LATE.levels == [[1, 2, 3, 5, 6], [4], [7]]


def test_sequential_is_one_request() -> None:
    measured, requests = took("sequential", VERDICT)
    assert texts(requests[0]) == [SYSTEM, VERDICT.question]
    assert (measured.requests, measured.decoded) == (1, sum(VERDICT.lengths))
    assert measured.seconds == pytest.approx(sum(VERDICT.lengths) * PACE)
    assert measured.first_part == pytest.approx(VERDICT.parts[1].tokens * PACE)


def test_skeleton_of_thought_has_one_barrier_and_no_dependencies() -> None:
    measured, (skeleton, *points) = took("Skeleton-of-Thought", VERDICT)
    rest = " Food.\n2. Craft.\n3. Festival.\n4. Food and craft.\n5. Festival in brief.\n6. Verdict."
    assert measured.seconds == pytest.approx((size(rest) + max(VERDICT.lengths)) * PACE)
    assert measured.first_token == pytest.approx((size(rest) + 1) * PACE)
    assert texts(skeleton)[-1] == "1."
    assert [texts(point)[-1] for point in points] == [
        f"{number}. {part.title}." for number, part in VERDICT.parts.items()
    ]
    assert all(f"1.{rest}" in texts(point)[1] for point in points)
    assert not any(" x x" in "".join(texts(point)) for point in points)


def test_threadweaver_joins_every_level_before_it_goes_on() -> None:
    measured, requests = took("ThreadWeaver", VERDICT)
    outlines = "{[<1: Food><2: Craft><3: Festival>]", "{[<4: Food and craft><5: Festival in brief>]"
    assert measured.seconds == pytest.approx((sum(map(size, outlines)) + 140 + 120 + 60) * PACE)
    assert [texts(request)[-1].removeprefix(outlines[0]) for request in requests[1:4]] == [
        "(1:",
        "(2:",
        "(3:",
    ]
    said = [f"({number}:{' x' * part.tokens})" for number, part in VERDICT.parts.items()]
    assert texts(requests[-1])[-1] == "".join([outlines[0], *said[:3], "}", outlines[1], *said[3:5], "}"])


def test_threadweaver_goes_on_behind_a_last_join() -> None:
    measured, requests = took("ThreadWeaver", GUIDE)
    outlines = "{[<1: Food><2: Festival><3: Craft><4: History><5: Landmark>]"
    assert measured.seconds == pytest.approx((size(outlines) + max(GUIDE.lengths) + 1) * PACE)
    assert (len(requests), texts(requests[-1])[-1][-2:]) == (7, ")}")


def test_llmcompiler_starts_what_is_runnable_at_the_next_line_or_poll() -> None:
    begun: dict[int, float] = {}

    async def run(number: int) -> None:
        begun[number] = asyncio.get_running_loop().time()
        await asyncio.sleep(0.1 if number == 1 else 0.255)

    async def main() -> None:
        queue: asyncio.Queue[Task | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        for when, task in (
            (0.0, Task(1, ())),
            (0.0, Task(2, (1,))),
            (1.0, Task(3, (2,))),
            (1.1, Task(4, (2,))),
            (1.2, None),
        ):
            loop.call_at(when, queue.put_nowait, task)
        await llmcompiler.schedule(queue, run)

    simulate(main())
    # 1 has ended at 0.1, but 2 waits for the next line. It ends at 1.255 (the plan at 1.2) and both of its
    # children start at the poll behind that.
    assert begun == pytest.approx({1: 0.0, 2: 1.0, 3: 1.26, 4: 1.26})


def test_llmcompiler_tells_a_task_its_dependencies_and_not_the_plan() -> None:
    _, requests = took("LLMCompiler's schedule", VERDICT)
    verdict = next(request for request in requests if 'part 6, "Verdict"' in texts(request)[-1])
    assert texts(verdict)[-1].count(" x" * 120) == 1
    assert texts(verdict)[-1].count(f":\n{' x' * 30}\n") == 1
    assert "1. Food (40)" not in "".join(texts(verdict))


def test_llmcompiler_fails_with_its_task() -> None:
    async def fail(number: int) -> None:
        raise ValueError(number)

    async def main() -> None:
        queue: asyncio.Queue[Task | None] = asyncio.Queue()
        queue.put_nowait(Task(1, ()))
        queue.put_nowait(None)
        await llmcompiler.schedule(queue, fail)

    with pytest.raises(ExceptionGroup):
        simulate(main())


def test_only_dataflow_takes_no_longer_than_the_longest_chain() -> None:
    lines = VERDICT.text.splitlines(keepends=True)
    steps = [
        Step(number, part.parents, part.tokens, size("".join(lines[:number])))
        for number, part in VERDICT.parts.items()
    ]
    shortest = span_of(steps) * PACE
    ours = simulate(plato.measure(engine(), VERDICT, SYSTEM))
    assert ours.seconds == pytest.approx(shortest)
    assert ours.requests == len(VERDICT.parts) + 1
    polled, joined = (took(name, VERDICT)[0].seconds for name in ("LLMCompiler's schedule", "ThreadWeaver"))
    assert shortest < polled < shortest + 3 * INTERVAL
    assert joined > shortest + 1.0


@asynccontextmanager
async def demo_model() -> AsyncGenerator[EndlessLocal]:
    backend = EndlessLocal(Source(str(DEMO)))
    async with backend:
        yield backend


@pytest.mark.parametrize("method", METHODS)
def test_the_local_engine_writes_a_forced_plan(method: str) -> None:
    async def main() -> Measured:
        async with demo_model() as backend:
            return await measure(METHODS[method], backend, SHORT, next(systems(backend)))

    measured = asyncio.run(main())
    assert measured.decoded >= sum(SHORT.lengths)
    assert 0 < measured.first_token < measured.first_part < measured.seconds


def test_the_local_engine_runs_plato_over_a_forced_plan() -> None:
    async def main() -> Measured:
        async with demo_model() as backend:
            return await plato.measure(backend, SHORT, next(systems(backend)))

    measured = asyncio.run(main())
    assert measured.requests == 5
    assert measured.decoded > sum(SHORT.lengths)


def test_schedules_of_one_plan_take_as_long_as_their_barriers() -> None:
    ours, polled, joined = (efficiency.in_virtual_time(name, schedules.PLAN) for name in schedules.SCHEDULES)
    assert ours == pytest.approx(1.0)
    assert 0.95 < polled < 1.0
    assert joined < 0.6
