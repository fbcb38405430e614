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
module: Any = pytest.importorskip("flowdecode_backends.local.step")
local_model: Any = pytest.importorskip("flowdecode_backends.local.model")
Pool: Any = pytest.importorskip("flowdecode_backends.local.pool").Pool
Thread: Any = pytest.importorskip("flowdecode_backends.local.thread").Thread

POOL = 1024


def read(piece: Any) -> list[tuple[list[int], list[int]]]:
    """Of each query of a piece: the slots that it attends over, and of these the ones that it sees."""

    def listed(slots: Any) -> list[int]:
        return [] if slots is None else torch.arange(POOL)[slots].tolist()

    def shown(mask: Any, row: int, slots: list[int]) -> list[int]:
        hidden = mask.hidden(None)
        return [slot for column, slot in enumerate(slots) if hidden is None or not hidden[row, column]]

    rows: list[tuple[list[int], list[int]]] = []
    if isinstance(piece, attention.Branches):
        stem = listed(piece.stem)
        for lanes in piece.lanes:
            for row in range(lanes.count):
                first = lanes.first + row * lanes.apart
                lane = list(range(first, first + lanes.length))
                rows.append((stem + lane, stem + shown(lanes.mask, row, lane)))
    elif isinstance(piece, attention.Rows):
        rows += [(slots, shown(piece.mask, row, slots)) for row, slots in enumerate(piece.slots.tolist())]
    return rows


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    forks=st.lists(st.integers(0, 7), max_size=6),
    rounds=st.integers(1, 12),
    slack=st.sampled_from([0, 5, 40, 1024]),
)
def test_pieces_hold_what_threads_see_and_at_most_the_slack_beside(
    lengths: list[int], forks: list[int], rounds: int, slack: int
) -> None:
    pool = Pool(POOL, 16)
    threads: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SLACK", slack)
        for length in lengths:
            threads.append(Thread(pool))
            threads[-1].say(range(length))
            threads[-1].feed(length)
        threads += [threads[fork % len(threads)].fork() for fork in forks]
        for _ in range(rounds):
            step = module.Step(pool, torch.device("cpu"))
            for thread in threads:
                thread.say([1])
                step.feed(thread, 1)
            step.close()
            assert sum(piece.queries.stop - piece.queries.start for piece in step.pieces) == len(threads)
            order = sorted(step.last, key=step.last.__getitem__)
            for piece in step.pieces:
                for feed, (slots, seen) in zip(order[piece.queries], read(piece), strict=True):
                    assert sorted(seen) == sorted(threads[feed].seen.tolist())
                    assert len(slots) <= len(seen) + slack
            for thread in threads:
                assert len(set(thread.seen.tolist())) == thread.count
    for thread in threads:
        pool.give_back(thread.close())
    assert pool.free == pool.slots
    assert pool.free_threads == 16


@pytest.mark.parametrize("family", FAMILIES)
def test_slots_taken_one_by_one_give_the_same_logits(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = local_model.LanguageModel(local_model.Source(str(save(tmp_path, family)), device="cpu"))

    def logits(slack: int) -> Any:
        monkeypatch.setattr(module, "SLACK", slack)
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
            out.append(model.forward(step, list(range(len(threads)))))
        return torch.stack(out)

    assert float((logits(0) - logits(1024)).abs().max()) < 1e-4
