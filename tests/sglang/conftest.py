"""Servers of the real SGLang for the tests of this folder, which only `make test-sglang` collects."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from tests.sglang_server.model import demo_or_random
from tests.sglang_server.server import Gateway, Server

collect_ignore_glob = [] if os.environ.get("FLOWDECODE_TEST_SGLANG") else ["test_*.py"]


@pytest.fixture
def anyio_backend() -> str:
    """One event loop: the servers take their time, and what differs between loops is tested without them."""
    return "asyncio"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What ends a server comes last."""
    items.sort(key=lambda item: item.path.stem == "test_gateway_loss")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that the servers serve."""
    return demo_or_random(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def endless(model_folder: Path) -> dict[int, float]:
    """The `logit_bias` under which an answer goes on to its `max_tokens`: a trained model says little."""
    config = msgspec.json.decode((model_folder / "config.json").read_bytes(), type=_Config)
    ends = config.eos_token_id
    return dict.fromkeys([ends] if isinstance(ends, int) else ends, -100.0)


class _Config(msgspec.Struct):
    eos_token_id: int | list[int]


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where servers write what they have to say."""
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="session")
def servers(model_folder: Path, logs: Path) -> Iterator[tuple[Server, Server]]:
    """Two servers of the same model, started side by side: `server` and `lpm_server`."""
    with ExitStack() as stack:
        fcfs = stack.enter_context(Server(model_folder, logs / "fcfs.log", "--enable-priority-scheduling"))
        flags = ("--incremental-streaming-output", "--schedule-policy", "lpm", "--page-size", "8")
        lpm = stack.enter_context(Server(model_folder, logs / "lpm.log", *flags))
        fcfs.wait()
        lpm.wait()
        yield fcfs, lpm


@pytest.fixture(scope="session")
def server(servers: tuple[Server, Server]) -> Server:
    """First come, first served among equals of priority; streams cumulatively."""
    return servers[0]


@pytest.fixture(scope="session")
def lpm_server(servers: tuple[Server, Server]) -> Server:
    """The longest prefix match first, which knows no priority; streams increments; pages of 8 tokens."""
    return servers[1]


@pytest.fixture(scope="session")
def gateways(servers: tuple[Server, Server], logs: Path) -> Iterator[dict[str, Gateway]]:
    """One gateway for each policy, before the same servers."""
    with ExitStack() as stack:
        policies = ("cache_aware", "round_robin")
        gateways = {
            policy: stack.enter_context(Gateway(servers, logs / f"{policy}.log", "--policy", policy))
            for policy in policies
        }
        for gateway in gateways.values():
            gateway.wait()
        yield gateways
