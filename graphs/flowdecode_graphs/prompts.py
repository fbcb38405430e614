"""The prompts of all strategies, as data.

Replace any field: `Plato(prompts=Prompts(...))`, or a model's own `flowdecode.json`. `{name}` stands
for what the field's docstring says; a placeholder may be left out. `docs/prompts.md` goes through
them line by line. They are written for instruction-tuned models of 1 B parameters and more.
"""

from __future__ import annotations

import msgspec

from flowdecode.backend import Engine
from flowdecode.errors import ConfigurationError

__all__ = ["Prompts"]

_RULES = """\
You answer in two steps. First you plan the answer, then you write its parts, each when you are told to.

A plan has one line for each part: its number, its title, in brackets about how many tokens it will \
need, and behind `<-` the numbers of the earlier parts that must be read before it can be written. \
Most parts need none. A part that only prepares others and is not for the reader ends with `hidden`. \
Two to eight parts are usual; put first what others need. If the answer is short, or is one piece of \
reasoning, code or mathematics, write only the word `direct`.

Question: Compare tea and coffee and recommend one for the evening.
Plan:
1. Tea (120)
2. Coffee (120)
3. Recommendation for the evening (80) <- 1, 2

Question: Plan a weekend in a town of your choice with a budget.
Plan:
1. Choice of the town (20) hidden
2. Saturday (150) <- 1
3. Sunday (150) <- 1
4. Budget (80) <- 2, 3

Question: What is the capital of France?
Plan:
direct"""


class Prompts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rules, worked examples and reminders."""

    rules: str = _RULES
    """Plato: ends the system message of planner and nodes alike, so that both share one prefix."""
    difficulty: str = (
        "\n\nBehind the number of tokens stands how hard the part is to write, easy or hard: "
        "1. Tea (120, easy)"
    )
    """Plato: follows the rules where the difficulty of a part picks its backend."""
    plan: str = "\n\nPlan the answer to this. Write only the plan, or the word direct."
    """Plato: one line behind the question."""
    part: str = (
        'Now write only part {id}, "{title}", in about {words} words. '
        "Do not repeat its title, and leave the other parts to themselves."
    )
    """Plato: a node's own instruction, its last words. {id}, {title}, {tokens}, {words}."""
    lines: str = "The plan went on:\n{lines}\n"
    """Plato: the plan lines that a node's context lacks. {lines}, each ended by a line break."""
    parent: str = 'Part {id}, "{title}":\n{text}\n\n'
    """Plato: the answer of a parent that is not in the node's context. {id}, {title}, {text}."""
    heading: str = "## {title}\n\n"
    """Plato: what stands above a part in the answer. {id}, {title}."""
    gap: str = "\n\n"
    """Plato: what stands between two parts in the answer."""
    router: str = (
        "\n\nHow would the best answer to this be built?\n"
        "A: as a list of points that can be written independently of each other\n"
        "B: as a list of points of which later ones depend on earlier ones\n"
        "C: not as a list of points\n"
        "Say only A, B or C."
    )
    """Skeleton: one line behind the question that lets the model choose."""
    skeleton: str = (
        "\n\nGive only the skeleton of the answer, not the answer: a numbered list of 3 to 10 points, "
        "each of 3 to 5 words, in the form\n1. ...\n2. ...\n3. ..."
    )
    """Skeleton: asks for the points."""
    point: str = (
        "\n\nThe skeleton of the answer is:\n{skeleton}\n\n"
        "Write point {id}, and only this point, in one or two sentences. Begin with: {id}. {title}"
    )
    """Skeleton: asks for one point. {id}, {title}, {skeleton}."""

    @classmethod
    def for_engine(cls, engine: Engine) -> Prompts:
        """The engine's own prompt pack over the standard one. Raises ConfigurationError."""
        try:
            return msgspec.convert(engine.profile.prompts, type=cls)
        except msgspec.ValidationError as error:
            raise ConfigurationError(f"{error} (the prompts of {engine.model}'s flowdecode.json)") from None
