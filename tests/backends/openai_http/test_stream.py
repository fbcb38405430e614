"""A chat completion as deltas, from a server that says exactly what the test wants."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anyio
import pytest
from aiohttp import web

from flowdecode.backend import Backend, Request
from flowdecode.context import Block, Context
from flowdecode.errors import (
    BackendError,
    BackendUnavailable,
    ContextTooLong,
    RateLimited,
    RequestRejected,
)
from flowdecode.plugins import open_backend
from flowdecode.sampling import SamplingParams
from flowdecode.usage import Usage
from tests.backends.openai_http.server import Answer, ChatServer, chunk, events, fails, says
from tests.leaks import no_leaks

pytestmark = pytest.mark.anyio


def user(*texts: str) -> Context:
    return Context.of([Block("user", text) for text in texts])


def request(
    context: Context | str = "Tea?", *, headers: dict[str, str] | None = None, **sampling: Any
) -> Request:
    context = user(context) if isinstance(context, str) else context
    return Request(
        id="r", run_id="run", context=context, sampling=SamplingParams(**sampling), headers=headers or {}
    )


async def read(backend: Backend, asked: Request) -> tuple[list[str], str | None, Usage]:
    async with backend.decode(asked) as decoding:
        texts = [delta.text async for delta in decoding]
    return texts, decoding.finish_reason, decoding.usage


async def answered(answer: Answer, query: str = "", **sampling: Any) -> tuple[list[str], str | None, Usage]:
    """What comes of one answer; nothing may be left open behind it."""
    async with ChatServer(answer) as server, no_leaks(), open_backend(server.url(query)) as backend:
        return await read(backend, request(**sampling))


async def test_streams_text_and_ends_with_the_engine_s_counts() -> None:
    texts, reason, counts = await answered(says("Tea", " is", " good.", prompt=9, cached=4))
    assert (texts, reason) == (["Tea", " is", " good."], "stop")
    assert counts == Usage(prompt_tokens=9, cached_tokens=4, completion_tokens=3)


async def test_text_comes_as_it_is_whatever_the_network_cuts() -> None:
    """Line separators of Unicode are text, characters may be cut anywhere, CRLF ends a line too."""
    text = "é\u2028日本\x85\u000b🍵"
    stream = b"".join(
        f"data: {data}\r\n\r\n".encode() for data in (chunk(text), chunk(None, "stop"), "[DONE]")
    )
    assert len(stream) > 100

    async def drip(web_request: Any) -> Any:
        return await events(*(stream[i : i + 1] for i in range(len(stream))))(web_request)

    assert (await answered(drip))[:2] == ([text], "stop")


async def test_comments_names_and_empty_chunks_are_no_text() -> None:
    answer = events(
        b": ping\n\nevent: message\nid: 1\nretry: 3\n\n",
        '{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}',
        '{"choices":[{"index":0,"delta":{"content":"a","tool_calls":null}}],"usage":null,"x":{}}',
        '{"choices":null}',
        '{"choices":[{"index":0,"delta":null,"finish_reason":"stop"}]}',
        "[DONE]",
    )
    assert (await answered(answer))[:2] == (["a"], "stop")


async def test_a_thought_is_counted_and_is_no_answer() -> None:
    thought = '{"choices":[{"delta":{"reasoning_content":"hm"}}]}'
    newer = '{"choices":[{"delta":{"reasoning":"hm"}}]}'
    texts, _, counts = await answered(events(thought, newer, chunk("4"), chunk(None, "stop"), "[DONE]"))
    assert (texts, counts.completion_tokens) == (["4"], 3)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("abort", "abort"),
        ("tool_calls", "stop"),
        ("eos_token", "stop"),
    ],
)
async def test_finish_reasons(given: str, expected: str) -> None:
    assert (await answered(events(chunk("a"), chunk(None, given), "[DONE]")))[1] == expected


async def test_without_usage_pieces_are_counted() -> None:
    _, _, counts = await answered(events(chunk("a"), chunk("b"), chunk(None, "stop"), "[DONE]"))
    assert counts == Usage(completion_tokens=2)


async def test_counts_that_come_on_the_way_are_known_on_the_way() -> None:
    def counted(text: str, tokens: int) -> str:
        return chunk(text, usage={"prompt_tokens": 5, "completion_tokens": tokens})

    async with (
        ChatServer(events(counted("ab", 2), counted("cde", 5), hold=True)) as server,
        open_backend(server.url()) as backend,
        backend.decode(request()) as decoding,
    ):
        deltas = aiter(decoding)
        assert (await anext(deltas)).text == "ab"
        assert decoding.usage == Usage(prompt_tokens=5, completion_tokens=2)
        assert (await anext(deltas)).text == "cde"
        assert decoding.usage == Usage(prompt_tokens=5, completion_tokens=5)


async def test_cached_tokens_are_claimed_once_they_were_told() -> None:
    async with (
        ChatServer(says("a"), says("b", cached=3), says("c")) as server,
        open_backend(server.url()) as backend,
    ):
        seen: list[tuple[bool, int]] = []
        for _ in range(3):
            counts = (await read(backend, request()))[2]
            seen.append((backend.engine.capabilities.cached_tokens, counts.cached_tokens))
    assert seen == [(False, 0), (True, 3), (True, 0)]


async def test_a_stream_may_end_without_done_once_there_is_a_reason() -> None:
    assert (await answered(events(chunk("a"), chunk(None, "stop"))))[:2] == (["a"], "stop")


# Stop strings


@pytest.mark.parametrize("pieces", [("one\n\ntwo",), ("one\n", "\ntwo"), ("o", "ne", "\n", "\n")])
async def test_stop_strings_are_cut_across_pieces(pieces: tuple[str, ...]) -> None:
    texts, reason, counts = await answered(says(*pieces), stop=("\n\n",))
    assert ("".join(texts), reason) == ("one", "stop")
    assert counts.completion_tokens == len(pieces)


async def test_an_engine_that_does_not_stop_is_left() -> None:
    answer = events(chunk("one."), chunk(" two"), chunk(" three"), hold=True)
    async with (
        ChatServer(answer) as server,
        open_backend(server.url()) as backend,
    ):
        texts, reason, _ = await read(backend, request(stop=(".",)))
        await server.left.wait()
    assert (texts, reason) == (["one"], "stop")


async def test_what_only_looked_like_a_stop_string_is_text() -> None:
    assert (await answered(says("one\n"), stop=("\n\n",)))[:2] == (["one\n"], "stop")
    assert (await answered(says("one\n", "\t."), stop=("\n\n",)))[:2] == (["one\n\t."], "stop")


# Faults


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (fails(400, {"error": {"message": "no such field"}}), RequestRejected, "HTTP 400: no such field"),
        (fails(400, {"object": "error", "message": "bad"}), RequestRejected, "HTTP 400: bad"),
        (fails(422, {"detail": [{"msg": "wrong"}]}), RequestRejected, "HTTP 422: .*wrong"),
        (fails(401, {"error": {"message": "who?"}}), RequestRejected, "who.*Pass the right `api_key`"),
        (fails(404, "nothing here"), RequestRejected, "nothing here.*path in the URL"),
        (fails(307, "", location="http://elsewhere/"), RequestRejected, "http://elsewhere/"),
        (fails(503, {"error": {"message": "no_available_workers"}}), BackendUnavailable, "no_available"),
        (fails(500, "<html>oops</html>"), BackendUnavailable, "HTTP 500: <html>oops"),
        (fails(500, ""), BackendUnavailable, "HTTP 500"),
        (fails(408, ""), BackendUnavailable, "HTTP 408"),
        (fails(429, {"error": {"message": "slow down"}}), RateLimited, "too many requests: slow down"),
        (
            fails(429, {"error": {"message": "Pay.", "code": "insufficient_quota"}}),
            RequestRejected,
            "Pay.*quota is used up",
        ),
        (fails(200, {"error": {"message": "no", "code": 503}}), BackendUnavailable, "HTTP 503: no"),
        (fails(200, "<html>Welcome</html>"), RequestRejected, "stream of events, got text/plain.*Welcome"),
    ],
)
async def test_refusals_are_our_errors(answer: Answer, kind: type[BackendError], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        await answered(answer)
    assert caught.type is kind


@pytest.mark.parametrize(
    ("last", "kind", "message"),
    [
        (events(chunk("a"), drop=True), BackendUnavailable, "connection failed after 1 tokens"),
        (events(chunk("a")), BackendUnavailable, "ended without one after 1 tokens"),
        (events(chunk("a"), "[DONE]"), BackendUnavailable, "ended without one after 1 tokens"),
        (events(), BackendUnavailable, "after 0 tokens"),
        (events(drop=True), BackendUnavailable, "connection failed after 0 tokens"),
        (events(chunk("a"), '{"choices": [{"del'), BackendUnavailable, "Expected a chunk"),
        (events(chunk("a"), "oops"), BackendUnavailable, "got 'oops'"),
        (events(chunk("a"), '{"choices": 3}'), BackendUnavailable, "Expected `array"),
        (events(chunk("a"), b'data: "\xff"\n\n'), BackendUnavailable, "Expected a chunk"),
        (events('{"error":{"message":"out of memory","code":500}}'), BackendUnavailable, "HTTP 500: out of"),
        (events('{"error":{"message":"hm","code":"server_error"}}'), BackendUnavailable, "in the stream: hm"),
        (events('{"error":{"message":"bad","code":400}}'), RequestRejected, "HTTP 400: bad"),
        (events('{"error":"overloaded"}'), BackendUnavailable, "overloaded"),
        (events(chunk("a"), chunk(None, "content_filter"), "[DONE]"), RequestRejected, "content_filter"),
        (events(chunk("a"), chunk(None, "error"), "[DONE]"), BackendUnavailable, "reason 'error'"),
    ],
)
async def test_faults_in_the_stream_are_our_errors(
    last: Answer, kind: type[BackendError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        await answered(last)
    assert caught.type is kind


@pytest.mark.parametrize("hold", [False, True], ids=["dropped", "silent"])
@pytest.mark.parametrize("status", [200, 400, 429, 503])
async def test_a_refusal_may_break_off(status: int, hold: bool) -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        headers = {"Content-Length": "100", "Content-Type": "application/json"}
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        await response.write(b'{"error":')
        if hold:
            await asyncio.get_running_loop().create_future()
        assert request.transport is not None
        request.transport.abort()
        return response

    with pytest.raises(BackendUnavailable, match="the connection failed"):
        await answered(half, "?timeout=0.2")


@pytest.mark.parametrize("sampling", [{"stop": ("\ud800",)}, {"temperature": float("inf")}], ids=str)
async def test_what_json_can_not_hold_is_refused(sampling: dict[str, Any]) -> None:
    with pytest.raises(RequestRejected, match="Expected a request that JSON can hold"):
        await answered(says("Never asked."), **sampling)


async def test_a_code_that_is_no_status_is_none() -> None:
    error = json.dumps({"error": {"message": "Odd.", "code": "9" * 5000}})
    with pytest.raises(BackendUnavailable, match="in the stream: Odd"):
        await answered(events(error))


async def test_what_came_before_a_fault_was_streamed() -> None:
    async with (
        ChatServer(events(chunk("a"), chunk("b"), drop=True)) as server,
        open_backend(server.url()) as backend,
        backend.decode(request()) as decoding,
    ):
        deltas = aiter(decoding)
        seen = [(await anext(deltas)).text for _ in range(2)]
        with pytest.raises(BackendUnavailable):
            await anext(deltas)
        assert (seen, decoding.usage.completion_tokens) == (["a", "b"], 2)
        assert decoding.finish_reason is None


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {"retry_after": "2"}, 2.0),
        (429, {"retry_after_ms": "250", "retry_after": "2"}, 0.25),
        (429, {}, None),
        (429, {"retry_after": "soon"}, None),
        (429, {"retry_after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        (503, {"retry_after": "1.5"}, 1.5),
    ],
)
async def test_the_engine_says_how_long_to_wait(
    status: int, headers: dict[str, str], seconds: float | None
) -> None:
    with pytest.raises(BackendError) as caught:
        await answered(fails(status, {"error": {"message": "later"}}, **headers))
    assert caught.value.retryable
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize(
    ("message", "tokens", "limit"),
    [
        (
            "This model's maximum context length is 8192 tokens. However, you requested 9,000 tokens.",
            9000,
            8192,
        ),
        ("The input (600 tokens) is longer than the model's context length (512 tokens).", 600, 512),
        (
            "Requested token count exceeds the model's maximum context length of 512 tokens. You requested a "
            "total of 700 tokens: 100 tokens from the input messages and 600 tokens for the completion.",
            700,
            512,
        ),
        (
            "maximum context length is 100 tokens and your request has 50 input tokens (60 > 100 - 50).",
            101,
            100,
        ),
    ],
)
async def test_a_context_that_is_too_long_says_so(message: str, tokens: int, limit: int) -> None:
    for answer in (
        fails(400, {"error": {"message": message}}),
        events(json.dumps({"error": {"message": message, "code": 400}})),
    ):
        with pytest.raises(ContextTooLong) as caught:
            await answered(answer)
        assert (caught.value.tokens, caught.value.limit) == (tokens, limit)


async def test_silence_ends_in_time() -> None:
    for answer in (events(chunk("a"), hold=True), _silent):
        with pytest.raises(BackendUnavailable):
            await answered(answer, "?timeout=0.2")


async def _silent(_: Any) -> Any:
    await asyncio.get_running_loop().create_future()


# Leaving


async def test_leaving_the_stream_ends_the_request() -> None:
    async with (
        ChatServer(events(chunk("a"), chunk("b"), hold=True)) as server,
        no_leaks(),
        open_backend(server.url()) as backend,
    ):
        async with backend.decode(request()) as decoding:
            async for _ in decoding:
                break
        assert decoding.finish_reason == "abort"
        await server.left.wait()


async def test_cancelling_ends_the_request_at_any_time() -> None:
    for answer in (events(chunk("a"), hold=True), events(hold=True), _silent):
        async with ChatServer(answer) as server, no_leaks():
            async with open_backend(server.url()) as backend, anyio.create_task_group() as tasks:

                async def decode(backend: Backend = backend) -> None:
                    await read(backend, request())

                tasks.start_soon(decode)
                await server.asked.wait()
                tasks.cancel_scope.cancel()
            await server.left.wait()


async def test_many_streams_do_not_mix() -> None:
    async def echo(web_request: Any) -> Any:
        said = (await web_request.json())["messages"][-1]["content"]
        return await says(*said)(web_request)

    asked = [f"question {number}" for number in range(40)]
    async with ChatServer(echo) as server, no_leaks(), open_backend(server.url()) as backend:
        answers = await asyncio.gather(*(read(backend, request(question)) for question in asked))
    assert ["".join(texts) for texts, _, _ in answers] == asked


async def test_as_many_streams_are_open_as_there_are_requests() -> None:
    together = asyncio.Barrier(150)

    async def wait(web_request: Any) -> Any:
        await together.wait()
        return await says("a")(web_request)

    async with ChatServer(wait) as server, no_leaks(), open_backend(server.url()) as backend:
        answers = await asyncio.gather(*(read(backend, request()) for _ in range(150)))
    assert [texts for texts, _, _ in answers] == [["a"]] * 150


# What is sent


async def test_headers_and_parameters_arrive() -> None:
    async with (
        ChatServer(says("a")) as server,
        open_backend(server.url(), headers={"X-Team": "t"}) as backend,
    ):
        asked = request(
            Context.of([Block("system", "Be brief."), Block("user", "Te"), Block("user", "a?")]),
            headers={"traceparent": "00-1-2-01"},
            max_tokens=5,
            temperature=0.0,
            stop=("x",),
            seed=3,
        )
        await read(backend, asked)
    assert server.requests == [
        {
            "model": "tiny",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tea?"}],
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
            "max_completion_tokens": 5,
            "temperature": 0.0,
            "stop": ["x"],
            "seed": 3,
            "no_stop_trim": True,
        }
    ]
    assert server.headers[-1]["traceparent"] == "00-1-2-01"
    assert server.headers[-1]["x-team"] == "t"
    assert "authorization" not in server.headers[-1]
