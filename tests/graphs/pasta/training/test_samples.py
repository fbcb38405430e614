"""Samples are drawn once, whatever happens meanwhile; the engine is scripted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import flowdecode
from flowdecode.backend import Request
from flowdecode.errors import ConfigurationError
from flowdecode.flow import Flow
from flowdecode_backends.scripted import Fault, Reply, Scripted
from flowdecode_backends.simulated import simulate
from flowdecode_graphs.evaluation.answers import Folder
from flowdecode_graphs.evaluation.items import Item, atlas_items, read_items
from flowdecode_graphs.pasta.training.samples import Sample, Sampling, answer_once, draw, url_of
from tests.graphs.pasta.scripts import PLAIN, pasta
from tests.graphs.pasta.training.counted import Counted

ITEMS = [Item(prompt="Tea?"), Item(prompt="Ist Kaffee \N{HOT BEVERAGE} gut?"), Item(prompt="茶?")]
SAMPLING = Sampling(samples=2, concurrency=2)


class Engine:
    """Opens connections to one scripted engine, as `connect=`."""

    def __init__(self, reply: Any = None) -> None:
        self.backend = Scripted(reply or pasta())

    def __call__(self, url: str) -> Flow:
        return flowdecode.connect(self.backend)

    @property
    def seeds(self) -> set[int | None]:
        return {request.sampling.seed for request in self.backend.requests}


async def sample(
    folder: Folder, items: list[Item], engine: Engine, sampling: Sampling = SAMPLING, **options: Any
) -> list[Sample]:
    return await draw(folder, "sglang://there:1", items, sampling, connect=engine, form="causal", **options)


def plain(request: Request) -> Reply:
    return Reply(PLAIN)


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.glob("answers/*/*.json")}


def test_every_prompt_has_all_samples_with_seeds_of_their_own(tmp_path: Path) -> None:
    engine = Engine()
    told = Counted()
    samples = simulate(sample(Folder(tmp_path), ITEMS, engine, progress=told))
    assert sorted((sample.item.prompt, sample.number) for sample in samples) == sorted(
        (item.prompt, number) for item in ITEMS for number in (1, 2)
    )
    assert (told.begun, told.ended) == ([6], 6)
    assert all(sample.transcript.well_formed and sample.result.text == PLAIN for sample in samples)
    seeds = engine.seeds
    assert None not in seeds
    assert len(seeds) > 2
    assert all(request.sampling.temperature == 1.0 for request in engine.backend.requests)


def test_what_is_there_is_not_drawn_again(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    simulate(sample(folder, ITEMS[:2], Engine()))
    before, engine = files(tmp_path), Engine()
    samples = simulate(sample(folder, ITEMS, engine))
    assert len(samples) == 6
    assert before.items() <= files(tmp_path).items()
    asked = {
        message["content"] for request in engine.backend.requests for message in request.context.messages()
    }
    assert ITEMS[2].prompt in asked
    assert not asked & {ITEMS[0].prompt, ITEMS[1].prompt}
    again = Engine()
    assert len(simulate(sample(folder, ITEMS, again))) == 6
    assert again.backend.requests == []


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("when", ["before", "behind"])
@pytest.mark.parametrize("write", range(7))
def test_a_run_goes_on_after_a_kill_at_any_write(
    tmp_path: Path, write: int, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest and six samples are seven writes; each may be the last, before or behind its end."""
    left = write
    replace = Path.replace

    def kill(path: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left < -1 or (left < 0 and when == "before"):  # who is dead writes no more
            raise _Killed
        replaced = replace(path, target)
        if left < 0:
            raise _Killed
        return replaced

    folder = Folder(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", kill)
        with pytest.raises(_Killed):
            simulate(sample(folder, ITEMS, Engine()))
    before = files(tmp_path)
    assert len(before) == (max(0, write - 1) if when == "before" else write)
    told = Counted()
    samples = simulate(sample(folder, ITEMS, Engine(), progress=told))
    assert len(samples) == 6
    assert told.begun == [6 - len(before)]
    assert before.items() <= files(tmp_path).items()


def test_other_settings_are_refused(tmp_path: Path) -> None:
    simulate(sample(Folder(tmp_path), ITEMS[:1], Engine()))
    hotter = Sampling(samples=2, concurrency=2, temperature=0.5)
    with pytest.raises(ConfigurationError, match=r"`temperature` is 1\.0, got 0\.5"):
        simulate(sample(Folder(tmp_path), ITEMS[:1], Engine(), hotter))


def test_samples_that_fail_are_left_out(tmp_path: Path) -> None:
    def reply(request: Request) -> Reply:
        if request.context.messages()[0]["content"] == ITEMS[0].prompt:
            return Reply("Tea", fault=Fault(0, "rejected"))
        return pasta()(request)

    samples = simulate(sample(Folder(tmp_path), ITEMS, Engine(reply)))
    assert {sample.item.prompt for sample in samples} == {ITEMS[1].prompt, ITEMS[2].prompt}
    assert len(files(tmp_path)) == 6, "a failure is stored too, and not tried again"


def test_plain_answers_are_greedy_and_asked_for_once(tmp_path: Path) -> None:
    engine = Engine(plain)
    for _ in range(2):
        baseline = simulate(
            answer_once(Folder(tmp_path), "sglang://there:1", ITEMS, SAMPLING, connect=engine)
        )
        assert {text.text for text in baseline.values()} == {PLAIN}
        assert baseline.keys() == {item.id for item in ITEMS}
    assert {request.sampling.temperature for request in engine.backend.requests} == {0.0}
    assert len(engine.backend.requests) == 3 + 1, "with one to warm up"


def test_a_folder_is_the_local_engine_s(tmp_path: Path) -> None:
    assert url_of(tmp_path) == f"local:{tmp_path}"
    assert url_of("sglang://127.0.0.1:30000") == "sglang://127.0.0.1:30000"


def test_prompts_of_the_atlas_are_its_training_questions() -> None:
    items = atlas_items("train", 60, seed=1)
    assert len({item.prompt for item in items}) == 60
    assert all(item.question is not None for item in items)
    assert items == atlas_items("train", 60, seed=1)
    assert items != atlas_items("train", 60, seed=2)
    held_out = {item.prompt for item in read_items("atlas")}
    assert not held_out & {item.prompt for item in items if item.category != "outside"}


def test_a_file_without_prompts_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    with pytest.raises(ConfigurationError, match="at least one prompt, got none"):
        read_items(str(empty))


def test_cancelling_keeps_what_was_drawn(tmp_path: Path) -> None:
    async def stopped() -> None:
        reached = asyncio.Event()

        class Third(Counted):
            def done(self) -> None:
                super().done()
                if self.ended == 3:
                    reached.set()

        task = asyncio.ensure_future(sample(Folder(tmp_path), ITEMS, Engine(), progress=Third()))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    simulate(stopped())
    assert 3 <= len(files(tmp_path)) < 6
