"""Streams that break, hang or say something odd, and what must come of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from flowdecode.errors import BackendUnavailable, RequestRejected
from flowdecode_backends.sglang_client import SGLang
from tests.backends.sglang_client.fake import FakeServer, Step, chunk, event, serving
from tests.backends.sglang_client.test_backend import LENGTH, cumulative, ids, opened, read, request
from tests.leaks import no_leaks

pytestmark = pytest.mark.anyio


class HalfRefusal(FakeServer):
    """Drops the connection within the body of a refusal."""

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=503, headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"The serv")
        assert request.transport is not None
        request.transport.abort()
        return response


class OddTokenizer(FakeServer):
    async def _tokenize(self, request: web.Request) -> web.Response:
        return web.json_response({"tokens": "none"})


async def test_the_status_of_a_refusal_counts_though_its_text_is_lost(tokenizer_folder: Path) -> None:
    async with opened(HalfRefusal(), tokenizer_folder) as backend:
        with pytest.raises(BackendUnavailable, match="said 503: no reason"):
            await read(backend, request())


@pytest.mark.parametrize(
    ("header", "expected"), [("2.5", 2.5), ("-5", 0.0), ("nan", None), ("inf", None), ("soon", None)]
)
async def test_a_wait_that_is_no_time_is_none(
    tokenizer_folder: Path, header: str, expected: float | None
) -> None:
    server = FakeServer()
    server.refusal = web.Response(status=503, headers={"Retry-After": header})
    async with opened(server, tokenizer_folder) as backend:
        with pytest.raises(BackendUnavailable) as caught:
            await read(backend, request())
    assert caught.value.retry_after == expected


@pytest.mark.parametrize("end", [None, asyncio.Event()], ids=["dropped", "held open"])
async def test_a_complete_answer_counts_whatever_becomes_of_its_connection(
    tokenizer_folder: Path, end: Step
) -> None:
    server = FakeServer()
    server.steps = lambda _: [chunk([5], 1, finish=LENGTH), end]
    async with opened(server, tokenizer_folder) as backend:
        _, decoding = await read(backend, request())
    assert (decoding.finish_reason, decoding.usage.completion_tokens) == ("length", 1)


@pytest.mark.parametrize(
    "data", [b'{"text": "\xff\xfe"}', b'{"output_ids": "x"}', b"null", b"", b'{"error": "a text"}', b"{"]
)
async def test_an_event_that_can_not_be_read(tokenizer_folder: Path, data: bytes) -> None:
    server = FakeServer()
    server.steps = lambda _: [b"data: " + data + b"\n\n"]
    async with opened(server, tokenizer_folder) as backend:
        with pytest.raises(BackendUnavailable, match="Expected a chunk"):
            await read(backend, request())


async def test_bytes_may_come_one_by_one(tokenizer_folder: Path) -> None:
    tokens = ids("naïve 東京 🫖")
    stream = b"".join(event(step) for step in cumulative(tokens) if isinstance(step, dict))
    server = FakeServer()
    server.steps = lambda _: [stream[at : at + 1] for at in range(len(stream))]
    async with opened(server, tokenizer_folder) as backend:
        deltas, _ = await read(backend, request())
    assert [token for delta in deltas for token in delta.tokens] == tokens


async def test_no_token_is_left_out_where_the_count_is_ahead(tokenizer_folder: Path) -> None:
    server = FakeServer()
    server.steps = lambda _: [chunk([5, 6, 7, 8, 9], 7), chunk([10], 8, finish=LENGTH)]
    async with opened(server, tokenizer_folder) as backend:
        deltas, _ = await read(backend, request())
    assert [token for delta in deltas for token in delta.tokens] == [5, 6, 7, 8, 9, 10]


async def test_what_the_last_chunk_says_does_not_stand_in_for_a_cancellation(tokenizer_folder: Path) -> None:
    server, reading, cancelled = FakeServer(), asyncio.Event(), asyncio.Event()
    aborted = {"type": "abort", "message": "aborted", "status_code": 400}
    server.steps = lambda _: [chunk([5], 1), cancelled, chunk([5], 1, finish=aborted)]

    async def hold(backend: SGLang) -> None:
        async with backend.decode(request()) as decoding:
            async for _ in decoding:
                reading.set()
                await asyncio.get_running_loop().create_future()

    async with opened(server, tokenizer_folder) as backend:
        task = asyncio.create_task(hold(backend))
        await reading.wait()
        cancelled.set()
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()


async def test_what_json_can_not_hold_is_refused() -> None:
    async with opened(FakeServer(), "") as backend:
        with pytest.raises(RequestRejected, match="Expected a request that JSON can hold"):
            await read(backend, request("lone \ud800"))


async def test_a_server_s_tokenizer_that_answers_something_else() -> None:
    async with opened(OddTokenizer(), "") as backend:
        with pytest.raises(BackendUnavailable, match="Expected token ids of the SGLang server"):
            await read(backend, request())


async def test_users_come_while_others_leave(tokenizer_folder: Path) -> None:
    async with serving(FakeServer()) as url, no_leaks():
        backend = SGLang(url, tokenizer=str(tokenizer_folder))

        async def use(turns: int) -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            async with backend:
                await read(backend, request())

        await asyncio.gather(*(use(5 * number) for number in range(12)))


def test_one_event_loop_after_another(tokenizer_folder: Path) -> None:
    async def main(backend: SGLang | None, port: int | None) -> tuple[SGLang, int]:
        async with serving(FakeServer(), port) as url:
            backend = backend or SGLang(url, tokenizer=str(tokenizer_folder))

            async def use() -> None:
                async with backend:
                    await read(backend, request())

            await asyncio.gather(use(), use(), use())  # the first one's opening is waited for
        return backend, int(url.rpartition(":")[2])

    asyncio.run(main(*asyncio.run(main(None, None))))
