from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import msgspec

from flowdecode_graphs.atlas import Question, heldout_questions, reference, score, split_of
from flowdecode_graphs.atlas.heldout import COUNTS
from tests.graphs.atlas.spoilt import moved, of_another_town

FROZEN = Path(__file__).with_name("heldout.txt")


def without_the_last_part(question: Question) -> str:
    return "\n\n".join(part.text for part in reference(question).shown[:-1])


def with_the_first_part_again(question: Question) -> str:
    answer = reference(question)
    return f"{answer.text}\n\n{answer.shown[0].text}"


def with_the_last_part_of_another_town(question: Question) -> str:
    return f"{without_the_last_part(question)}\n\n{reference(moved(question.task)).shown[-1].text}"


def line(question: Question) -> str:
    """The scores of four wrong answers, the beginning of the right one's digest, and the prompt."""
    wrong = (
        without_the_last_part(question),
        with_the_first_part_again(question),
        with_the_last_part_of_another_town(question),
        of_another_town(question),
    )
    scores = " ".join(f"{score(question, text).value:.3f}" for text in wrong)
    answer = msgspec.json.encode([question.task, reference(question)])
    return f"{scores} {hashlib.sha256(answer).hexdigest()[:8]} {question.kind}: {question.prompt}"


def test_questions_answers_and_scorer_are_frozen() -> None:
    """Once a model was trained, a difference here makes its scores worthless: put the code right instead."""
    frozen = FROZEN.read_text(encoding="utf-8").splitlines()
    assert [line(question) for question in heldout_questions()] == frozen


def test_kinds_are_balanced() -> None:
    assert Counter(question.kind for question in heldout_questions()) == COUNTS
    assert len({question.prompt for question in heldout_questions()}) == sum(COUNTS.values()) == 200


def test_nothing_is_trained_on() -> None:
    asked = [question.task for question in heldout_questions() if question.kind != "outside"]
    assert {split_of(task) for task in asked} == {"heldout"}
