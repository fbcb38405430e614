"""The plan grammar: one constant language, for engines that decode under a constraint.

    1. Find the visa rules (60)
    2. Pick a hotel (40, easy) <- 1 hidden
    3. Plan the days (200, hard) <- 1, 2

Line k has the id k and names only smaller ids, in ascending order, so that no plan has a cycle.
A length has no leading zero, and the difficulty is optional. The single word `direct` stands for
"no plan: answer as usual". Every line ends with a newline.
"""

from __future__ import annotations

from flowdecode.backend import Grammar

__all__ = ["MAX_NODES", "MAX_TITLE", "PLAN_GRAMMAR"]

MAX_NODES = 16
MAX_TITLE = 60

_SHORT, _LETTER = MAX_TITLE - 2, r"\x00-\x1f\x7f()<*`"
"""A title has none of these: they are line ends, begin what follows the title, or only decorate it."""


def _ebnf() -> str:
    """The language in the EBNF of XGrammar and llama.cpp, which SGLang's `ebnf` takes."""
    rules = [
        r'root ::= "direct\n" | line1',
        r'part ::= title " (" [1-9] [0-9]{0,3} (", easy" | ", hard")? ")"',
        rf"title ::= [^ {_LETTER}] ([^{_LETTER}]{{0,{_SHORT}}} [^ {_LETTER}])?",
        r'end ::= " hidden"? "\n"',
        'ids1 ::= "1"',
    ]
    rules += [f'ids{k} ::= ids{k - 1} (", {k}")? | "{k}"' for k in range(2, MAX_NODES)]
    for k in range(1, MAX_NODES + 1):
        parents = f' (" <- " ids{k - 1})?' if k > 1 else ""
        following = f" line{k + 1}?" if k < MAX_NODES else ""
        rules.append(f'line{k} ::= "{k}. " part{parents} end{following}')
    return "\n".join(rules) + "\n"


def _regex() -> str:
    """The same language as a regular expression without groups, look-around or back-references."""
    part = rf"[^ {_LETTER}](?:[^{_LETTER}]{{0,{_SHORT}}}[^ {_LETTER}])? \([1-9][0-9]{{0,3}}(?:, (?:easy|hard))?\)"
    ids, lines = ["", "1"], [rf"1\. {part}(?: hidden)?\n"]
    for k in range(2, MAX_NODES + 1):
        lines.append(rf"{k}\. {part}(?: <- {ids[-1]})?(?: hidden)?\n")
        ids.append(f"(?:{ids[-1]}(?:, {k})?|{k})")
    return rf"(?:direct\n|{'(?:'.join(lines)}{')?' * (MAX_NODES - 1)})"


PLAN_GRAMMAR = Grammar(ebnf=_ebnf(), regex=_regex())
