"""The strategy `pasta` on the local engine: its threads see what the layout says, token by token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import flowdecode
from flowdecode.context import Block, Context
from flowdecode.errors import NodeError, RunTimeout
from flowdecode.events import Event, NodeDelta
from flowdecode_graphs.pasta import Pasta
from flowdecode_graphs.pasta.document import Document
from flowdecode_graphs.pasta.layout import Form
from tests.graphs.pasta.forced import Forced, save_model
from tests.leaks import no_leaks
from tests.parts import check_consistent

torch: Any = pytest.importorskip("torch")
local: Any = pytest.importorskip("flowdecode_backends.local.backend")
job_module: Any = pytest.importorskip("flowdecode_backends.local.job")
engine_module: Any = pytest.importorskip("flowdecode_backends.local.engine")

pytestmark = pytest.mark.anyio

QUESTION = "What is tea, and what is coffee?"
TEA, COFFEE, WATER = (
    f'<promise topic="{topic}" tokens="{tokens}"/>'
    for topic, tokens in (("tea", 10), ("coffee", 40), ("water", 20))
)
ANSWER = (
    f"Two: {TEA}<async>Tea is an infusion of leaves, of green leaves.</async> and "
    f"{COFFEE}<async>Coffee is.</async>{WATER}<async>Water; water.</async>\n<sync/>"
    f"So tea. {TEA}<async>Briefly: tea.</async> Or cocoa?<sync/> Yes.{WATER}<async>And water.</async>"
)
PLAIN = Document.parse(ANSWER).text


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A model, and the backend that decodes with it."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("pasta")
    model = save_model(folder)
    return model, local.Local(local.Source(str(folder), device="cpu"), threads=1)


@pytest.fixture
async def force(
    saved: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Forced]]:
    """Makes the model say an answer."""
    backend = saved[1]

    def make(answer: str = ANSWER, form: Form = "shared") -> Forced:
        prompt = backend._tokens.render(Context.of([Block("user", QUESTION)]))
        forced = Forced(backend.shared, prompt, answer, form)
        monkeypatch.setattr(engine_module, "draw", forced.draw)
        return forced

    async with backend:
        yield make


@pytest.mark.parametrize("form", ["shared", "causal"])
async def test_every_token_s_logits_are_those_of_one_forward_pass(
    form: Form, saved: tuple[Any, Any], force: Callable[..., Forced]
) -> None:
    model, backend = saved
    forced = force(form=form)
    result = await flowdecode.run(QUESTION, backend=backend, strategy=Pasta(shared_kv=form == "shared"))
    assert (result.text, result.status, result.strategy) == (PLAIN, "done", "pasta")
    expected = dict(forced.expected(model, form))
    assert forced.logits.keys() == expected.keys()
    assert len(expected) > 150
    worst = max(float((forced.logits[key] - expected[key]).abs().max()) for key in expected)
    assert worst < 1e-4


async def test_the_two_forms_differ_where_they_should(
    saved: tuple[Any, Any], force: Callable[..., Forced]
) -> None:
    """The test above can fail: the forms agree up to the first promise and nowhere behind its chunk."""
    model, backend = saved
    forced = force()
    await flowdecode.run(QUESTION, backend=backend, strategy="pasta")
    other = dict(forced.expected(model, "causal"))
    alike = {key for key, logits in forced.logits.items() if float((logits - other[key]).abs().max()) < 1e-4}
    assert ("main", 0, 0) in alike
    assert ("chunk", 0, 3) in alike
    assert ("main", 0, len(forced.main) - 1) not in alike


async def test_records_events_and_the_plan_are_as_with_requests(
    saved: tuple[Any, Any], force: Callable[..., Forced]
) -> None:
    backend = saved[1]
    forced = force()
    async with flowdecode.connect(backend) as flow, flow.stream(QUESTION, strategy="pasta") as run:
        events: list[Event] = [event async for event in run]
        shared = await run.result()
    forced = force(form="causal")
    requests = await flowdecode.run(QUESTION, backend=backend, strategy=Pasta(shared_kv=False))
    check_consistent(shared, sorted(events, key=lambda event: event.at))
    assert shared.plan is not None
    assert requests.plan is not None
    assert shared.plan.remarks == requests.plan.remarks == ()
    for ours, theirs in zip(shared.nodes, requests.nodes, strict=True):
        assert (ours.id, ours.title, ours.parents, ours.offset) == (
            theirs.id,
            theirs.title,
            theirs.parents,
            theirs.offset,
        )
    tokens = [record.usage.completion_tokens for record in shared.nodes]
    chunks = [len(chunk) - 1 for chunk in forced.chunks]
    assert [tokens[1], tokens[2], tokens[3], tokens[5], tokens[7]] == chunks
    assert tokens[0] + tokens[4] + tokens[6] == len(forced.main)
    assert shared.work == sum(tokens) == len(forced.main) + sum(chunks)
    assert shared.span == requests.span
    encode = backend.shared.model.tokens.encode
    annotated = Document.parse(ANSWER).plan(lambda text: len(encode(text)))
    assert (shared.work, shared.span) == (annotated.work + 1, annotated.span), "with the end of the turn"
    ends = [record.offset + record.usage.completion_tokens for record in shared.nodes]
    second = max(ends[:4]) + tokens[4]
    assert shared.span == max(max(second, ends[5]) + tokens[6], ends[7])


async def test_nothing_is_computed_twice(saved: tuple[Any, Any], force: Callable[..., Forced]) -> None:
    """Behind the prompt, a step feeds each sampled token once, and each chunk's `<async>`."""
    backend = saved[1]
    forced, fed = force(), 0
    feed = engine_module.Step.feed

    def count(step: Any, thread: Any, tokens: int) -> Any:
        nonlocal fed
        fed += tokens
        return feed(step, thread, tokens)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_module.Step, "feed", count)
        result = await flowdecode.run(QUESTION, backend=backend, strategy="pasta")
    prompt = result.nodes[0].usage
    assert fed <= prompt.prompt_tokens - prompt.cached_tokens + result.work + len(forced.chunks)
    for record in result.nodes[1:]:
        assert record.usage.cached_tokens == record.usage.prompt_tokens > prompt.prompt_tokens
    whole = len(forced.prompt) + len(forced.main) + sum(len(chunk) - 1 for chunk in forced.chunks[:4])
    assert result.nodes[6].usage.prompt_tokens + result.nodes[6].usage.completion_tokens == whole


