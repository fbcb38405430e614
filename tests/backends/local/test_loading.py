"""What `local:` says where a model can't be had, and what it shows while it loads one."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

import flowdecode
from flowdecode.errors import ConfigurationError
from flowdecode.plugins import BackendURL, open_backend
from flowdecode_backends.local import bundled, open_local
from flowdecode_backends.local.backend import Local
from flowdecode_backends.local.model import Source
from tests.backends.local.models import SIZE, save
from tests.backends.local.tokenizers import make_tokenizer

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")

pytestmark = pytest.mark.anyio


def opened(path: object) -> Local:
    return open_local(BackendURL.parse(f"local:{path}?threads=1"), api_key=None, headers={})


async def load(path: object) -> None:
    async with opened(path):
        pass


def written(config: Any, folder: Path) -> Path:
    """A random model of a configuration, with a tokenizer."""
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    make_tokenizer("qwen3").save_pretrained(folder)
    return folder


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of bundled models, with nothing in it yet."""

    def files(package: str) -> Path:
        return tmp_path

    monkeypatch.setattr(bundled, "files", files)
    return tmp_path / "demo"


@pytest.mark.parametrize("url", ["local:", "local:@atlas", "local:?threads=1"])
def test_a_bundled_model_that_is_not_there_says_what_else_can_be_done(url: str, demo: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none is installed.*'atlas'.*local:path/to/model"):
        open_backend(url)


@pytest.mark.parametrize("name", ["nowhere", "../atlas", "atlas/..", "."])
def test_an_unknown_bundled_model_lists_what_there_is(name: str, demo: Path) -> None:
    for known in ("atlas", "tiny"):
        (demo / known).mkdir(parents=True)
        (demo / known / "config.json").write_text("{}")
    with pytest.raises(ConfigurationError, match=r"one of local:@atlas, local:@tiny"):
        open_backend(f"local:@{name}")


async def test_the_demo_model_is_the_default(
    demo: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("FLOWDECODE_BACKEND", raising=False)
    save(demo / "atlas", "llama")
    save(demo / "tiny", "qwen3")
    result = await flowdecode.run("What is tea?", strategy="sequential", max_tokens=3)
    assert result.model == "atlas"
    for url, model in (("local:", "atlas"), ("local:@atlas", "atlas"), ("local:@tiny", "tiny")):
        async with open_backend(url) as backend:
            assert backend.engine.model == model


@pytest.mark.parametrize("path", ["models/deep/down", "./nowhere", "/nowhere/at all", "~nobody/model"])
async def test_a_path_that_is_no_folder_is_not_asked_of_the_hub(path: str) -> None:
    with pytest.raises(ConfigurationError, match=r"Expected a model's folder, .* is none"):
        await load(path)


async def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "weights.gguf").write_bytes(b"GGUF")
    with pytest.raises(ConfigurationError, match=r"weights.gguf' is none"):
        await load(tmp_path / "weights.gguf")


async def test_a_name_that_the_hub_does_not_give_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        ConfigurationError, match=r"no folder 'no-such/model', and the hub gave.*Check the name"
    ) as caught:
        await load("no-such/model")
    assert "\n" not in str(caught.value)


async def test_a_model_that_decodes_nothing_is_refused(tmp_path: Path) -> None:
    config = transformers.T5Config(d_model=32, d_kv=16, d_ff=48, num_layers=1, num_heads=2, vocab_size=400)
    config.save_pretrained(tmp_path)
    make_tokenizer("qwen3").save_pretrained(tmp_path)
    with pytest.raises(ConfigurationError, match=r"causal language model.*T5Config") as caught:
        await load(tmp_path)
    assert len(str(caught.value)) < 700, "transformers lists all that it knows"


async def test_a_model_without_positions_is_refused(tmp_path: Path) -> None:
    config = transformers.BloomConfig(hidden_size=32, n_layer=1, n_head=2, vocab_size=400)
    with pytest.raises(ConfigurationError, match=r"no max_position_embeddings.*Serve it with SGLang"):
        await load(written(config, tmp_path))


