"""The scripted backend and the toy tokenizer below it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdecode.backend import Backend, Capabilities, Request
from flowdecode.context import Block, Context, Role
from flowdecode.errors import (
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    ContextTooLong,
    RateLimited,
    RequestRejected,
)
from flowdecode.plugins import BackendURL, open_backend
from flowdecode.sampling import SamplingParams
from flowdecode_backends import words
from flowdecode_backends.replies import asked
from flowdecode_backends.scripted import Fault, FaultKind, Reply, Scripted, open_scripted

texts = st.text(st.characters(codec=None), max_size=40)
blocks = st.builds(
    Block,
    st.sampled_from(get_args(Role)),
    texts,
    st.none() | st.lists(st.integers(8, 99), max_size=3).map(tuple),
)


def user(*texts: str) -> Context:
    return Context.of([Block("user", text) for text in texts])


def request(context: Context | str, *, id: str = "r", **sampling: Any) -> Request:
    context = user(context) if isinstance(context, str) else context
    return Request(id=id, run_id="run", context=context, sampling=SamplingParams(**sampling))


async def read(backend: Backend, request: Request, seen: list[str] | None = None) -> tuple[str, str | None]:
    """The whole answer; `seen` gets its pieces also where it fails."""
    seen = [] if seen is None else seen
    async with backend.decode(request) as decoding:
        async for delta in decoding:
            seen.append(delta.text)
    return "".join(seen), decoding.finish_reason


# Words


@given(texts)
def test_pieces_give_the_text_again(text: str) -> None:
    assert "".join(words.split(text)) == text
    assert "" not in words.split(text)


@given(texts, st.integers(0, 40))
def test_a_cut_text_keeps_its_whole_tokens(text: str, end: int) -> None:
    whole, cut = words.split(text), words.split(text[:end])
    assert len(cut) <= len(whole) + 1
    assert cut[:-2] == whole[: len(cut)][:-2]


@given(st.lists(blocks, min_size=1, max_size=4), st.lists(blocks, max_size=3))
def test_tokens_of_a_context_are_a_prefix_of_every_extension(first: list[Block], more: list[Block]) -> None:
    context = Context.of(first)
    extended = context.extend(*more)
    header = int(context.block.role != "assistant")
    tokens = words.render(context)
    assert words.render(extended)[: len(tokens) - header] == tokens[: len(tokens) - header]
    assert words.count(extended) == len(words.render(extended)) - int(extended.block.role != "assistant")


def test_a_decoded_answer_is_a_prefix_of_the_next_turn() -> None:
    context = user("Tea?")
    answer = Block("assistant", "A drink.", tokens=(70, 71))
    assert words.render(context.extend(answer)) == (*words.render(context), 70, 71)
    assert words.render(context.extend(answer, Block("user", "And?")))[: words.count(context) + 3] == (
        *words.render(context),
        70,
        71,
    )


def test_an_extension_costs_its_new_block(monkeypatch: pytest.MonkeyPatch) -> None:
    context = user("one two", " three")
    words.count(context)
    seen: list[str] = []

    def tokenize(text: str) -> tuple[int, ...]:
        seen.append(text)
        return (8,)

    monkeypatch.setattr(words, "tokenize", tokenize)
    words.count(context.extend(Block("user", " four"), Block("assistant", "five", tokens=(9,))))
    words.render(context)
    assert seen == [" four"]


def test_neighbouring_blocks_of_one_role_are_one_turn() -> None:
    assert words.count(user("one", " two")) == words.count(user("one two"))
    assert words.render(user("one", "two"))[1:3] == (words.token_id("one"), words.token_id("two"))


def test_ids_are_the_same_in_every_process() -> None:
    code = "from flowdecode_backends.words import tokenize; print(*tokenize('One, two é'))"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert output.stdout.split() == list(map(str, words.tokenize("One, two é")))


# Replies


@pytest.mark.anyio
async def test_streams_a_token_at_a_time_with_its_id() -> None:
    backend = Scripted([Reply("Tea is a drink.")])
    async with backend.decode(request("Tea?")) as decoding:
        assert (backend.running, decoding.finish_reason) == (1, None)
        deltas = [delta async for delta in decoding]
    assert [delta.text for delta in deltas] == ["Tea", " is", " a", " drink", "."]
    assert [delta.tokens for delta in deltas] == [(token,) for token in words.tokenize("Tea is a drink.")]
    assert decoding.finish_reason == "stop"
    assert decoding.usage.prompt_tokens == backend.count_tokens(user("Tea?")) + 1 == 4
    assert decoding.usage.completion_tokens == 5
    assert (backend.running, backend.aborted) == (0, [])


@pytest.mark.anyio
async def test_the_first_usable_reply_answers() -> None:
    backend = Scripted(
        [
            Reply("once", times=1),
            Reply("tea", match="Tea"),
            Reply("green tea", match="Green Tea"),
            Reply("rest"),
        ]
    )
    asked = ["Tea", "Green Tea", "Coffee", "Tea"]
    assert [(await read(backend, request(text)))[0] for text in asked] == ["once", "tea", "rest", "tea"]
    assert [each.context.block.text for each in backend.requests] == asked


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ([("system", "s"), ("user", "a"), ("user", "b")], "ab"),
        ([("user", "a"), ("assistant", "b"), ("user", "c")], "c"),
        ([("user", "a"), ("user", "b"), ("assistant", "c"), ("assistant", "d")], "ab"),
        ([("system", "s")], "s"),
        ([("assistant", "c")], ""),
    ],
)
def test_what_is_asked(blocks: list[tuple[Role, str]], expected: str) -> None:
    assert asked(Context.of([Block(role, text) for role, text in blocks])) == expected


@pytest.mark.anyio
async def test_a_function_may_pick_the_reply() -> None:
    backend = Scripted(lambda request: request.context.block.text.upper())
    assert await read(backend, request("tea")) == ("TEA", "stop")
    backend = Scripted(lambda request: Reply(request.id, finish_reason="length"))
    assert await read(backend, request("tea", id="a")) == ("a", "length")


@pytest.mark.anyio
async def test_no_reply_says_what_would_have_matched() -> None:
    backend = Scripted([Reply("x", match="Tea"), Reply("y", times=0)])
    with pytest.raises(RequestRejected, match=r"'Tea', anything \(used up\).*got 'Coffee\?'.*'r'"):
        await read(backend, request("Coffee?"))
    with pytest.raises(RequestRejected, match="it is empty"):
        await read(Scripted([]), request("Coffee?"))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("max_tokens", "expected"),
    [(1, ("one", "length")), (2, ("one two", "length")), (3, ("one two three", "stop"))],
)
async def test_max_tokens(max_tokens: int, expected: tuple[str, str]) -> None:
    backend = Scripted([Reply("one two three")])
    assert await read(backend, request("Count", max_tokens=max_tokens)) == expected


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        (("three",), "one two "),
        ((" three",), "one two"),
        (("wo th",), "one t"),
        (("four", " two", " three"), "one"),
        (("one",), ""),
        (("five",), "one two three"),
    ],
)
async def test_stop_strings(stop: tuple[str, ...], expected: str) -> None:
    backend = Scripted([Reply("one two three", finish_reason="length")])
    reason = "length" if stop == ("five",) else "stop"
    assert await read(backend, request("Count", stop=stop)) == (expected, reason)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("ends", "expected"),
    [((" three",), "one two"), ((" three", " two"), "one"), (("one",), ""), (("five",), "one two three")],
)
async def test_stop_token_ids(ends: tuple[str, ...], expected: str) -> None:
    backend = Scripted([Reply("one two three", finish_reason="length")])
    ids = tuple(map(words.token_id, ends))
    reason = "length" if ends == ("five",) else "stop"
    assert await read(backend, request("Count", stop_token_ids=ids)) == (expected, reason)


@pytest.mark.anyio
@pytest.mark.parametrize("cut", [0, 1, 2, 3])
async def test_continues_behind_what_was_said(cut: int) -> None:
    backend = Scripted(
        [Reply("one two three", match="Count", fault=Fault(cut), times=1), Reply("one two three")]
    )
    seen: list[str] = []
    with pytest.raises(BackendUnavailable):
        await read(backend, request("Count"), seen)
    so_far = Block("assistant", "".join(seen))
    assert await read(backend, request(user("Count").extend(so_far)), seen) == ("one two three", "stop")


@pytest.mark.anyio
async def test_an_answer_is_not_continued_where_the_engine_cannot() -> None:
    backend = Scripted([Reply("x")], capabilities=Capabilities())
    with pytest.raises(RequestRejected, match="assistant_prefill"):
        await read(backend, request(user("Count").extend(Block("assistant", "one"))))
    async with backend.decode(request("Count")) as decoding:
        assert [delta.tokens async for delta in decoding] == [()]
    async with backend.decode(request("Count")) as decoding:
        assert decoding.usage.cached_tokens == 0


@pytest.mark.anyio
async def test_cached_tokens() -> None:
    backend = Scripted([Reply("one two three")])
    context = user("Please count")
    async with backend.decode(request(context)) as decoding:
        assert decoding.usage.cached_tokens == 0
        tokens = tuple([token async for delta in decoding for token in delta.tokens])
    child = context.extend(Block("assistant", "one two three", tokens), Block("user", "more"))
    async with backend.decode(request(child)) as decoding:
        assert decoding.usage.cached_tokens == backend.count_tokens(context) + 4
    async with backend.decode(request(context)) as decoding:
        assert decoding.usage.cached_tokens == backend.count_tokens(context)


# Bad input


@pytest.mark.anyio
async def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(RequestRejected, match="at least one token"):
        await read(Scripted([Reply("x")]), request(user("", "")))


@pytest.mark.anyio
async def test_a_prompt_that_does_not_fit_is_refused() -> None:
    backend = Scripted([Reply("one two three")], context_length=6)
    with pytest.raises(ContextTooLong, match=r"at most 6 tokens, got 7 in the prompt and one token"):
        await read(backend, request("a b c d"))
    with pytest.raises(ContextTooLong, match=r"got 8 in the prompt and `max_tokens`"):
        await read(backend, request("a", max_tokens=5))
    assert await read(backend, request("a b")) == ("one two", "length")
    assert (backend.running, backend.aborted) == (0, [])


# Time, faults, leaving


@pytest.mark.anyio
async def test_without_a_pace_nothing_is_awaited() -> None:
    async with Scripted([Reply("one two")]).decode(request("Count")) as decoding:
        steps = anext(aiter(decoding)).__await__()
        with pytest.raises(StopIteration):
            next(steps)


@pytest.mark.anyio
async def test_a_pace_of_zero_lets_others_run() -> None:
    seen: list[str] = []
    backend = Scripted([Reply("a b c", pace=0)])

    async def consume(id: str) -> None:
        async with backend.decode(request("x", id=id)) as decoding:
            async for _ in decoding:
                seen.append(id)

    await asyncio.gather(consume("one"), consume("two"))
    assert seen == ["one", "two"] * 3


ERRORS: dict[FaultKind, type[BackendError]] = {
    "unavailable": BackendUnavailable,
    "rate_limited": RateLimited,
    "rejected": RequestRejected,
    "context_too_long": ContextTooLong,
    "drop": BackendUnavailable,
}


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("after", [0, 2])
async def test_faults(kind: FaultKind, after: int) -> None:
    backend = Scripted([Reply("one two three", fault=Fault(after, kind, retry_after=3.0))])
    seen: list[str] = []
    with pytest.raises(ERRORS[kind], match=f"after {after} tokens|at most {after} tokens") as caught:
        await read(backend, request("Count"), seen)
    assert len(seen) == after
    assert caught.value.retry_after == 3.0
    assert (backend.running, backend.aborted) == (0, [])


@pytest.mark.anyio
@pytest.mark.parametrize(("kind", "opens"), [("unavailable", False), ("drop", True)])
async def test_a_refusal_comes_before_the_stream(kind: FaultKind, opens: bool) -> None:
    backend = Scripted([Reply("one", fault=Fault(0, kind))])
    events: list[str] = []

    async def consume() -> None:
        async with backend.decode(request("Count")) as decoding:
            events.append("open")
            await anext(aiter(decoding))

    with pytest.raises(BackendUnavailable):
        await consume()
    assert events == ["open"] * opens


@pytest.mark.anyio
async def test_a_reply_that_ends_before_its_fault_ends_well() -> None:
    assert await read(Scripted([Reply("one", fault=Fault(2))]), request("Count")) == ("one", "stop")


@pytest.mark.anyio
async def test_leaving_early_aborts() -> None:
    backend = Scripted([Reply("one two three")])
    async with backend.decode(request("Count", id="left")) as decoding:
        async for _ in decoding:
            break
    assert decoding.finish_reason == "abort"
    assert decoding.usage.completion_tokens == 1
    assert (backend.running, backend.aborted) == (0, ["left"])


@pytest.mark.anyio
async def test_a_hanging_stream_is_left_by_cancelling() -> None:
    backend = Scripted([Reply("one two", fault=Fault(1, "hang"))])
    first = asyncio.Event()

    async def consume() -> None:
        async with backend.decode(request("Count", id="hangs")) as decoding:
            async for _ in decoding:
                first.set()

    task = asyncio.create_task(consume())
    await first.wait()
    load = await backend.load()
    assert (load.running, load.waiting) == (1, 0)
    task.cancel()
    await asyncio.wait([task])
    assert (backend.running, backend.aborted) == (0, ["hangs"])


# scripted:FILE


def opened(path: object, **query: str) -> Scripted:
    return open_scripted(BackendURL("scripted", str(path), query), api_key=None, headers={})


@pytest.mark.anyio
async def test_a_script_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "replies.jsonl"
    file.write_text(
        "# a plan\n\n"
        '{"text": "1. Tea", "match": "plan", "fault": {"after_tokens": 1, "error": "drop"}, "times": 1}\n'
        '  // the rest\n{"text": "Tëa", "pace": 0}\n',
        encoding="utf-8",
    )
    async with open_backend(f"scripted:{file}") as backend:
        with pytest.raises(BackendUnavailable, match="connection was lost after 1 tokens"):
            await read(backend, request("plan"))
        assert await read(backend, request("plan")) == ("Tëa", "stop")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": 1}', r"replies.jsonl:2: Expected `str`, got `int` - at `\$.text`"),
        ('{"text": "x", "speed": 1}', r"replies.jsonl:2: Object contains unknown field `speed`"),
        ('{"text": "x", "delay": -1}', r"replies.jsonl:2: Expected `float` >= 0"),
        ("text", r"replies.jsonl:2: JSON is malformed"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "replies.jsonl"
    file.write_text(f"# replies\n{line}\n")
    with pytest.raises(ConfigurationError, match=message):
        opened(file)


def test_a_bad_url_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        opened(tmp_path / "none.jsonl")
    with pytest.raises(ConfigurationError, match=r"scripted:replies\.jsonl"):
        opened("")
    with pytest.raises(ConfigurationError, match="'speed'"):
        opened("replies.jsonl", speed="2")
