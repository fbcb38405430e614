"""One event loop is enough here, where a test takes seconds: `test_engine_is_shared` uses several."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def anyio_backend() -> Any:
    return "asyncio"
