"""A server behind the gateway dies in the middle of many runs. This comes last: it ends one for good."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

import flowdecode
from flowdecode.sampling import Sampling
from tests.leaks import no_leaks
from tests.sglang.test_gateway import RUNS, URLS, check_complete, one_run
from tests.sglang_server.server import Gateway, Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(360)]

LONGER: Sampling = {"max_tokens": 96, "temperature": 0}


@pytest.fixture
def gateway(servers: tuple[Server, Server], logs: Path) -> Iterator[Gateway]:
    """A new one, which other tests' restarts have taught nothing."""
    with Gateway(servers, logs / "loss.log", "--policy", "round_robin") as gateway:
        gateway.wait()
        yield gateway


async def test_a_server_that_dies_costs_time_and_no_answer(
    gateway: Gateway, servers: tuple[Server, Server]
) -> None:
    address = gateway.address
    async with (
        no_leaks(),
        flowdecode.connect(URLS["openai"].format(address)) as texts,
        flowdecode.connect(URLS["sglang"].format(address)) as ids,
    ):
        halfway = asyncio.Event()
        runs = [
            asyncio.create_task(one_run(flow, number, LONGER, halfway))
            for number in range(RUNS // 2)
            for flow in (texts, ids)
        ]
        await halfway.wait()
        await asyncio.to_thread(servers[1].stop)
        results = await asyncio.gather(*runs)
    check_complete(results)
    resent = {
        name: sum(record.attempts - 1 for result in results[at::2] for record in result.nodes)
        for at, name in enumerate(URLS)
    }
    print(f"requests sent again: {resent}")  # noqa: T201
    assert sum(resent.values()) > 0, "the server died too late"
