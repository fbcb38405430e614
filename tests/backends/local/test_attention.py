"""What a query attends over holds all that its thread sees, and little more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.backends.local.models import FAMILIES, save

torch: Any = pytest.importorskip("torch")
attention: Any = pytest.importorskip("flowdecode_backends.local.attention")
local_model: Any = pytest.importorskip("flowdecode_backends.local.model")
Pool: Any = pytest.importorskip("flowdecode_backends.local.pool").Pool
Thread: Any = pytest.importorskip("flowdecode_backends.local.thread").Thread


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    forks=st.lists(st.integers(0, 7), max_size=6),
    rounds=st.integers(1, 12),
    slack=st.sampled_from([0, 5, 40, 1024]),
)
def test_pieces_hold_what_threads_see_and_at_most_the_slack_beside(
    lengths: list[int], forks: list[int], rounds: int, slack: int
) -> None:
    pool = Pool(1024, 16)
    threads: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "SLACK", slack)
        for length in lengths:
            threads.append(Thread(pool))
            threads[-1].say(range(length))
            threads[-1].feed(length)
        threads += [threads[fork % len(threads)].fork() for fork in forks]
        for _ in range(rounds):
            step = attention.Step(pool, torch.device("cpu"))
            for thread in threads:
                thread.say([1])
                step.feed(thread, 1)
            step.close()
            reached: list[int] = []
            for piece in step.pieces:
                queries = torch.arange(len(threads))[piece.queries].tolist()
                slots = torch.arange(pool.slots)[piece.slots]
                mask = piece.mask(None, 1, torch.float32)
                reached += queries
                for row, query in enumerate(queries):
                    seen = set(slots[mask[row] == 0].tolist())
                    assert seen == set(pool.visible[threads[query].row].nonzero()[0].tolist())
                    assert len(slots) <= len(seen) + slack
            assert sorted(reached) == list(range(len(threads)))
    for thread in threads:
        pool.give_back(thread.close())
    assert pool.free == pool.slots
    assert not pool.visible.any()


@pytest.mark.parametrize("family", FAMILIES)
def test_slots_taken_one_by_one_give_the_same_logits(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = local_model.LanguageModel(local_model.Source(str(save(tmp_path, family)), device="cpu"))

    def logits(slack: int) -> Any:
        monkeypatch.setattr(attention, "SLACK", slack)
        pool = Pool(512, 8)
        threads = [Thread(pool) for _ in range(4)]
        for number, thread in enumerate(threads):
            thread.say([(number + 3 * index) % 380 + 8 for index in range(20 + number)])
        out: list[Any] = []
        for number in range(4):
            step = model.new_step(pool)
            for thread in threads:
                if number:
                    thread.say([40 + number])
                step.feed(thread, len(thread.pending))
            out.append(model.forward(step, step.last))
        return torch.stack(out)

    assert float((logits(0) - logits(1024)).abs().max()) < 1e-4
