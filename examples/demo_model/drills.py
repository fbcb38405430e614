"""Drills in order: lists of words to be copied, in the forms that plans and answers have.

What is asked must come in the order of the question. A model that starts from nothing learns that
late from whole answers, whose other tokens can be known by heart, and soon from lists of random words.
"""

from __future__ import annotations

from random import Random

from examples.demo_model.teacher import Exchange, heading_pieces
from flowdecode.context import Block, Context
from flowdecode_backends.tokens import ChatTokens
from flowdecode_graphs.atlas import Question, reference
from flowdecode_graphs.atlas.sections import sentences
from flowdecode_graphs.atlas.tasks import Outside
from flowdecode_graphs.atlas.world import ATLAS

__all__ = ["Drills"]

FRAMES = (
    "{words}",
    "Tell me about {words}.",
    "Write about {words} of {town}.",
    "{town}: {words}.",
    "Describe the {words} of {town} at length.",
)
FORMS = ("1. {0}\n", "## {0}\n\n", "{0}. ", "{1}. {0}\n", "## {0} in {town}\n\n")
HEADINGS = "\nHeadings:"
MOST_WORDS = 8
TOWNS = [town.name for town in ATLAS.towns]


CONSONANTS = "bcdfghjklmnprstvwz"
STRANGE = ("", "", "", "what is", "is it true that", "tell me about", "help me to", "can you")


class Drills:
    """Lists of words that are one token each, or of towns."""

    def __init__(self, tokens: ChatTokens, words: list[str]) -> None:
        self._tokens = tokens
        self._words = words

    def draw(self, dice: Random) -> Exchange:
        """A list to be copied, or one question about what comes next in it."""
        words = dice.sample(dice.choice((self._words, TOWNS)), dice.randint(2, MOST_WORDS))
        town = dice.choice(TOWNS)
        listed = f"{', '.join(words[:-1])} and {words[-1]}"
        asked = dice.choice(FRAMES).format(words=listed, town=town)
        if dice.random() < 0.3:
            at = dice.randrange(len(words) - 1)
            return self._exchange(f"{asked} After {words[at]}?", words[at + 1])
        form = dice.choice(FORMS)
        lines = [form.format(word, number, town=town) for number, word in enumerate(words, start=1)]
        return self._exchange(asked, "".join(lines))

    def stranger(self, dice: Random) -> Question:
        """A question about nothing that the Atlas knows: words of any kind, and some that are none."""
        words = [
            dice.choice(self._words) if dice.random() < 0.7 else _nonsense(dice)
            for _ in range(dice.randint(1, 7))
        ]
        asked = f"{dice.choice(STRANGE)} {' '.join(words)}".strip()
        return Question(f"{asked[0].upper()}{asked[1:]}{dice.choice(('?', '.', ''))}", Outside())

    def headings(self, question: Question, dice: Random) -> Exchange:
        """The headings of an answer, with little of what stands under them: more or less each time."""
        parts: list[str] = []
        for part in reference(question).shown:
            kept = sentences(part.body)[: dice.randrange(3)]
            parts.append(f"## {part.heading}\n\n{' '.join(kept)}".rstrip())
        return self._exchange(f"{question.prompt}{HEADINGS}", "\n\n".join(parts))

    def _exchange(self, asked: str, answer: str) -> Exchange:
        (end,) = self._tokens.stop_ids()
        ids = self._tokens.encode(answer)
        headings = heading_pieces([self._tokens.decode([token]) for token in ids])
        return Exchange(self._tokens.render(Context.of([Block("user", asked)])), (*ids, end), headings)


def _nonsense(dice: Random) -> str:
    """A word that most likely stands nowhere, or a number."""
    if dice.random() < 0.2:
        return str(dice.randint(2, 999))
    return "".join(dice.choice(CONSONANTS) + dice.choice("aeiou") for _ in range(dice.randint(1, 4)))
