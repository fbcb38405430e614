"""The strategy `pasta` with threads that are requests of their own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import flowdecode
from flowdecode.backend import Capabilities, ModelProfile
from flowdecode.errors import NodeError, RunTimeout
from flowdecode.events import Event, NodeDelta, NodePlanned
from flowdecode_backends import words
from flowdecode_backends.scripted import Fault, Reply, Scripted
from flowdecode_backends.simulated import Simulated, simulate
from flowdecode_graphs.pasta import Pasta
from tests.graphs.pasta.scripts import CHUNKS, COFFEE, MAIN, PLAIN, TEA, Coalescing, pasta
from tests.leaks import no_leaks
from tests.parts import check_consistent

pytestmark = pytest.mark.anyio


def test_chunks_come_in_the_order_of_the_document() -> None:
    async def decode() -> tuple[flowdecode.Result, list[Event]]:
        async with flowdecode.connect(engine) as flow, flow.stream("Tea?", strategy="pasta") as run:
            return await run.result(), [event async for event in run]

    engine = Scripted(pasta())
    result, events = simulate(decode())
    check_consistent(result, events)
    assert result.text == PLAIN
    assert (result.strategy, result.status, result.fallback_reason) == ("pasta", "done", None)
    assert [(record.id, record.title, record.parents) for record in result.nodes] == [
        ("1", "Main thread", ()),
        ("2", "tea", ()),
        ("3", "coffee", ()),
        ("4", "Main thread", ("1", "2", "3")),
    ]
    assert [record.text for record in result.nodes] == [MAIN[0], *CHUNKS, MAIN[1]]
    assert len(engine.requests) == 4


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 200])
@pytest.mark.parametrize("with_ids", [True, False])
async def test_deltas_of_any_size_give_the_same_answer(size: int, with_ids: bool) -> None:
    able = Capabilities(assistant_prefill=True, token_ids=with_ids, cached_tokens=True)
    engine = Coalescing(pasta(), capabilities=able)
    engine.size = size
    result = await flowdecode.run("Tea or coffee?", backend=engine, strategy="pasta")
    assert (result.text, result.status) == (PLAIN, "done")


async def test_what_comes_behind_a_sync_in_one_delta_is_decoded_anew() -> None:
    """It was said without the chunks, and is neither shown nor sent again."""

    def reply(request: Any) -> Reply:
        first = request.context.block.role == "user"
        return Reply(f"{MAIN[0]} So drink water.") if first else pasta()(request)

    engine = Coalescing(reply)
    engine.size = 200
    result = await flowdecode.run("Tea or coffee?", backend=engine, strategy="pasta")
    assert result.text == PLAIN
    assert engine.requests[-1].context.messages()[-1]["content"] == (
        f"{MAIN[0]}<async>{CHUNKS[0]}</async><async>{CHUNKS[1]}</async>"
    )


async def test_a_thread_starts_at_its_promise_and_the_main_thread_goes_on() -> None:
    async with flowdecode.connect(Scripted(pasta())) as flow, flow.stream("Tea?", strategy="pasta") as run:
        events: list[Event] = [event async for event in run]
    said = ""
    for event in events:
        if isinstance(event, NodeDelta) and event.node_id == "1":
            said += event.text
        if isinstance(event, NodePlanned) and event.node_id != "1":
            assert said.endswith({"2": TEA, "3": COFFEE, "4": "<sync/>"}[event.node_id])
    chunk = next(i for i, event in enumerate(events) if isinstance(event, NodeDelta) and event.node_id == "2")
    assert any(isinstance(event, NodeDelta) and event.node_id == "1" for event in events[chunk:])


def test_the_time_of_an_answer_is_that_of_its_longest_chain() -> None:
    """Two chunks of 200 tokens beside each other take hardly more than one of them."""
    promises = [f'<promise topic="{name}" tokens="200"/>' for name in ("tea", "coffee")]
    chunks = ("tea " * 200, "coffee " * 200)
    replies = pasta((" ".join(promises) + "<sync/>", "So drink."), chunks, pace=None)

    async def decode(strategy: str) -> flowdecode.Result:
        plain = [Reply(f"{chunks[0]} {chunks[1]}So drink.")]
        engine = Simulated(replies=replies if strategy == "pasta" else plain)
        return await flowdecode.run("Tea?", backend=engine, strategy=strategy)

    parallel, plain = simulate(decode("pasta")), simulate(decode("sequential"))
    assert parallel.text == plain.text
    assert parallel.span < 0.6 * plain.span
    assert parallel.duration < 0.65 * plain.duration


async def test_work_and_span_follow_the_threads() -> None:
    result = await flowdecode.run("Tea?", backend=Scripted(pasta()), strategy="pasta")
    main, tea, coffee, end = result.nodes
    assert result.plan is not None
    tokens = [record.usage.completion_tokens for record in result.nodes]
    assert tokens == [len(words.split(text)) for text in (MAIN[0], *CHUNKS, MAIN[1])]
    assert tea.offset == len(words.split(MAIN[0].partition(TEA)[0] + TEA))
    assert coffee.offset == len(words.split(MAIN[0].partition(COFFEE)[0] + COFFEE))
    assert result.work == sum(tokens)
    assert result.span == max(tokens[0], tea.offset + tokens[1], coffee.offset + tokens[2]) + tokens[3]
    assert [node.offset for node in result.plan.nodes] == [record.offset for record in result.nodes]
    assert [node.expected_tokens for node in result.plan.nodes] == [tokens[0], 20, 30, tokens[3]]
    assert (main.offset, end.offset) == (0, 0)


async def test_a_chunk_behind_a_sync_starts_where_all_before_it_ended() -> None:
    main = (f"{TEA}<sync/>", f"Now {COFFEE} ok.<sync/>", "End.")
    result = await flowdecode.run("Tea?", backend=Scripted(pasta(main)), strategy="pasta")
    assert result.text == f"{CHUNKS[0]}Now {CHUNKS[1]} ok.End."
    first, tea, second, coffee, end = result.nodes
    assert coffee.parents == ("1", "2")
    assert end.parents == ("3", "4")
    before = max(first.usage.completion_tokens, tea.offset + tea.usage.completion_tokens)
    assert coffee.offset == before + len(words.split(f"Now {COFFEE}"))
    ends = (before + second.usage.completion_tokens, coffee.offset + coffee.usage.completion_tokens)
    assert result.span == max(ends) + end.usage.completion_tokens


async def test_what_the_main_thread_has_said_is_a_hit_in_the_prefix_cache() -> None:
    engine = Scripted(pasta())
    result = await flowdecode.run("Tea or coffee?", backend=engine, strategy="pasta")
    by_text = [words.render(request.context) for request in engine.requests]
    main, tea, coffee, end = by_text
    decoded = words.tokenize(MAIN[0])
    assert end[: len(main) + len(decoded)] == (*main, *decoded), "the sync comes before the chunks"
    assert tea[: len(main)] == coffee[: len(main)] == main
    record = result.nodes[3]
    assert record.usage.cached_tokens == len(main) + len(decoded)
    assert record.expected_cached_tokens == record.usage.cached_tokens
    chunks = sum(len(words.tokenize(f"<async>{chunk}</async>")) for chunk in CHUNKS)
    assert record.usage.prompt_tokens - record.usage.cached_tokens == chunks, "only the chunks are computed"


async def test_tags_that_are_tokens_are_sent_as_their_ids() -> None:
    tags = {"<async>": 5, "</async>": 6, "<sync/>": 7}
    engine = Scripted(pasta(), profile=ModelProfile(tags=tags))
    await flowdecode.run("Tea or coffee?", backend=engine, strategy="pasta")
    assert engine.requests[1].context.block.tokens == (5,)
    blocks = [block.tokens for block in engine.requests[3].context.blocks() if block.text.endswith("async>")]
    assert blocks == [(5,), (6,), (5,), (6,)]


async def test_an_answer_without_tags_is_the_answer() -> None:
    engine = Scripted(pasta(("Tea is < coffee, <b>really</b>. <",)))
    result = await flowdecode.run("Tea?", backend=engine, strategy="pasta")
    assert result.text == "Tea is < coffee, <b>really</b>. <"
    assert (result.status, len(result.nodes), result.work) == ("done", 1, result.span)
    assert result.plan is not None
    assert (len(result.plan.nodes), result.plan.remarks) == (1, ())


async def test_a_last_promise_needs_no_sync() -> None:
    result = await flowdecode.run("Tea?", backend=Scripted(pasta((f"A {TEA} b.",))), strategy="pasta")
    assert (result.text, result.status) == (f"A {CHUNKS[0]} b.", "done")
    assert result.plan is not None
    assert result.plan.remarks == ()


async def test_a_thought_is_no_annotation() -> None:
    engine = Scripted(pasta((f"<think>{TEA}<sync/></think>{MAIN[0]}", MAIN[1]), ("never", *CHUNKS)))
    result = await flowdecode.run("Tea?", backend=engine, strategy="pasta")
    assert result.text == PLAIN
    assert [record.title for record in result.nodes] == ["Main thread", "tea", "coffee", "Main thread"]


@pytest.mark.parametrize(
    ("main", "chunks", "text", "remark"),
    [
        ((f"A<sync/> {TEA}<sync/>", "b"), ("T.",), "A T.b", "Dropped a sync: nothing is outstanding"),
        ((f"A<async> {TEA}<sync/>", "b"), ("T.",), "A T.b", "Dropped <async> of the main thread"),
        ((f"A {TEA}</async><sync/>", "b"), ("T.",), "A T.b", "Dropped </async> of the main thread"),
        (("A <promise/><sync/>", "b"), ("T.",), "A T.b", 'Expected topic="...", got none'),
        (('A <promise topic="t"/><sync/>', "b"), ("T.",), "A T.b", 'Expected tokens="...", got none'),
        (('A <promise topic="t" tokens="7"/><sync/>', "b"), ("T.",), "A T.b", "a multiple of ten"),
        ((f"A {TEA}<sync />", "b"), ("T.",), "A T.b", "Expected <sync/>, got"),
        ((f"A {TEA}</sync> b",), ("T.",), "A T. b", "got '</sync>'"),
        ((f"A {TEA} <promise topic=",), ("T.",), "A T. ", "Expected the end of the tag"),
        (("A <promise topic=\nb",), (), "A <promise topic=\nb", "Expected a tag that ends on its line"),
        ((f"A {TEA}<sync/>", "b"), (f"T{COFFEE}.",), "A T.b", f"Dropped {COFFEE} of a chunk"),
        ((f"A {TEA}<sync/>", "b"), ("T<async>.",), "A T.b", "Dropped <async> of a chunk"),
        ((f"A {TEA}<sync/>", "b"), ("T<sync/>.",), "A T.b", "Dropped <sync/> of a chunk"),
        ((f"A {TEA}<sync/>", "b"), ("T<sync",), "A Tb", "Expected the end of the tag"),
        ((f"A {TEA}<sync/>", "b"), ("",), "A b", None),
        ((f"{TEA}<sync/>", ""), ("T.",), "T.", None),
    ],
)
async def test_broken_tags_still_give_an_answer_and_a_reason(
    main: tuple[str, ...], chunks: tuple[str, ...], text: str, remark: str | None
) -> None:
    for size in (1, 100):
        engine = Coalescing(pasta(main, chunks))
        engine.size = size
        result = await flowdecode.run("Tea?", backend=engine, strategy="pasta")
        assert (result.text, result.status) == (text, "done")
        assert result.plan is not None
        remarks = " ".join(result.plan.remarks)
        assert (remark in remarks) if remark else not remarks


async def test_promises_beyond_the_limit_are_dropped() -> None:
    result = await flowdecode.run("Tea?", backend=Scripted(pasta()), strategy=Pasta(chunks=1))
    assert result.text == f"Two drinks. {CHUNKS[0]} And then \nSo drink tea."
    assert result.plan is not None
    assert result.plan.remarks == (f"Dropped a promise, as 1 chunks came before it: {COFFEE}.",)


async def test_a_chunk_has_a_limit_and_its_promise_is_none() -> None:
    long = ("tea " * 50, CHUNKS[1])
    result = await flowdecode.run("Tea?", backend=Scripted(pasta(chunks=long)), strategy="pasta")
    assert (result.status, result.nodes[1].usage.completion_tokens) == ("done", 51)
    result = await flowdecode.run(
        "Tea?", backend=Scripted(pasta(chunks=long)), strategy=Pasta(chunk_tokens=9)
    )
    assert (result.status, result.nodes[1].status) == ("truncated", "truncated")
    assert result.nodes[1].usage.completion_tokens == 9
    assert result.text.endswith("So drink tea.")


async def test_a_chunk_ends_at_any_spelling_of_its_end() -> None:
    engine = Scripted(pasta(chunks=("Tea is mild.</async > And more" + " and more" * 40, CHUNKS[1])))
    result = await flowdecode.run("Tea?", backend=engine, strategy="pasta")
    assert (result.text, result.status) == (PLAIN, "done")
    assert result.nodes[1].usage.completion_tokens < 12
    assert not any("more" in message["content"] for message in engine.requests[-1].context.messages())


@pytest.mark.parametrize("limit", ["max_tokens", "token_budget"])
@pytest.mark.parametrize("tokens", [1, 10, 20, 30, 45, 50, 51, 60])
async def test_the_tokens_of_an_answer_have_a_limit(limit: Any, tokens: int) -> None:
    whole = await flowdecode.run("Tea?", backend=Scripted(pasta()), strategy="pasta")
    settings: dict[str, Any] = {limit: tokens}
    engine = Scripted(pasta())
    async with no_leaks(engine):
        result = await flowdecode.run("Tea?", backend=engine, strategy="pasta", **settings)
    slack = 4 if limit == "token_budget" else 0  # deltas that were under way when it was spent
    assert result.usage.completion_tokens <= tokens + slack
    if tokens >= whole.work:
        assert (result.text, result.status) == (PLAIN, "done")
    else:
        assert result.status in ("truncated", "partial")


@pytest.mark.parametrize("width", [1, 2])
async def test_a_narrow_run_comes_to_its_end(width: int) -> None:
    engine = Scripted(pasta())
    result = await flowdecode.run("Tea?", backend=engine, strategy="pasta", width=width)
    assert (result.text, result.status) == (PLAIN, "done")


@pytest.mark.parametrize("tokens", [0, 1, 4])
async def test_a_chunk_whose_connection_is_lost_goes_on_behind_what_it_has(tokens: int) -> None:
    lost: list[bool] = []

    def reply(request: Any) -> Reply:
        found = pasta()(request)
        if "Coffee is" in found.text and not lost and found.text.endswith("</async>"):
            lost.append(True)
            return Reply(found.text, pace=0.0, fault=Fault(tokens, "drop", retry_after=0.0))
        return found

    result = await flowdecode.run("Tea?", backend=Scripted(reply), strategy="pasta")
    assert (result.text, result.status, result.nodes[2].attempts) == (PLAIN, "done", 2)


@pytest.mark.parametrize("tokens", [0, 1, 9, 20, 35])
async def test_a_main_thread_whose_connection_is_lost_goes_on_behind_what_it_has(tokens: int) -> None:
    lost: list[bool] = []

    def reply(request: Any) -> Reply:
        if not lost:
            lost.append(True)
            return Reply(MAIN[0], pace=0.0, fault=Fault(tokens, "drop", retry_after=0.0))
        said = request.context.messages()[-1]["content"]
        if request.context.block.role == "assistant" and MAIN[0].startswith(said):
            return Reply(MAIN[0], pace=0.0)
        return pasta()(request)

    engine = Scripted(reply)
    result = await flowdecode.run("Tea?", backend=engine, strategy="pasta")
    assert (result.text, result.status, result.nodes[0].attempts) == (PLAIN, "done", 2)
    assert result.nodes[3].usage.cached_tokens == result.nodes[3].expected_cached_tokens


FAILING = Reply(CHUNKS[1], pace=0.0, fault=Fault(2, "rejected"))


async def test_a_chunk_that_fails_lets_the_plain_answer_go_on() -> None:
    """What was emitted stays, and a model with tags in its vocabulary writes none in a plain answer."""
    tags = {"<async>": 5, "</async>": 6, "<sync/>": 7}
    replies = pasta(chunks=(CHUNKS[0], FAILING), rest="... and so on.")
    engine = Scripted(replies, profile=ModelProfile(tags=tags))
    async with no_leaks(engine):
        result = await flowdecode.run("Tea?", backend=engine, strategy="pasta")
    assert result.text.endswith("... and so on.")
    emitted = result.text.removesuffix("... and so on.")
    assert PLAIN.startswith(emitted)
    assert emitted
    assert "Node '3' failed" in str(result.fallback_reason)
    assert result.status == "done"
    assert engine.requests[-1].sampling.logit_bias == {5: -100.0, 6: -100.0, 7: -100.0}
    assert not engine.requests[0].sampling.logit_bias


async def test_a_chunk_that_fails_leaves_a_hole_or_is_raised() -> None:
    replies = pasta(chunks=(CHUNKS[0], FAILING))
    result = await flowdecode.run("Tea?", backend=Scripted(replies), strategy="pasta", on_error="partial")
    assert result.status == "partial"
    assert result.text.startswith("Two drinks. Tea is mild. And then Coffee is[Missing: coffee]\n")
    assert [record.status for record in result.nodes] == ["done", "done", "failed", "skipped"]
    engine = Scripted(replies)
    async with no_leaks(engine):
        with pytest.raises(NodeError, match="Node '3' failed") as caught:
            await flowdecode.run("Tea?", backend=engine, strategy="pasta", on_error="raise")
    assert caught.value.partial is not None
    assert PLAIN.startswith(caught.value.partial.text)


async def test_a_main_thread_that_fails_keeps_its_chunks_in_a_partial_answer() -> None:
    main = Reply(MAIN[0], pace=0.0, fault=Fault(34, "rejected"))
    result = await flowdecode.run(
        "Tea?", backend=Scripted(pasta((main,))), strategy="pasta", on_error="partial"
    )
    assert result.status == "partial"
    assert result.text.startswith(f"Two drinks. {CHUNKS[0]} And then {CHUNKS[1]}")
    assert result.text.endswith("[Missing: Main thread]")


async def test_an_engine_that_can_t_continue_a_text_answers_plainly() -> None:
    engine = Scripted([Reply("Plain.")], capabilities=Capabilities(token_ids=True))
    result = await flowdecode.run("Tea?", backend=engine, strategy="pasta")
    assert (result.text, result.strategy) == ("Plain.", "sequential")
    assert "assistant_prefill" in str(result.fallback_reason)


async def test_leaving_at_any_step_ends_every_request() -> None:
    async with flowdecode.connect(Scripted(pasta())) as flow, flow.stream("Tea?", strategy="pasta") as run:
        steps = len([event async for event in run])
    assert steps > 80
    for step in range(steps):
        engine = Scripted(pasta())
        async with no_leaks(engine):
            async with flowdecode.connect(engine) as flow, flow.stream("Tea?", strategy="pasta") as run:
                seen = 0
                async for _ in run:
                    seen += 1
                    if seen > step:
                        break
            result = await run.result()
        assert PLAIN.startswith(result.text)
        assert result.status in ("cancelled", "done")
        assert engine.running == 0


@pytest.mark.parametrize("where", ["main", "chunk", "end"])
def test_a_run_that_hangs_is_over_in_time(where: str) -> None:
    def hang(text: str) -> Reply:
        return Reply(text, pace=0.0, fault=Fault(2, "hang"))

    main = (hang(MAIN[0]) if where == "main" else MAIN[0], hang(MAIN[1]) if where == "end" else MAIN[1])
    chunks = (CHUNKS[0], hang(CHUNKS[1]) if where == "chunk" else CHUNKS[1])

    async def decode() -> None:
        engine = Scripted(pasta(main, chunks))
        async with no_leaks(engine):
            with pytest.raises(RunTimeout) as caught:
                await flowdecode.run("Tea?", backend=engine, strategy="pasta", timeout=5)
        assert caught.value.partial is not None
        assert caught.value.partial.status == "timeout"
        assert PLAIN.startswith(caught.value.partial.text)

    simulate(decode())


async def test_auto_takes_what_the_model_was_trained_for() -> None:
    for trained in (("pasta",), ("pasta", "plato")):
        engine = Scripted(pasta(), profile=ModelProfile(strategies=trained))
        result = await flowdecode.run("Tea?", backend=engine)
        assert (result.text, result.strategy, len(engine.requests)) == (PLAIN, "pasta", 4)


async def test_many_runs_over_few_places() -> None:
    engine = Scripted(pasta())
    async with flowdecode.connect(engine, concurrency=2) as flow:
        results = await asyncio.gather(*(flow.run("Tea?", strategy="pasta") for _ in range(10)))
    assert {result.text for result in results} == {PLAIN}


async def test_a_chunk_near_the_end_of_the_model_s_context_is_still_sent() -> None:
    for context_length in (120, 200, 3_000):
        engine = Scripted(pasta(), context_length=context_length)
        result = await flowdecode.run("Tea?", backend=engine, strategy="pasta")
        assert (result.text, result.fallback_reason) == (PLAIN, None)
        limits = [request.sampling.max_tokens for request in engine.requests[1:3]]
        assert limits == ([1024, 1024] if context_length == 3_000 else [None, None])
