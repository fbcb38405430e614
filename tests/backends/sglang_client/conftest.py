"""A tokenizer's folder for the tests with a stand-in server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flowdecode_backends.sglang_client import backend
from flowdecode_backends.sglang_client.model import read_model
from tests.backends.local.tokenizers import make_tokenizer


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer().save_pretrained(folder)
    (folder / "flowdecode.json").write_text('{"strategies": ["plato"]}')
    read_model(str(folder))  # imports transformers, which takes longer than a test may
    return folder


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """No test sees what another one has learnt of a server at the same port."""
    backend.forget_servers()
    yield
    backend.forget_servers()
