"""Connecting to an engine that serves OpenAI's API: which one it is, and whose key it gets."""

from __future__ import annotations

import asyncio
import builtins
import logging
import pickle
import socket
import sys
from typing import Any

import pytest

import flowdecode
from flowdecode.errors import BackendUnavailable, ConfigurationError, FlowdecodeError, RequestRejected
from flowdecode.plugins import open_backend
from flowdecode_backends.openai_http.backend import OpenAIHTTP
from tests.backends.openai_http.server import ChatServer, chunk, events, fails, says
from tests.backends.openai_http.test_stream import read, request
from tests.leaks import no_leaks

URL = "openai+https://example.com/v1?model=m"


def opened(url: str, **settings: Any) -> OpenAIHTTP:
    backend = open_backend(url, **settings)
    assert isinstance(backend, OpenAIHTTP)
    return backend


# Which engine


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("owner", "query", "dialect", "prefill"),
    [
        ("sglang", "", "sglang", True),
        ("vllm", "", "vllm", True),
        ("llamacpp", "", "other", False),
        ("llamacpp", "?prefill=true", "other", True),
        ("sglang", "?prefill=false", "sglang", False),
        ("local", "?engine=sglang", "sglang", True),
        ("sglang", "?model=tiny&engine=other", "other", False),
    ],
)
async def test_an_engine_says_what_it_is(owner: str, query: str, dialect: str, prefill: bool) -> None:
    async with ChatServer(says("a"), owner=owner) as server, opened(server.url(query)) as backend:
        assert backend.dialect.name == dialect
        assert backend.engine.capabilities.assistant_prefill is prefill
        assert not backend.engine.capabilities.token_ids
        assert (backend.engine.model, backend.engine.address) == ("tiny", "127.0.0.1")
        assert backend.engine.port == server.port
        assert backend.engine.context_length == (None if "model" in query else 512)
        assert await backend.load() is None


@pytest.mark.anyio
async def test_an_engine_that_is_named_is_not_asked() -> None:
    async with ChatServer(says("a")) as server, opened(server.url("?model=x&engine=sglang")) as backend:
        assert (await read(backend, request()))[0] == ["a"]
    assert [headers["user-agent"][:6] for headers in server.headers] == ["AsyncO"]
    assert server.requests[0]["model"] == "x"


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [fails(404, "no"), fails(200, "<html>"), fails(200, {"data": 3})])
async def test_an_engine_that_does_not_tell_gets_what_all_know(answer: Any) -> None:
    async with ChatServer(says("a"), models=answer) as server, opened(server.url("?model=m")) as backend:
        assert backend.dialect.name == "other"
        assert (await read(backend, request(max_tokens=2)))[0] == ["a"]
    assert server.requests[0]["max_tokens"] == 2


@pytest.mark.anyio
async def test_a_model_must_be_named_where_there_are_several() -> None:
    two = fails(200, {"data": [{"id": "a"}, {"id": "b"}]})
    async with ChatServer(says("a"), models=two) as server, no_leaks():
        with pytest.raises(ConfigurationError, match=r"Pass `\?model=NAME`; .* has: a, b"):
            async with opened(server.url()):
                pass
    async with ChatServer(says("a"), models=fails(404, "")) as server:
        with pytest.raises(ConfigurationError, match="it does not tell"):
            async with opened(server.url()):
                pass


@pytest.mark.anyio
async def test_an_engine_that_is_not_there_is_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with no_leaks():
            with pytest.raises(BackendUnavailable, match=f"answer from {address}, got none"):
                async with opened(f"openai://{address}/v1"):
                    pass
            async with opened(f"openai://{address}/v1?model=m&engine=vllm") as backend:
                with pytest.raises(BackendUnavailable, match=f"answer from {address}, got none"):
                    await read(backend, request())


@pytest.mark.anyio
async def test_a_key_that_is_wrong_is_said_at_once_and_not_shown() -> None:
    quoted = fails(401, {"error": {"message": "Incorrect key: k-secret"}})
    async with ChatServer(quoted, models=quoted) as server:
        with pytest.raises(ConfigurationError, match=r"api_key`, got HTTP 401: Incorrect key: \*\*\*"):
            async with opened(server.url(), api_key="k-secret"):
                pass
        async with opened(server.url("?model=m&engine=vllm"), api_key="k-secret") as backend:
            with pytest.raises(RequestRejected, match=r"Incorrect key: \*\*\*"):
                await read(backend, request())


@pytest.mark.anyio
async def test_it_may_be_entered_twice() -> None:
    async with ChatServer(says("a")) as server:
        backend = opened(server.url())
        await asyncio.gather(backend.__aenter__(), backend.__aenter__())
        assert len(server.headers) == 1, "the engine is asked once"
        await backend.__aexit__(None, None, None)
        assert (await read(backend, request()))[0] == ["a"]
        await backend.__aexit__(None, None, None)


# Keys


def test_one_event_loop_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(backend: OpenAIHTTP) -> None:
        async with ChatServer(says("x")) as server:
            monkeypatch.setattr(backend, "_base_url", f"http://127.0.0.1:{server.port}/v1")

            async def use() -> None:
                async with backend:
                    assert backend.engine.model == "tiny"

            await asyncio.gather(use(), use(), use())  # the first one's opening is waited for

    backend = OpenAIHTTP("http://127.0.0.1/v1")
    asyncio.run(main(backend))
    asyncio.run(main(backend))


@pytest.mark.anyio
async def test_a_key_goes_with_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "k-mine")
    async with ChatServer(says("a")) as server:
        for query, key in (("", "k-given"), ("?api_key_env=MY_KEY", None)):
            server.headers.clear()
            async with opened(server.url(query), api_key=key) as backend:
                await read(backend, request())
            expected = "Bearer k-given" if key else "Bearer k-mine"
            assert [headers["authorization"] for headers in server.headers] == [expected] * 2


