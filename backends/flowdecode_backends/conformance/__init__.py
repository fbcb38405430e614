"""The conformance kit: what every backend does, as tests that any backend's author can run. Needs pytest.

    class TestMine(BackendConformance):
        question = "Tell me all about tea."

        @pytest.fixture
        def backend(self) -> Backend:
            return Mine("http://127.0.0.1:8000")

What a backend's capabilities do not claim is skipped. Each test enters the backend in an event loop of
its own, and needs no plugin of pytest.
"""

import pytest

# Failures are to say what was there, as they do in a test file.
pytest.register_assert_rewrite(
    "flowdecode_backends.conformance.harness", "flowdecode_backends.conformance.suite"
)

from flowdecode_backends.conformance.harness import Answer  # noqa: E402
from flowdecode_backends.conformance.suite import BackendConformance  # noqa: E402

__all__ = ["Answer", "BackendConformance"]
