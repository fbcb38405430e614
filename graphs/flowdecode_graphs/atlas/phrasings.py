"""How the questions are worded, for training and held out.

Held-out wordings use only words that training has, in sentences that it has not: a model that starts from
nothing can't know a word that it never saw.
"""

from __future__ import annotations

from typing import NamedTuple

from flowdecode_graphs.atlas.facts import Topic
from flowdecode_graphs.atlas.tasks import Clue, Criterion

__all__ = [
    "BESIDES",
    "CHOICE",
    "CLUE_WORDS",
    "COMPARISON",
    "COST",
    "CRITERION_WORDS",
    "GUIDE",
    "LONG_GUIDE",
    "SEARCH",
    "SHORT",
    "TOPIC_WORDS",
    "Phrasings",
]


class Phrasings(NamedTuple):
    """Templates for one kind of question."""

    train: tuple[str, ...]
    heldout: tuple[str, ...]


TOPIC_WORDS: dict[Topic, tuple[str, ...]] = {
    "nature": ("nature", "landscape"),
    "history": ("history", "past"),
    "landmark": ("landmark", "famous building"),
    "food": ("food", "kitchen"),
    "festival": ("festival", "great feast"),
    "craft": ("craft", "handwork"),
    "hotels": ("hotels", "inns"),
    "sights": ("sights", "attractions"),
}

GUIDE = Phrasings(
    train=(
        "Write a short guide to {town}: {topics}.",
        "Tell me briefly about {town}: {topics}.",
        "I have one minute. What should I know about {town}, its {topics}?",
        "Describe {town} in a few words. I want to know about its {topics}.",
        "What can you say about the {topics} of {town}? Keep it short.",
        "Give me a quick summary of {town} with a part on each of these: {topics}.",
        "Please sum up {town} for a visitor: {topics}.",
        "A short text about {town}, please. Cover its {topics}.",
        "My friend asks about {town}. Tell her briefly about the {topics}.",
        "Briefly: the {topics} of {town}.",
    ),
    heldout=(
        "Please write a short text about the {topics} of {town}.",
        "Tell a visitor briefly about {town} and cover its {topics}.",
        "Give me a short guide to {town}, please: its {topics}.",
        "I want to know about {town}. Keep it short: {topics}.",
    ),
)

LONG_GUIDE = Phrasings(
    train=(
        "Write a long guide to {town}: {topics}.",
        "Tell me in detail about {town}: {topics}.",
        "I am going to live in {town}. Describe its {topics} at length.",
        "Give me a full guide to {town} with a long part on each of these: {topics}.",
        "Please write a detailed guide to {town} that covers its {topics}.",
        "What should I know about {town}? Explain its {topics} in detail.",
        "I have a whole evening to read about {town}. Tell me a lot about its {topics}.",
        "A long text about {town}, please. Take your time for its {topics}.",
        "Explain the {topics} of {town} at length.",
        "For a book I need detailed parts on {town}: {topics}.",
    ),
    heldout=(
        "Please describe {town} in detail: its {topics}.",
        "Write a long text about the {topics} of {town}.",
        "I need a full guide to {town}. Tell me at length about its {topics}.",
        "Take your time and explain {town} to me, with a detailed part on each of these: {topics}.",
    ),
)

COMPARISON = Phrasings(
    train=(
        "Compare {first} and {second} by their {topics}, then tell me {criterion}.",
        "Compare the {topics} of {first} and {second}. At the end say {criterion}.",
        "{first} or {second}? Look at their {topics} and decide {criterion}.",
        "I can't decide between {first} and {second}. Describe the {topics} of both and tell me {criterion}.",
        "How do {first} and {second} differ in their {topics}, and {criterion}?",
        "Set {first} beside {second}: {topics}. Then give a verdict: {criterion}?",
        "Tell me about the {topics} of {first} and of {second}. I want to know {criterion}.",
        "Please compare two towns, {first} and {second}, by {topics}. End with a verdict on {criterion}.",
    ),
    heldout=(
        "Look at the {topics} of {first} and {second}, then say {criterion}.",
        "Please describe {first} and {second} by their {topics} and decide {criterion}.",
        "I want to compare {first} and {second}: {topics}. At the end tell me {criterion}.",
    ),
)

