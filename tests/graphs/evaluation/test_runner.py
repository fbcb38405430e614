from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import msgspec
import pytest

import flowdecode
from flowdecode.errors import BackendUnavailable, ConfigurationError
from flowdecode_backends.scripted import Fault, Reply, Scripted
from flowdecode_backends.simulated import simulate
from flowdecode_graphs.evaluation.answers import Folder, Manifest, Settings
from flowdecode_graphs.evaluation.items import Item
from flowdecode_graphs.evaluation.runner import Runner, first_section_end, in_turns, with_query
from flowdecode_graphs.evaluation.variants import open_variants
from tests.graphs.evaluation.engines import Engine, begin, items_of

VARIANTS = open_variants(["plato", "skeleton"])


def files(folder: Folder) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.path.glob("answers/*/*")}


def test_variants_take_turns_and_each_is_first_as_often() -> None:
    items = tuple(Item(prompt=str(n)) for n in range(6))
    manifest = Manifest(
        settings=Settings(backend="simulated:"), source="", items=items, variants=("a", "b", "c"), repeat=2
    )
    jobs = list(in_turns(manifest))
    assert len({(job.item.id, job.variant, job.repeat) for job in jobs}) == len(jobs) == 36
    assert [job.variant for job in jobs[:6]] == ["a", "b", "c", "b", "c", "a"]
    assert Counter(job.variant for job in jobs[::3]) == {"a": 4, "b": 4, "c": 4}


def test_every_variant_answers_every_prompt(tmp_path: Path) -> None:
    folder, manifest = begin(tmp_path, items_of("guide", "short"), VARIANTS, repeat=2)
    done: list[None] = []
    simulate(Runner(folder, manifest, VARIANTS, connect=Engine(), done=lambda: done.append(None)).run())
    answers = folder.answers()
    assert len(answers) == len(done) == 2 * 3 * 2
    told = next(each for each in answers if (each.item, each.variant) == (manifest.items[0].id, "plato"))
    assert told.result is not None
    assert told.result.strategy == "plato"
    assert told.first_text_at is not None
    assert told.first_part_at is not None
    assert told.first_text_at < told.first_part_at < told.result.duration


def test_a_run_that_was_killed_goes_on_and_changes_no_answer(tmp_path: Path) -> None:
    folder, manifest = begin(tmp_path, items_of("guide", "comparison", "short"), VARIANTS)

    async def killed() -> None:
        done = 0
        reached = asyncio.Event()

        def count() -> None:
            nonlocal done
            done += 1
            if done == 4:
                reached.set()

        task = asyncio.ensure_future(Runner(folder, manifest, VARIANTS, connect=Engine(), done=count).run())
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    simulate(killed())
    before = files(folder)
    assert len(before) == 4
    manifest = folder.open(manifest)
    runner = Runner(folder, manifest, VARIANTS, connect=Engine())
    assert len(runner.pending) == 5
    simulate(runner.run())
    after = files(folder)
    assert len(after) == 9
    assert before.items() <= after.items()


def test_what_is_answered_opens_no_engine(tmp_path: Path) -> None:
    folder, manifest = begin(tmp_path, items_of("short"), VARIANTS)
    engine = Engine()
    simulate(Runner(folder, manifest, VARIANTS, connect=engine).run())
    simulate(Runner(folder, manifest, VARIANTS, connect=engine).run())
    assert engine.opened == ["simulated:"]


def test_no_run_begins_beyond_the_limit_on_tokens(tmp_path: Path) -> None:
    folder, manifest = begin(tmp_path, items_of("guide", "comparison"), VARIANTS)
    # Three runs that are not counted warm the engine; their tokens are.
    runner = Runner(folder, manifest, VARIANTS, connect=Engine(), token_limit=900)
    simulate(runner.run())
    assert 0 < len(folder.answers()) < 6
    assert runner.left_out == 6 - len(folder.answers())


def test_runs_side_by_side(tmp_path: Path) -> None:
    async def virtual_seconds(concurrency: int) -> float:
        path = tmp_path / str(concurrency)
        folder, manifest = begin(path, items_of("guide", "comparison"), VARIANTS, concurrency=concurrency)
        await Runner(folder, manifest, VARIANTS, connect=Engine()).run()
        assert len(folder.answers()) == 6
        return asyncio.get_running_loop().time()

    assert simulate(virtual_seconds(3)) < 0.8 * simulate(virtual_seconds(1))