@pytest.mark.parametrize("family", ["Mamba", "RecurrentGemma", "FalconH1"])
async def test_state_beside_keys_and_values_is_refused_with_a_remedy(family: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "vocab_size": 400}
    getattr(transformers, f"{family}Config")(**sizes).save_pretrained(tmp_path)
    make_tokenizer("qwen3").save_pretrained(tmp_path)
    with pytest.raises(ConfigurationError, match=r"layers of the kind .*Serve it with SGLang"):
        await load(tmp_path)


@pytest.mark.parametrize(("window", "fits"), [(16, False), (1024, True)])
async def test_a_window_that_the_attention_is_not_told_is_refused(
    window: int, fits: bool, tmp_path: Path
) -> None:
    """Qwen2-MoE masks by its window outside the attention; one as long as the context masks nothing."""
    config = transformers.Qwen2MoeConfig(
        use_sliding_window=True, sliding_window=window, max_window_layers=0, num_experts=2,
        num_experts_per_tok=1, moe_intermediate_size=16, shared_expert_intermediate_size=16, **SIZE
    )  # fmt: skip
    written(config, tmp_path)
    if fits:
        await load(tmp_path)
    else:
        with pytest.raises(ConfigurationError, match=r"a sliding window that its attention is not told"):
            await load(tmp_path)


async def test_loading_shows_its_progress(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """The log says what is loaded and when it is; transformers' own bars show how far it is."""
    save(tmp_path, "llama")
    capfd.readouterr()
    with caplog.at_level(logging.INFO, "flowdecode"):
        await load(tmp_path)
    said = [record.message.split()[0] for record in caplog.records if record.name == "flowdecode"]
    assert said[0] == "Loading"
    assert said.count("Loaded") == 1
    captured = capfd.readouterr()
    assert "100%" in captured.err
    assert captured.out == ""


async def test_an_engine_that_nobody_uses_goes_when_another_model_is_loaded(tmp_path: Path) -> None:
    used, unused, other = (save(tmp_path / name, "llama") for name in ("used", "unused", "other"))
    async with opened(used) as backend:
        engine = backend.shared
        async with backend:
            pass  # entered twice and left once: it is still in use
        async with opened(unused) as first:
            kept = first.shared
        async with opened(unused) as second:
            assert second.shared is kept, "it stays for the next one"
        with pytest.raises(ConfigurationError, match="Expected a model's folder"):
            async with opened(tmp_path / "mistyped"):
                pass
        async with opened(unused) as again:
            assert again.shared is kept, "a path that is none costs nobody's place"
        async with opened(other), opened(unused) as third:
            assert third.shared is not kept
        async with opened(used) as again:
            assert again.shared is engine


async def test_an_engine_whose_opening_was_cancelled_is_not_held(tmp_path: Path) -> None:
    source = save(tmp_path / "model", "llama")
    opening = asyncio.ensure_future(load(source))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    async with opened(source) as backend:  # waits for the thread that loads it
        await asyncio.sleep(0)
        assert backend.shared.users == 1


async def test_an_unused_engine_takes_another_limit_of_memory(tmp_path: Path) -> None:
    source = Source(str(save(tmp_path / "model", "llama")), device="cpu")
    async with Local(source, memory=64 << 20, threads=1) as first:
        with pytest.raises(ConfigurationError, match="Expected the memory limit"):
            await Local(source, memory=32 << 20, threads=1).__aenter__()
        assert first.shared.users == 1
    async with Local(source, memory=32 << 20, threads=1) as second:
        assert second.shared.memory == 32 << 20


async def test_an_engine_s_threads_are_not_the_next_one_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("flowdecode_backends.local.engine._SMALL", 0)
    monkeypatch.setattr("flowdecode_backends.local.engine._OWN_CHOICE", 2)
    caplog.set_level(logging.INFO, "flowdecode")
    before = torch.get_num_threads()
    try:
        for name, threads in (("one", 1), ("two", None)):
            source = Source(str(save(tmp_path / name, "llama")), device="cpu")
            async with Local(source, threads=threads) as backend:
                await flowdecode.run("Tea?", backend=backend, strategy="sequential", max_tokens=2)
    finally:
        torch.set_num_threads(before)
    said = [record.getMessage() for record in caplog.records if "CPU thread" in record.getMessage()]
    assert said == ["one decodes with 1 CPU thread(s).", "two decodes with 2 CPU thread(s)."]
