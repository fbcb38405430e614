"""The Atlas's names: words that exist nowhere else, and common words put together.

No two kinds of names share a phrase, so that a phrase alone says what it names.
"""

from __future__ import annotations

from collections.abc import Sequence

from flowdecode_graphs.atlas.dice import Dice

__all__ = ["POOLS", "SHARED", "made_up", "paired"]

_FIRST = {
    "town": "Bram Cel Dov Fen Gri Hul Jas Kel Lum Mor Nev Osk Pel Quo Ras Sil Tam Ulv Vor Yar",
    "river": "Ab Chi Dre Eth Fli Gal Ho Ith Jo Kri Lei Mun Nar Opp Pru Rho Shu Tes Umb Wey",
    "founder": "Ad Ber Cor Dag Em Fre Gus Hed Ig Jor Kat Lud Mat Nor Ol Per Rag Sev Tor Wil",
    "dish": "bou clo dab eff fra gno hib juk kno lop mip nup pli quib ruk spo toff vek wiz zub",
}
_LAST = {
    "town": "avel inth orrin isk usso emby alda etti onga uvar",
    "river": "essel ora ink ume alla ith ard enna",
    "founder": "wen mara ulf esta oric ina anto ebel",
    "dish": "le sa ro na ki mmo tta da",
}

POOLS: dict[str, tuple[str, ...]] = {
    "craft": (
        "birch brooms", "brass locks", "cherry fiddles", "clay whistles", "copper kettles",
        "felt boots", "glass lamps", "horn combs", "leather saddles", "linen sails",
        "oak barrels", "painted maps", "paper kites", "reed baskets", "silk carpets",
        "silver mirrors", "steel knives", "tin toys", "wax candles", "wool blankets",
    ),
}  # fmt: skip
"""Of each, every town has another one."""

SHARED: dict[str, tuple[str, ...]] = {
    "region": ("Amber Hills", "Birch Plain", "Hollow Downs", "Slate Coast", "Thorn Valley"),
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
    return tuple(first + last for first, last in zip(firsts, dice.spread(_LAST[kind].split(), count), strict=True))


def paired(kind: str, count: int, dice: Dice) -> tuple[str, ...]:
    """`count` different names of two common words."""
    firsts, lasts = (words.split() for words in _PAIRS[kind])
    return dice.sample([f"{first} {last}" for first in firsts for last in lasts], count)
