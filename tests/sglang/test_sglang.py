"""`sglang://` against the real server: what is in its cache, what it schedules, what it still runs."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from itertools import count
from typing import Any

import pytest

import flowdecode
from flowdecode.attempt import Retry
from flowdecode.backend import Delta, Load, Request
from flowdecode.context import Block, Context
from flowdecode.events import NodeDelta
from flowdecode.sampling import SamplingParams
from flowdecode_backends.sglang_client import SGLang, warming
from flowdecode_graphs.plato.grammar import PLAN_GRAMMAR
from tests.parts import Part, Parts
from tests.sglang_server.server import Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]

WORDS = "Compare tea with coffee, cocoa and water; answer at length, leave nothing out. "
_numbers = count()


@pytest.fixture(params=["server", "lpm_server"])
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[SGLang]:
    """One of the two servers: cumulative streams and fcfs, or increments, lpm and pages of 8."""
    server: Server = request.getfixturevalue(request.param)
    async with SGLang(server.url) as backend:
        yield backend


def cold(text: str = WORDS) -> Context:
    """A conversation whose beginning no other test has sent."""
    return Context.of([Block("system", f"{time.time_ns()}"), Block("user", text)])


def request(context: Context, tokens: int = 16, *, priority: int = 0, **sampling: Any) -> Request:
    params = SamplingParams.read({"max_tokens": tokens, "temperature": 0.0, **sampling})
    name = f"t-{time.time_ns()}-{next(_numbers):06d}"
    return Request(id=name, run_id=name, context=context, sampling=params, priority=priority)


async def said(backend: SGLang, context: Context, tokens: int = 16, **sampling: Any) -> tuple[Block, Any]:
    async with backend.decode(request(context, tokens, **sampling)) as decoding:
        deltas = [delta async for delta in decoding]
    ids = tuple(token for delta in deltas for token in delta.tokens)
    return Block("assistant", "".join(delta.text for delta in deltas), ids), decoding


def whole_pages(backend: SGLang, tokens: int) -> int:
    """What of a prefix can be found again: all but its last token, in whole pages."""
    return (tokens - 1) // backend.info.page_size * backend.info.page_size


# The prefix cache


async def test_a_child_of_a_finished_parent_finds_all_of_it(backend: SGLang) -> None:
    parent = cold()
    answer, first = await said(backend, parent)
    assert first.usage.cached_tokens < backend.count_tokens(parent)
    spoken = parent.extend(answer)
    _, child = await said(backend, spoken.extend(Block("user", "Go on.")))
    assert child.usage.cached_tokens >= whole_pages(backend, backend.count_tokens(spoken))


async def test_a_child_of_a_running_parent_finds_its_prompt(
    backend: SGLang, endless: dict[int, float]
) -> None:
    parent = cold()
    async with backend.decode(request(parent, 400, temperature=1.0, logit_bias=endless)) as decoding:
        stream = aiter(decoding)
        first = await anext(stream)
        spoken = parent.extend(Block("assistant", first.text, first.tokens))
        _, child = await said(backend, spoken.extend(Block("user", "Go on.")), 4)
        assert child.usage.cached_tokens >= whole_pages(backend, backend.count_tokens(parent))


async def test_a_child_of_an_aborted_parent_finds_what_it_had(
    backend: SGLang, endless: dict[int, float]
) -> None:
    parent = cold()
    deltas: list[Delta] = []
    async with backend.decode(request(parent, 400, temperature=1.0, logit_bias=endless)) as decoding:
        async for delta in decoding:
            deltas.append(delta)
            if len(deltas) == 12:
                break
    assert decoding.finish_reason == "abort"
    ids = tuple(token for delta in deltas for token in delta.tokens)
    spoken = parent.extend(Block("assistant", "".join(delta.text for delta in deltas), ids))
    _, child = await said(backend, spoken.extend(Block("user", "Go on.")), 4)
    assert child.usage.cached_tokens >= whole_pages(backend, backend.count_tokens(spoken) - 1)


async def siblings(backend: SGLang, head: Context) -> list[int]:
    """The uncached tokens of eight cold siblings that are sent at once."""
    asked = [head.extend(Block("user", f"Part {number}.")) for number in range(8)]
    answers = await asyncio.gather(*(said(backend, context, 4) for context in asked))
    usages = [decoding.usage for _, decoding in answers]
    return [usage.prompt_tokens - usage.cached_tokens for usage in usages]


async def test_siblings_follow_a_warmed_prefix(backend: SGLang, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "LONGEST_HOLD", 60.0)  # a busy machine may take longer than siblings wait
    text = WORDS * 6
    heads = [cold(text), cold(text)]
    shared = backend.count_tokens(heads[0])
    warmed = sorted(await siblings(backend, heads[0]))
    assert backend.warming.held == 7
    async with SGLang(backend.url, warm=0) as unwarmed:
        cold_ones = await siblings(unwarmed, heads[1])
        assert unwarmed.warming.held == 0
    most = backend.count_tokens(heads[0].extend(Block("user", "Part 7."))) + 20 - whole_pages(backend, shared)
    head = backend.count_tokens(cold("")) + backend.info.page_size  # the template's part of it is known
    assert warmed[-1] > shared - head, "one of them computes the prefix"
    assert all(uncached <= most for uncached in warmed[:-1])
    assert sum(warmed) <= sum(cold_ones)


async def test_what_a_run_expects_in_the_cache_is_there(backend: SGLang) -> None:
    async with flowdecode.connect(backend) as flow, flow.graph() as graph:
        short: Any = {"max_tokens": 12, "temperature": 0}
        facts = graph.decode(f"{time.time_ns()}. {WORDS}", sampling=short)
        essay = graph.decode("Write a paragraph from these facts.", after=facts, sampling=short)
        poem = graph.decode("Write a poem from these facts.", after=facts, sampling=short)
    records = {node.id: node for node in graph.result.nodes}
    for node in (essay, poem):
        record = records[node.id]
        assert record.expected_cached_tokens
        assert record.usage.cached_tokens >= whole_pages(backend, record.expected_cached_tokens)


# Grammar, text mode


async def test_plans_are_written_under_the_grammar(backend: SGLang) -> None:
    assert backend.tokens is not None
    not_direct = {backend.tokens.encode("direct")[0]: -100.0, backend.tokens.encode("d")[0]: -100.0}
    result = await flowdecode.run(
        f"{time.time_ns()}. {WORDS}", backend=backend, strategy="plato", max_tokens=60, logit_bias=not_direct
    )
    plan = next(node for node in result.nodes if node.kind == "plan")
    lines = plan.text[: plan.text.rindex("\n") + 1]
    lines = re.sub("\ufffd+", "x", lines)  # a random model writes bytes that are no characters
    assert re.fullmatch(PLAN_GRAMMAR.regex, lines)
    assert lines.startswith("1. ")


async def test_text_mode_goes_through_the_servers_tokenizer(server: Server) -> None:
    async with SGLang(server.url) as exact, SGLang(server.url, tokenizer="") as plain:
        asked = cold()
        answer, first = await said(exact, asked)
        text, second = await said(plain, asked)
        assert text.text == answer.text
        assert text.tokens == ()
        assert second.usage.prompt_tokens == first.usage.prompt_tokens
        result = await flowdecode.run(WORDS, backend=plain, strategy="sequential", max_tokens=8)
        assert result.usage.completion_tokens > 0


# Cancelling, priorities, load


async def test_what_is_cancelled_does_not_run_on(backend: SGLang, endless: dict[int, float]) -> None:
    never: Any = {"temperature": 1.0, "logit_bias": endless}

    async def leave(number: int) -> None:
        async with backend.decode(request(cold(f"{number} cups"), 1500, **never)) as decoding:
            await anext(aiter(decoding))

    async def wait(number: int) -> None:
        await said(backend, cold(f"{number} pots"), 1500, **never)

    waiting = [asyncio.create_task(wait(number)) for number in range(4)]
    await asyncio.gather(*(leave(number) for number in range(4)))
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    await idle(backend)


async def until_load(backend: SGLang, reached: Callable[[Load], bool]) -> Load:
    """Look at the server's load until something is so."""
    end = time.monotonic() + 60
    while (load := await backend.load()) is None or not reached(load):
        assert time.monotonic() < end, f"it never came to that: {load}"
        await asyncio.sleep(0.05)
    return load


