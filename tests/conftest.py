"""Every asynchronous test runs on asyncio's own loop and on uvloop."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# What a busy machine makes of an example's time says nothing about the code.
settings.register_profile("flowdecode", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("flowdecode")


@pytest.fixture(
    params=[("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"]
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param
