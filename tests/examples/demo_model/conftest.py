from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from transformers import AutoTokenizer

import flowdecode_backends
from flowdecode.backend import ModelProfile
from flowdecode_backends.tokens import ChatTokens


@pytest.fixture(scope="session")
def demo() -> Path:
    return Path(flowdecode_backends.__file__).parent / "demo" / "atlas"


@pytest.fixture(scope="session")
def profile(demo: Path) -> ModelProfile:
    return msgspec.json.decode((demo / "flowdecode.json").read_bytes(), type=ModelProfile)


@pytest.fixture(scope="session")
def tokens(demo: Path) -> ChatTokens:
    auto: Any = AutoTokenizer
    return ChatTokens(auto.from_pretrained(demo))
