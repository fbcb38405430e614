"""Two servers behind the SGLang model gateway: nothing is lost, and prefixes are found again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aiohttp
import pytest

import flowdecode
from flowdecode.plugins import open_backend
from flowdecode.result import Result
from flowdecode.sampling import Sampling
from flowdecode.usage import Usage
from tests.leaks import no_leaks
from tests.sglang.test_openai import asks, running
from tests.sglang_server.server import Gateway, Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(360)]

RUNS, PARTS = 6, 4
URLS = {"openai": "openai://{}/v1?engine=sglang", "sglang": "sglang://{}"}
SAMPLING: Sampling = {"max_tokens": 8, "temperature": 0}


async def one_run(
    flow: flowdecode.Flow, number: int, sampling: Sampling = SAMPLING, halfway: asyncio.Event | None = None
) -> Result:
    """A run of the shape that Plato's have: a long head, parts that extend it, and an end that joins them.

    `halfway` is set when the head is there, and the parts are sent.
    """
    facts = " ".join(
        f"In garden {number} the tree {tree} is {tree * number} feet tall." for tree in range(20)
    )
    async with flow.graph() as graph:
        root = graph.decode("Here are facts:\n{facts}\nName one.", facts=facts, sampling=sampling)
        parts = [graph.decode(f"Part {part}.", after=root, sampling=sampling) for part in range(PARTS)]
        graph.decode("Put these together:\n{parts}", parts=parts, after=root, sampling=sampling)
        await root
        if halfway is not None:
            halfway.set()
    return graph.result


async def many_runs(url: str) -> list[Result]:
    async with no_leaks(), flowdecode.connect(url, concurrency=16) as flow:
        return await asyncio.gather(*(one_run(flow, number) for number in range(RUNS)))


def check_complete(results: Sequence[Result]) -> None:
    assert len(results) == RUNS
    for result in results:
        assert result.status == "done"
        assert len(result.nodes) == PARTS + 2
        assert all(record.status in ("done", "truncated") for record in result.nodes)
        assert all(record.usage.completion_tokens > 0 for record in result.nodes)


async def forget(servers: Sequence[Server]) -> None:
    """Empty the servers' caches."""
    async with aiohttp.ClientSession() as session:
        for server in servers:
            async with session.post(f"{server.url}/flush_cache?timeout=20") as response:
                assert response.status == 200


@pytest.mark.parametrize("scheme", URLS)
async def test_a_gateway_that_knows_the_prefixes_finds_more_of_them(
    gateways: dict[str, Gateway], servers: tuple[Server, Server], scheme: str
) -> None:
    found: dict[str, Usage] = {}
    for policy, gateway in gateways.items():
        await forget(servers)
        results = await many_runs(URLS[scheme].format(gateway.address))
        check_complete(results)
        found[policy] = Usage.total([result.usage for result in results])
    shares = {policy: usage.cached_tokens / usage.prompt_tokens for policy, usage in found.items()}
    print({policy: f"{share:.1%} of {found[policy].prompt_tokens}" for policy, share in shares.items()})  # noqa: T201
    assert shares["cache_aware"] > shares["round_robin"] > 0


@pytest.mark.parametrize("scheme", URLS)
async def test_leaving_a_stream_ends_the_request_behind_the_gateway(
    gateways: dict[str, Gateway], servers: tuple[Server, Server], scheme: str
) -> None:
    question = "Write a long guide to Yarralda: its food, festival, craft, history and landmark."
    asked = asks(question, max_tokens=1900)
    async with open_backend(URLS[scheme].format(gateways["cache_aware"].address)) as backend:
        async with backend.decode(asked) as decoding:
            async for _ in decoding:
                break
            assert sum([await running(server) for server in servers]) == 1
        while sum([await running(server) for server in servers]):
            pass  # the question itself takes its time
