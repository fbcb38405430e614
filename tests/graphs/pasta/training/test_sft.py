"""Stage 1 on a tiny model: it learns, goes on where it was stopped, and what it learnt is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import flowdecode
from flowdecode.errors import ConfigurationError, FlowdecodeError
from flowdecode_graphs.pasta.document import Chunk, Document
from flowdecode_graphs.pasta.layout import Form
from flowdecode_graphs.pasta.training.rows import Example, write_examples

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")
sft: Any = pytest.importorskip("flowdecode_graphs.pasta.training.sft", exc_type=ImportError)
collate: Any = pytest.importorskip("flowdecode_graphs.pasta.training.collate")
models: Any = pytest.importorskip("flowdecode_graphs.pasta.training.models")
trainer: Any = pytest.importorskip("flowdecode_graphs.pasta.training.trainer")
batches: Any = pytest.importorskip("flowdecode_graphs.pasta.training.batches")

from tests.backends.local.models import SIZE  # noqa: E402
from tests.backends.local.tokenizers import make_tokenizer  # noqa: E402

pytestmark = pytest.mark.timeout(120)

TEA, COFFEE = '<promise topic="tea" tokens="20"/>', '<promise topic="coffee" tokens="10"/>'
EXAMPLES = [
    Example(
        "What is tea, and what is coffee?",
        f"Two: {TEA}<async>Tea is an infusion of leaves.</async> and {COFFEE}<async>Coffee is.</async>\n"
        "<sync/>So tea.",
    ),
    Example("What is water?", f"{TEA}<async>Water; water.</async> Briefly: {COFFEE}<async>Cocoa.</async>"),
]


def new_model(folder: Path) -> Path:
    """A random model without tags, small enough to learn in seconds."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        **{**SIZE, "vocab_size": len(make_tokenizer()), "initializer_range": 0.05, "num_hidden_layers": 2}
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return new_model(tmp_path_factory.mktemp("sft") / "model")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    write_examples(path, EXAMPLES)
    return path


def settings(model: Path, **changes: Any) -> Any:
    return sft.Settings(
        **{
            "model": str(model),
            "steps": 8,
            "rate": 5e-3,
            "batch": 2,
            "save_steps": 3,
            "bf16": False,
            **changes,
        }
    )


def weights(folder: Path) -> dict[str, Any]:
    loaded = transformers.AutoModelForCausalLM.from_pretrained(folder)
    return dict(loaded.state_dict())


