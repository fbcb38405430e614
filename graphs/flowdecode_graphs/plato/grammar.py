"""The plan grammar: one constant language, for engines that decode under a constraint.

    1. Find the visa rules (60)
    2. Pick a hotel (40, easy) <- 1 hidden
    3. Plan the days (200, hard) <- 1, 2

Line k has the id k and may name smaller ids as its parents, in ascending order: no plan has a cycle.
The number in brackets is the expected length in tokens; a difficulty may follow it, and `hidden` ends
the line of a part that is not shown. The single word `direct` stands for an answer without a plan.
Every line ends with a newline.
"""

from __future__ import annotations

from flowdecode.backend import Grammar

__all__ = ["MAX_NODES", "MAX_TITLE", "PLAN_GRAMMAR"]

MAX_NODES = 16
MAX_TITLE = 60

_UNFIT = r"\x00-\x1f\x7f()<*`"
"""Not in titles: line ends, what begins the rest of a line, and Markdown."""


def _ebnf() -> str:
    """The language in the EBNF of XGrammar and llama.cpp, which SGLang's `ebnf` takes.

    A title is a chain of one rule per character whose every rule can end it, not `[...]{1,60}`: under a
    counted repetition XGrammar checks much of the vocabulary anew for every token (milliseconds).
    """
    rules = [
        r'root ::= "direct\n" | line1',
        f"first ::= [^ {_UNFIT}]",
        f"other ::= [^{_UNFIT}]",
        "part ::= first title1",
        *(f"title{k} ::= other title{k + 1} | length" for k in range(1, MAX_TITLE)),
        f"title{MAX_TITLE} ::= length",
        'length ::= " (" [1-9] [0-9]{0,3} (", easy" | ", hard")? ")"',
        'ids1 ::= "1"',
        *(f'ids{k} ::= ids{k - 1} (", {k}")? | "{k}"' for k in range(2, MAX_NODES)),
    ]
    for k in range(1, MAX_NODES + 1):
        parents = f' (" <- " ids{k - 1})?' if k > 1 else ""
        after = f" line{k + 1}?" if k < MAX_NODES else ""
        rules.append(f'line{k} ::= "{k}. " part{parents} " hidden"? "\\n"{after}')
    return "\n".join(rules) + "\n"


def _regex() -> str:
    """The same language in what all regular expression engines share."""
    part = rf"[^ {_UNFIT}][^{_UNFIT}]{{0,{MAX_TITLE - 1}}} \([1-9][0-9]{{0,3}}(?:, (?:easy|hard))?\)"
    lines, ids = [rf"1\. {part}(?: hidden)?\n"], "1"
    for k in range(2, MAX_NODES + 1):
        lines.append(rf"{k}\. {part}(?: <- {ids})?(?: hidden)?\n")
        ids = f"(?:{ids}(?:, {k})?|{k})"
    return rf"(?:direct\n|{'(?:'.join(lines)}{')?' * (MAX_NODES - 1)})"


PLAN_GRAMMAR = Grammar(ebnf=_ebnf(), regex=_regex())
