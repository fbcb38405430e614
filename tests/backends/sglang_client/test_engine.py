"""`sglang-engine:` where there is no SGLang: its URL, and what it says."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from flowdecode.errors import ConfigurationError
from flowdecode.plugins import open_backend
from flowdecode_backends.sglang_client.engine import SGLangEngine

pytestmark = pytest.mark.anyio


def test_a_url_without_a_model() -> None:
    with pytest.raises(
        ConfigurationError, match=r"Expected a folder with a model.*sglang-engine:path/to/model"
    ):
        open_backend("sglang-engine:")


async def test_without_sglang_it_says_what_to_install(
    tokenizer_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sglang", None)
    backend = open_backend(f"sglang-engine:{tokenizer_folder}?dtype=bfloat16&tp_size=2")
    assert isinstance(backend, SGLangEngine)
    with pytest.raises(ConfigurationError, match=r"pip install 'flowdecode\[sglang-server\]'"):
        await backend.__aenter__()


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is none on this machine"):
        await open_backend(f"sglang-engine:{tmp_path / 'none'}").__aenter__()


async def test_one_engine_is_started_for_all_who_enter(tokenizer_folder: Path) -> None:
    class Counting(SGLangEngine):
        started = 0

        async def _open(self) -> None:
            self.started += 1
            await asyncio.sleep(0)

    engine = Counting(str(tokenizer_folder))
    await asyncio.gather(engine.__aenter__(), engine.__aenter__())
    assert engine.started == 1


async def test_an_engine_that_can_not_be_read_is_ended(
    tokenizer_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Engine:
        ended = False
        tokenizer_manager = None

        def __init__(self, **settings: object) -> None:
            engines.append(self)

        def shutdown(self) -> None:
            self.ended = True

    engines: list[Engine] = []
    monkeypatch.setitem(sys.modules, "sglang", SimpleNamespace(Engine=Engine))
    with pytest.raises(AttributeError):
        await open_backend(f"sglang-engine:{tokenizer_folder}").__aenter__()
    assert [engine.ended for engine in engines] == [True]
