"""Plans of which everything is fixed: what the planner writes, and how long each part becomes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from flowdecode.backend import Grammar
from flowdecode.template import fill_template
from flowdecode_graphs.prompts import Prompts

__all__ = ["GUIDE", "LATE", "TEA", "VERDICT", "ForcedPlan", "Literal", "Part", "in_tokens"]


class Part(NamedTuple):
    """One part of an answer."""

    title: str
    tokens: int
    parents: tuple[int, ...] = ()


class ForcedPlan(msgspec.Struct, frozen=True):
    """A question, and the parts of its answer by their numbers."""

    question: str
    parts: dict[int, Part]

    @property
    def text(self) -> str:
        """The plan as Plato's planner writes it."""
        return "".join(
            f"{number}. {title} ({tokens}){' <- ' + ', '.join(map(str, parents)) if parents else ''}\n"
            for number, (title, tokens, parents) in self.parts.items()
        )

    @property
    def lengths(self) -> list[int]:
        """The tokens of every part."""
        return [part.tokens for part in self.parts.values()]

    @property
    def levels(self) -> list[list[int]]:
        """The parts in steps: each needs only parts of the steps before its own, and one of the last."""
        levels: list[list[int]] = []
        depth: dict[int, int] = {}
        for number, part in self.parts.items():
            depth[number] = max((depth[parent] + 1 for parent in part.parents), default=0)
            if depth[number] == len(levels):
                levels.append([])
            levels[depth[number]].append(number)
        return levels

    def instruction(self, number: int, prompts: Prompts) -> str:
        """What Plato tells the model to write a part, the last words of its prompt."""
        title, tokens, _ = self.parts[number]
        words = max(5, round(tokens * 0.75))
        return fill_template(prompts.part, id=number, title=title, tokens=tokens, words=words)

    def told(self, number: int, text: str, prompts: Prompts) -> str:
        """How Plato tells a part what one of its parents says."""
        return fill_template(prompts.parent, id=number, title=self.parts[number].title, text=text)


class Literal(Grammar, frozen=True):
    """A language of one text, which the model then decodes token by token."""

    text: str

    @classmethod
    def of(cls, text: str) -> Literal:
        """As a regular expression; as EBNF it needs a tokenizer: see `in_tokens`."""
        return cls(ebnf="", regex=re.escape(text), text=text)


def in_tokens(tokens: Iterable[int]) -> str:
    """A language of one text in the EBNF of XGrammar, such that it is decoded as these very tokens.

    Of the text alone a model would choose among all ways to spell it, and ways that it is not used to
    would take it more tokens. llguidance, which the local engine has, keeps to the tokenizer's by itself.
    """
    return f"root ::= {' '.join(f'Token({token})' for token in tokens)}\n"


def _numbered(parts: Iterable[Part]) -> dict[int, Part]:
    return dict(enumerate(parts, start=1))


TEA = ForcedPlan(
    "Compare tea and coffee: origin, caffeine, taste, and which to drink in the evening.",
    _numbered([
        Part("Origin", 60),
        Part("Caffeine", 40),
        Part("Taste", 50),
        Part("Comparison", 80, (1, 2)),
        Part("Evening drink", 40, (2, 3)),
        Part("Verdict", 60, (4, 5)),
    ]),
)  # fmt: skip

LATE = ForcedPlan(
    TEA.question,
    _numbered([
        Part("Origin", 100),
        Part("Caffeine", 100),
        Part("Taste", 100),
        Part("Summary", 20, (1, 2, 3)),
        Part("Habits", 150),
        Part("Evening drink", 220),
        Part("Verdict", 60, (4, 5, 6)),
    ]),
)  # fmt: skip
"""What early prefill is for: the last part's spine (4) and 5 are done while 6 still decodes."""

GUIDE = ForcedPlan(
    "Write a long guide to Yarralda: its food, festival, craft, history and landmark.",
    _numbered([
        Part("Food", 110),
        Part("Festival", 90),
        Part("Craft", 130),
        Part("History", 100),
        Part("Landmark", 120),
    ]),
)  # fmt: skip
"""Nothing depends on anything."""

VERDICT = ForcedPlan(
    "Compare the food, craft and festival of Yarralda, and say what to go there for.",
    _numbered([
        Part("Food", 40),
        Part("Craft", 60),
        Part("Festival", 140),
        Part("Food and craft", 120, (1, 2)),
        Part("Festival in brief", 30, (3,)),
        Part("Verdict", 60, (4, 5)),
    ]),
)  # fmt: skip
"""Three levels, of which the first two have parts of very different lengths: 320 tokens by levels, 240 on the
longest chain."""
