from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from string import Formatter
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdecode_graphs.atlas import KINDS, Kind, Question, Split, phrasings, questions, split_of
from flowdecode_graphs.atlas.phrasings import Phrasings

SPLITS: tuple[Split, ...] = get_args(Split)
ALL: dict[str, Phrasings] = {
    **{name: value for name, value in vars(phrasings).items() if isinstance(value, Phrasings)},
    **phrasings.SHORT,
}


def drawn(split: Split, count: int, *, seed: int = 1, kind: Kind | None = None) -> list[Question]:
    return list(islice(questions(split, seed, kind), count))


@given(split=st.sampled_from(SPLITS), seed=st.integers(0), kind=st.sampled_from([None, *KINDS]))
def test_the_same_seed_gives_the_same_questions(split: Split, seed: int, kind: Kind | None) -> None:
    assert drawn(split, 8, seed=seed, kind=kind) == drawn(split, 8, seed=seed, kind=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_questions_can_be_stored(kind: Kind) -> None:
    for question in drawn("validation", 20, kind=kind):
        assert msgspec.json.decode(msgspec.json.encode(question), type=Question) == question


def test_kinds_come_in_turn() -> None:
    assert Counter(question.kind for question in drawn("train", 60)) == dict.fromkeys(KINDS, 10)


@pytest.mark.parametrize("kind", KINDS)
def test_one_kind_alone(kind: Kind) -> None:
    assert {question.kind for question in drawn("train", 20, kind=kind)} == {kind}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "outside"])
def test_what_is_asked_belongs_to_one_split(kind: Kind) -> None:
    for split in SPLITS:
        assert {split_of(question.task) for question in drawn(split, 100, kind=kind)} == {split}


@pytest.mark.parametrize("kind", KINDS)
def test_no_heldout_prompt_is_trained_on(kind: Kind) -> None:
    held = {question.prompt for question in drawn("heldout", 300, kind=kind)}
    assert held.isdisjoint(question.prompt for question in drawn("train", 1000, kind=kind))


def words(templates: Iterable[str]) -> set[str]:
    literals = [literal for template in templates for literal, *_ in Formatter().parse(template)]
    return set(re.findall(r"\w+", " ".join(literals).lower()))


TRAINED_WORDS = words(template for wordings in ALL.values() for template in wordings.train)


@pytest.mark.parametrize("name", ALL)
def test_heldout_wordings_are_new_and_their_words_are_not(name: str) -> None:
    assert set(ALL[name].train).isdisjoint(ALL[name].heldout)
    assert words(ALL[name].heldout) - TRAINED_WORDS == set()
