"""The simulated backend, in virtual time: what is batched, cached, waited for, and when."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from flowdecode.backend import Backend, Grammar, Request
from flowdecode.context import Block, Context
from flowdecode.errors import (
    BackendUnavailable,
    ConfigurationError,
    ContextTooLong,
    RateLimited,
    RequestRejected,
)
from flowdecode.plugins import BackendURL, open_backend
from flowdecode.sampling import SamplingParams
from flowdecode.usage import Usage
from flowdecode_backends.scripted import Fault, Reply
from flowdecode_backends.simulated import (
    CostModel,
    GeneratedReplies,
    Profile,
    Simulated,
    open_simulated,
    simulate,
)
from flowdecode_backends.simulated.engine import Scheduling
from flowdecode_backends.simulated.router import RouterName

# Steps of one second, prefill at a hundredth of a second a token: times that can be read off.
SECOND = CostModel(step=1, per_request=0, per_kv_token=0, per_prefill_token=0)


def text(tokens: int) -> str:
    return " ".join(f"w{number}" for number in range(tokens))


def prompt(tokens: int, name: str = "p") -> Context:
    """A context of so many prompt tokens, the glue of two turns included."""
    return Context.of([Block("user", " ".join([name] * (tokens - 2)))])


def request(context: Context, id: str = "r", *, priority: int = 0, **sampling: Any) -> Request:
    params = SamplingParams(**sampling)
    return Request(id=id, run_id="run", context=context, sampling=params, priority=priority)


class Read(NamedTuple):
    """What came of one request."""

    id: str
    text: str
    finish_reason: str | None
    usage: Usage
    times: list[float]
    """When each token came."""


async def read(backend: Backend, request: Request, *, leave_after: int | None = None) -> Read:
    times: list[float] = []
    pieces: list[str] = []
    async with backend.decode(request) as decoding:
        async for delta in decoding:
            times.append(asyncio.get_running_loop().time())
            pieces.append(delta.text)
            if len(pieces) == leave_after:
                break
    return Read(request.id, "".join(pieces), decoding.finish_reason, decoding.usage, times)


async def read_all(reads: Iterable[Coroutine[Any, Any, Read]]) -> list[Read]:
    return await asyncio.gather(*reads)


# Time


def test_a_step_costs_what_the_model_says() -> None:
    cost = CostModel(step=1, per_request=0.1, per_kv_token=0.001, per_prefill_token=0.01)

    async def program() -> Read:
        return await read(Simulated(cost=cost, replies=[Reply(text(3))]), request(prompt(10)))

    first = 1 + 0.1 + 0.010 + 10 * 0.01
    second, third = 1 + 0.1 + 0.011, 1 + 0.1 + 0.012
    times = simulate(program()).times
    assert times == pytest.approx([first, first + second, first + second + third])


def test_requests_share_steps() -> None:
    async def program() -> list[Read]:
        backend = Simulated(cost=SECOND, replies=[Reply(text(4))])
        return await read_all(read(backend, request(prompt(5, name))) for name in ("a", "b", "c"))

    assert [result.times for result in simulate(program())] == [[1, 2, 3, 4]] * 3


def test_a_request_joins_at_the_next_step() -> None:
    async def program() -> list[float]:
        backend = Simulated(cost=SECOND, replies=[Reply(text(4))])

        async def late() -> Read:
            await asyncio.sleep(1.5)
            return await read(backend, request(prompt(5, "b")))

        return (await read_all([read(backend, request(prompt(5, "a"))), late()]))[1].times

    assert simulate(program()) == [3, 4, 5, 6]


def test_where_steps_are_not_mixed_all_wait_for_a_prompt() -> None:
    cost = CostModel(step=1, per_request=0, per_kv_token=0, prefill=2, per_prefill_token=0.01)

    async def program() -> list[Read]:
        backend = Simulated(cost=cost, mixed=False, replies=[Reply(text(4))])

        async def late() -> Read:
            await asyncio.sleep(3.5)
            return await read(backend, request(prompt(51, "b")))

        return await read_all([read(backend, request(prompt(100, "a"))), late()])

    early, late = simulate(program())
    assert early.times == pytest.approx([3.0, 4.0, 7.5, 8.5])
    assert late.times == pytest.approx([6.5, 7.5, 8.5, 9.5])


def test_a_prompt_costs_by_what_its_tokens_attend_to() -> None:
    cost = CostModel(step=0, per_request=0, per_kv_token=0, per_prefill_token=0, per_prefill_pair=0.001)

    async def program() -> tuple[Read, Read, float]:
        backend = Simulated(cost=cost, prefill_chunk=60, replies=[Reply(text(1))])
        whole = await read(backend, request(prompt(100)))
        start = asyncio.get_running_loop().time()
        return whole, await read(backend, request(answered(prompt(100), 9))), start

    whole, more, start = simulate(program())
    assert whole.times == pytest.approx([0.001 * sum(range(1, 101))])
    assert more.usage.cached_tokens > 99
    attended = range(more.usage.cached_tokens + 1, more.usage.prompt_tokens + 1)
    assert more.times == pytest.approx([start + 0.001 * sum(attended)])


def test_the_way_to_the_engine_delays_none_but_the_request() -> None:
    cost = msgspec.structs.replace(SECOND, request=0.5)

    async def program() -> list[float]:
        backend = Simulated(cost=cost, replies=[Reply(text(2))])
        first, second = await read_all(read(backend, request(prompt(5, name))) for name in "ab")
        return first.times + second.times

    assert simulate(program()) == [1.5, 2.5, 1.5, 2.5]


def test_an_idle_engine_does_nothing() -> None:
    async def program() -> tuple[int, float]:
        backend = Simulated(cost=SECOND, replies=[Reply(text(2))])
        await read(backend, request(prompt(5)))
        await asyncio.sleep(1000)
        result = await read(backend, request(prompt(5)))
        return backend.engines[0].steps, result.times[0]

    assert simulate(program()) == (4, 1003)


def test_long_prompts_are_prefilled_in_chunks() -> None:
    cost = CostModel(step=1, per_request=0, per_kv_token=0, per_prefill_token=0.01)

    async def program() -> list[Read]:
        backend = Simulated(cost=cost, prefill_chunk=50, replies=[Reply(text(2))])
        return await read_all(
            [read(backend, request(prompt(20, "a"))), read(backend, request(prompt(90, "b")))]
        )

    short, long = simulate(program())
    assert short.times == pytest.approx([1.5, 3.0])
    assert long.times == pytest.approx([4.1, 5.1])


def test_an_empty_answer_takes_one_step() -> None:
    async def program() -> tuple[Read, float]:
        result = await read(Simulated(cost=SECOND, replies=[Reply("")]), request(prompt(5)))
        return result, asyncio.get_running_loop().time()

    result, time = simulate(program())
    assert (result.text, result.finish_reason, time) == ("", "stop", 1)


def test_a_stream_interval_bundles_tokens() -> None:
    async def program() -> Read:
        backend = Simulated(cost=SECOND, stream_interval=3, replies=[Reply(text(7))])
        return await read(backend, request(prompt(5)))

    result = simulate(program())
    assert result.times == [3, 3, 3, 6, 6, 6, 7]
    assert result.text == text(7)


@pytest.mark.anyio
async def test_it_runs_in_real_time_too() -> None:
    async with Simulated(cost=CostModel(step=1e-4)) as backend:
        results = await read_all(
            read(backend, request(prompt(5, name), max_tokens=20)) for name in ("a", "b")
        )
    assert {result.finish_reason for result in results} == {"length"}


# Slots, queue, priority


def test_what_has_no_slot_waits() -> None:
    async def program() -> tuple[list[Read], list[tuple[int, int]]]:
        backend = Simulated(cost=SECOND, slots=2, replies=[Reply(text(2))])
        loads: list[tuple[int, int]] = []

        async def watch() -> None:
            for _ in range(3):
                await asyncio.sleep(1.5)
                load = await backend.load()
                loads.append((load.running, load.waiting))

        watcher = asyncio.create_task(watch())
        results = await read_all(read(backend, request(prompt(5, name))) for name in "abcde")
        await watcher
        return results, loads

    results, loads = simulate(program())
    assert [result.times[0] for result in results] == [1, 1, 3, 3, 5]
    assert loads == [(2, 3), (2, 1), (1, 0)]


def test_what_has_just_come_does_not_wait_yet() -> None:
    """As SGLang tells it: what the last step found in the queue and had no place for."""

    async def program() -> list[tuple[int, int]]:
        backend = Simulated(cost=SECOND, slots=2, replies=[Reply(text(3))])
        told: list[tuple[int, int]] = []

        async def tell(at: float) -> None:
            await asyncio.sleep(at)
            load = await backend.load()
            told.append((load.running, load.waiting))

        async def late(name: str, after: float) -> Read:
            await asyncio.sleep(after)
            return await read(backend, request(prompt(5, name)))

        reads = [read(backend, request(prompt(5, "a"))), late("b", 0.2), late("c", 0.2)]
        await asyncio.gather(*reads, *map(tell, (0.5, 1.5)))
        return told

    assert simulate(program()) == [(1, 0), (2, 1)]


def test_it_tells_how_slow_its_steps_are() -> None:
    cost = CostModel(step=3, per_request=1, per_kv_token=0, per_prefill_token=0)

    async def program() -> list[float | None]:
        backend = Simulated(cost=cost, replies=[Reply(text(9))])
        told = [(await backend.load()).slowdown]
        await read(backend, request(prompt(5)))
        told.append((await backend.load()).slowdown)
        async with contextlib.AsyncExitStack() as stack:
            for name in "abcde":
                await stack.enter_async_context(backend.decode(request(prompt(5, name))))
            await asyncio.sleep(20)
            told.append((await backend.load()).slowdown)
        return told

    unknown, alone, five = simulate(program())
    assert (unknown, alone) == (None, None)
    assert five == pytest.approx(8 / 4)


@pytest.mark.parametrize(("scheduling", "order"), [("priority", "caebd"), ("fcfs", "abcde")])
def test_priority(scheduling: Scheduling, order: str) -> None:
    async def program() -> tuple[bool, str]:
        backend = Simulated(cost=SECOND, slots=1, scheduling=scheduling, replies=[Reply(text(2))])
        priorities = {"a": 5, "b": 1, "c": 9, "d": 1, "e": 5}
        results = await read_all(
            read(backend, request(prompt(5, name), name, priority=priority))
            for name, priority in priorities.items()
        )
        results.sort(key=lambda result: result.times)
        return backend.engine.capabilities.priority, "".join(result.id for result in results)

    assert simulate(program()) == (scheduling == "priority", order)


def test_requests_wait_for_room_in_the_cache() -> None:
    async def program() -> tuple[list[float], int]:
        backend = Simulated(cost=SECOND, kv_tokens=30, replies=[Reply(text(5))])
        results = await read_all(read(backend, request(prompt(10, name))) for name in "abcd")
        return [result.times[0] for result in results], backend.engines[0].tree.tokens

    times, cached = simulate(program())
    assert times == [1, 1, 6, 6]
    assert cached == 30


# The prefix cache: the table of what a real SGLang server did


def cached(child: Context, *, parent: Context, after: int | None, abort: bool = False) -> int:
    """Cached tokens of `child`, sent when `parent` has decoded `after` tokens, or has ended."""

    async def program() -> int:
        backend = Simulated(cost=SECOND, replies=[Reply(text(100), match="p"), Reply("x")])
        first = asyncio.create_task(
            read(backend, request(parent, "first"), leave_after=after if abort else None)
        )
        if after is None or abort:
            await first
            await asyncio.sleep(1)
        else:
            await asyncio.sleep(after + 0.5)
        return (await read(backend, request(child, "second"))).usage.cached_tokens

    return simulate(program())


def answered(context: Context, tokens: int) -> Context:
    return context.extend(Block("assistant", text(tokens)))


PARENT = prompt(60)


def test_a_child_of_a_running_parent_hits_its_prompt() -> None:
    assert cached(answered(PARENT, 30).extend(Block("user", "y")), parent=PARENT, after=30) == 60


def test_a_child_of_a_finished_parent_hits_all_of_it() -> None:
    assert cached(answered(PARENT, 100).extend(Block("user", "y")), parent=PARENT, after=None) == 160


def test_a_child_of_an_aborted_parent_hits_what_it_decoded() -> None:
    assert cached(answered(PARENT, 88), parent=PARENT, after=88, abort=True) == 147
    assert cached(answered(PARENT, 88).extend(Block("user", "y")), parent=PARENT, after=88, abort=True) == 148


def siblings(warm: bool) -> list[int]:
    async def program() -> list[int]:
        backend = Simulated(cost=SECOND, replies=[Reply("x")])
        shared = prompt(101).block
        if warm:
            await read(backend, request(Context.of([shared]), max_tokens=1))
        contexts = [Context.of([shared, Block("user", f" child{number}")]) for number in range(8)]
        results = await read_all(read(backend, request(context)) for context in contexts)
        return [result.usage.cached_tokens for result in results]

    return simulate(program())


def test_cold_siblings_hit_nothing() -> None:
    assert siblings(warm=False) == [0] * 8


def test_siblings_behind_a_warmed_prefix_hit_it() -> None:
    assert siblings(warm=True) == [100] * 8


def test_the_same_prompt_again_hits_all_but_its_last_token() -> None:
    assert cached(PARENT, parent=PARENT, after=None) == 59


def test_a_full_cache_evicts_the_oldest() -> None:
    async def program() -> list[int]:
        backend = Simulated(cost=SECOND, kv_tokens=50, replies=[Reply(text(5))])
        for name in "abc":
            await read(backend, request(prompt(15, name)))
        return [(await read(backend, request(prompt(15, name)))).usage.cached_tokens for name in "cba"]

    newest, newer, oldest = simulate(program())
    assert (newest, newer) == (14, 14)
    assert oldest < 14


# Leaving, failing, closing


def test_leaving_frees_the_slot_at_the_next_step() -> None:
    async def program() -> tuple[list[Read], list[str], int]:
        backend = Simulated(cost=SECOND, slots=1, replies=[Reply(text(100), match="p"), Reply(text(2))])
        results = await read_all(
            [
                read(backend, request(prompt(5, "p"), "left"), leave_after=3),
                read(backend, request(prompt(5, "q"), "next")),
            ]
        )
        return results, backend.aborted, backend.running

    (left, following), aborted, running = simulate(program())
    assert (left.times, left.finish_reason, left.usage.completion_tokens) == ([1, 2, 3], "abort", 3)
    assert following.times == [5, 6]
    assert (aborted, running) == (["left"], 0)


def test_leaving_the_queue() -> None:
    async def program() -> tuple[list[str], list[tuple[int, int]], list[float]]:
        backend = Simulated(cost=SECOND, slots=1, replies=[Reply(text(2))])
        tasks = [
            asyncio.create_task(read(backend, request(prompt(5, name), name), leave_after=None))
            for name in "abc"
        ]
        loads: list[tuple[int, int]] = []
        await asyncio.sleep(0.5)
        for _ in range(2):
            load = await backend.load()
            loads.append((load.running, load.waiting))
            tasks[1].cancel()
            await asyncio.wait(tasks[1:2])
        return backend.aborted, loads, (await tasks[2]).times

    assert simulate(program()) == (["b"], [(1, 2), (1, 1)], [3, 4])


@pytest.mark.anyio
async def test_an_engine_needs_no_task() -> None:
    before = asyncio.all_tasks()
    async with Simulated(cost=CostModel(step=3600)) as backend:
        async with backend.decode(request(prompt(5))):
            assert backend.running == 1
        assert asyncio.all_tasks() == before
    assert backend.running == 0


@pytest.mark.anyio
async def test_closing_the_backend_fails_what_still_runs() -> None:
    backend = Simulated(cost=CostModel(step=3600))
    async with backend.decode(request(prompt(5))) as decoding:
        await backend.__aexit__(None, None, None)
        with pytest.raises(BackendUnavailable, match="closed"):
            await anext(aiter(decoding))
    assert (backend.running, backend.aborted) == (0, [])
    load = await backend.load()
    assert (load.running, load.waiting) == (0, 0)


def test_faults() -> None:
    async def program() -> None:
        backend = Simulated(
            replies=[
                Reply(text(5), "a", fault=Fault(0, "rate_limited")),
                Reply(text(5), fault=Fault(2, "drop")),
            ]
        )
        with pytest.raises(RateLimited):
            await read(backend, request(prompt(5, "a")))
        with pytest.raises(BackendUnavailable, match="after 2 tokens"):
            await read(backend, request(prompt(5, "b")))
        assert (backend.running, backend.aborted) == (0, [])

    simulate(program())


def test_what_cannot_be_served_is_refused() -> None:
    async def program() -> None:
        backend = Simulated(kv_tokens=20, replies=[Reply(text(50))])
        with pytest.raises(ContextTooLong, match="at most 20"):
            await read(backend, request(prompt(20)))
        with pytest.raises(RequestRejected):
            await read(backend, request(Context.of([Block("user", "")])))
        assert (await read(backend, request(prompt(15)))).usage.completion_tokens == 5

    simulate(program())


def test_an_answer_is_continued() -> None:
    async def program() -> str:
        backend = Simulated(seed=3)
        whole = await read(backend, request(prompt(5)))
        half = whole.text[: len(whole.text) // 2]
        rest = await read(backend, request(prompt(5).extend(Block("assistant", half))))
        assert half + rest.text == whole.text
        return rest.text

    assert simulate(program())


# Several engines


@pytest.mark.parametrize(
    ("router", "loads"),
    [("round_robin", [1, 2, 1]), ("least_loaded", [2, 1, 1]), ("cache_aware", [3, 1, 0])],
)
def test_routers(router: RouterName, loads: list[int]) -> None:
    async def program() -> list[int]:
        backend = Simulated(3, cost=SECOND, router=router, replies=[Reply(text(10))])
        warm = prompt(50, "warm")
        await read(backend, request(warm))
        child = warm.extend(Block("user", " child"))
        requests = [request(child), request(child), request(child), request(prompt(50, "cold"))]
        async with contextlib.AsyncExitStack() as stack:
            for each in requests:
                await stack.enter_async_context(backend.decode(each))
            return [engine.load for engine in backend.engines]

    assert simulate(program()) == loads


def test_a_cache_aware_router_spreads_an_overload() -> None:
    async def program() -> list[int]:
        backend = Simulated(2, cost=SECOND, router="cache_aware", replies=[Reply("x")])
        await read(backend, request(prompt(50)))
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(50):
                await stack.enter_async_context(backend.decode(request(prompt(50))))
            return [engine.load for engine in backend.engines]

    first, second = simulate(program())
    assert first + second == 50
    assert 30 <= first - second <= 34


def load_study(engines: int, requests: int) -> list[Read]:
    async def program() -> list[Read]:
        backend = Simulated(engines, slots=8, replies=GeneratedReplies(median_tokens=8))

        async def one(number: int) -> Read:
            await asyncio.sleep(number % 89 / 100)
            return await read(backend, request(prompt(20, f"q{number}"), str(number)))

        results = await read_all(map(one, range(requests)))
        load = await backend.load()
        assert (load.running, load.waiting, backend.running) == (0, 0, 0)
        return results

    return simulate(program())


@pytest.mark.timeout(90)  # a few seconds of work, on a machine that may be busy
def test_a_thousand_engines() -> None:
    results = load_study(1000, 10_000)
    assert len(results) == 10_000
    assert all(result.usage.completion_tokens for result in results)


def test_a_simulation_repeats_exactly() -> None:
    assert load_study(5, 100) == load_study(5, 100)


# Generated replies


def generate(question: str, *, seed: int = 0, request_seed: int = 0, grammar: Grammar | None = None) -> str:
    context = Context.of([Block("user", question)])
    asked = msgspec.structs.replace(request(context, seed=request_seed), grammar=grammar)
    return GeneratedReplies(seed=seed)(asked)


def tokens(text: str) -> int:
    return Simulated().count_tokens(Context.of([Block("assistant", text)])) - 1


def test_the_same_request_gets_the_same_reply() -> None:
    assert generate("Tea?") == generate("Tea?")
    others = [generate("Coffee?"), generate("Tea?", seed=1), generate("Tea?", request_seed=1)]
    assert len({generate("Tea?"), *others}) == 4


def test_lengths_follow_the_distribution() -> None:
    lengths = sorted(tokens(generate(f"Question {number}")) for number in range(400))
    assert 340 < lengths[200] < 460
    assert lengths[40] < 240
    assert lengths[360] > 700


def test_lengths_follow_the_length_that_is_named() -> None:
    for question in "1. Tea (400)\n2. Coffee (80)", "Now write about Coffee, in about 60 words.":
        lengths = sorted(tokens(generate(f"{number}. {question}")) for number in range(200))
        assert 72 < lengths[100] < 88
        assert lengths[0] > 40


def test_a_grammar_gets_a_plan() -> None:
    line = re.compile(r"(\d+)\. [A-Z][a-z ]+ \((\d+)\)(?: <- (\d+(?:, \d+)*))?")
    shapes: set[int] = set()
    totals: list[int] = []
    for number in range(100):
        plan = generate(f"Question {number}", grammar=Grammar(ebnf="", regex=""))
        assert plan.endswith("\n")
        lines = [line.fullmatch(text) for text in plan.splitlines()]
        shapes.add(len(lines))
        totals.append(sum(int(match[2]) for match in lines if match))
        for place, match in enumerate(lines, 1):
            assert match is not None
            assert int(match[1]) == place
            parents = [int(parent) for parent in (match[3] or "").split(", ") if parent]
            assert parents == sorted(set(parents))
            assert all(parent < place for parent in parents)
            assert place > 2 or not parents
    assert shapes == {3, 4, 5, 6}
    assert 300 < sorted(totals)[50] < 520


# simulated:?...


def opened(location: str = "", **query: str) -> Simulated:
    return open_simulated(BackendURL("simulated", location, query), api_key=None, headers={})


def test_a_url_has_the_settings(tmp_path: Path) -> None:
    assert len(opened().engines) == 1
    profile = tmp_path / "profile.json"
    Profile(cost=SECOND, slots=2, kv_tokens=9_000, prefill_chunk=50, context_length=99, mixed=True).write(
        profile
    )
    replies = tmp_path / "replies.jsonl"
    replies.write_text('{"text": "Tea."}\n')
    backend = opened(
        engines="4",
        slots="32",
        seed="1",
        scheduling="priority",
        router="cache_aware",
        model="toy",
        profile=str(profile),
        replies=str(replies),
    )
    assert (len(backend.engines), backend.engine.model) == (4, "toy")
    assert backend.engines[0].settings.slots == 32
    assert backend.engines[0].settings.cost == SECOND
    assert backend.engine.capabilities.priority
    result = simulate(read(backend, request(prompt(5))))
    assert (result.text, result.times) == ("Tea.", [1, 2])


def test_the_plugin_is_found() -> None:
    backend = open_backend("simulated:?engines=2&scheduling=priority")
    assert backend.engine.capabilities.priority
    assert simulate(read(backend, request(prompt(5), max_tokens=3))).finish_reason == "length"


def test_a_url_s_seed_and_length_reach_the_replies() -> None:
    texts = {
        simulate(read(opened(**query), request(prompt(5)))).text
        for query in ({}, {"seed": "0"}, {"seed": "1"}, {"tokens": "10"})
    }
    assert len(texts) == 3


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"engine": "4"}, r"unknown field `engine`.*It has: engines, slots, .*profile"),
        ({"engines": "four"}, r"Expected `int`.*engines"),
        ({"engines": "0"}, r"Expected at least 1, got 0 - at `engines`"),
        ({"tokens": "0"}, r"Expected at least 1, got 0 - at `tokens`"),
        ({"router": "random"}, r"Expected one of round_robin, least_loaded, cache_aware, got 'random'"),
        ({"scheduling": "lpm"}, r"Expected one of fcfs, priority, got 'lpm'"),
        ({"profile": "none.json"}, r"Expected a profile's file, or one of .*, got 'none.json'"),
        ({"replies": "none.jsonl"}, r"Expected a file of replies"),
    ],
)
def test_a_bad_query_is_refused(query: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        opened(**query)


def test_a_location_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'somewhere'"):
        opened("somewhere")
