"""`sglang://` passes the conformance kit: both streaming forms, fcfs and lpm, pages of 1 and of 8."""

from __future__ import annotations

import pytest

from flowdecode.backend import Backend
from flowdecode_backends.conformance import BackendConformance
from flowdecode_backends.sglang_client import SGLang
from tests.sglang_server.server import Server, free_port

pytestmark = pytest.mark.timeout(120)


class TestSGLang(BackendConformance):
    @pytest.fixture
    def backend(self, server: Server) -> Backend:
        return SGLang(server.url)

    @pytest.fixture
    def unreachable(self) -> Backend:
        return SGLang(f"http://127.0.0.1:{free_port()}")


class TestPages(BackendConformance):
    page = 8

    @pytest.fixture
    def backend(self, lpm_server: Server) -> Backend:
        return SGLang(lpm_server.url)


class TestTextMode(BackendConformance):
    @pytest.fixture
    def backend(self, server: Server) -> Backend:
        return SGLang(server.url, tokenizer="")