@pytest.mark.anyio
async def test_the_environment_s_keys_go_to_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k-secret")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "k-secret")
    monkeypatch.setenv("OPENAI_ORG_ID", "k-secret")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "k-secret")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer k-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/")
    async with ChatServer(says("a")) as server, opened(server.url()) as backend:
        await read(backend, request())
    assert len(server.headers) == 2
    assert "k-secret" not in str(server.headers)


@pytest.mark.anyio
async def test_no_log_shows_a_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="")
    settings = {"api_key": "k-secret", "headers": {"X-Token": "k-secret"}}
    async with ChatServer(says("a")) as server, opened(server.url(), **settings) as backend:
        await read(backend, request())
    assert all("k-secret" in str(headers) for headers in server.headers)
    assert "openai._base_client" in caplog.text
    assert "k-secret" not in caplog.text


@pytest.mark.anyio
async def test_headers_may_hold_the_key() -> None:
    async with (
        ChatServer(says("a")) as server,
        opened(server.url(), headers={"authorization": "Basic x"}) as backend,
    ):
        await read(backend, request())
    assert [headers["authorization"] for headers in server.headers] == ["Basic x"] * 2


def test_openai_s_key_is_the_environment_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k-openai")
    assert "k-openai" in vars(opened("openai+https://api.openai.com/v1?model=m")).values()
    for url in (URL, "openai://api.openai.com/v1?model=m", "openai+https://api.openai.com.evil.example/v1"):
        assert "k-openai" not in vars(opened(url)).values()


def test_a_named_key_must_be_there_and_is_not_sent_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="variable MY_KEY, it is not set"):
        opened(f"{URL}&api_key_env=MY_KEY")
    monkeypatch.setenv("MY_KEY", "k-secret")
    with pytest.raises(ConfigurationError, match="encrypted connection for the key in MY_KEY") as caught:
        opened("openai://example.com/v1?model=m&api_key_env=MY_KEY")
    assert "k-secret" not in str(caught.value)


@pytest.mark.anyio
async def test_a_proxy_is_not_told_what_is_not_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with ChatServer(says("a")) as server, opened(server.url()) as backend:
        assert (await read(backend, request()))[0] == ["a"]


# URLs


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("openai:?model=m", "Expected a host"),
        ("openai://?model=m", "Expected a host"),
        ("openai://h/v1?modle=m", "unknown field `modle`.*It has: model, engine"),
        ("openai://h/v1?engine=tgi", "Invalid enum value 'tgi'"),
        ("openai://h/v1?prefill=maybe", "Expected `bool"),
        ("openai://h/v1?timeout=0", "> 0"),
    ],
)
def test_urls_are_checked(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        open_backend(url)


@pytest.mark.anyio
async def test_a_url_without_a_path_means_v1() -> None:
    async with ChatServer(says("a")) as server, opened(f"openai://127.0.0.1:{server.port}/") as backend:
        assert (await read(backend, request()))[0] == ["a"]


def test_a_missing_client_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "openai":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)

    for name in ("backend", "stream"):
        monkeypatch.delitem(sys.modules, f"flowdecode_backends.openai_http.{name}", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigurationError, match=r"pip install 'flowdecode\[openai\]'"):
        open_backend(URL)


@pytest.mark.anyio
async def test_a_client_without_aiohttp_goes_over_httpx(monkeypatch: pytest.MonkeyPatch) -> None:
    """As older versions of the official client do."""
    tried: list[dict[str, Any]] = []

    def missing(**settings: Any) -> Any:
        tried.append(settings)
        raise RuntimeError("install the extra")

    monkeypatch.setattr("flowdecode_backends.openai_http.backend.DefaultAioHttpClient", missing)
    async with ChatServer(events(chunk("a"), hold=True)) as server, no_leaks():
        async with opened(server.url()) as backend, backend.decode(request()) as decoding:
            assert (await anext(aiter(decoding))).text == "a"
        await server.left.wait()
    assert len(tried) == 1


# Whole runs


@pytest.mark.anyio
async def test_a_run_goes_on_behind_what_it_has_after_a_lost_connection() -> None:
    async with (
        ChatServer(
            events(chunk("Tea is"), drop=True),
            fails(503, ""),
            fails(429, "", retry_after="0"),
            says(" good."),
        ) as server,
        no_leaks(),
    ):
        result = await flowdecode.run("Tea?", backend=server.url(), strategy="sequential")
    assert (result.text, result.status) == ("Tea is good.", "done")
    assert [sent["messages"][-1] for sent in server.requests[1:]] == [
        {"role": "assistant", "content": "Tea is"}
    ] * 3
    assert all(sent["continue_final_message"] for sent in server.requests[1:])


@pytest.mark.anyio
async def test_where_nothing_is_continued_the_engine_is_told_to_go_on() -> None:
    answers = events(chunk("Tea is"), drop=True), says(" good.")
    async with ChatServer(*answers, owner="llamacpp") as server:
        result = await flowdecode.run("Tea?", backend=server.url(), strategy="sequential")
    assert result.text == "Tea is good."
    assert [message["role"] for message in server.requests[1]["messages"]] == ["user", "assistant", "user"]


@pytest.mark.anyio
async def test_an_error_crosses_process_borders() -> None:
    async with ChatServer(fails(400, {"error": {"message": "no"}})) as server:
        with pytest.raises(FlowdecodeError) as caught:
            await flowdecode.run("Tea?", backend=server.url(), strategy="sequential", on_error="raise")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
