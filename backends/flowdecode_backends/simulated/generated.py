"""Replies made up from a length distribution, for studies of time that need no sense."""

from __future__ import annotations

import random
import re

from flowdecode.backend import Request
from flowdecode_backends.replies import asked

__all__ = ["GeneratedReplies"]

_COMMON = """
a the this that one each most some every another
answer question reason measure engine letter market season number water stone light paper river city
house garden winter music signal window bridge table story teacher doctor country morning people
is was has makes takes shows keeps holds gives brings needs finds leaves turns follows
and but so then while because with from over under between through without near after before
small long early quiet common simple careful useful steady open
"""
_WORDS = _COMMON.split()
_SENTENCE = 12
_LENGTH = re.compile(r"\((\d{1,5})\)|about (\d{1,5}) words")
_TOKENS_PER_WORD = 4 / 3
_LENGTH_SPREAD = 0.15


class GeneratedReplies:
    """Sentences of common words, as many tokens as a lognormal distribution says.

    The same request gets the same reply, whatever came before it. Where it names a length, `(80)` as in
    a plan line or `about 60 words`, it gets about that; of several, the last one counts. A request with
    a grammar is taken for the planner's, and gets a plan of 3 to 6 parts, the first two independent.
    """

    def __init__(self, *, seed: int = 0, median_tokens: int = 200, sigma: float = 0.6) -> None:
        self.seed = seed
        self.median_tokens = median_tokens
        self.sigma = sigma

    def __call__(self, request: Request) -> str:
        question = asked(request.context)
        chance = random.Random(f"{self.seed} {request.sampling.seed} {question}")
        if request.grammar is not None:
            return _plan(chance)
        named = _LENGTH.findall(question)
        if not named:
            return _prose(chance, self.median_tokens * chance.lognormvariate(0, self.sigma))
        tokens, words = named[-1]
        expected = int(tokens) if tokens else int(words) * _TOKENS_PER_WORD
        return _prose(chance, expected * chance.lognormvariate(0, _LENGTH_SPREAD))


def _prose(chance: random.Random, tokens: float) -> str:
    """Text of so many tokens of `flowdecode_backends.words`, but at least two."""
    pieces = [" " + word for word in chance.choices(_WORDS, k=max(round(tokens), 2))]
    for start in range(0, len(pieces), _SENTENCE):
        pieces[start] = pieces[start].title()
        pieces[min(start + _SENTENCE, len(pieces)) - 1] = "."
    return "".join(pieces).lstrip()


def _plan(chance: random.Random) -> str:
    lines: list[str] = []
    for number in range(1, chance.randint(3, 6) + 1):
        title = " ".join(chance.sample(_WORDS, k=2)).capitalize()
        parents = sorted(chance.sample(range(1, number), k=chance.randint(0, 2))) if number > 2 else []
        needs = f" <- {', '.join(map(str, parents))}" if parents else ""
        lines.append(f"{number}. {title} ({chance.randrange(40, 241, 10)}){needs}\n")
    return "".join(lines)