async def test_requests_find_in_the_cache_what_the_main_thread_has_said(
    saved: tuple[Any, Any], force: Callable[..., Forced]
) -> None:
    backend = saved[1]
    force(f"Now, {ANSWER}", form="causal")  # an answer that no other test has left in the cache
    result = await flowdecode.run(QUESTION, backend=backend, strategy=Pasta(shared_kv=False))
    first, *_, second, _, third, _ = result.nodes
    assert second.id == "5"
    for record, before in ((second, first), (third, second)):
        said = before.usage.prompt_tokens + before.usage.useful_tokens
        assert record.expected_cached_tokens == said
        assert said - 2 <= record.usage.cached_tokens <= said


async def test_a_chunk_decodes_beside_the_main_thread(
    saved: tuple[Any, Any], force: Callable[..., Forced]
) -> None:
    backend = saved[1]
    force()
    async with flowdecode.connect(backend) as flow, flow.stream(QUESTION, strategy="pasta") as run:
        events = [event async for event in run]
    deltas = [event.node_id for event in events if isinstance(event, NodeDelta)]
    assert "1" in deltas[deltas.index("2") :], "the main thread waits for nobody before its sync"
    assert deltas.index("5") > max(at for at, node in enumerate(deltas) if node in "1234")


@pytest.mark.parametrize(
    "answer", ["Tea is tea.", f"{TEA}<async></async><sync/>", f"{TEA}<async>Tea.</async>"]
)
async def test_small_answers(answer: str, saved: tuple[Any, Any], force: Callable[..., Forced]) -> None:
    force(answer)
    result = await flowdecode.run(QUESTION, backend=saved[1])
    assert (result.text, result.status, result.strategy) == (Document.parse(answer).text, "done", "pasta")