CRITERION_WORDS: dict[Criterion, tuple[str, ...]] = {
    "older": ("which town is older", "which of them is the older one"),
    "cheaper": ("which town is cheaper to sleep in", "which of them has the cheaper hotel"),
    "taller": ("which town has the taller landmark", "which of them builds taller"),
}

CHOICE = Phrasings(
    train=(
        "Choose a hotel in {town}, plan two days in its district and add up the cost of {nights} nights.",
        "Pick a hotel in {town} for me. Then plan two days near it and tell me the cost with {nights} "
        "nights.",
        "I will stay in {town} for {nights} nights. Which hotel do you advise, what can I do near it on two "
        "days, and what will it cost?",
        "Plan my stay in {town}: one hotel, two days in the same district, and the cost for {nights} nights.",
        "We want to spend {nights} nights in {town}. Choose our hotel, fill two days in its district, and "
        "work out the cost.",
        "Help me with a trip to {town}. I need a hotel for {nights} nights, two days around it, and the "
        "total cost.",
        "You decide: a hotel in {town}, day one and day two in its district, then the total for {nights} "
        "nights with tickets.",
        "Make a plan for {town} with a hotel of your choice, two days close to it and the cost of {nights} "
        "nights.",
    ),
    heldout=(
        "Choose a hotel for my trip to {town}, then plan two days around it and the total cost of {nights} "
        "nights.",
        "I want to spend {nights} nights in {town}. Pick a hotel, plan two days in its district and work "
        "out what it will cost.",
        "Help me plan {nights} nights in {town}: a hotel of your choice, two days near it and the cost.",
    ),
)

BESIDES = Phrasings(
    train=(
        " Also tell me about the {topics}.",
        " Say something about the {topics} of the town too.",
        " I would also like to know about its {topics}.",
    ),
    heldout=(" Tell me something about its {topics} too.",),
)

COST = Phrasings(
    train=(
        "Find {clue}, take its cheaper hotel and tell me what {nights} nights there cost.",
        "I dream of {clue}. Which town is it, which hotel is cheaper there, and what do {nights} nights in "
        "it cost?",
        "Which is {clue}? Work out the cost of {nights} nights in its cheaper hotel.",
        "What would {nights} nights cost me in {clue}, if I take the cheaper hotel?",
        "Name {clue} and its cheaper hotel, then the cost of {nights} nights.",
        "I want to sleep {nights} nights in {clue}, as cheaply as I can. Where is that, and what does it "
        "cost?",
    ),
    heldout=(
        "Which hotel is cheaper in {clue}, and what do {nights} nights in it cost?",
        "I want to find {clue} and take the cheaper hotel there. Work out the cost of {nights} nights.",
    ),
)

SEARCH = Phrasings(
    train=(
        "Tell me about {clue}: its {topics}.",
        "Find {clue} and describe its {topics}.",
        "I once heard of {clue}. What can you say about its {topics}?",
        "Which is {clue}? I want to know about its {topics}.",
        "Describe the {topics} of {clue}.",
        "I am looking for {clue}. Write about its {topics}.",
    ),
    heldout=(
        "What can you say about {clue}, its {topics}?",
        "I want to know about the {topics} of {clue}.",
    ),
)

CLUE_WORDS: dict[Clue, tuple[str, ...]] = {
    "river": ("the town on the River {river}", "the place where the River {river} flows"),
    "landmark": ("the town with the {landmark}", "the place where the {landmark} stands"),
    "dish": ("the town that eats {dish}", "the place where people cook {dish}"),
    "festival": ("the town that celebrates the {festival}", "the place where they hold the {festival}"),
    "craft": ("the town that makes {craft}", "the place where they make {craft}"),
}

