"""The proof of PASTA on the Atlas: its split is frozen, and its figures are those of known answers."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from examples.pasta_atlas.frontier import LOCAL, QUALITY, SGLANG, draw, fastest, read_rows, written
from examples.pasta_atlas.measure import Answer, answer_all, read_answers, time_each, write_answers
from examples.pasta_atlas.split import COUNTS, proof_questions
from flowdecode_graphs.atlas import heldout_questions, split_of

FROZEN = "75323953860b4d86408e48500a1002f909d8284dea7be3b24674556bfe39657d"


def test_the_split_is_frozen_and_nobody_else_s() -> None:
    asked = proof_questions()
    assert len(asked) == sum(COUNTS.values()) == len({question.prompt for question in asked})
    assert not {question.prompt for question in asked} & {question.prompt for question in heldout_questions()}
    assert {split_of(question.task) for question in asked} == {"heldout"}
    assert hashlib.sha256("\n".join(question.prompt for question in asked).encode()).hexdigest() == FROZEN


def answer(prompt: str, score: float, work: int, span: int, seconds: float) -> Answer:
    return Answer(prompt=prompt, text="", score=score, work=work, span=span, seconds=seconds)


def test_rows_are_against_the_baseline(tmp_path: Path) -> None:
    base = [answer("a", 0.5, 100, 100, 1.0), answer("b", 1.0, 400, 400, 4.0)]
    ours = [answer("a", 1.0, 120, 50, 0.5), answer("b", 0.5, 410, 100, 2.0)]
    write_answers(tmp_path / QUALITY / "baseline.jsonl", base)
    write_answers(tmp_path / QUALITY / "lambda 4.jsonl", ours)
    write_answers(tmp_path / SGLANG / "lambda 4" / "baseline.jsonl", base)
    write_answers(tmp_path / SGLANG / "lambda 4" / "own.jsonl", ours)
    first, row = read_rows(tmp_path)
    assert (first.name, first.theoretical.value, first.net_win_rate, first.asynchronous) == (
        "baseline",
        1,
        0,
        0,
    )
    assert row.theoretical.value == pytest.approx(8**0.5)  # of 2 and 4
    assert row.quality.value == 0.75
    assert row.net_win_rate == 0
    assert row.sglang is not None
    assert row.sglang.value == pytest.approx(2.0)
    assert row.local is None
    assert row.asynchronous == 1
    table = written([first, row]).splitlines()
    assert table[3].startswith("| lambda 4 | 0.750 (0.500 to 1.000) | +0% | 2.83x (2.00 to 4.00) |")
    draw([first, row], tmp_path / "frontier.png")
    assert (tmp_path / "frontier.png").read_bytes().startswith(b"\x89PNG")


def test_ablations_are_against_their_own_baseline(tmp_path: Path) -> None:
    base, short, fixed = ([answer("a", 1, work, work, 1)] for work in (100, 80, 40))
    for name, answers in (("baseline", base), ("baseline, short", short), ("all fixed", fixed)):
        write_answers(tmp_path / QUALITY / f"{name}.jsonl", answers)
    rows = read_rows(tmp_path, of=("baseline, short", "all fixed"))
    assert [(row.name, row.theoretical.value) for row in rows] == [("baseline, short", 1), ("all fixed", 2)]
    assert [row.name for row in read_rows(tmp_path, without=("all fixed",))] == [
        "baseline",
        "baseline, short",
    ]


def test_other_questions_than_the_baseline_s_are_refused(tmp_path: Path) -> None:
    write_answers(tmp_path / QUALITY / "baseline.jsonl", [answer("a", 1, 1, 1, 1)])
    write_answers(tmp_path / QUALITY / "other.jsonl", [answer("b", 1, 1, 1, 1)])
    with pytest.raises(ValueError, match=r"in other\."):
        read_rows(tmp_path)


@pytest.mark.anyio
@pytest.mark.timeout(120)
async def test_the_demo_model_s_answers_are_measured(tmp_path: Path) -> None:
    asked = proof_questions()[-2:]
    plain = await answer_all("local:", "sequential", asked)
    assert [each.prompt for each in plain] == [question.prompt for question in asked]
    assert all(each.span == each.work > 0 for each in plain)
    found = await time_each({"plain": ("local:", "sequential"), "plato": ("local:", "plato")}, asked)
    assert [each.text for each in found["plain"]] == [each.text for each in plain]
    assert all(each.seconds > 0 for answers in found.values() for each in answers)
    write_answers(tmp_path / "some.jsonl", plain)
    assert read_answers(tmp_path / "some.jsonl") == plain


def test_the_fastest_model_that_is_hardly_worse_is_shipped(tmp_path: Path) -> None:
    for name, quality, seconds in (
        ("baseline", 0.9, 8),
        ("stage 1", 0.95, 6),
        ("lambda 4", 0.885, 4),
        ("lambda 1", 0.87, 2),
    ):
        answers = [answer(prompt, quality, 100, 50, seconds) for prompt in "abcd"]
        write_answers(tmp_path / QUALITY / f"{name}.jsonl", answers)
        write_answers(tmp_path / LOCAL / name / "own.jsonl", answers)
        slow = [answer(prompt, 0.9, 100, 100, 8) for prompt in "abcd"]
        write_answers(tmp_path / LOCAL / name / "baseline.jsonl", slow)
    write_answers(tmp_path / QUALITY / "untimed.jsonl", [answer(prompt, 1, 1, 1, 1) for prompt in "abcd"])
    rows = read_rows(tmp_path)
    assert fastest(rows, {"untimed"}) is None
    assert fastest(rows, {"stage 1", "lambda 4", "lambda 1"}) == "lambda 4"
    assert fastest(rows, {"stage 1"}) == "stage 1"
    assert fastest(rows, {"lambda 1"}) is None
