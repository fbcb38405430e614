"""Steps on pairs: their log-probabilities, and batches that are cut into smaller ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowdecode_graphs.pasta.training.rows import Example
from tests.graphs.pasta.training.counted import Counted
from tests.graphs.pasta.training.models import ANSWERS, PROMPTS, save_taught

torch: Any = pytest.importorskip("torch")
pytest.importorskip("accelerate")
collate: Any = pytest.importorskip("flowdecode_graphs.pasta.training.collate")
models: Any = pytest.importorskip("flowdecode_graphs.pasta.training.models")
preferences: Any = pytest.importorskip("flowdecode_graphs.pasta.training.preferences")

pytestmark = pytest.mark.timeout(120)  # seconds of work, on a machine that may be busy


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save_taught(tmp_path_factory.mktemp("taught"))


def pairs(tokenizer: Any) -> list[Any]:
    encoded = [
        [collate.encode(Example(prompt, answer), tokenizer) for answer in ANSWERS] for prompt in PROMPTS
    ]
    return [
        preferences.EncodedPair(best, worst) for worst, best, other in encoded for worst in (worst, other)
    ]


def steps(**settings: Any) -> Any:
    return preferences.Steps(**{"rate": 1e-3, "batch": 4, "beta": 0.1, "bf16": False, **settings})


@pytest.mark.parametrize("at_once", [1, 3, 8])
def test_log_probabilities_are_those_of_each_answer_alone(taught: Path, at_once: int) -> None:
    loaded = models.load_trainable(taught, add_tags=False)
    told = pairs(loaded.tokenizer)
    found = preferences.log_probs(loaded.model, told, steps(at_once=at_once))
    for pair, values in zip(told, found, strict=True):
        for answer, value in zip(pair, values, strict=True):
            with torch.inference_mode():
                alone = collate.token_log_probs(loaded.model, collate.Collator()([answer])).sum()
            assert value == pytest.approx(float(alone), abs=1e-3)


def test_a_batch_may_be_computed_in_parts(taught: Path, tmp_path: Path) -> None:
    after: list[list[tuple[float, float]]] = []
    for at_once in (4, 1):
        loaded = models.load_trainable(taught, add_tags=False)
        told = pairs(loaded.tokenizer)
        before = preferences.log_probs(loaded.model, told, steps())
        counted, where = Counted(), tmp_path / str(at_once)
        preferences.train(loaded.model, told, where, steps(at_once=at_once, epochs=3), progress=counted)
        assert (counted.begun, counted.ended) == ([3], 3)
        after.append(preferences.log_probs(loaded.model, told, steps()))
        assert max(abs(one[0] - other[0]) for one, other in zip(before, after[-1], strict=True)) > 0.1
    for one, other in zip(*after, strict=True):
        assert one == pytest.approx(other, abs=2e-2)


def test_the_reference_is_computed_once(taught: Path, tmp_path: Path) -> None:
    loaded = models.load_trainable(taught, add_tags=False)
    told = pairs(loaded.tokenizer)
    path = tmp_path / "reference.json"
    first = preferences.reference_log_probs(loaded.model, told, path, steps())
    assert preferences.reference_log_probs(None, told, path, steps()) == first