SHORT: dict[str, Phrasings] = {
    "region": Phrasings(
        train=("In which region is {town}?", "What is the region of {town}?", "Where is {town}?"),
        heldout=("Which region is {town} in?",),
    ),
    "river": Phrasings(
        train=("Which river flows through {town}?", "What is the river of {town}?",
               "Name the river of {town}."),
        heldout=("Which is the river of {town}?",),
    ),
    "climate": Phrasings(
        train=("What is the climate of {town}?", "How is the weather in {town}?"),
        heldout=("How is the climate of {town}?",),
    ),
    "season": Phrasings(
        train=("When is the best time for a visit to {town}?", "In which season should I visit {town}?"),
        heldout=("Which season is the best for a visit to {town}?",),
    ),
    "year": Phrasings(
        train=("When was {town} founded?", "In which year was {town} founded?", "How old is {town}?"),
        heldout=("What is the year in which {town} was founded?",),
    ),
    "founder": Phrasings(
        train=("Who founded {town}?", "Name the founder of {town}."),
        heldout=("Who was the founder of {town}?",),
    ),
    "origin": Phrasings(
        train=("What was {town} at first?", "How did {town} begin?"),
        heldout=("What was {town} when it did begin?",),
    ),
    "landmark": Phrasings(
        train=("What is the landmark of {town}?", "Name the landmark of {town}.",
               "Which famous building stands in {town}?"),
        heldout=("Which landmark stands in {town}?",),
    ),
    "height": Phrasings(
        train=("How tall is the landmark of {town}?", "How many metres high is the landmark of {town}?"),
        heldout=("How high is the famous building of {town}?",),
    ),
    "stone": Phrasings(
        train=("What is the landmark of {town} built of?", "Which stone is the landmark of {town} made of?"),
        heldout=("What is the landmark of {town} made of?",),
    ),
    "dish": Phrasings(
        train=("What is the dish of {town}?", "What should I eat in {town}?", "Name the dish of {town}."),
        heldout=("Which dish should I eat in {town}?",),
    ),
    "ingredient": Phrasings(
        train=("What is {dish} made with?", "What do the people of {town} cook {dish} with?"),
        heldout=("What is the dish of {town} made with?",),
    ),
    "drink": Phrasings(
        train=("What do people drink in {town}?", "Which drink is usual in {town}?"),
        heldout=("What is the usual drink in {town}?",),
    ),
    "festival": Phrasings(
        train=("What is the festival of {town}?", "Which festival do they celebrate in {town}?",
               "Name the festival of {town}."),
        heldout=("Which is the festival of {town}?",),
    ),
    "month": Phrasings(
        train=("When is the festival of {town}?", "In which month is the {festival} of {town}?"),
        heldout=("In which month is the festival of {town}?",),
    ),
    "custom": Phrasings(
        train=("What happens at the festival of {town}?", "What do people do at the {festival} of {town}?"),
        heldout=("What do people do at the festival of {town}?",),
    ),
    "craft": Phrasings(
        train=("What is the craft of {town}?", "What do they make in {town}?", "What is {town} known for?"),
        heldout=("Which craft is {town} known for?",),
    ),
    "weekday": Phrasings(
        train=("On which day are the {craft} of {town} sold?", "When do they sell {craft} in {town}?"),
        heldout=("On which day do they sell {craft} in {town}?",),
    ),
    "mark": Phrasings(
        train=("What is the sign of the guild in {town}?", "How do I know the guild of {town}?"),
        heldout=("Which sign does the guild of {town} have?",),
    ),
    "district": Phrasings(
        train=("In which district of {town} is the {place}?", "Where in {town} is the {place}?"),
        heldout=("Which district of {town} is the {place} in?",),
    ),
    "price": Phrasings(
        train=("What does a night at the {place} in {town} cost?",
               "How much is a room at the {place} in {town}?"),
        heldout=("How much is a night at the {place} in {town}?",),
    ),
    "ticket": Phrasings(
        train=("What is the ticket for the {place} in {town}?", "How much is the {place} in {town}?"),
        heldout=("How much is a ticket for the {place} in {town}?",),
    ),
}  # fmt: skip
"""By the fact that is asked for; {place} is a hotel or a sight."""
