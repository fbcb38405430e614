"""In bfloat16 a model over the pool stays as near to float32 as docs/local.md says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.backends.local.models import FAMILIES, make_model, save

torch: Any = pytest.importorskip("torch")
local_model: Any = pytest.importorskip("flowdecode_backends.local.model")
Pool: Any = pytest.importorskip("flowdecode_backends.local.pool").Pool
Thread: Any = pytest.importorskip("flowdecode_backends.local.thread").Thread

LIKELIEST, ANY = 0.2, 0.5
"""The most by which a log-probability differs: of the likeliest token, and of any."""


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_in_bfloat16_are_near_those_in_float32(family: str, tmp_path: Path) -> None:
    model = local_model.LanguageModel(local_model.Source(str(save(tmp_path, family)), "bfloat16", "cpu"))
    tokens = [(11 * index) % 380 + 8 for index in range(64)]
    thread = Thread(Pool(128, 1))

    def say(said: list[int]) -> Any:
        thread.say(said)
        step = model.new_step(thread.pool)
        step.feed(thread, len(said))
        return model.forward(step, [0])[0]

    say(tokens[:32])
    ours = torch.stack([say([token]) for token in tokens[32:]]).log_softmax(-1)
    with torch.inference_mode():
        exact = make_model(family)(torch.tensor([tokens])).logits[0, 32:].log_softmax(-1)
    likeliest = exact.argmax(-1, keepdim=True)
    assert float((ours.gather(1, likeliest) - exact.gather(1, likeliest)).abs().max()) < LIKELIEST
    assert float((ours - exact).abs().max()) < ANY
