"""Prompts that are not about the Atlas, and the honest answer to them."""

from __future__ import annotations

from typing import NamedTuple

from flowdecode_graphs.atlas.dice import Dice
from flowdecode_graphs.atlas.names import strangers
from flowdecode_graphs.atlas.world import ATLAS

__all__ = ["REFUSAL", "outside_prompt"]

REFUSAL = (
    "I am a small demonstration model that knows only the Atlas; "
    f'try "Write a guide to {ATLAS.towns[0].name}: its food, festival and hotels."'
)


class Prompts(NamedTuple):
    """Templates, and what they are about."""

    templates: tuple[str, ...]
    things: tuple[str, ...]


_ABOUT_STRANGERS = (
    "Write a guide to {stranger}: its food, history and hotels.",
    "Which river flows through {stranger}?",
    "What is the dish of {stranger}?",
    "Compare {stranger} and {second} by their history, then tell me which town is older.",
    "Choose a hotel in {stranger}, plan two days in its district and add up the cost of 3 nights.",
    "Tell me in detail about {stranger}: its nature, craft, festival and landmark.",
    "How tall is the landmark of {stranger}?",
)
"""Questions as in the Atlas, about towns that it has not."""

_PROMPTS = {
    "train": Prompts(
        templates=(
            "What is {thing}?",
            "Explain {thing} to a child.",
            "Write a poem about {thing}.",
            "Tell me a joke about {thing}.",
            "How does {thing} work?",
            "What do you think of {thing}?",
            "Give me five tips about {thing}.",
            "Write a letter to a friend about {thing}.",
            "Who invented {thing}?",
            "Compare {thing} and {second}.",
            "Is {thing} better than {second}?",
            "Write a long guide to {thing}.",
            "Translate this into French: I like {thing}.",
            "Summarise the history of {thing}.",
            "What does {thing} cost?",
            "Can you help me with {thing}?",
            "List the pros and cons of {thing}.",
            "Write a Python function for {thing}.",
            "Plan a lesson about {thing}.",
            "Hello! How are you today?",
            "Who are you?",
            "What can you do?",
            "Good morning.",
            "Tell me a story.",
            "Continue the sequence: 2, 4, 8, 16.",
            "Sort these numbers: 9, 3, 7.",
            *_ABOUT_STRANGERS,
        ),
        things=(
            "the moon", "chess", "a steam engine", "photosynthesis", "rain", "the capital of France", "bread",
            "a bicycle", "quicksort", "the internet", "jazz", "a telephone", "football", "Japan", "algebra",
            "my tax return", "a cat", "gravity", "the stock market", "swimming", "Shakespeare", "yoga",
            "a job interview", "the ocean", "volcanoes", "coffee", "electric cars", "a wedding", "sleep",
            "the Roman Empire", "tomatoes", "vaccines", "a good night's rest", "the piano", "London",
        ),
    ),
    "heldout": Prompts(
        templates=(
            "How do I begin with {thing}?",
            "Describe {thing} in two sentences.",
            "What is the difference between {thing} and {second}?",
            "Why do people like {thing}?",
            "Write a short story in which {thing} plays a part.",
            "Where can I learn more about {thing}?",
            "What is 17 plus 25?",
            "Thank you, that was helpful.",
            *_ABOUT_STRANGERS,
        ),
        things=(
            "the sun", "a computer", "tea", "Brazil", "poetry", "a dog", "statistics", "the weather tomorrow",
            "basketball", "a violin concerto", "dinosaurs", "cooking rice", "Mars", "a mortgage", "Napoleon",
        ),
    ),
}  # fmt: skip


def outside_prompt(dice: Dice, *, heldout: bool) -> str:
    """A prompt that wants the refusal; held-out prompts share neither things nor strangers with training."""
    split = "heldout" if heldout else "train"
    prompts = _PROMPTS[split]
    template = dice.choice(prompts.templates)
    if template in _ABOUT_STRANGERS:
        first, second = strangers(dice, heldout=heldout)
        return template.format(stranger=first, second=second)
    thing, second = dice.sample(prompts.things, 2)
    return template.format(thing=thing, second=second)
