from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdecode_graphs.atlas.sections import Section, cross_section_repetition, sentences, split_sections


@pytest.mark.parametrize(
    "text",
    [
        "## Food\n\nGood.\n\n## Craft\n\nFine.",
        "# Food\nGood.\n# Craft #\nFine.",
        "**Food**\nGood.\n**Craft**:\nFine.",
        "1. Food: Good.\n2. Craft: Fine.",
        "1) Food\nGood.\n2) Craft\nFine.",
    ],
)
def test_headings_in_every_form(text: str) -> None:
    found = [(section.heading.strip(), section.body.strip()) for section in split_sections(text)]
    assert found == [("Food", "Good."), ("Craft", "Fine.")]


def test_headings_that_follow_each_other_are_one() -> None:
    assert [section.heading for section in split_sections("## Food\n\n## Food in Nowhere\n\nGood.")] == [
        "Food\nFood in Nowhere"
    ]


def test_what_stands_before_the_first_heading() -> None:
    assert split_sections("Hello.\n## Food\nGood.") == [Section("", "Hello.\n"), Section("Food", "\nGood.\n")]


def test_sentences_and_lines() -> None:
    assert sentences("**One.** Two!\nthree, 3.5\n\n(Four?) Five") == [
        "**One.",
        "Two!",
        "three, 3.5",
        "(Four?",
        "Five",
    ]


def test_repetition_is_the_share_of_trigrams_in_two_sections() -> None:
    assert cross_section_repetition(["a b c d", "b c d e"]) == pytest.approx(1 / 3)
    assert cross_section_repetition(["A b, c.", "a b c"]) == 1.0
    assert cross_section_repetition(["a b c", "d e f"]) == 0.0
    assert cross_section_repetition(["a b c a b c"]) == 0.0


def test_groups_may_share_their_wording() -> None:
    assert cross_section_repetition(["a b c"], ["a b c"]) == 0.0


def test_nothing_repeats_nothing() -> None:
    assert cross_section_repetition() == cross_section_repetition(["", "one two"]) == 0.0


@given(st.text())
def test_no_text_is_lost(text: str) -> None:
    found = "".join(f"{section.heading}{section.body}" for section in split_sections(text))
    assert sorted(filter(str.isalpha, found)) == sorted(filter(str.isalpha, text))
