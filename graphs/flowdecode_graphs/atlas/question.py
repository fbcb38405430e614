"""Questions about the Atlas: an endless stream for each split, the same for the same seed.

What is asked (which towns with which topics, nights or clue) belongs to one split only, whatever its
order; wordings are split too. Validation has combinations of its own in training's wordings.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Literal, cast

import msgspec

from flowdecode_graphs.atlas import phrasings
from flowdecode_graphs.atlas.dice import Dice
from flowdecode_graphs.atlas.facts import FIELDS, TOPICS, Topic, topic_facts
from flowdecode_graphs.atlas.outside import outside_prompt
from flowdecode_graphs.atlas.phrasings import Phrasings
from flowdecode_graphs.atlas.tasks import (
    CLUES,
    CRITERIA,
    KINDS,
    Chain,
    Choice,
    Comparison,
    Guide,
    Kind,
    Outside,
    Short,
    Task,
)
from flowdecode_graphs.atlas.world import ATLAS

__all__ = ["Question", "Split", "questions", "split_of"]

Split = Literal["train", "validation", "heldout"]


class Question(msgspec.Struct, frozen=True):
    """A prompt, and what it asks."""

    prompt: str
    task: Task

    @property
    def kind(self) -> Kind:
        """Which of the six kinds it is."""
        return cast(Kind, self.task.__struct_config__.tag)


def questions(split: Split, seed: int, kind: Kind | None = None) -> Iterator[Question]:
    """Questions without end, of one kind or of all in turn; the same ones come again and again."""
    dice = Dice("questions", split, seed, kind or "all")
    kinds: tuple[Kind, ...] = (kind,) if kind else KINDS
    for each in cycle(kinds):
        task = _draw(each, dice)
        while each != "outside" and split_of(task) != split:
            task = _draw(each, dice)
        yield Question(_prompt(task, split, dice), task)


def split_of(task: Task) -> Split:
    """The split of what is asked; only of prompts from outside, the words alone tell."""
    share = zlib.crc32("/".join(_combination(task)).encode()) % 100
    return "heldout" if share < 15 else "validation" if share < 20 else "train"


def _combination(task: Task) -> list[str]:
    """What is asked, whatever the order of towns and topics, the length and the choice that is taken."""
    match task:
        case Guide(town=town, topics=topics):
            return ["guide", town, *sorted(topics)]
        case Comparison(first=first, second=second, topics=topics, criterion=criterion):
            return ["comparison", *sorted((first, second)), *sorted(topics), criterion]
        case Choice(town=town, topics=topics, nights=nights):
            return ["choice", town, *topics, str(nights)]
        case Chain(town=town, clue=clue, topics=topics, nights=nights):
            return ["chain", town, clue, *sorted(topics), str(nights)]
        case Short(town=town, fact=fact):
            return ["short", town, *fact]
        case Outside():
            return ["outside"]


def _draw(kind: Kind, dice: Dice) -> Task:
    """A task of the kind, of any split."""
    town = dice.choice(ATLAS.towns).name
    match kind:
        case "guide":
            long = dice.below(3) > 0
            return Guide(town, dice.sample(TOPICS, dice.between(4, 6) if long else dice.between(2, 4)), long)
        case "comparison":
            return _draw_comparison(dice)
        case "choice":
            topics = dice.sample(list(FIELDS), dice.below(2))
            return Choice(town, topics, nights=dice.between(2, 5), hotel=dice.below(2))
        case "chain":
            clue = dice.choice(list(CLUES))
            if dice.below(2):
                return Chain(town, clue, nights=dice.between(2, 5))
            others: list[Topic] = [topic for topic in TOPICS if topic != CLUES[clue]]
            return Chain(town, clue, topics=dice.sample(others, dice.between(2, 3)))
        case "short":
            name = dice.choice(list(phrasings.SHORT))
            asked = [Short(town, topic, fact) for topic in TOPICS for fact in topic_facts(town, topic)]
            return dice.choice([short for short in asked if short.fact.name == name])
        case "outside":
            return Outside()


def _draw_comparison(dice: Dice) -> Comparison:
    """Two towns that differ in the criterion, and one or two topics beside its own."""
    criterion = dice.choice(list(CRITERIA))
    others: list[Topic] = [topic for topic in TOPICS if topic != CRITERIA[criterion]]
    topics: list[Topic] = [CRITERIA[criterion], *dice.sample(others, dice.between(1, 2))]
    while True:
        first, second = dice.sample(ATLAS.towns, 2)
        task = Comparison(first.name, second.name, dice.sample(topics, len(topics)), criterion)
        if task.value(first.name) != task.value(second.name):
            return task


def _prompt(task: Task, split: Split, dice: Dice) -> str:
    """The task in words."""

    def pick(wordings: Phrasings) -> str:
        return dice.choice(wordings.heldout if split == "heldout" else wordings.train)

    match task:
        case Guide(town=town, topics=topics, long=long):
            wordings = phrasings.LONG_GUIDE if long else phrasings.GUIDE
            return pick(wordings).format(town=town, topics=_listed(topics, dice))
        case Comparison(first=first, second=second, topics=topics, criterion=criterion):
            return pick(phrasings.COMPARISON).format(
                first=first,
                second=second,
                topics=_listed(topics, dice),
                criterion=dice.choice(phrasings.CRITERION_WORDS[criterion]),
            )
        case Choice(town=town, topics=topics, nights=nights):
            besides = pick(phrasings.BESIDES).format(topics=_listed(topics, dice)) if topics else ""
            return pick(phrasings.CHOICE).format(town=town, nights=nights) + besides
        case Chain(town=town, clue=clue, topics=topics, nights=nights):
            value = getattr(ATLAS[town], clue)
            words = dice.choice(phrasings.CLUE_WORDS[clue]).format(**{clue: value})
            if topics:
                return pick(phrasings.SEARCH).format(clue=words, topics=_listed(topics, dice))
            return pick(phrasings.COST).format(clue=words, nights=nights)
        case Short(town=town, fact=fact):
            known = ATLAS[town]
            return pick(phrasings.SHORT[fact.name]).format(
                town=town, place=fact.subject, dish=known.dish, festival=known.festival, craft=known.craft
            )
        case Outside():
            return outside_prompt(dice, heldout=split == "heldout")


def _listed(topics: Sequence[Topic], dice: Dice) -> str:
    """The topics in one of their words each: `food, past and inns`."""
    words = [dice.choice(phrasings.TOPIC_WORDS[topic]) for topic in topics]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
