"""`openai://` against the chat completions of the real server, once cumulative and once incremental."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

import flowdecode
from flowdecode.backend import Backend, Request
from flowdecode.context import Block, Context
from flowdecode.errors import ContextTooLong, RequestRejected
from flowdecode.plugins import open_backend
from flowdecode.sampling import SamplingParams
from flowdecode.usage import Usage
from tests.leaks import no_leaks
from tests.sglang_server.server import Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(360)]


@pytest.fixture(params=["server", "lpm_server"])
def served(request: pytest.FixtureRequest) -> Server:
    return cast(Server, request.getfixturevalue(request.param))


@pytest.fixture
async def backend(served: Server) -> AsyncIterator[Backend]:
    async with open_backend(f"openai://{served.address}/v1") as backend:
        yield backend


def asks(*blocks: Block | str, **sampling: Any) -> Request:
    context = Context.of([Block("user", block) if isinstance(block, str) else block for block in blocks])
    sampling.setdefault("temperature", 0)
    return Request(id="r", run_id="run", context=context, sampling=SamplingParams(**sampling))


async def read(backend: Backend, request: Request) -> tuple[str, str | None, Usage]:
    async with backend.decode(request) as decoding:
        texts = [delta.text async for delta in decoding]
    return "".join(texts), decoding.finish_reason, decoding.usage


async def running(served: Server) -> int:
    """Requests in the server's batch and queue."""
    async with aiohttp.ClientSession() as session, session.get(f"{served.url}/v1/loads") as response:
        loads = (await response.json())["loads"]
    return sum(load["num_running_reqs"] + load["num_waiting_reqs"] for load in loads)


async def test_it_is_known_for_what_it_is(backend: Backend, served: Server) -> None:
    engine = backend.engine
    assert (engine.provider, engine.model) == ("sglang", str(served.model))
    assert engine.context_length is not None
    assert engine.capabilities.assistant_prefill
    assert not engine.capabilities.token_ids


async def test_streams_as_far_as_it_may(backend: Backend, endless: dict[int, float]) -> None:
    question = "What is tea, where does it come from, and how is it made?"  # more than a page
    asked = asks(question, max_tokens=24, logit_bias=endless)
    text, reason, usage = await read(backend, asked)
    assert (reason, usage.completion_tokens) == ("length", 24)
    assert text
    again, _, cached = await read(backend, asked)
    assert again == text
    assert backend.engine.capabilities.cached_tokens
    assert cached.prompt_tokens == usage.prompt_tokens
    assert 0 < cached.cached_tokens < cached.prompt_tokens


async def test_all_its_parameters_are_taken(backend: Backend) -> None:
    greedy = await read(backend, asks("What is tea?", max_tokens=12))
    one = await read(backend, asks("What is tea?", max_tokens=12, temperature=1.0, top_k=1))
    likely = await read(backend, asks("What is tea?", max_tokens=12, temperature=1.0, min_p=1.0))
    assert one[0] == likely[0] == greedy[0]


async def test_an_answer_is_continued(backend: Backend, served: Server, model_folder: Path) -> None:
    """The continuation is what the same prompt gives as plain text."""
    transformers: Any = import_module("transformers")  # here, as most of the tests need none of it
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
    conversation = [{"role": "user", "content": "What is tea?"}]
    prompt = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    plain = {"text": f"{prompt}Tea is", "sampling_params": {"temperature": 0, "max_new_tokens": 12}}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{served.url}/generate", json=plain) as response,
    ):
        expected = await response.json()
    text, _, usage = await read(backend, asks("What is tea?", Block("assistant", "Tea is"), max_tokens=12))
    assert text == expected["text"].rstrip("\ufffd")
    assert usage.prompt_tokens == expected["meta_info"]["prompt_tokens"]


async def test_stop_strings_end_the_text_wherever_the_tokens_end(backend: Backend) -> None:
    whole, _, _ = await read(backend, asks("What is tea?", max_tokens=40))
    tried = 0
    for start in range(2, len(whole) - 5, 3):
        for length in (1, 3):
            stop = whole[start : start + length]
            if "\ufffd" in stop:
                continue
            text, reason, usage = await read(backend, asks("What is tea?", max_tokens=40, stop=(stop,)))
            assert (text, reason) == (whole.partition(stop)[0], "stop")
            assert 0 < usage.completion_tokens <= 40
            tried += 1
    assert tried > 5


async def test_leaving_a_stream_ends_its_request(
    backend: Backend, served: Server, endless: dict[int, float]
) -> None:
    asked = asks("What is tea?", max_tokens=1900, logit_bias=endless)
    async with backend.decode(asked) as decoding:
        async for _ in decoding:
            break
        assert await running(served) == 1
    assert decoding.finish_reason == "abort"
    assert decoding.usage.completion_tokens < 100
    while await running(served):
        pass  # the question itself takes its time


async def test_what_does_not_fit_says_by_how_much(backend: Backend) -> None:
    limit = backend.engine.context_length
    assert limit is not None
    with pytest.raises(ContextTooLong) as prompt:
        await read(backend, asks("tea " * 2 * limit))
    with pytest.raises(ContextTooLong) as answer:
        await read(backend, asks("What is tea?", max_tokens=limit))
    assert (prompt.value.limit, answer.value.limit) == (limit, limit)
    assert limit < answer.value.tokens < limit + 100 < prompt.value.tokens


async def test_what_it_refuses_is_said(backend: Backend) -> None:
    with pytest.raises(RequestRejected, match=r"HTTP 400: .*top_p"):
        await read(backend, asks("What is tea?", top_p=0.0))
    with pytest.raises(RequestRejected, match="some text"):
        await read(backend, asks(""))


async def test_concurrent_requests_do_not_mix(backend: Backend) -> None:
    asked = [
        asks(f"Say {number} and {word}.", max_tokens=10) for number in range(4) for word in ("tea", "hi")
    ]
    alone = [await read(backend, request) for request in asked]
    together = await asyncio.gather(*(read(backend, request) for request in asked))
    assert [text for text, _, _ in together] == [text for text, _, _ in alone]
    assert [usage.prompt_tokens for _, _, usage in together] == [usage.prompt_tokens for _, _, usage in alone]


async def test_a_graph_s_nodes_find_their_parents_in_the_cache(served: Server) -> None:
    url = f"openai://{served.address}/v1"
    facts = " ".join(f"Fact {number}: tea number {number} is an infusion of leaves." for number in range(12))
    async with no_leaks(), flowdecode.connect(url) as flow:
        async with flow.graph() as graph:
            sampling: Any = {"max_tokens": 16, "temperature": 0}
            root = graph.decode("Here are facts:\n{facts}\nRepeat one.", facts=facts, sampling=sampling)
            parts = [graph.decode(f"Now part {n}.", after=root, sampling=sampling) for n in range(3)]
            end = graph.decode("Compare:\n{parts}", parts=parts, sampling=sampling)
        records = {record.id: record for record in graph.result.nodes}
    assert graph.result.status == "done"
    assert all(records[node.id].usage.completion_tokens > 0 for node in (root, *parts, end))
    prompt = records[root.id].usage.prompt_tokens
    for part in parts:
        # Texts are tokenised anew, so the answer itself may be missed, but never the prompt.
        assert records[part.id].usage.cached_tokens >= prompt - 16
