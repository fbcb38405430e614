"""Plans with forced lengths, over a real SGLang server: what is measured, and the plans themselves."""

from __future__ import annotations

from typing import Any

import msgspec

from flowdecode.backend import Request
from flowdecode_backends.sglang_client import SGLang

__all__ = ["LATE", "LEVELS", "NODES", "PLAN", "QUESTION", "Forced", "Measured", "Nodes", "written"]

QUESTION = "Compare tea and coffee: origin, caffeine, taste, and which to drink in the evening."
Nodes = dict[int, tuple[str, int, tuple[int, ...]]]
"""By number: a part's title, its tokens, its parents."""
NODES: Nodes = {
    1: ("Origin", 60, ()),
    2: ("Caffeine", 40, ()),
    3: ("Taste", 50, ()),
    4: ("Comparison", 80, (1, 2)),
    5: ("Evening drink", 40, (2, 3)),
    6: ("Verdict", 60, (4, 5)),
}
LEVELS = ((1, 2, 3), (4, 5), (6,))


def written(nodes: Nodes) -> str:
    """The plan as the planner writes it."""
    return "".join(
        f"{number}. {title} ({tokens}){' <- ' + ', '.join(map(str, parents)) if parents else ''}\n"
        for number, (title, tokens, parents) in nodes.items()
    )


PLAN = written(NODES)

LATE: Nodes = {
    1: ("Origin", 100, ()),
    2: ("Caffeine", 100, ()),
    3: ("Taste", 100, ()),
    4: ("Summary", 20, (1, 2, 3)),
    5: ("Habits", 150, ()),
    6: ("Evening drink", 220, ()),
    7: ("Verdict", 60, (4, 5, 6)),
}
"""What early prefill is for: the last part's spine (4) and 5 are done while 6 still decodes."""


class Measured(msgspec.Struct, frozen=True):
    """What one way of running the plan took."""

    seconds: float
    requests: int
    prompt: int
    """Tokens of all prompts."""
    cached: int
    prefilled: int
    """By the server's own count, requests that only fill the cache included."""


class Forced(SGLang):
    """Every part gets its planned length, whatever the model says; the planner can write only this plan."""

    nodes: Nodes = NODES
    salted = False
    """Whether every request has a prefix cache of its own: no prefix discipline at all."""
    sent = 0
    """Requests so far."""

    def sampling(self, request: Request, prompt_tokens: int) -> dict[str, Any]:
        params = {**super().sampling(request, prompt_tokens), "temperature": 0.0}
        if request.grammar is not None:
            literal = written(self.nodes).replace("\n", "\\n")
            return {**params, "ebnf": f'root ::= "{literal}"\n'}
        if request.sampling.max_tokens == 1:  # early prefill
            return params
        told = request.context.block.text
        length = next(tokens for title, tokens, _ in self.nodes.values() if f'"{title}", in about' in told)
        params.pop("stop_token_ids", None)
        return {**params, "max_new_tokens": length, "ignore_eos": True}

    def body(self, request: Request, prompt: Any) -> dict[str, Any]:
        body = super().body(request, prompt)
        self.sent += 1
        return {**body, "cache_salt": request.id} if self.salted else body
