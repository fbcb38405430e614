"""The exact score of an answer: what it says is compared with the world, without a judge.

The score is a product of five shares, so that whoever fails one badly fails: facts, coverage, consistency,
sums, and what is not repeated. It is a pure function of question and text; the same for all strategies.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from flowdecode_graphs.atlas.asked import Asked, Pick, asked_of
from flowdecode_graphs.atlas.claims import NOWHERE, claims, equations, mentions
from flowdecode_graphs.atlas.facts import Fact, all_facts
from flowdecode_graphs.atlas.questions import Question
from flowdecode_graphs.atlas.sections import cross_section_repetition, sections, sentences
from flowdecode_graphs.atlas.tasks import Chain, Comparison, Outside

__all__ = ["Score", "score"]

ALLOWED_REPETITION = 0.1
"""Trigrams that good sections of one town share: its name, `in the`."""
MAX_REFUSAL_WORDS = 60


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """Shares from 0 to 1, and why they are not 1."""

    facts: float = 1.0
    """Right facts among those that were asked for and those that are wrong or beside the point."""
    coverage: float = 1.0
    """Parts that are there: at least half of a part's facts, a right pick, any right sum."""
    consistency: float = 1.0
    """What is said of hotels, districts and sights, if it keeps to the choice; half where a pick is wrong."""
    sums: float = 1.0
    """Right results among those that have to be worked out, times right equations among all."""
    freshness: float = 1.0
    """What is not repeated: neither whole sentences nor trigrams in other sections."""
    reasons: tuple[str, ...] = ()

    @property
    def value(self) -> float:
        """The product."""
        return self.facts * self.coverage * self.consistency * self.sums * self.freshness


def score(question: Question, text: str) -> Score:
    """How good an answer is."""
    task = question.task
    refused = "demonstration model" in text and "Atlas" in text
    if isinstance(task, Outside):
        return _score_refusal(text, refused=refused)
    if refused:
        return Score(facts=0.0, coverage=0.0, reasons=("refused a question about the Atlas",))
    claimed = claims(text, NOWHERE if isinstance(task, Comparison | Chain) else task.town)
    asked = asked_of(task, claimed)
    reasons: list[str] = []
    return Score(
        facts=_facts(asked, claimed, reasons), ...
    )
