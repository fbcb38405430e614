"""`local:` as users meet it: URLs, runs, graphs, and errors that say what to do."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

import flowdecode
from flowdecode.backend import Load, ModelProfile
from flowdecode.errors import ConfigurationError
from flowdecode.plugins import BackendURL
from flowdecode.sampling import Sampling
from flowdecode_backends.local import open_local
from tests.backends.local.models import save
from tests.backends.local.tokenizers import make_tokenizer
from tests.leaks import no_leaks

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")

pytestmark = pytest.mark.anyio


def opened(url: str) -> Any:
    return open_local(BackendURL.parse(url), api_key=None, headers={})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save(tmp_path_factory.mktemp("qwen3"), "qwen3")


async def test_run_decodes_an_answer(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "flowdecode"):
        result = await flowdecode.run(
            "What is tea?", backend=opened(f"local:{folder}?threads=1"), strategy="sequential", max_tokens=24
        )
    assert result.model == folder.name
    assert 0 < result.usage.completion_tokens <= 24
    assert "".join(node.text for node in result.nodes) == result.text
    loaded = [record.message for record in caplog.records if record.message.startswith("Loaded")]
    assert len(loaded) == 1
    assert "float32 on cpu" in loaded[0]


async def test_own_graph_reuses_what_its_nodes_share(folder: Path) -> None:
    backend = opened(f"local:{folder}")
    async with no_leaks(), flowdecode.connect(backend) as flow:
        async with flow.graph() as graph:
            short = Sampling(max_tokens=20, temperature=0)
            facts = graph.decode("List three facts about tea and about its cups.", sampling=short)
            essay = graph.decode("Write a paragraph from these facts.", after=facts, sampling=short)
            poem = graph.decode("Write a poem from these facts:\n{facts}", facts=facts, sampling=short)
        assert await backend.load() == Load(0, 0)
    records = {node.id: node for node in graph.result.nodes}
    assert records[poem.id].status in ("done", "truncated")
    spine = records[essay.id]
    assert spine.expected_cached_tokens > 20
    assert spine.usage.cached_tokens >= spine.expected_cached_tokens - 1


async def test_cancelled_run_leaves_nothing_running(folder: Path) -> None:
    backend = opened(f"local:{folder}")
    async with no_leaks(), flowdecode.connect(backend) as flow:
        async with flow.stream("Tell me all about tea.", strategy="sequential", max_tokens=700) as run:
            async for _ in run.text:
                break
        assert await backend.load() == Load(0, 0)


async def test_profile_and_context_length_are_the_models(tmp_path: Path) -> None:
    save(tmp_path, "llama")
    (tmp_path / "flowdecode.json").write_text(json.dumps({"strategies": ["pasta"], "tags": {"<sync/>": 9}}))
    async with opened(f"local:{tmp_path}?dtype=bfloat16&device=cpu&memory=64MiB") as backend:
        assert backend.engine.profile == ModelProfile(strategies=("pasta",), tags={"<sync/>": 9})
        assert backend.engine.context_length == 1024
        assert backend.engine.capabilities.shared_kv
        with pytest.raises(ConfigurationError, match=r"memory limit that .* was loaded with"):
            async with opened(f"local:{tmp_path}?dtype=bfloat16&device=cpu&memory=32MiB"):
                pass
    (tmp_path / "flowdecode.json").write_text('{"strategy": 1}')
    with pytest.raises(
        ConfigurationError, match=r"flowdecode\.json: Object contains unknown field `strategy`"
    ):
        async with opened(f"local:{tmp_path}?dtype=float32"):
            pass


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("local:@nowhere", "Expected a bundled model .*, got 'nowhere'"),
        ("local:x?slots=4", "unknown field `slots`.*It has: dtype, device, threads, memory"),
        ("local:x?threads=0", "Expected at least 1, got 0 - at `threads`"),
        ("local:x?memory=lots", "Expected a size such as 512MiB or 2GiB, got 'lots'"),
    ],
)
def test_wrong_url_is_refused_at_once(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        opened(url)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("dtype=int8", "Expected one of float32, bfloat16, float16"),
        ("device=toaster", "Expected a device such as"),
    ],
)
async def test_wrong_dtype_and_device_are_refused_on_loading(folder: Path, query: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        async with opened(f"local:{folder}?{query}"):
            pass


async def test_missing_folder_is_a_clear_error() -> None:
    with pytest.raises(ConfigurationError, match=r"Expected a model's folder, './nowhere' is none"):
        async with opened("local:./nowhere"):
            pass


async def test_folder_without_a_model_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Expected a folder with a causal language model"):
        async with opened(f"local:{tmp_path}"):
            pass


async def test_missing_chat_template_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Expected a chat template"):
        async with opened(f"local:{save(tmp_path, 'llama', template=None)}"):
            pass


async def test_linear_attention_is_refused_with_a_remedy(tmp_path: Path) -> None:
    config = transformers.Qwen3NextConfig(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, num_key_value_heads=1, vocab_size=400
    )
    config.save_pretrained(tmp_path)
    make_tokenizer("qwen3").save_pretrained(tmp_path)
    with pytest.raises(
        ConfigurationError, match=r"layers of the kind linear_attention.*Serve it with SGLang"
    ):
        async with opened(f"local:{tmp_path}"):
            pass


async def test_model_that_hides_its_attention_is_refused(tmp_path: Path) -> None:
    """OpenAI's gpt-oss adds sinks to its softmax: nothing in its layers' kinds tells."""
    config = transformers.GptOssConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        vocab_size=400,
        num_local_experts=2,
        num_experts_per_tok=1,
        pad_token_id=0,
        eos_token_id=None,
    )
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    make_tokenizer("qwen3").save_pretrained(tmp_path)
    with pytest.raises(ConfigurationError, match="can't be run over a shared KV pool"):
        async with opened(f"local:{tmp_path}"):
            pass