@pytest.mark.parametrize("limit", ["max_tokens", "token_budget"])
async def test_the_tokens_of_an_answer_have_a_limit(
    limit: str, saved: tuple[Any, Any], force: Callable[..., Forced]
) -> None:
    backend = saved[1]
    fork = force().first_fork
    whole = (await flowdecode.run(QUESTION, backend=backend, strategy="pasta")).work
    for tokens in (1, fork - 1, fork, fork + 1, fork + 2, 80, whole - 1, whole):
        forced = force()
        settings: dict[str, Any] = {limit: tokens}
        async with no_leaks():
            result = await flowdecode.run(QUESTION, backend=backend, strategy="pasta", **settings)
        assert result.usage.completion_tokens <= tokens
        assert result.usage.completion_tokens >= tokens - len(forced.chunks)
        whole_text = (result.text, result.status) == (PLAIN, "done")
        assert whole_text if tokens == whole else result.status in ("truncated", "partial")


async def test_a_chunk_has_a_limit(saved: tuple[Any, Any], force: Callable[..., Forced]) -> None:
    force(f"{TEA}<async>Tea is an infusion of leaves.</async> Yes.")
    result = await flowdecode.run(QUESTION, backend=saved[1], strategy=Pasta(chunk_tokens=3))
    assert (result.status, result.nodes[1].status) == ("truncated", "truncated")
    assert result.nodes[1].usage.completion_tokens == 3
    assert result.text.endswith(" Yes.")


@pytest.mark.parametrize(
    ("main", "chunk", "text", "remark"),
    [
        ('A <promise topic="tea"/> b<sync/>c', "T.</async>", "A T. bc", 'Expected tokens="..."'),
        ("A <promise/> b<sync/>c", "T.</async>", "A T. bc", 'Expected topic="..."'),
        (f"A<sync/>{TEA} b<sync/>c", "T.</async>", "AT. bc", "Dropped a sync: nothing is outstanding"),
        (f"A{TEA} b</async> b<sync/>c", "T.</async>", "AT. b bc", "Dropped </async> of the main thread"),
        (f"A{TEA} b<sync />c", "T.</async>", "AT. bc", "Expected <sync/>, got"),
        (f"A{TEA} b</sync>c", "T.</async>", "AT. bc", "got '</sync>'"),
        (f"A{TEA} b<sync/>c", f"T{COFFEE}.</async>", "AT. bc", f"Dropped {COFFEE} of a chunk"),
        (f"A{TEA} b<sync/>c", "T<sync/>.</async>", "AT. bc", "Dropped <sync/> of a chunk"),
        (f"A{TEA} b<sync/>c", "T.", "AT. bc", None),
        (f"A{TEA}<sync/>", "T.", "AT.", None),
        ("A <promise topic=\nb", "", "A <promise topic=\nb", "Expected a tag that ends on its line"),
        ("A <promise topic=", "", "A ", "Expected the end of the tag"),
    ],
)
async def test_broken_tags_still_give_an_answer_and_a_reason(
    main: str,
    chunk: str,
    text: str,
    remark: str | None,
    saved: tuple[Any, Any],
    force: Callable[..., Forced],
) -> None:
    forced = force()
    forced.say(main, [chunk])
    result = await flowdecode.run(QUESTION, backend=saved[1], strategy="pasta")
    assert (result.text, result.status, result.fallback_reason) == (text, "done", None)
    assert result.plan is not None
    remarks = " ".join(result.plan.remarks)
    assert (remark in remarks) if remark else not remarks


