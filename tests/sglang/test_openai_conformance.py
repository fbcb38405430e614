"""`openai://` passes the conformance kit on the real server, and both schemes behind the gateway."""

from __future__ import annotations

import pytest

from flowdecode.backend import Backend
from flowdecode.plugins import open_backend
from flowdecode_backends.conformance import BackendConformance
from tests.sglang_server.server import Gateway, Server, free_port

pytestmark = pytest.mark.timeout(360)


class TestOpenAI(BackendConformance):
    """Cumulative streaming."""

    @pytest.fixture
    def backend(self, server: Server) -> Backend:
        return open_backend(f"openai://{server.address}/v1")

    @pytest.fixture
    def unreachable(self) -> Backend:
        return open_backend(f"openai://127.0.0.1:{free_port()}/v1?model=m&engine=sglang")


class TestOpenAIIncremental(BackendConformance):
    """Incremental streaming."""

    @pytest.fixture
    def backend(self, lpm_server: Server) -> Backend:
        return open_backend(f"openai://{lpm_server.address}/v1")


class TestOpenAIGateway(BackendConformance):
    """Two servers behind the gateway."""

    @pytest.fixture
    def backend(self, gateways: dict[str, Gateway]) -> Backend:
        return open_backend(f"openai://{gateways['cache_aware'].address}/v1?engine=sglang")


class TestSGLangGateway(BackendConformance):
    """The same with token ids; one of the two servers has pages of 8."""

    page = 8

    @pytest.fixture
    def backend(self, gateways: dict[str, Gateway]) -> Backend:
        return open_backend(f"sglang://{gateways['cache_aware'].address}")
