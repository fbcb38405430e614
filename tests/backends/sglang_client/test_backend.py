"""`sglang://` against a stand-in: what is sent, what is read, and what becomes of failures."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import flowdecode
from flowdecode.backend import Delta, Grammar, Load, ModelProfile, Request
from flowdecode.context import Block, Context
from flowdecode.errors import (
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    ContextTooLong,
    RateLimited,
    RequestRejected,
)
from flowdecode.plugins import open_backend
from flowdecode.sampling import SamplingParams
from flowdecode_backends.sglang_client import SGLang
from flowdecode_backends.sglang_client.facts import Loads
from flowdecode_graphs.plato.grammar import PLAN_GRAMMAR
from tests.backends.local.tokenizers import make_tokenizer
from tests.backends.sglang_client.fake import FakeServer, Step, chunk, event, serving
from tests.leaks import no_leaks
from tests.parts import until

pytestmark = pytest.mark.anyio

STOP: dict[str, Any] = {"type": "stop", "matched": 3}
LENGTH: dict[str, Any] = {"type": "length", "length": 4}


def ids(text: str) -> list[int]:
    return list(make_tokenizer().encode(text))


def request(text: str = "What is tea?", **settings: Any) -> Request:
    given: dict[str, Any] = {"max_tokens": 20, **settings.pop("sampling", {})}
    sampling = SamplingParams.read(given)
    kwargs = settings.pop("kwargs", None)
    context = settings.pop("context", Context.of([Block("user", text)], kwargs))
    return Request(id="run-1-00000001", run_id="run-1", context=context, sampling=sampling, **settings)


@asynccontextmanager
async def opened(server: FakeServer, folder: Path | str | None, **settings: Any) -> AsyncGenerator[SGLang]:
    tokenizer = None if folder is None else str(folder)
    async with serving(server) as url, SGLang(url, tokenizer=tokenizer, **settings) as backend:
        yield backend


async def read(backend: SGLang, asked: Request) -> tuple[list[Delta], Any]:
    async with backend.decode(asked) as decoding:
        return [delta async for delta in decoding], decoding


def cumulative(tokens: Sequence[int], *, finish: dict[str, Any] = LENGTH) -> list[Step]:
    last = len(tokens)
    return [
        chunk(tokens[:count], count, finish=finish if count == last else None) for count in range(1, last + 1)
    ]


def incremental(tokens: Sequence[int], *, finish: dict[str, Any] = LENGTH) -> list[Step]:
    last = len(tokens)
    return [
        chunk(tokens[count - 1 : count], count, finish=finish if count == last else None)
        for count in range(1, last + 1)
    ]


# What is sent


async def test_a_request_says_all_that_the_server_needs(tokenizer_folder: Path) -> None:
    server = FakeServer(enable_priority_scheduling=True)
    async with opened(server, tokenizer_folder) as backend:
        sampling = {"temperature": 0, "top_k": 5, "min_p": 0.1, "stop": ("END",), "logit_bias": {7: -100.0}}
        asked = request(sampling=sampling, priority=9, headers={"traceparent": "00-1-2-01"})
        await read(backend, asked)
    body = server.requests[-1]
    rendered = make_tokenizer().apply_chat_template(
        [{"role": "user", "content": "What is tea?"}], add_generation_prompt=True, tokenize=False
    )
    assert body.pop("input_ids") == ids(rendered)
    assert body.pop("sampling_params") == {
        "max_new_tokens": 20,
        "temperature": 0,
        "top_k": 5,
        "min_p": 0.1,
        "logit_bias": {"7": -100.0},
        "stop": ["END"],
        "no_stop_trim": True,
        "stop_token_ids": ids("<|im_end|>"),
    }
    assert body == {
        "rid": "run-1-00000001",
        "stream": True,
        "session_id": "run-1",
        "routing_key": "run-1",
        "priority": 9,
    }
    assert server.headers[-1]["traceparent"] == "00-1-2-01"
    assert server.headers[-1]["x-smg-routing-key"] == "run-1"


async def test_without_a_limit_all_that_fits_is_asked_for(tokenizer_folder: Path) -> None:
    server = FakeServer()
    async with opened(server, tokenizer_folder) as backend:
        await read(backend, request(sampling={"max_tokens": None}))
    body = server.requests[-1]
    assert body["sampling_params"]["max_new_tokens"] == 100 - len(body["input_ids"])
    assert "priority" not in body, "a server that does not schedule by it ignores it silently"


async def test_the_lowest_number_goes_first_where_the_server_says_so(tokenizer_folder: Path) -> None:
    server = FakeServer(enable_priority_scheduling=True, schedule_low_priority_values_first=True)
    async with opened(server, tokenizer_folder) as backend:
        await read(backend, request(priority=9))
    assert server.requests[-1]["priority"] == -9


async def test_chat_template_kwargs_reach_the_template(tokenizer_folder: Path) -> None:
    server = FakeServer()
    async with opened(server, tokenizer_folder) as backend:
        await read(backend, request(kwargs={"enable_thinking": False}))
    assert "<think>\n\n</think>" in make_tokenizer().decode(server.requests[-1]["input_ids"])


async def test_keys_and_headers_are_sent(tokenizer_folder: Path) -> None:
    server = FakeServer()
    async with serving(server) as url:
        address = f"sglang://{url.removeprefix('http://')}?tokenizer={tokenizer_folder}"
        async with (
            open_backend(address, api_key="secret", headers={"x-team": "tea"}) as backend,
            backend.decode(request()) as decoding,
        ):
            _ = [delta async for delta in decoding]
    assert server.headers[-1]["Authorization"] == "Bearer secret"
    assert server.headers[-1]["x-team"] == "tea"


# What is read


@pytest.mark.parametrize("form", [cumulative, incremental])
async def test_both_streaming_forms_give_the_same_deltas(
    tokenizer_folder: Path, form: Callable[..., list[Step]]
) -> None:
    server, tokens = FakeServer(), ids("Tea is an infusion.")
    server.steps = lambda _: form(tokens)
    async with no_leaks(), opened(server, tokenizer_folder) as backend:
        deltas, decoding = await read(backend, request())
    assert [delta.tokens for delta in deltas] == [(token,) for token in tokens]
    assert "".join(delta.text for delta in deltas) == "Tea is an infusion."
    assert decoding.finish_reason == "length"
    assert decoding.usage == flowdecode.Usage(prompt_tokens=10, completion_tokens=len(tokens))


async def test_chunks_that_the_server_or_the_network_put_together(tokenizer_folder: Path) -> None:
    server, tokens = FakeServer(), ids("Tea is an infusion of leaves.")
    whole = b"".join(
        [
            event(chunk(tokens[:3], 3)),
            event(chunk(tokens[3:5], 5)),
            event(chunk(tokens[5:], len(tokens), finish=LENGTH)),
        ]
    )
    server.steps = lambda _: [whole[:31], whole[31:200], whole[200:]]
    async with opened(server, tokenizer_folder) as backend:
        deltas, decoding = await read(backend, request())
    assert [len(delta.tokens) for delta in deltas] == [3, 2, len(tokens) - 5]
    assert "".join(delta.text for delta in deltas) == "Tea is an infusion of leaves."
    assert decoding.usage.completion_tokens == len(tokens)


async def test_the_turns_end_is_counted_but_no_part_of_the_answer(tokenizer_folder: Path) -> None:
    server, end = FakeServer(), ids("<|im_end|>")[0]
    tokens = [*ids("Tea."), end]
    server.steps = lambda _: incremental(tokens, finish={"type": "stop", "matched": end})
    async with opened(server, tokenizer_folder) as backend:
        deltas, decoding = await read(backend, request())
    assert [token for delta in deltas for token in delta.tokens] == tokens[:-1]
    assert decoding.finish_reason == "stop"
    assert decoding.usage.completion_tokens == len(tokens)


@pytest.mark.parametrize("folder", ["", None], ids=["text", "ids"])
@pytest.mark.parametrize("form", ["cumulative", "incremental"])
async def test_a_stop_string_over_several_chunks_never_shows(
    tokenizer_folder: Path, folder: str | None, form: str
) -> None:
    server, text = FakeServer(), "Tea and the END of it"
    tokens = ids(text)

    def steps(_: dict[str, Any]) -> list[Step]:
        found: list[Step] = []
        for count in range(1, len(tokens) + 1):
            so_far, before = (
                make_tokenizer().decode(tokens[:count]),
                make_tokenizer().decode(tokens[: count - 1]),
            )
            matched = "END" in so_far
            finish = {"type": "stop", "matched": "END"} if matched else None
            if form == "cumulative":
                found.append(chunk(tokens[:count], count, text=so_far, finish=finish))
            else:
                found.append(
                    chunk(tokens[count - 1 : count], count, text=so_far[len(before) :], finish=finish)
                )
            if matched:
                break
        return found

    server.steps = steps
    async with opened(server, tokenizer_folder if folder is None else folder) as backend:
        deltas, decoding = await read(backend, request(sampling={"stop": ("END",)}))
    assert "".join(delta.text for delta in deltas) == "Tea and the "
    assert decoding.finish_reason == "stop"
    assert server.aborted == []


async def test_a_stop_string_that_the_server_can_not_see_ends_the_request(tokenizer_folder: Path) -> None:
    server, tokens, never = FakeServer(skip_tokenizer_init=True), ids("Tea END of it"), asyncio.Event()
    server.steps = lambda _: [*incremental(tokens)[:-1], never]
    async with opened(server, tokenizer_folder) as backend:
        deltas, decoding = await read(backend, request(sampling={"stop": ("END",)}))
        assert server.aborted == ["run-1-00000001"]
    assert "".join(delta.text for delta in deltas) == "Tea "
    assert decoding.finish_reason == "stop"
    assert "stop" not in server.requests[-1]["sampling_params"]


async def test_a_character_over_several_tokens_comes_whole(tokenizer_folder: Path) -> None:
    server, tokens = FakeServer(), ids("茶é")
    server.steps = lambda _: incremental(tokens)
    async with opened(server, tokenizer_folder) as backend:
        deltas, _ = await read(backend, request())
    assert [delta.text for delta in deltas] == ["茶", "é"]


# Text mode


async def test_without_a_tokenizer_the_server_renders_the_conversation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = FakeServer()
    server.steps = lambda _: [
        chunk([5], 1, text="Te"),
        chunk([5, 6], 2, text="Tea"),
        chunk([5, 6, 7], 3, text="Tea.", finish=STOP),
    ]
    context = Context.of(
        [Block("system", "Be brief."), Block("user", "What is tea?"), Block("assistant", "I say ")], {"a": 1}
    )
    async with opened(server, None) as backend:
        deltas, _ = await read(backend, request(context=context))
        assert not backend.engine.capabilities.token_ids
        assert backend.count_tokens(context) == 7, "an estimate"
    assert [delta.text for delta in deltas] == ["Te", "a", "."]
    assert all(not delta.tokens for delta in deltas)
    tokenize, generate = server.requests[-2:]
    assert tokenize == {
        "model": "fake",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is tea?"},
            {"role": "assistant", "content": "I say "},
        ],
        "continue_final_message": True,
        "chat_template_kwargs": {"a": 1},
    }
    assert generate["input_ids"] == ids("Be brief. What is tea? I say ")
    assert "name the tokenizer: sglang://" in caplog.text


async def test_a_tokenizer_that_is_not_here_is_said_to_be_missing(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    async with opened(FakeServer(tokenizer_path=str(tmp_path / "elsewhere")), None) as backend:
        assert backend.tokens is None
    assert "is none on this machine" in caplog.text
    with pytest.raises(ConfigurationError, match="is none on this machine"):
        async with opened(FakeServer(), tmp_path / "elsewhere"):
            pass


# Facts


async def test_facts_of_the_server_and_of_the_models_folder(
    tokenizer_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = FakeServer(tokenizer_path=str(tokenizer_folder), schedule_policy="lpm", page_size=16)
    with caplog.at_level(logging.INFO, "flowdecode"):
        async with opened(server, None) as backend:
            engine = backend.engine
    assert (engine.model, engine.provider, engine.address) == ("fake", "sglang", "127.0.0.1")
    assert (engine.context_length, engine.slots, engine.port is not None) == (100, 7, True)
    assert engine.profile == ModelProfile(strategies=("plato",))
    assert (engine.capabilities.token_ids, engine.capabilities.grammar) == (True, True)
    assert not engine.capabilities.priority
    assert "SGLang 0.5.23" in caplog.text
    assert "fake, lpm, pages of 16" in caplog.text


async def test_a_gateway_tells_less(tokenizer_folder: Path) -> None:
    server = FakeServer()
    server.info = server.context_length = server.loads = None
    server.knows_abort = False
    never = asyncio.Event()
    server.steps = lambda _: [chunk([5], 1), never]
    async with opened(server, tokenizer_folder) as backend:
        assert (backend.engine.model, backend.engine.context_length) == ("behind", None)
        assert await backend.load() is None
        with pytest.raises(RequestRejected, match="logit_bias"):
            await read(backend, request(sampling={"logit_bias": {7: -100.0}}))
        for _ in range(2):
            server.closed.clear()
            async with backend.decode(request()) as decoding:
                await anext(aiter(decoding))
            await server.closed.wait()
    assert server.asked.count("/abort_request") == 1, "it is not asked again"


async def test_facts_are_asked_for_once_in_a_while(tokenizer_folder: Path) -> None:
    server = FakeServer()
    async with serving(server) as url:
        for _ in range(3):
            async with SGLang(url, tokenizer=str(tokenizer_folder)):
                pass
    assert server.asked.count("/server_info") == 1


@pytest.mark.parametrize("server", [b"<html>", b"[]"])
async def test_another_server_is_told_apart(server: bytes) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=server)

    fake = FakeServer()
    fake.app = web.Application()
    fake.app.router.add_get("/{path:.*}", answer)
    with pytest.raises(ConfigurationError, match=r"Expected an SGLang server.*openai://"):
        async with opened(fake, ""):
            pass


async def test_no_server_at_all() -> None:
    with pytest.raises(BackendUnavailable, match=r"Expected an SGLang server at .*:9, the connection"):
        await flowdecode.run("What is tea?", backend="sglang://127.0.0.1:9")


async def test_load_tells_what_a_step_takes_beside_other_requests() -> None:
    # Steps of 10 ms and 1 ms for each request: batches of 1, 1 and 9.
    moments = [3.0, 11.0, 11_000.0 + 11_000 + 19_000, 83.0, 11_000.0 + 11_000 + 171_000, 11.0]
    server = FakeServer()
    server.loads = [
        {"num_running_reqs": 12, "num_waiting_reqs": 3, "decode_moments": moments},
        {"num_running_reqs": 1, "num_waiting_reqs": 0, "decode_moments": None},
    ]
    async with opened(server, "") as backend:
        load = await backend.load()
    assert load is not None
    assert load.slowdown == pytest.approx(22 / 11)
    assert load.growth == pytest.approx(1 / 11)
    assert (load.running, load.waiting) == (13, 3)
    assert load.room(2.0) == 22  # of 1 ms: a step of 22 ms becomes one of 44
    assert Load(0, 0, 1.0, 0.1).room(2.0) is None
    assert Load(5, 0, 1.0, 0.0).room(2.0) is None
    assert Loads().load({}) == Load(0, 0)


async def test_a_connection_takes_no_more_than_the_batch_holds(tokenizer_folder: Path) -> None:
    server, go = FakeServer(), asyncio.Event()
    server.steps = lambda _: [chunk([5], 1), go, chunk([5, 6], 2, finish=LENGTH)]
    async with serving(server) as url:
        backend = SGLang(url, tokenizer=str(tokenizer_folder))
        async with flowdecode.connect(backend) as flow, flow.graph() as graph:
            for number in range(9):
                graph.decode(f"{number}. What is tea?", sampling={"max_tokens": 20})
            await until(lambda: len(server.requests) == 7)
            go.set()
        assert len(server.requests) == 9


# Grammars


async def test_the_plan_grammar_is_compiled_once_at_connect(tokenizer_folder: Path) -> None:
    server = FakeServer()
    async with serving(server) as url:
        for _ in range(2):
            async with SGLang(url, tokenizer=str(tokenizer_folder)) as backend:
                await until(lambda: server.compiled)
                await read(backend, request(grammar=PLAN_GRAMMAR))
    assert [body["sampling_params"]["ebnf"] for body in server.compiled] == [PLAN_GRAMMAR.ebnf]
    assert server.compiled[0]["sampling_params"]["max_new_tokens"] == 1
    assert server.requests[-1]["sampling_params"]["ebnf"] == PLAN_GRAMMAR.ebnf


@pytest.mark.parametrize(
    ("grammar_backend", "sent"), [("outlines", {"regex": "b"}), ("none", {}), (None, {})]
)
async def test_a_grammar_is_sent_in_the_form_that_the_server_takes(
    tokenizer_folder: Path, grammar_backend: str | None, sent: dict[str, str]
) -> None:
    server = FakeServer(grammar_backend=grammar_backend)
    async with opened(server, tokenizer_folder) as backend:
        assert backend.engine.capabilities.grammar == bool(sent)
        await read(backend, request(grammar=Grammar("a", "b")))
    params = server.requests[-1]["sampling_params"]
    assert {key: params[key] for key in ("ebnf", "regex") if key in params} == sent


# Ends and failures


async def test_a_stream_that_is_left_is_aborted(tokenizer_folder: Path) -> None:
    server, never = FakeServer(), asyncio.Event()
    server.steps = lambda _: [chunk([5], 1), never]
    async with no_leaks(), opened(server, tokenizer_folder) as backend:
        async with backend.decode(request()) as decoding:
            await anext(aiter(decoding))
        assert server.aborted == ["run-1-00000001"]
        assert decoding.finish_reason == "abort"
        await server.closed.wait()


async def test_the_last_chunk_of_an_aborted_request_counts(tokenizer_folder: Path) -> None:
    server, aborted = FakeServer(), asyncio.Event()
    server.steps = lambda _: [chunk([5], 1), aborted, chunk([5, 6, 7], 3, finish={"type": "abort"})]
    async with opened(server, tokenizer_folder) as backend:
        async with backend.decode(request()) as decoding:
            await anext(aiter(decoding))
            asyncio.get_running_loop().call_soon(aborted.set)
        assert decoding.usage.completion_tokens == 3
        assert decoding.finish_reason == "abort"
    assert not server.closed.is_set(), "the connection serves again"


@pytest.mark.parametrize(
    ("refusal", "kind", "said"),
    [
        (
            {"status": 503, "text": "The request queue is full."},
            BackendUnavailable,
            "said 503: The request",
        ),
        ({"status": 500}, BackendUnavailable, "said 500: no reason"),
        ({"status": 429, "headers": {"Retry-After": "3"}}, RateLimited, "asks to slow down"),
        ({"status": 400, "text": "bad"}, RequestRejected, "refused the request, it said 400: bad"),
        ({"status": 401}, RequestRejected, "another API key"),
    ],
)
async def test_refusals(
    tokenizer_folder: Path, refusal: dict[str, Any], kind: type[BackendError], said: str
) -> None:
    server = FakeServer()
    async with opened(server, tokenizer_folder) as backend:
        server.refusal = web.Response(**refusal)
        with pytest.raises(kind, match=said) as caught:
            await read(backend, request())
        assert caught.value.retry_after == (3.0 if kind is RateLimited else None)


FULL = {"type": "abort", "status_code": 503, "message": "The request queue is full."}
TOO_LARGE = {"error": {"message": "The input is too long.", "type": "invalid_request_error", "code": 400}}


@pytest.mark.parametrize(
    ("steps", "kind", "said"),
    [
        ([chunk([], 0, finish=FULL)], BackendUnavailable, "503: The request queue is full"),
        ([TOO_LARGE], RequestRejected, "400: The input is too long"),
        ([chunk([5], 1), None], BackendUnavailable, "the connection failed"),
        ([chunk([5], 1)], BackendUnavailable, "the server has closed it"),
        ([b"data: {nonsense\n\n"], BackendUnavailable, "Expected a chunk of an SGLang stream"),
    ],
    ids=["full", "refused", "lost", "ended", "nonsense"],
)
async def test_failures_in_the_stream(
    tokenizer_folder: Path, steps: list[Step], kind: type[BackendError], said: str
) -> None:
    server = FakeServer()
    server.steps = lambda _: steps
    async with opened(server, tokenizer_folder) as backend:
        with pytest.raises(kind, match=said):
            await read(backend, request())


async def test_a_prompt_that_is_refused_is_never_sent(tokenizer_folder: Path) -> None:
    server = FakeServer()
    strange = Context.of([Block("user", "What?"), Block("assistant", "x", (400,))])
    async with opened(server, tokenizer_folder) as backend:
        for asked, kind in (
            (request(""), RequestRejected),
            (request(context=strange), RequestRejected),
            (request("tea " * 200), ContextTooLong),
            (request(sampling={"top_p": 0.0}), RequestRejected),
        ):
            with pytest.raises(kind):
                await read(backend, asked)
    assert server.requests == []


async def test_a_lost_stream_goes_on_behind_its_tokens(tokenizer_folder: Path) -> None:
    server, tokens = FakeServer(), ids("Tea is an infusion.")

    def steps(body: dict[str, Any]) -> list[Step]:
        said = tokens[:2] if body["input_ids"][-2:] == tokens[:2] else []
        return [*incremental(tokens)[:2], None] if not said else incremental(tokens[2:], finish=STOP)

    server.steps = steps
    async with opened(server, tokenizer_folder) as backend:
        result = await flowdecode.run("What is tea?", backend=backend, strategy="sequential", max_tokens=50)
    assert result.text == "Tea is an infusion."
    assert result.usage.completion_tokens == len(tokens)
    first, second = server.requests
    assert second["input_ids"] == [*first["input_ids"], *tokens[:2]]
    assert first["rid"] != second["rid"]


async def test_a_server_that_was_there_is_waited_for(
    tokenizer_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = FakeServer()
    async with serving(server) as url:
        backend = SGLang(url, tokenizer=str(tokenizer_folder), restart=10)
        await backend.__aenter__()
        await until(lambda: server.compiled)
    reads = asyncio.gather(*(read(backend, request(f"{number} cups")) for number in range(3)))
    await until(lambda: "is gone; it has 10 s to come back" in caplog.text)
    async with serving(server, port=int(url.rpartition(":")[2])):
        answers = await reads
        await backend.__aexit__(None, None, None)
        async with SGLang(url, tokenizer=str(tokenizer_folder)):
            await until(lambda: len(server.compiled) == 2)
        assert server.asked.count("/server_info") == 2, "it may have come back as another one"
    assert [decoding.finish_reason for _, decoding in answers] == ["length"] * 3
    assert caplog.text.count("is gone") == 1


async def test_a_server_that_stays_away_is_given_up(tokenizer_folder: Path) -> None:
    async with serving(FakeServer()) as url:
        backend = SGLang(url, tokenizer=str(tokenizer_folder), restart=0)
        await backend.__aenter__()
    with pytest.raises(BackendUnavailable, match="the connection failed"):
        await read(backend, request())
    await backend.__aexit__(None, None, None)


async def test_cold_siblings_follow_the_first(tokenizer_folder: Path) -> None:
    server, go = FakeServer(), asyncio.Event()
    server.steps = lambda _: [go, chunk([5], 1, finish=LENGTH)]
    shared = "Compare tea with coffee, cocoa and water; answer briefly. " * 3
    async with opened(server, tokenizer_folder, warm=16) as backend:
        reads = asyncio.gather(*(read(backend, request(f"{shared}{number}")) for number in range(4)))
        await until(lambda: server.requests)
        assert len(server.requests) == 1
        go.set()
        await reads
        assert (len(server.requests), backend.warming.held) == (4, 3)
        await asyncio.gather(*(read(backend, request(f"{shared}{number}!")) for number in range(4)))
        assert backend.warming.held == 3, "now the prefix is there"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sglang:", "Expected a server, as in 'sglang://127.0.0.1:30000'"),
        ("sglang://", "Expected a server"),
        ("sglang://h:1?color=red", "unknown field `color`.*It has: tokenizer, warm, restart"),
        ("sglang://h:1?warm=-1", "at least 0, got -1 - at `warm`"),
        ("sglang://h:1?warm=much", "Expected `int`"),
        ("sglang://h:port", "Expected a host and its port"),
    ],
)
def test_urls_that_can_not_work(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        open_backend(url)


def test_an_encrypted_url() -> None:
    backend = open_backend("sglang+https://engine.example/team?tokenizer=", api_key="secret")
    assert isinstance(backend, SGLang)
    assert backend.url == "https://engine.example/team"
