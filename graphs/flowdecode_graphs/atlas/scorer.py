"""The exact score of an answer: what it says is compared with the world, without a judge.

The score is a product of five shares, so that whoever fails one badly fails: facts, coverage, consistency,
sums, and what is not repeated. It is a pure function of question and text; the same for all strategies.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from flowdecode_graphs.atlas.asked import Asked, Pick, asked_of
from flowdecode_graphs.atlas.claims import mentions, read_claims
from flowdecode_graphs.atlas.facts import Fact, all_facts
from flowdecode_graphs.atlas.question import Question
from flowdecode_graphs.atlas.sections import cross_section_repetition, sentences, split_sections
from flowdecode_graphs.atlas.sums import Equation, equations, results
from flowdecode_graphs.atlas.tasks import Chain, Comparison, Outside
from flowdecode_graphs.atlas.world import ATLAS

__all__ = ["Score", "score"]

ALLOWED_REPETITION = 0.1
"""Trigrams that good sections of one town share: its name, `in the`."""
MAX_REFUSAL_WORDS = 40


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
    claimed = read_claims(text) if isinstance(task, Comparison | Chain) else read_claims(text, task.town)
    asked = asked_of(task, claimed)
    picks, found = _picks(text, asked.pick), results(text)
    judgements = {
        "facts": _judge_facts(asked, set(claimed)),
        "coverage": _judge_coverage(asked, set(claimed), picks, found),
        "consistency": _judge_consistency(asked, claimed, picks),
        "sums": _judge_sums(asked, equations(text), found),
        "freshness": _judge_freshness(text),
    }
    reasons = tuple(reason for judgement in judgements.values() for reason in judgement.reasons)
    return Score(reasons=reasons, **{name: judgement.share for name, judgement in judgements.items()})


class _Judgement(NamedTuple):
    share: float
    reasons: list[str]


def _score_refusal(text: str, *, refused: bool) -> Score:
    """An honest no is short, and says nothing of the world beyond what one could ask."""
    if not refused:
        return Score(facts=0.0, coverage=0.0, reasons=("answered a question that is not about the Atlas",))
    if len(text.split()) > MAX_REFUSAL_WORDS or read_claims(text):
        return Score(facts=0.0, reasons=("said more than an honest no",))
    return Score()


def _judge_facts(asked: Asked, said: set[Fact]) -> _Judgement:
    wrong = said - all_facts()
    stray = said - asked.facts - asked.allowed - wrong
    missing = asked.facts - said
    right = len(asked.facts) - len(missing)
    reasons = [f"wrong: {fact}" for fact in sorted(wrong)]
    reasons += [f"not asked for: {fact}" for fact in sorted(stray)]
    reasons += [f"missing: {fact}" for fact in sorted(missing)]
    return _Judgement(right / (len(asked.facts) + len(wrong) + len(stray)), reasons)


def _judge_coverage(asked: Asked, said: set[Fact], picks: list[bool], found: set[int]) -> _Judgement:
    covered = {part: 2 * len(facts & said) >= len(facts) for part, facts in asked.parts.items()}
    if asked.pick:
        covered[asked.pick.words[0]] = any(picks)
    if asked.sums:
        covered["sums"] = not found.isdisjoint(asked.sums)
    reasons = [f"not covered: {part}" for part, there in covered.items() if not there]
    return _Judgement(sum(covered.values()) / len(covered), reasons)


def _judge_consistency(asked: Asked, claimed: Sequence[Fact], picks: list[bool]) -> _Judgement:
    of_places = [
        claim for claim in claimed if claim.name in ("hotel", "district", "sight", "ticket", "price")
    ]
    forgetful = [claim for claim in of_places if not asked.forgone.isdisjoint((claim.subject, claim.value))]
    reasons = [f"forgets what was chosen: {claim}" for claim in forgetful]
    share = 1 - len(forgetful) / len(of_places) if forgetful else 1.0
    if not all(picks):
        share /= 2
        reasons.append(f"wrong: which is {asked.pick.words[0] if asked.pick else ''}")
    return _Judgement(share, reasons)


def _judge_sums(asked: Asked, worked_out: list[Equation], found: set[int]) -> _Judgement:
    missing = [result for result in asked.sums if result not in found]
    wrong = [equation for equation in worked_out if equation.value != equation.result]
    reasons = [f"not worked out: {result}" for result in missing]
    reasons += [f"wrong sum: {equation.result} for {equation.value}" for equation in wrong]
    share = 1 - len(missing) / len(asked.sums) if asked.sums else 1.0
    return _Judgement(share * (1 - len(wrong) / len(worked_out)) if worked_out else share, reasons)


def _judge_freshness(text: str) -> _Judgement:
    """Sections about different towns may share their wording, so only those about the same are compared."""
    about: dict[frozenset[str], list[str]] = defaultdict(list)
    for section in split_sections(text):
        words = f"{section.heading}\n{section.body}".lower()
        about[frozenset(town.name for town in ATLAS.towns if town.name.lower() in words)].append(section.body)
    said = [(towns, each) for towns, bodies in about.items() for body in bodies for each in sentences(body)]
    again = 1 - len(set(said)) / len(said) if said else 0.0
    shared = cross_section_repetition(*about.values()) - ALLOWED_REPETITION
    repeated = max(again, shared / (1 - ALLOWED_REPETITION))
    return _Judgement(1 - repeated, [f"repeated: {repeated:.0%}"] if repeated else [])


def _picks(text: str, pick: Pick | None) -> list[bool]:
    """For each sentence that says which is the older, cheaper or taller one: whether it is right.

    The one that is named just before the word is meant, else the one just after it; the numbers must be
    those that are compared.
    """
    if pick is None:
        return []
    found: list[bool] = []
    for section in split_sections(text):
        for sentence in sentences(section.body):
            words = re.search(rf"\b(?:{'|'.join(pick.words)})\b", sentence, re.IGNORECASE)
            if words is None:
                continue
            before, after = mentions(sentence[: words.start()]), mentions(sentence[words.end() :])
            named = [
                mention.value for mention in (*reversed(before), *after) if mention.value in pick.options
            ]
            numbers = {int(mention.value) for mention in (*before, *after) if mention.kind in _NUMBERS}
            if named:
                found.append(named[0] == pick.right and numbers <= set(pick.numbers))
    return found


_NUMBERS = ("number", "year", "height")
