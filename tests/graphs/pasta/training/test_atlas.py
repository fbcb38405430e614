"""Answers about the Atlas are annotated by rule: in the language, in several ways, with nothing changed."""

from __future__ import annotations

from itertools import islice

import pytest

from flowdecode_graphs.atlas import KINDS, Kind, questions, reference
from flowdecode_graphs.atlas.answers import rough_tokens
from flowdecode_graphs.atlas.dice import Dice
from flowdecode_graphs.pasta.document import Chunk, Document, Sync, theoretical_speedup
from flowdecode_graphs.pasta.language import DEFAULT_TOKENS
from flowdecode_graphs.pasta.training.atlas import TOPIC, annotate_reference, atlas_examples

MANY = 60


def documents(kind: Kind, *, topic: bool = True, sync: bool = True) -> list[Document]:
    """Answers to several questions."""
    dice = Dice("test", kind)
    asked = islice(questions("train", 1, kind), MANY)
    return [
        Document.parse(annotate_reference(each, dice, rough_tokens, topic=topic, sync=sync).answer)
        for each in asked
    ]


def chunks(document: Document) -> list[Chunk]:
    return [part for part in document.parts if isinstance(part, Chunk)]


def shape(document: Document) -> str:
    """Its parts' kinds: `tcs` is a text, a chunk and a sync."""
    return "".join("t" if isinstance(part, str) else "c" if isinstance(part, Chunk) else "s"
                   for part in document.parts)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_is_the_reference_s_and_the_lengths_are_counted(kind: Kind) -> None:
    asked = list(islice(questions("train", 1, kind), MANY))
    for question, document in zip(asked, documents(kind), strict=True):
        assert document.text == reference(question).text
        for chunk in chunks(document):
            assert 0 <= chunk.tokens - (rough_tokens(chunk.text) + 2) < 10


@pytest.mark.parametrize(("kind", "least"), [("guide", 12), ("comparison", 8), ("choice", 10), ("chain", 8)])
def test_there_are_many_ways(kind: Kind, least: int) -> None:
    assert len({shape(document) for document in documents(kind)}) >= least


@pytest.mark.parametrize("kind", ["short", "outside"])
def test_what_has_one_part_is_plain(kind: Kind) -> None:
    assert {shape(document) for document in documents(kind)} == {"t"}


def test_parts_of_guides_are_independent_and_most_are_chunks() -> None:
    found = documents("guide")
    assert sum(len(chunks(document)) for document in found) > 2 * MANY
    assert sum("s" in shape(document) for document in found) < MANY / 4
    assert max(theoretical_speedup(document, rough_tokens) for document in found) > 2


@pytest.mark.parametrize(
    ("kind", "dependent"), [("comparison", "If that is what counts"), ("choice", "In total:")]
)
def test_conclusions_follow_a_sync_but_for_a_few(kind: Kind, dependent: str) -> None:
    """Where something was promised: a conclusion that sees nothing of it is what can be unlearnt."""
    waits: list[bool] = []
    for document in documents(kind):
        if chunks(document):
            place = next(place for place, part in enumerate(document.parts)
                         if not isinstance(part, Sync)
                         and dependent in (part if isinstance(part, str) else part.text))  # fmt: skip
            before = document.parts[:place]
            promised = max((at for at, part in enumerate(before) if isinstance(part, Chunk)), default=-1)
            waits.append(any(isinstance(part, Sync) for part in before[promised + 1 :]))
    assert len(waits) > MANY / 2
    assert 0.6 < sum(waits) / len(waits) < 1


def test_a_town_that_is_asked_for_by_a_clue_is_named_before_its_parts_begin() -> None:
    for question, document in zip(islice(questions("train", 1, "chain"), MANY),
                                  documents("chain"), strict=True):  # fmt: skip
        town = getattr(question.task, "town", "")
        said = ""
        for part in document.parts:
            if isinstance(part, Chunk):
                assert town in said + part.topic
            elif isinstance(part, str):
                said += part


def test_variants_differ_in_nothing_else() -> None:
    usual = documents("choice")
    for one, other in zip(usual, documents("choice", topic=False), strict=True):
        assert shape(one) == shape(other)
        assert {chunk.topic for chunk in chunks(other)} <= {TOPIC}
    for one, other in zip(usual, documents("choice", sync=False), strict=True):
        assert chunks(one) == chunks(other)
        assert (one.text, "s" in shape(other)) == (other.text, False)
    assert any("s" in shape(document) for document in usual)


def test_lengths_are_exact_or_fixed_where_that_is_asked_for() -> None:
    question = next(questions("train", 1, "guide"))
    exact = annotate_reference(question, Dice(2), rough_tokens, lengths="exact").answer
    found = chunks(Document.parse(exact, exact=True))
    assert [chunk.tokens for chunk in found] == [rough_tokens(chunk.text) + 2 for chunk in found]
    assert any(chunk.tokens % 10 for chunk in found)
    fixed = chunks(
        Document.parse(annotate_reference(question, Dice(2), rough_tokens, lengths="fixed").answer)
    )
    assert {chunk.tokens for chunk in fixed} == {DEFAULT_TOKENS}


def test_the_same_seed_gives_the_same_examples() -> None:
    one, again, other = (list(islice(atlas_examples("train", seed, rough_tokens), 30)) for seed in (1, 1, 2))
    assert one == again != other
    assert {example.category for example in one} == {*KINDS, "long guide"}
