"""Models get the tags, and are written as everything loads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flowdecode.errors import ConfigurationError
from flowdecode_graphs.pasta.language import ASYNC, END, PROMISE, SYNC

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")
models: Any = pytest.importorskip("flowdecode_graphs.pasta.training.models")
local: Any = pytest.importorskip("flowdecode_backends.local.backend")

from tests.backends.local.models import FAMILIES, make_model  # noqa: E402
from tests.backends.local.tokenizers import make_tokenizer  # noqa: E402

TAGS = [PROMISE, ASYNC, END, SYNC]
VOCABULARY = len(make_tokenizer())


def save(folder: Path, family: str = "llama", *, spare: int = 0, dtype: str = "float32") -> Path:
    """A model with an embedding for every token, and some to spare."""
    model = make_model(family)
    model.resize_token_embeddings(VOCABULARY + spare, mean_resizing=False)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_missing_tags_become_tokens_that_are_not_special(family: str, tmp_path: Path) -> None:
    trainable = models.load_trainable(save(tmp_path, family))
    tokenizer, model = trainable.tokenizer, trainable.model
    ids = tokenizer.convert_tokens_to_ids(TAGS)
    assert ids == [VOCABULARY + n for n in range(4)]
    added = VOCABULARY + len(TAGS) + len(models.ATTRIBUTES)
    text = f'a{PROMISE} topic="b" tokens="10"/>{ASYNC}c{END}\n{SYNC}d'
    tokens = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    assert [token for token in tokens if token >= VOCABULARY and token < VOCABULARY + 4] == ids
    assert len(tokenizer.tokenize('<promise topic="b" tokens="10"/>')) == len("b10") + 4, "small vocabulary"
    assert tokenizer.decode(tokens, skip_special_tokens=True) == text
    assert model.config.vocab_size == len(tokenizer) == added
    weight = model.get_input_embeddings().weight.detach()
    assert weight.shape[0] == model.get_output_embeddings().weight.shape[0] == added
    known, new = weight[:VOCABULARY], weight[VOCABULARY:]
    away = (new - known.mean(0)) / known.std(0)
    assert 0.05 < float(away.std()) < 0.2
    assert not torch.equal(new[0], new[1])


def test_they_are_added_once_and_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    save(tmp_path / "before")
    one, again, other = (models.load_trainable(tmp_path / "before", seed=seed) for seed in (0, 0, 1))
    weights = [each.model.get_input_embeddings().weight.detach() for each in (one, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    models.save_model(one, tmp_path / "after")
    loaded = models.load_trainable(tmp_path / "after", seed=1)
    assert torch.equal(loaded.model.get_input_embeddings().weight.detach(), weights[0])
    assert len(loaded.tokenizer) == len(one.tokenizer) > VOCABULARY + 4


def test_rows_that_a_vocabulary_has_to_spare_are_used(tmp_path: Path) -> None:
    weight = models.load_trainable(save(tmp_path, spare=64)).model.get_input_embeddings().weight.detach()
    assert weight.shape[0] == VOCABULARY + 64
    known, new = weight[:VOCABULARY], weight[VOCABULARY : VOCABULARY + 4]
    assert float(((new - known.mean(0)) / known.std(0)).abs().max()) < 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.anyio
async def test_what_is_saved_is_loaded_by_the_engine_and_by_transformers(dtype: str, tmp_path: Path) -> None:
    save(tmp_path / "before", dtype=dtype)
    (tmp_path / "before" / "flowdecode.json").write_text(
        '{"prompts": {"plan": "Plan:"}, "strategies": ["plato"], "tags": {}}'
    )
    trainable = models.load_trainable(tmp_path / "before")
    models.save_model(trainable, tmp_path / "after")
    assert trainable.model.dtype == torch.float32
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "after")
    assert str(loaded.dtype) == f"torch.{dtype}"
    expected = dict(trainable.model.state_dict())
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, expected[name].to(loaded.dtype))
    source = local.Source(str(tmp_path / "after"), device="cpu")
    async with local.Local(source, threads=1) as backend:
        profile = backend.engine.profile
    assert profile.strategies == ("pasta",)
    assert profile.prompts == {"plan": "Plan:"}
    known = (*TAGS, *models.ATTRIBUTES)  # all were spelt in so small a vocabulary
    assert profile.tags == {text: VOCABULARY + number for number, text in enumerate(known)}


def test_a_plain_model_declares_nothing(tmp_path: Path) -> None:
    save(tmp_path / "before")
    models.save_model(models.load_trainable(tmp_path / "before"), tmp_path / "pasta")
    trainable = models.load_trainable(tmp_path / "before", add_tags=False)
    assert trainable.model.config.vocab_size == VOCABULARY
    models.save_model(trainable, tmp_path / "plain", plain=True)
    models.save_model(
        models.load_trainable(tmp_path / "pasta", add_tags=False), tmp_path / "again", plain=True
    )
    for name in ("plain", "again"):
        profile = json.loads((tmp_path / name / "flowdecode.json").read_text())
        assert (profile["strategies"], profile["tags"]) == ([], {})


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Expected a folder with a causal language model"):
        models.load_trainable(tmp_path)
