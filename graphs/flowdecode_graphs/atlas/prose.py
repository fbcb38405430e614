"""What is written about a town: for each topic, sentences that hold its facts, and colour that holds none.

There are three wordings, and a town keeps to one of them: its texts vary and can still be learnt. Every
sentence can stand alone under a heading, since a short answer is the one sentence with its fact.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import msgspec

from flowdecode_graphs.atlas.facts import Fact, Topic
from flowdecode_graphs.atlas.world import ATLAS

__all__ = ["WORDINGS", "body", "sentence", "wording"]

WORDINGS = 3


def wording(town: str) -> int:
    """Which of the wordings a town's texts have."""
    return [each.name for each in ATLAS.towns].index(town) % WORDINGS


@cache
def body(town: str, topic: Topic, *, long: bool) -> str:
    """The part about a topic, without a heading: the facts, and for a long one the colour."""
    prose = _PROSE[topic][wording(town)]
    sentences = (*prose.facts, prose.colour) if long else prose.facts
    return " ".join(sentences).format(**_fields(town))


def sentence(town: str, topic: Topic, fact: Fact) -> str:
    """The one sentence with the fact: what it names, and what it says of that."""
    words = {fact.value} if fact.subject == town else {fact.subject, fact.value}
    filled = [each.format(**_fields(town)) for each in _PROSE[topic][wording(town)].facts]
    return next(each for each in filled if all(word in each for word in words))


@cache
def _fields(town: str) -> dict[str, str]:
    """What the wordings name, as text."""
    known = ATLAS[town]
    fields = {name: str(value) for name, value in msgspec.structs.asdict(known).items() if name != "hotels"}
    for place, hotel in zip(("", "other_"), known.hotels, strict=True):
        fields |= {
            f"{place}hotel": hotel.name,
            f"{place}district": hotel.district,
            f"{place}price": str(hotel.price),
        }
    sights = [sight for hotel in known.hotels for sight in hotel.sights]
    for place, sight in zip(("first", "second", "third", "fourth"), sights, strict=True):
        fields |= {place: sight.name, f"{place}_ticket": str(sight.ticket)}
    return fields | {"town": town}


class Prose(NamedTuple):
    """One wording of one topic."""

    facts: tuple[str, ...]
    """Sentences."""
    colour: str