def test_a_run_that_fails_is_stored_with_its_error_and_not_done_again(tmp_path: Path) -> None:
    variants = open_variants([])
    folder, manifest = begin(tmp_path, (Item(prompt="Good?"), Item(prompt="Bad?")), variants)
    engine = Scripted([Reply("Never.", match="Bad?", fault=Fault(error="rejected")), Reply("Yes.")])
    simulate(Runner(folder, manifest, variants, connect=lambda url: flowdecode.connect(engine)).run())
    by_item = {each.item: each for each in folder.answers()}
    good, bad = (by_item[item.id] for item in manifest.items)
    assert good.ok
    assert not bad.ok
    assert bad.error is not None
    assert not Runner(folder, manifest, variants).pending


def test_an_engine_that_is_gone_ends_it_all_and_nothing_is_stored(tmp_path: Path) -> None:
    variants = open_variants([])
    folder, manifest = begin(tmp_path, (Item(prompt="Good?"),), variants)
    engine = Scripted([Reply("Never.", fault=Fault(error="unavailable"))])
    with pytest.raises(BackendUnavailable):
        simulate(Runner(folder, manifest, variants, connect=lambda url: flowdecode.connect(engine)).run())
    assert folder.answers() == []


def test_other_settings_need_another_folder(tmp_path: Path) -> None:
    folder, manifest = begin(tmp_path, items_of("short"), VARIANTS)
    other = msgspec.structs.replace(manifest, settings=Settings(backend="simulated:?seed=1"))
    with pytest.raises(
        ConfigurationError, match=r"where `backend` is 'simulated:', got 'simulated:\?seed=1'"
    ):
        folder.open(other)


def test_another_judge_needs_another_folder(tmp_path: Path) -> None:
    folder, manifest = begin(tmp_path, items_of("short"), VARIANTS)
    assert folder.open(msgspec.structs.replace(manifest, judge="simulated:")).judge == "simulated:"
    assert folder.open(manifest).judge == "simulated:", "without a judge it goes on too"
    with pytest.raises(ConfigurationError, match="where `judge` is 'simulated:', got 'local:'"):
        folder.open(msgspec.structs.replace(manifest, judge="local:"))


def test_more_prompts_variants_and_repeats_join_those_that_are_there(tmp_path: Path) -> None:
    first, second = items_of("short", "guide")
    begin(tmp_path, (first,), open_variants(["plato"]), repeat=2)
    _, manifest = begin(tmp_path, (second, first), open_variants(["skeleton"]))
    assert manifest.items == (first, second)
    assert manifest.variants == ("sequential", "plato", "skeleton")
    assert manifest.repeat == 2
    assert Folder(tmp_path).manifest() == manifest


def test_a_half_written_file_is_no_answer(tmp_path: Path) -> None:
    folder, manifest = begin(tmp_path, items_of("short"), VARIANTS)
    item = manifest.items[0].id
    (tmp_path / "answers" / item).mkdir(parents=True)
    (tmp_path / "answers" / item / ".plato.1.json.77").write_text('{"item":')
    assert folder.answers() == []
    assert len(Runner(folder, manifest, VARIANTS).pending) == 3


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Expected what `flowdecode bench` wrote"):
        Folder(tmp_path).manifest()


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("## Tea\n\nMild.\n\n## Coffee\n\nStrong.", "## Tea\n\nMild."),
        ("1. Tea: mild\n2. Coffee: strong\n", "1. Tea: mild"),
        ("Just one\n\npiece of text.\n", "Just one\n\npiece of text."),
        ("", ""),
    ],
)
def test_the_first_section_ends_before_the_second_heading(text: str, first: str) -> None:
    assert text[: first_section_end(text)] == first


def test_a_query_goes_behind_the_url() -> None:
    assert with_query("sglang://host:1", "warm=0") == "sglang://host:1?warm=0"
    assert with_query("sglang://host:1?a=b", "warm=0") == "sglang://host:1?a=b&warm=0"
    assert with_query("simulated:", "") == "simulated:"