async def test_promises_beyond_the_limit_are_dropped(
    saved: tuple[Any, Any], force: Callable[..., Forced]
) -> None:
    force(f"A {TEA}<async>Tea.</async> or {COFFEE}<async>Coffee.</async>.")
    result = await flowdecode.run(QUESTION, backend=saved[1], strategy=Pasta(chunks=1))
    assert (result.text, result.status) == ("A Tea. or .", "done")
    assert result.plan is not None
    assert result.plan.remarks == (f"Dropped a promise, as 1 chunks came before it: {COFFEE}.",)


async def test_a_run_with_a_width_decodes_by_requests(
    saved: tuple[Any, Any], force: Callable[..., Forced]
) -> None:
    force(form="causal")
    result = await flowdecode.run(QUESTION, backend=saved[1], strategy="pasta", width=2)
    assert (result.text, result.status) == (PLAIN, "done")
    assert result.nodes[4].usage.cached_tokens < result.nodes[4].usage.prompt_tokens


async def test_one_place_is_enough(saved: tuple[Any, Any], force: Callable[..., Forced]) -> None:
    force()
    async with flowdecode.connect(saved[1], concurrency=1) as flow:
        result = await flow.run(QUESTION, strategy="pasta")
    assert (result.text, result.status) == (PLAIN, "done")


async def test_leaving_at_any_step_ends_every_strand(
    saved: tuple[Any, Any], force: Callable[..., Forced]
) -> None:
    backend, answer = saved[1], f"{TEA}<async>Tea.</async> Or {WATER}<async>Water.</async>\n<sync/>So tea."
    plain = Document.parse(answer).text
    step, status, threads = 0, "", backend.shared.pool.free_threads
    while status != "done":
        force(answer)
        async with no_leaks(backend), flowdecode.connect(backend) as flow:
            async with flow.stream(QUESTION, strategy="pasta") as run:
                seen = 0
                async for _ in run:
                    seen += 1
                    if seen > step:
                        break
            result = await run.result()
        assert plain.startswith(result.text)
        pool = backend.shared.pool
        assert pool.free_threads == threads
        assert pool.free + backend.shared._prefixes.tree.tokens == pool.slots
        step, status = step + 5, result.status
    assert step > 50


async def test_a_run_out_of_time_ends_every_strand(
    saved: tuple[Any, Any], force: Callable[..., Forced]
) -> None:
    backend = saved[1]
    force(f"{TEA}<async>{'Tea is tea. ' * 60}</async><sync/>")
    async with no_leaks(backend), flowdecode.connect(backend) as flow:
        with pytest.raises(RunTimeout) as caught:
            await flow.run(QUESTION, strategy="pasta", timeout=0.2)
    assert caught.value.partial is not None
    assert caught.value.partial.status == "timeout"


@pytest.mark.parametrize("on_error", ["fallback", "partial", "raise"])
async def test_an_engine_that_fails_is_dealt_with_as_the_run_says(
    on_error: Any, saved: tuple[Any, Any], force: Callable[..., Forced], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = saved[1]
    force()
    skip = job_module.Strand.skip

    def fail(strand: Any, positions: int) -> None:
        skip(strand, positions if positions == 10 else -1)

    monkeypatch.setattr(job_module.Strand, "skip", fail)
    async with no_leaks():
        run = flowdecode.run(QUESTION, backend=backend, strategy="pasta", on_error=on_error)
        if on_error == "raise":
            with pytest.raises(NodeError, match="failed: The steering of a strand failed"):
                await run
            return
        result = await run
    assert result.text.startswith("Two: Tea")
    if on_error == "partial":
        assert (result.status, result.nodes[0].status) == ("partial", "failed")
        assert result.text.endswith(" and [Missing: Main thread]")
    else:
        assert "steering" in str(result.fallback_reason)
        assert result.status == "done"


async def test_many_answers_share_the_engine(saved: tuple[Any, Any], force: Callable[..., Forced]) -> None:
    forced = force()
    forced.repeats = True
    async with flowdecode.connect(saved[1]) as flow:
        results = await asyncio.gather(*(flow.run(QUESTION, strategy="pasta") for _ in range(4)))
    assert {result.text for result in results} == {PLAIN}
