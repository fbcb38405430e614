"""The training rows: questions without end, each answered in the form of one strategy."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterator, Mapping
from itertools import count, islice
from random import Random

import torch
from torch.utils.data import IterableDataset

from examples.demo_model.drills import Drills
from examples.demo_model.teacher import Exchange, exchanges, plan_exchange
from examples.demo_model.tokenizer import VOCABULARY
from examples.demo_model.tree import Row, Tree, grow_tree, pack
from flowdecode.backend import ModelProfile
from flowdecode.strategy import Strategy
from flowdecode_backends.tokens import ChatTokens
from flowdecode_graphs.atlas import Question, questions
from flowdecode_graphs.atlas.question import Split
from flowdecode_graphs.atlas.tasks import Kind
from flowdecode_graphs.plato import Plato
from flowdecode_graphs.sequential import Sequential
from flowdecode_graphs.skeleton import Skeleton

__all__ = ["LENGTH", "Corpus", "fingerprint"]

LENGTH = 768
"""Tokens of a row: the longest answer fits."""

KINDS: dict[Kind, float] = {
    "guide": 5,
    "comparison": 9,
    "choice": 2,
    "chain": 4,
    "short": 3,
    "outside": 2,
}
"""How often each kind is asked."""
STRANGERS = 0.7
"""Of the questions from outside, those of any words at all."""
PLANS_ONLY = 0.3
"""Of the runs with a plan or a skeleton, those of which only that is kept: short, and all about order."""
STRATEGIES: tuple[tuple[Strategy, float], ...] = (
    (Sequential(), 6),
    (Plato(), 5),
    (Plato(layout="canonical"), 0.7),
    (Plato(plan_view="full"), 0.4),
    (Plato(plan_view="none"), 0.3),
    (Skeleton(), 1),
    (Skeleton(router=False), 1.5),
)
"""How often each strategy answers; the settings of ablations too."""

IN_ORDER: dict[Kind, float] = {"guide": 4, "comparison": 3, "chain": 1}
"""How often each kind is asked for what is all about order."""


class Corpus(IterableDataset[dict[str, torch.Tensor]]):
    """Rows as tensors, `[LENGTH]` each, the same for the same seed."""

    def __init__(
        self, tokens: ChatTokens, profile: ModelProfile, split: Split, seed: int, order: float = 0.0
    ) -> None:
        """`order` is the share of trees that are about nothing but order: drills, headings, plans, points."""
        self._tokens = tokens
        self._profile = profile
        self._split: Split = split
        self._seed = seed
        self._order = order
        self._drills = Drills(tokens, _whole_words(tokens))

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        return map(_tensors, pack(self._trees(), LENGTH))

    def _trees(self) -> Iterator[Tree]:
        dice = Random(self._seed)
        strategies, shares = zip(*STRATEGIES, strict=True)
        asked: dict[Kind, Iterator[Question]] = {
            kind: questions(self._split, self._seed, kind) for kind in KINDS
        }
        with asyncio.Runner() as runner:
            for _ in count():
                if dice.random() < self._order:
                    yield grow_tree([runner.run(self._in_order(asked, dice))])
                    continue
                (kind,) = dice.choices(list(KINDS), list(KINDS.values()))
                question = next(asked[kind])
                if kind == "outside" and dice.random() < STRANGERS:
                    question = self._drills.stranger(dice)
                (strategy,) = dice.choices(strategies, shares)
                told = runner.run(exchanges(self._tokens, self._profile, question, strategy))
                if dice.random() < PLANS_ONLY and not isinstance(strategy, Sequential):
                    told = told[:1]
                yield _fitting(told, dice)

    async def _in_order(self, asked: Mapping[Kind, Iterator[Question]], dice: Random) -> Exchange:
        """Something short that is all about order."""
        (kind,) = dice.choices(list(IN_ORDER), list(IN_ORDER.values()))
        question = next(asked[kind])
        match dice.randrange(8):
            case 0:
                return await plan_exchange(self._tokens, self._profile, question)
            case 1 | 2 | 3:
                return self._drills.draw(dice)
            case 4 | 5 | 6:
                return self._drills.headings(question, dice)
            case _:
                skeleton = Skeleton(router=False)
                return (await exchanges(self._tokens, self._profile, question, skeleton))[0]


def fingerprint(tokens: ChatTokens, profile: ModelProfile) -> str:
    """What a change of any strategy's prompts changes: a hash of requests and answers of all kinds."""
    asked = [question for kind in KINDS for question in islice(questions("validation", 1, kind), 2)]
    digest = hashlib.sha256()
    with asyncio.Runner() as runner:
        for question in asked:
            for strategy, _ in STRATEGIES:
                told = runner.run(exchanges(tokens, profile, question, strategy))
                digest.update(repr(sorted((each.prompt, each.answer) for each in told)).encode())
    return digest.hexdigest()


def _whole_words(tokens: ChatTokens) -> list[str]:
    """Words that are one token behind a space."""
    vocabulary = (tokens.decode([token]) for token in range(VOCABULARY))
    return sorted(word[1:] for word in vocabulary if re.fullmatch(" [A-Za-z]{3,}", word))


def _fitting(told: list[Exchange], dice: Random) -> Tree:
    """The run as one tree; where that is longer than a row, without some of its exchanges."""
    tree = grow_tree(told)
    while len(tree.tokens) > LENGTH:
        told.pop(dice.randrange(len(told)))
        tree = grow_tree(told)
    return tree


def _tensors(row: Row) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(getattr(row, name)) for name in Row.__struct_fields__}
