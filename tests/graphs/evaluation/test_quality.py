from __future__ import annotations

from pathlib import Path

import flowdecode
from flowdecode.flow import Flow
from flowdecode_backends.scripted import Reply, Scripted
from flowdecode_backends.simulated import simulate
from flowdecode_graphs.evaluation.answers import Folder, Manifest
from flowdecode_graphs.evaluation.items import Item
from flowdecode_graphs.evaluation.judge import Judge, read_choice
from flowdecode_graphs.evaluation.measures import exact_score, pairs_of
from flowdecode_graphs.evaluation.quality import qualities
from flowdecode_graphs.evaluation.runner import Runner
from flowdecode_graphs.evaluation.variants import open_variants
from flowdecode_graphs.evaluation.verdicts import by_exact_score, by_judge
from tests.graphs.evaluation.engines import Engine, begin, items_of
from tests.graphs.scripts import script

VARIANTS = open_variants(["plato"])
PARALLEL_FIRST = "Answer 1:\n## Tea"
PLAIN_FIRST = "Answer 1:\nTea is mild, coffee"


def answered(path: Path) -> tuple[Folder, Manifest]:
    """One prompt, answered in two ways."""
    folder, manifest = begin(path, (Item(prompt="Tea or coffee?"),), VARIANTS)
    engine = Scripted(script())
    simulate(Runner(folder, manifest, VARIANTS, connect=lambda url: flowdecode.connect(engine)).run())
    return folder, manifest


def judged(path: Path, parallel_first: str, plain_first: str) -> tuple[Folder, Manifest, Scripted]:
    """Both answers before a judge who says this in the two orders."""
    folder, manifest = answered(path)
    engine = Scripted([Reply(parallel_first, match=PARALLEL_FIRST), Reply(plain_first, match=PLAIN_FIRST)])

    def connect(url: str) -> Flow:
        return flowdecode.connect(engine)

    simulate(Judge(folder, pairs_of(manifest.items, folder.answers()), "scripted:", connect=connect).run())
    return folder, manifest, engine


def test_the_last_verdict_counts() -> None:
    assert read_choice("Not Verdict: 1, but this:\n**Verdict: 2**") == "second"
    assert read_choice("verdict: Tie.") == "tie"
    assert read_choice("Verdict: 12") is None
    assert read_choice("Both are fine.") is None


def test_a_win_needs_both_orders(tmp_path: Path) -> None:
    folder, manifest, _ = judged(tmp_path, "Clear. Verdict: 1", "Long. Verdict: 2")
    (quality,) = qualities(by_judge(pairs_of(manifest.items, folder.answers()), folder.judgements()))
    assert (quality.wins, quality.losses, quality.ties, quality.disagreements) == (1, 0, 0, 0)
    assert (quality.variant, quality.source) == ("plato", "scripted")


def test_a_judge_who_likes_the_first_place_sees_a_tie(tmp_path: Path) -> None:
    folder, manifest, _ = judged(tmp_path, "Verdict: 1", "Verdict: 1")
    (quality,) = qualities(by_judge(pairs_of(manifest.items, folder.answers()), folder.judgements()))
    assert (quality.wins, quality.losses, quality.ties, quality.disagreements) == (0, 0, 1, 1)


def test_a_loss_and_what_can_t_be_read(tmp_path: Path) -> None:
    folder, manifest, _ = judged(tmp_path / "loss", "Verdict: 2", "Verdict: 1")
    (lost,) = by_judge(pairs_of(manifest.items, folder.answers()), folder.judgements())
    assert lost.outcome == -1
    folder, manifest, _ = judged(tmp_path / "vague", "Verdict: 1", "Who knows.")
    (vague,) = by_judge(pairs_of(manifest.items, folder.answers()), folder.judgements())
    assert (vague.outcome, vague.unreadable) == (0, True)


def test_what_the_judge_said_is_stored_and_not_asked_again(tmp_path: Path) -> None:
    folder, manifest, engine = judged(tmp_path, "Clear. Verdict: 1", "Long. Verdict: 2")
    told = {each.order: each for each in folder.judgements()}
    assert told["shown-first"].text == "Clear. Verdict: 1"
    assert (told["shown-second"].choice, told["shown-second"].model) == ("second", engine.engine.model)
    assert Judge(folder, pairs_of(manifest.items, folder.answers()), "scripted:").pending == []


def test_answers_that_are_the_same_are_a_tie_without_a_judge(tmp_path: Path) -> None:
    folder, manifest = begin(tmp_path, items_of("short"), VARIANTS)
    simulate(Runner(folder, manifest, VARIANTS, connect=Engine()).run())
    assert Judge(folder, pairs_of(manifest.items, folder.answers()), "scripted:").pending == []


def test_the_exact_score_needs_no_judge(tmp_path: Path) -> None:
    folder, manifest = begin(tmp_path, items_of("guide", "short"), VARIANTS)
    simulate(Runner(folder, manifest, VARIANTS, connect=Engine()).run())
    pairs = pairs_of(manifest.items, folder.answers())
    assert {exact_score(pair) for pair in pairs} == {1.0}
    spoilt = [
        pair._replace(result=pair.sequential) if pair.answered.variant == "sequential" else pair
        for pair in pairs
    ]
    (quality,) = qualities(by_exact_score(spoilt))
    assert (quality.wins, quality.ties, quality.source) == (0, 2, "exact score")
    assert quality.net_win_rate is not None
    assert quality.net_win_rate.value == 0
    assert quality.length_controlled_win_rate is None, "two verdicts are too few for a regression"


def test_prompts_of_no_world_have_no_exact_score(tmp_path: Path) -> None:
    folder, manifest = answered(tmp_path)
    assert by_exact_score(pairs_of(manifest.items, folder.answers())) == []