_PROSE: dict[Topic, tuple[Prose, ...]] = {
    "nature": (
        Prose(
            (
                "{town} lies in the {region}, on the banks of the River {river}.",
                "Its climate is {climate}, and {season} is the best time for a visit.",
            ),
            "Paths follow the water on both sides, and low walls keep the fields apart. From the last "
            "houses you can walk for an hour without meeting anyone, with only larks above and the sound of "
            "the {river} behind you. Take a coat and good shoes, and tell your host where you go.",
        ),
        Prose(
            (
                "The River {river} flows through {town}, a town in the {region}.",
                "The weather is {climate}, and most visitors come in {season}.",
            ),
            "In the early morning a thin haze lies over the water, and by noon the view is open to the far "
            "ridge. Anglers sit under the willows along the {river}, and they are glad to show you the "
            "safest places to swim. On the other side the woods begin, dark and full of deer.",
        ),
        Prose(
            (
                "You find {town} in the {region}, where the River {river} bends to the south.",
                "Here it is {climate} for most of the year, and {season} shows the town at its best.",
            ),
            "Old poplars line the road, and the meadows beyond them are free to all. If you follow the "
            "{river} upstream, you come to a quiet pool with flat rocks, where families spend their "
            "afternoons with bread and fruit. Nobody will send you away.",
        ),
    ),
    "history": (
        Prose(
            (
                "{town} was founded in {year} by {founder}.",
                "It began as a {origin} and grew from there.",
            ),
            "{founder} asked every settler for one tree, one bench and one promise to help the neighbours, "
            "and the trees still stand in the square. Later came a school, a court and a proper wall, of "
            "which children can show you the last corner. The first bench is kept in the school, and the "
            "best pupil may sit on it.",
        ),
        Prose(
            (
                "In {year} {founder} founded {town}.",
                "At first the place was only a {origin}.",
            ),
            "Two great fires and one flood are written down in the town book, and after each of them the "
            "people built again on the same ground. A statue of {founder} looks down on the old well, with "
            "a spade in one hand and a loaf in the other. New couples leave flowers at its feet and then "
            "read the names below it aloud.",
        ),
        Prose(
            (
                "The story of {town} begins in {year}, when {founder} founded it.",
                "For a long time it was no more than a {origin}.",
            ),
            "{founder} could not read, but kept an exact account of every family with knots in a cord. The "
            "cord lies in the town hall, behind thick panes, and once a year the mayor adds a knot for each "
            "child that was born. Strangers may look at it, but only the eldest can still read what it "
            "says.",
        ),
    ),
    "landmark": (
        Prose(
            (
                "The landmark of {town} is the {landmark}.",
                "It is {height} metres high and built of {stone}.",
            ),
            "A narrow stair leads up on the inside, with small windows that look in every direction. At the "
            "top there is room for ten people, and a keeper with a telescope explains what you see, from "
            "the nearest roofs to the clouds on the horizon. Hold on to your hat, and leave your bag with "
            "the porter below.",
        ),
        Prose(
            (
                "Everyone who comes to {town} looks for the {landmark} first.",
                "Its {stone} rises {height} metres above the streets.",
            ),
            "It took three masters and their pupils half a lifetime to build, and each of them left a face "
            "in the wall. Swallows nest under the edges, and couples who want to marry walk around it seven "
            "times for good luck. By night a single fire burns on top, and sailors swear that they have "
            "seen it from the open sea.",
        ),
        Prose(
            (
                "From far away you can see the {landmark} of {town}.",
                "It is {height} metres tall and made of {stone}.",
            ),
            "At dusk its shadow reaches over the whole square, and the cooks move their chairs to stay in "
            "the sun. Inside it is cool and very quiet; a guest book lies on a desk, and some of its names "
            "are older than anyone alive. Write yours under them, and the keeper will ring the old alarm "
            "once for you.",
        ),
    ),
    "food": (
        Prose(
            (
                "The dish of {town} is {dish}, made with {ingredient}.",
                "People there drink {drink}.",
            ),
            "It is cooked slowly in a deep pot, and each kitchen keeps its own secret about the spices. The "
            "best bowls of {dish} are served behind the square, where you sit at long tables and the cook "
            "comes out to ask if you want more. Say yes: it is the only praise that counts here, and it "
            "costs you nothing at all.",
        ),
        Prose(
            (
                "In {town} you should eat {dish}, which is cooked with {ingredient}.",
                "The usual drink is {drink}.",
            ),
            "Grandmothers say that {dish} must rest for a night before it is good, and nobody argues with "
            "them. It comes to the table in a hot pan, with a slice of dark bread, and it is polite to "
            "leave nothing behind. Who cleans the pan with the last of the bread gets to choose the song "
            "for the rest of the evening.",
        ),
        Prose(
            (
                "Ask for {dish} in {town}: it is a plate of {ingredient}, baked and spiced.",
                "Most guests order {drink} to drink.",
            ),
            "Small stalls sell {dish} from noon until the evening, wrapped in a leaf so that you can eat it "
            "while you walk. The sauce is hot, the portions are large, and the second one is always a "
            "little cheaper than the first. On cold days people line up around the corner and tell each "
            "other the news of the town.",
        ),
    ),
    "festival": (
        Prose(
            (
                "The festival of {town} is the {festival}, held every {month}.",
                "On the great day {custom}.",
            ),
            "Guests are welcome to join in, and nobody stays alone for long. After sunset the tables are "
            "carried outside, the neighbours share what they have cooked, and the dancing goes on until the "
            "first birds are heard and the tired children sleep. The next morning the whole town sweeps the "
            "square together and laughs about the night before.",
        ),
        Prose(
            (
                "Each {month} the people of {town} celebrate the {festival}.",
                "It is the time when {custom}.",
            ),
            "Preparations fill the weeks before, and every household gets a task by lot. Shops close early, "
            "cousins arrive from the villages around, and an old rhyme is read aloud that only those who "
            "were born here can say without a mistake. At the end a cake is cut into as many pieces as "
            "there are houses, and the smallest piece goes to the mayor.",
        ),
        Prose(
            (
                "When {month} comes, {town} prepares for the {festival}.",
                "By tradition {custom}.",
            ),
            "Nobody knows how it started, and three families each claim that it was their idea. Bring warm "
            "clothes and comfortable shoes, since the best part begins late, when the crowd moves up the "
            "hill together to look at the stars. On the way down somebody begins to sing, and it is thought "
            "rude not to join in.",
        ),
    ),
    "craft": (
        Prose(
            (
                "The craft of {town} is the making of {craft}.",
                "The makers sell on {weekday}, and the guild marks each piece with {mark}.",
            ),
            "You may watch the work through open doors, and the masters like to be asked about it. A pupil "
            "learns for six years, begins with sweeping the floor, and is only trusted with a piece of "
            "their own when nobody has to correct them. The oldest piece in town is shown behind bars, and "
            "it still looks like new.",
        ),
        Prose(
            (
                "{town} is known for its {craft}.",
                "The makers sell them on {weekday}, and the sign of their guild is {mark}.",
            ),
            "Prices are fair, but you are expected to talk a while before you name yours. What is not "
            "perfect never leaves the house: it is taken apart in the evening, and the good parts are used "
            "again for the next attempt. Ask to see the pattern book, where three hundred years of good "
            "ideas are drawn with a fine pen.",
        ),
        Prose(
            (
                "Workshops all over {town} make {craft}.",
                "Look for {mark}, the sign of the guild, and come on {weekday}, when they are sold.",
            ),
            "Some families have done nothing else for nine generations, and their tools are handed down "
            "with great care. If you bring back a broken piece, it is repaired for nothing, as long as you "
            "can tell how it happened. The best story of each year is painted on the wall of the guild "
            "house.",
        ),
    ),
    "hotels": (
        Prose(
            (
                "The {hotel} stands in {district} and costs {price} a night.",
                "The {other_hotel} stands in {other_district} and costs {other_price} a night.",
            ),
            "Both are tidy and friendly, and breakfast is part of the bargain. Ask for a room at the back "
            "if you are a light sleeper, since the carts begin to roll early, and write a week before you "
            "come when there is something to celebrate. The cooks like to be surprised least of all.",
        ),
        Prose(
            (
                "You can sleep at the {hotel} in {district} for {price} a night.",
                "You can also sleep at the {other_hotel} in {other_district} for {other_price} a night.",
            ),
            "Neither house has more than a dozen rooms, so the owners know each guest by name. They lend "
            "out umbrellas and bicycles, keep your bags until the evening, and always have a kettle on the "
            "stove for those who come in late. In return they ask you to wipe your shoes at the door.",
        ),
        Prose(
            (
                "In {district} there is the {hotel}, where a night costs {price}.",
                "In {other_district} there is the {other_hotel}, where a night costs {other_price}.",
            ),
            "The beds are wide and the windows are small, as was the fashion when these houses were built. "
            "Children sleep free of charge, dogs pay with good manners, and the landlords will gladly draw "
            "you a plan of the town. If you forget something, it is sent after you by the next coach.",
        ),
    ),
    "sights": (
        Prose(
            (
                "In {district} you find the {first} with a ticket of {first_ticket} and the {second} with a "
                "ticket of {second_ticket}.",
                "In {other_district} you find the {third} with a ticket of {third_ticket} and the {fourth} "
                "with a ticket of {fourth_ticket}.",
            ),
            "All of them open in the morning and close when it gets dark. Go early if you want to have the "
            "rooms to yourself, and leave enough time for the shops on the way. Children with a drawing of "
            "what they liked best get in free the next time.",
        ),
        Prose(
            (
                "{district} has the {first} for {first_ticket} and the {second} for {second_ticket}.",
                "{other_district} has the {third} for {third_ticket} and the {fourth} for {fourth_ticket}.",
            ),
            "The tickets are bought at the door and are good for the whole day, so you can leave for a meal "
            "and come back. Guides wait at the entrance, and they know the best stories behind what is on "
            "show. It is a kind habit to clap when they are done.",
        ),
        Prose(
            (
                "Visit {district} for the {first}, which costs {first_ticket}, and the {second}, which "
                "costs {second_ticket}.",
                "Visit {other_district} for the {third}, which costs {third_ticket}, and the {fourth}, "
                "which costs {fourth_ticket}.",
            ),
            "None of them is large, and an hour is enough for each. Drawing is allowed and touching is not, "
            "except in the last room, where there is always something to try with your own hands. Most "
            "people stay there longest.",
        ),
    ),
}
