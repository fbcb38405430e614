"""The web service, on a real server and with real clients, some of which go away."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn

import flowdecode
from examples import fastapi_stream
from examples.one_run import PROMPT
from flowdecode_backends.scripted import Reply, Scripted
from tests.examples.engine import DEMO, Watched, fast, hanging
from tests.leaks import no_leaks

pytestmark = pytest.mark.anyio

PART = "only part 3,"
ENDLESS = [Reply("direct", match="Write only the plan"), Reply(" sixteen_letters" * 12_000, pace=0)]


@asynccontextmanager
async def service(
    monkeypatch: pytest.MonkeyPatch, replies: Iterable[Reply]
) -> AsyncGenerator[tuple[Watched, httpx.AsyncClient]]:
    """The example behind a server on a free port, with narrow buffers, and a client of it."""
    backend = Watched(replies)
    monkeypatch.setattr(fastapi_stream, "BACKEND", backend)
    config = uvicorn.Config(fastapi_stream.app, log_config=None, ws="none", lifespan="on")
    server = uvicorn.Server(config)
    narrow = httpx.AsyncHTTPTransport(socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)])
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # from here on a client waits for the server to be ready
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            async with httpx.AsyncClient(transport=narrow, base_url=base_url, timeout=10) as client:
                yield backend, client
        finally:
            server.should_exit = True
            await serving


async def read_until(client: httpx.AsyncClient, text: str) -> str:
    """Read an answer until `text` has come, then go away."""
    read = ""
    async with client.stream("GET", "/answer", params={"prompt": PROMPT}) as response:
        assert response.status_code == 200
        async for chunk in response.aiter_text():
            read += chunk
            if text in read:
                return read
    raise AssertionError(f"{text!r} did not come: {read!r}")


async def gone(tasks: set[asyncio.Task[object]]) -> None:
    """Wait until no task is left that was not there before, with the service still running."""
    if new := asyncio.all_tasks() - tasks:
        _, pending = await asyncio.wait(new, timeout=5)
        assert not pending


async def test_who_reads_all_gets_the_result_s_text(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = await flowdecode.run(PROMPT, backend=Scripted(fast(DEMO)))
    async with service(monkeypatch, fast(DEMO)) as (backend, client):
        response = await client.get("/answer", params={"prompt": PROMPT})
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
        assert response.text == expected.text
        assert backend.running == 0
    assert len(expected.text) > 1000


async def test_who_goes_away_while_nothing_comes_frees_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    replies = hanging(fast(DEMO), PART, after_tokens=20, times=1)
    async with no_leaks(), service(monkeypatch, replies) as (backend, client):
        await client.get("/openapi.json")
        tasks = asyncio.all_tasks()
        read = await read_until(client, "a cup of black tea")
        assert read.startswith("## Origin\n\nTea comes from")
        await backend.idle()
        assert backend.asked(PART).id in backend.aborted
        await gone(tasks)
        response = await client.get("/answer", params={"prompt": PROMPT})
        assert response.text.endswith(DEMO[-2].text)


async def test_who_goes_away_without_having_read_all_that_came_frees_the_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with no_leaks(), service(monkeypatch, ENDLESS) as (backend, client):
        await client.get("/openapi.json")
        tasks = asyncio.all_tasks()
        async with client.stream("GET", "/answer", params={"prompt": "Count the letters."}) as response:
            chunks = response.aiter_text()
            assert await anext(chunks)
            await backend.held_back()  # the server waits for its client, and the engine for the server
            assert backend.running == 1
        await backend.idle()
        assert len(backend.aborted) == 1
        await gone(tasks)


async def test_those_who_stay_are_not_disturbed_by_those_who_go(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = (await flowdecode.run(PROMPT, backend=Scripted(fast(DEMO)))).text
    async with no_leaks(), service(monkeypatch, fast(DEMO)) as (backend, client):
        stay = [client.get("/answer", params={"prompt": PROMPT}) for _ in range(6)]
        go = [read_until(client, "Tea comes") for _ in range(6)]
        answers, _ = await asyncio.gather(asyncio.gather(*stay), asyncio.gather(*go))
        assert [answer.text for answer in answers] == [expected] * 6
        await backend.idle()


async def test_what_cannot_be_run_is_refused_before_the_answer_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with service(monkeypatch, []) as (backend, client):
        response = await client.get("/answer", params={"prompt": " "})
        assert response.status_code == 422
        assert response.json()["detail"].startswith("Expected a question or a task, got an empty text")
        assert backend.requests == []


async def test_an_answer_that_breaks_off_does_not_look_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    async with service(monkeypatch, []) as (_, client):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/answer", params={"prompt": PROMPT})


@pytest.mark.parametrize("how", ["another task", "the garbage collector"])
async def test_the_generator_may_be_closed_from(how: str) -> None:
    backend = Watched(hanging(fast(DEMO), PART, after_tokens=20))
    async with no_leaks(backend), flowdecode.connect(backend) as flow:
        body = fastapi_stream.pieces(flow.stream(PROMPT))
        while "black tea" not in await asyncio.create_task(anext(body)):
            pass
        assert backend.running == 1
        if how == "another task":
            await asyncio.create_task(body.aclose())
            assert backend.running == 0
        else:
            del body
            gc.collect()
            await backend.idle()
        assert backend.asked(PART).id in backend.aborted
