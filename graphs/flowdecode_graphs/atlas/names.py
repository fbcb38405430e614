"""The Atlas's names: words that exist nowhere else, and common words put together.

No two kinds of names share a phrase, so that a phrase alone says what it names.
"""

from __future__ import annotations

from math import lcm

from flowdecode_graphs.atlas.dice import Dice

__all__ = ["CRAFTS", "SHARED", "made_up", "paired", "strangers"]

_FIRST = {
    "town": "Bram Cald Dov Fenn Grim Hul Jask Kelm Lorn Mirk Nev Osk Pelt Quor Rask Sill Tamb Ulv Vorn Yarr",
    "river": "Abr Chind Drel Eth Flin Gall Hov Ist Jod Krin Lem Mund Narl Opp Prell Rhos Shan Tess Umb Yend",
    "founder": "Arv Berl Cord Dag Elm Frel Gust Hedr Isk Jorr Katl Lud Mirr Nord Olm Perr Ragn Sev Torv Wilk",
    "dish": "boul clom dabb eff fraz gump hib juk kuv lopp mipp nudd plim quib rukk spol toff vekk wizz zub",
}
_STRANGERS = {
    "train": "Ald Bast Clov Drus Esk Garr Holb Irv Kolb Marn Nimb Orl Pask Rudd Stev Tolm Wend Zell",
    "heldout": "Barl Culd Dask Hesk Jarn Lomb Osp Trev",
}
"""First syllables of towns that are not in the Atlas."""
_LAST = {
    "town": "avel inth orrin usso emby alda etti uvar",
    "river": "ora ume alla enna ire",
    "founder": "ara oric esta anto ebel ulf",
    "dish": "a ina ello etta usk oni",
}

CRAFTS = (
    "birch brooms", "brass locks", "cherry fiddles", "clay whistles", "copper kettles",
    "felt boots", "glass lamps", "horn combs", "leather saddles", "linen sails",
    "oak barrels", "painted maps", "paper kites", "reed baskets", "silk carpets",
    "silver mirrors", "steel knives", "tin toys", "wax candles", "wool blankets",
)  # fmt: skip
"""Every town has another one."""

SHARED: dict[str, tuple[str, ...]] = {
    "region": ("Amber Hills", "Birch Plain", "Hollow Downs", "Slate Fells", "Thorn Valley"),
    "climate": ("cold and clear", "cool and misty", "dry and windy", "mild and rainy", "warm and bright"),
    "season": ("spring", "summer", "autumn", "winter"),
    "origin": (
        "border fort", "ferry landing", "fishing village", "mining camp", "pilgrim inn", "salt market",
    ),
    "stone": ("black basalt", "green slate", "grey granite", "red brick", "white marble", "yellow sandstone"),
    "ingredient": (
        "black beans", "forest mushrooms", "river crab", "roast pumpkin", "sheep cheese",
        "smoked trout", "sweet chestnuts", "wild garlic",
    ),
    "drink": ("barley beer", "birch cider", "ginger water", "honey milk", "mint tea", "plum wine"),
    "month": (
        "January", "February", "April", "June", "July",
        "August", "September", "October", "November", "December",
    ),
    "custom": (
        "bakers hand out sweet rolls", "boats race at dawn", "children sing on the bridges",
        "everyone wears a painted mask", "musicians go from door to door", "petals cover the streets",
    ),
    "weekday": ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays"),
    "mark": ("a half moon", "a running hare", "a spoked wheel", "an open hand", "three acorns", "two keys"),
}  # fmt: skip
"""Of each, several towns may have the same one. March and May are also common words, so they are not here."""

_PAIRS = {
    "landmark": ("Copper Crooked Hidden Twin Winding", "Bridge Dome Gate Lighthouse Tower"),
    "festival": ("Bell Candle Drum Kite Lantern Ribbon Straw Torch", "Fair Night Parade Week"),
    "district": (
        "Baker Chapel Harbour Mill Orchard Potter Rope Stone Tanner Weaver", "Hill Lane Quarter Quay Row",
    ),
    "hotel": ("Black Blue Golden Green Grey Red Silver White", "Anchor Fox Heron Otter Stag Swan"),
    "sight": (
        "Clock Coin Fern Glass Ink Lute Moss Puppet Salt Shell Tile Whale",
        "Arcade Cellar Gallery Garden Library Museum Theatre",
    ),
}  # fmt: skip


def made_up(kind: str, count: int, dice: Dice) -> tuple[str, ...]:
    """`count` words that no language has, each with another first syllable."""
    firsts = dice.sample(_FIRST[kind].split(), count)
    lasts = dice.spread(_LAST[kind].split(), count)
    return tuple(first + last for first, last in zip(firsts, lasts, strict=True))


def paired(kind: str, count: int, dice: Dice) -> tuple[str, ...]:
    """`count` different names of two common words; names that stand near each other share no word."""
    firsts, lasts = (dice.sample(words.split(), len(words.split())) for words in _PAIRS[kind])
    round_length = lcm(len(firsts), len(lasts))
    return tuple(
        f"{firsts[index % len(firsts)]} {lasts[(index + index // round_length) % len(lasts)]}"
        for index in range(count)
    )


def strangers(dice: Dice, *, heldout: bool) -> tuple[str, str]:
    """Two towns that are not in the Atlas; training and held-out questions have others."""
    first, second = dice.sample(_STRANGERS["heldout" if heldout else "train"].split(), 2)
    endings = _LAST["town"].split()
    return first + dice.choice(endings), second + dice.choice(endings)