@pytest.mark.anyio
@pytest.mark.parametrize("form", ["shared", "causal"])
async def test_what_was_learnt_is_decoded_threads_and_all(
    form: Form, model: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    trained = sft.train(data, out, settings(model, form=form, steps=120, save_steps=1000), validation=data)
    assert trained.steps == 120
    assert trained.loss < 0.2
    assert trained.validation_loss < 0.2
    assert trained.tokens_per_second > 0
    async with flowdecode.connect(f"local:{out}") as flow:
        for example in EXAMPLES:
            document = Document.parse(example.answer)
            result = await flow.run(example.prompt, strategy="pasta")
            assert (result.text, result.strategy) == (document.text, "pasta")
            assert result.plan is not None
            assert result.plan.remarks == ()
            chunks = [part for part in document.parts if isinstance(part, Chunk)]
            told = {
                node.title: node.expected_tokens for node in result.plan.nodes if node.title != "Main thread"
            }
            assert told == {chunk.topic: chunk.tokens for chunk in chunks}
        auto = await flow.run(EXAMPLES[0].prompt)
        assert auto.strategy == "pasta", "its flowdecode.json says that it was trained for it"


def test_the_baseline_learns_the_same_text_without_tags(model: Path, data: Path, tmp_path: Path) -> None:
    trained = sft.train(data, tmp_path / "out", settings(model, plain=True, steps=60))
    assert trained.loss < 1
    assert set(weights(tmp_path / "out")) == set(weights(model))
    assert '"strategies": []' in (tmp_path / "out" / "flowdecode.json").read_text()
    assert weights(tmp_path / "out")["lm_head.weight"].shape == weights(model)["lm_head.weight"].shape


class Stopped(BaseException):
    """As a kill does, in the middle of a step."""


@pytest.mark.parametrize("changes", [{}, {"lora": 2}, {"optimizer": "muon"}], ids=str)
def test_a_training_that_was_stopped_ends_as_one_that_was_not(
    changes: dict[str, Any], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.jsonl"
    write_examples(path, [Example(f"What is {n}?", f"{TEA}<async>Tea {n}.</async>{n}") for n in range(7)])
    whole = sft.train(path, tmp_path / "whole", settings(model, **changes))
    left, compute = 5, trainer.Supervised.compute_loss

    def stop(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if not left:
            raise Stopped
        return compute(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Supervised, "compute_loss", stop)
        with pytest.raises(Stopped):
            sft.train(path, tmp_path / "stopped", settings(model, **changes))
    assert trainer.checkpoint(tmp_path / "stopped").name == "checkpoint-3"
    broken = tmp_path / "stopped" / "checkpoints" / "checkpoint-4"
    broken.mkdir()
    resumed = sft.train(path, tmp_path / "stopped", settings(model, **changes))
    assert not broken.exists() or (broken / "trainer_state.json").exists()
    assert resumed.steps == whole.steps == 8
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert all(torch.equal(one[name], other[name]) for name in one)
    again = sft.train(path, tmp_path / "stopped", settings(model, **changes))
    assert (again.steps, again.tokens_per_second) == (8, 0)
    assert all(torch.equal(other[name], tensor) for name, tensor in weights(tmp_path / "stopped").items())


def test_the_main_thread_s_tokens_may_count_more(model: Path, data: Path, tmp_path: Path) -> None:
    """The loss of a first step, whose weights are those of the model at the start."""
    start = models.load_trainable(model)
    batch = collate.Collator()([collate.encode(example, start.tokenizer) for example in EXAMPLES])
    with torch.inference_mode():
        losses = -collate.token_log_probs(start.model, batch)
    predicted = batch["targets"] >= 0
    main = batch["weighted"].gather(1, batch["targets"].clamp(min=0)) & predicted
    assert 0 < int(main.sum()) < int(predicted.sum())
    for weight in (1.0, 3.0):
        expected = (losses[predicted].sum() + (weight - 1) * losses[main].sum()) / (
            predicted.sum() + (weight - 1) * main.sum()
        )
        out = tmp_path / str(weight)
        trained = sft.train(data, out, settings(model, steps=1, main_weight=weight, rate=0.0))
        assert abs(trained.loss - float(expected)) < 1e-3


def test_weights_that_are_no_numbers_are_no_model(model: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(FlowdecodeError, match=r"Expected finite weights, got others in .* Lower --rate"):
        sft.train(data, tmp_path / "out", settings(model, rate=1e30))
    assert not (tmp_path / "out" / "config.json").exists()


def test_adapters_are_merged(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = sft.train(data, tmp_path / "one", settings(model, lora=4, steps=1))
    trained = sft.train(data, out, settings(model, lora=4, steps=60, rate=1e-2))
    assert trained.loss < 0.7 * first.loss
    before, after = weights(model), weights(out)
    assert set(after) == set(before)
    name, rows = "model.embed_tokens.weight", len(make_tokenizer())
    assert torch.equal(after[name][:rows], before[name]), "of the embeddings only the new ones are trained"
    layer = "model.layers.0.self_attn.q_proj.weight"
    changed = after[layer] - before[layer]
    assert 0 < int(torch.linalg.matrix_rank(changed, atol=1e-4)) <= 4


def test_what_can_t_be_trained_on_is_dropped_and_said(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    ill, unclosed, nested = "Tea<sync/>", f"{TEA}<async>Tea", f"{TEA}<async>{TEA}</async>"
    tag = "In PASTA-LANG one writes <sync/> to wait."
    long = f"{TEA}<async>{'Tea is tea. ' * 600}</async>"
    others = [ill, unclosed, nested, tag, long]
    write_examples(path, [*EXAMPLES, *(Example("Tea?", answer) for answer in others)])
    trained = sft.train(path, tmp_path / "out", settings(model, steps=1))
    assert trained.examples == 2
    assert sum(trained.dropped.values()) == len(others)
    assert trained.dropped["longer than the model's context of 1,024 tokens"] == 1
    assert trained.dropped["ill-formed (Expected a promise before <sync/>)"] == 2
    for content in (b"", b'{"prompt": "Tea?", "answer": "<sync/>"}'):
        path.write_bytes(content)
        with pytest.raises(ConfigurationError, match="Expected examples to train on, got none"):
            sft.train(path, tmp_path / "none", settings(model))
    assert not (tmp_path / "none").exists()
    with pytest.raises(ConfigurationError, match="Expected a file of examples, got"):
        sft.train(tmp_path / "nothing.jsonl", tmp_path / "empty", settings(model))


def test_a_validation_of_which_nothing_is_left_is_refused(model: Path, data: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    write_examples(broken, [Example("Tea?", "<async>Tea.</async>")])
    with pytest.raises(ConfigurationError, match=r"Expected examples to train on, got none - in .*broken"):
        sft.train(data, tmp_path / "out", settings(model), validation=broken)


def test_one_folder_holds_one_training(model: Path, data: Path, tmp_path: Path) -> None:
    sft.train(data, tmp_path / "out", settings(model, steps=1))
    for changes in ({"rate": 1.0}, {"plain": True}):
        with pytest.raises(ConfigurationError, match="with which this training began, got others"):
            sft.train(data, tmp_path / "out", settings(model, steps=1, **changes))
    write_examples(data, EXAMPLES[:1])
    with pytest.raises(ConfigurationError, match="with which this training began, got others"):
        sft.train(data, tmp_path / "out", settings(model, steps=1))


def test_batches_are_of_similar_lengths_and_shuffled_in_every_epoch() -> None:
    lengths = [7 * number % 101 for number in range(1001)]
    sampler = batches.ByLength(lengths, 8, 0)
    first: list[int] = list(sampler)
    assert sorted(first) == list(range(1001))
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first
    found: list[list[int]] = [[lengths[index] for index in first[at : at + 8]] for at in range(0, 1000, 8)]
    assert max(max(batch) - min(batch) for batch in found) < 25
    assert found != sorted(found)
