"""Replies made up from a length distribution, for studies of time that need no sense."""

from __future__ import annotations

import random
import re

from flowdecode.backend import Request
from flowdecode_backends.replies import asked

__all__ = ["DEFAULT_MEDIAN_TOKENS", "GeneratedReplies"]

DEFAULT_MEDIAN_TOKENS = 400

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
    a grammar is taken for the planner's: it gets a plan of 3 to 6 parts, the first two independent, that
    are together as long as the answer.
    """

    def __init__(
        self, *, seed: int = 0, median_tokens: int = DEFAULT_MEDIAN_TOKENS, sigma: float = 0.6
    ) -> None:
        self.seed = seed
        self.median_tokens = median_tokens
        self.sigma = sigma

    def __call__(self, request: Request) -> str:
        question = asked(request.context)
        chance = random.Random(f"{self.seed} {request.sampling.seed} {question}")
        length = self.median_tokens * chance.lognormvariate(0, self.sigma)
        named = _LENGTH.findall(question)
        if named:
            tokens, words = named[-1]
            expected = int(tokens) if tokens else int(words) * _TOKENS_PER_WORD
            length = expected * chance.lognormvariate(0, _LENGTH_SPREAD)
        return _plan(chance, length) if request.grammar is not None else _prose(chance, length)


def _prose(chance: random.Random, tokens: float) -> str:
    """Text of so many tokens of `flowdecode_backends.words`, but at least two."""
    pieces = [" " + word for word in chance.choices(_WORDS, k=max(round(tokens), 2))]
    for start in range(0, len(pieces), _SENTENCE):
        pieces[start] = pieces[start].title()
        pieces[min(start + _SENTENCE, len(pieces)) - 1] = "."
    return "".join(pieces).lstrip()


def _plan(chance: random.Random, tokens: float) -> str:
    """Plan lines whose parts have so many tokens together."""
    shares = [chance.uniform(0.5, 1.5) for _ in range(chance.randint(3, 6))]
    lines: list[str] = []
    for number, share in enumerate(shares, 1):
        title = " ".join(chance.sample(_WORDS, k=2)).capitalize()
        length = min(max(round(tokens * share / sum(shares), -1), 10), 9_990)
        parents = sorted(chance.sample(range(1, number), k=chance.randint(0, 2))) if number > 2 else []
        needs = f" <- {', '.join(map(str, parents))}" if parents else ""
        lines.append(f"{number}. {title} ({length:g}){needs}\n")
    return "".join(lines)
