"""The local engine passes the conformance kit, with random models, of which one has a window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowdecode_backends.conformance import BackendConformance
from tests.backends.local.models import save

local: Any = pytest.importorskip("flowdecode_backends.local.backend")


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp(request.param), request.param)


class TestLocal(BackendConformance):
    @pytest.fixture
    def backend(self, folder: Path) -> Any:
        return local.Local(local.Source(str(folder)), threads=1)