async def idle(backend: SGLang) -> None:
    await until_load(backend, lambda load: load.running + load.waiting == 0)


async def test_a_cancelled_run_leaves_nothing_running(backend: SGLang, endless: dict[int, float]) -> None:
    sampling: Any = {"max_tokens": 1500, "logit_bias": endless}
    async with flowdecode.stream(WORDS, backend=backend, strategy="sequential", **sampling) as run:
        async for _ in run.text:
            break
    await idle(backend)


async def test_the_higher_priority_goes_first(server: Server, endless: dict[int, float]) -> None:
    async with SGLang(server.url) as backend:
        assert backend.engine.capabilities.priority
        started: list[str] = []

        async def ask(name: str, priority: int, tokens: int) -> None:
            asked = request(cold(name), tokens, priority=priority, logit_bias=endless)
            async with backend.decode(asked) as decoding:
                async for _ in decoding:
                    if name not in started:
                        started.append(name)

        assert backend.engine.slots is not None
        more = 4  # than the batch holds, so that no place is free for those that come behind
        fillers = [asyncio.create_task(ask("filler", 50, 300)) for _ in range(backend.engine.slots + more)]
        load = await until_load(backend, lambda load: load.waiting >= more)
        assert load.slowdown is None or load.slowdown >= 1
        assert load.growth is None or 0 <= load.growth <= 1
        low = asyncio.create_task(ask("low", 1, 2))
        await until_load(backend, lambda load: load.waiting > more)
        high = asyncio.create_task(ask("high", 45, 2))  # less than preemption asks for above the fillers
        await until_load(backend, lambda load: load.waiting > more + 1)
        for filler in fillers:
            filler.cancel()
        await asyncio.wait([*fillers, low, high])
        assert [name for name in started if name != "filler"] == ["high", "low"]
        await idle(backend)


# Loss


async def test_a_server_that_is_killed_and_restarted_costs_time_only(
    lpm_server: Server, endless: dict[int, float]
) -> None:
    async with SGLang(lpm_server.url, restart=300) as backend, flowdecode.connect(backend) as flow:
        parts = Parts(parts=tuple(Part(question=f"{n}. {WORDS}") for n in range(4)), retry=Retry())
        tokens = 120
        sampling: Any = {"temperature": 1.0, "max_tokens": 4 * tokens, "logit_bias": endless}
        async with flow.stream("ignored", strategy=parts, **sampling) as run:
            seen = 0
            async for event in run:
                seen += isinstance(event, NodeDelta)
                if seen == 40:
                    break
            lpm_server.restart()
            result = await run.result()
        await asyncio.to_thread(lpm_server.wait)
    assert result.status == "truncated", "all that was asked for has come"
    assert result.work == 4 * tokens
    assert all(node.attempts >= 1 for node in result.nodes)
    assert any(node.attempts > 1 for node in result.nodes)
    assert all(node.text for node in result.nodes)
