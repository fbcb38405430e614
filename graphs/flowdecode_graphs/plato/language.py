"""The plan language: printed strictly, read leniently.

`plan_line` prints what PLAN_GRAMMAR describes. `PlanParser` reads that, and what models write in its
place: bullets, Markdown, prose around the list, `Deps: none`, `(~60 tokens)`. It is lenient about form
and strict about meaning: what a line says is kept, or repaired or dropped with a remark.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from flowdecode.plan import DEFAULT_EXPECTED_TOKENS, Difficulty, PlanNode
from flowdecode_graphs.plato.grammar import MAX_NODES, MAX_TITLE

__all__ = ["MAX_EXPECTED_TOKENS", "PlanParser", "plan_line", "plan_text"]

MAX_EXPECTED_TOKENS = 4096
_MAX_LINE = 400
_MAX_REMARKS = 32


def plan_line(node: PlanNode) -> str:
    """A node as one line of the plan language, without its newline.

    What a line can't hold is left out: the instruction, the offset, brackets in the title.
    """
    title = _printable(node.title) or f"Part {node.id}"
    difficulty = f", {node.difficulty}" if node.difficulty else ""
    parents = f" <- {', '.join(map(str, sorted(set(node.parents))))}" if node.parents else ""
    hidden = "" if node.shown else " hidden"
    return f"{node.id}. {title} ({_bounded(node.expected_tokens)}{difficulty}){parents}{hidden}"


def plan_text(nodes: Iterable[PlanNode]) -> str:
    """A plan's lines, each with its newline: PLAN_GRAMMAR's where every id is the node's place."""
    return "".join(f"{plan_line(node)}\n" for node in nodes)


class PlanParser:
    """Reads a plan while it streams: a line becomes a node when its newline arrives.

    However the text is cut into pieces, the same lines give the same nodes and the same remarks. An id
    is the node's place in the plan. A line that skips numbers gets the next id, and later references to
    its number are mapped; a line whose number was there before is dropped (models loop); a reference is
    dropped unless an earlier node has its number.
    """

    def __init__(self, *, max_nodes: int = MAX_NODES, thinking: bool = False) -> None:
        """`thinking`: the text begins inside a thought, which the chat template has opened."""
        self.nodes: list[PlanNode] = []
        self.remarks: list[str] = []
        """What was repaired or dropped: a sentence each, the first 32."""
        self.direct = False
        """Whether the text says that the answer needs no plan."""
        self._max_nodes = max_nodes
        self._thinking = thinking
        self._ended = False
        self._line = ""
        self._held = ""  # the end of the text, where it may be the beginning of a tag
        self._ids: dict[int, int] = {}  # by the numbers that the lines themselves have
        self._numbered = False

    @property
    def done(self) -> bool:
        """Whether nothing more can come: it was `direct`, the plan is full, or prose has followed it."""
        return self._ended or len(self.nodes) >= self._max_nodes

    def feed(self, text: str, tokens: int = 0) -> list[PlanNode]:
        """Read on; gives the nodes whose lines `text` completes. With it, `tokens` are decoded in all."""
        known = len(self.nodes)
        text, start = self._held + text, 0
        for mark in _MARK.finditer(text):
            if self._ended:
                break
            self._take(text[start : mark.start()])
            start = mark.end()
            self._pass(mark[0], tokens)
        rest = text[start:]
        cut = rest.rfind("<")
        if cut < 0 or not any(tag.startswith(rest[cut:]) for tag in _TAGS):
            cut = len(rest)
        self._take(rest[:cut])
        self._held = rest[cut:]
        return self.nodes[known:]

    def finish(self, tokens: int = 0) -> list[PlanNode]:
        """End the text: its last line counts without a newline too, and nothing is read any more."""
        known = len(self.nodes)
        self._take(self._held)
        if self._thinking and not self._ended:
            self._remark("Ignored a thought that did not end", "<think>")
        self._end_line(tokens)
        self._ended = True
        return self.nodes[known:]

    def _take(self, text: str) -> None:
        """Add to the line: never more than one character beyond what a line may have."""
        if not self._thinking:
            self._line += text[: _MAX_LINE + 1 - len(self._line)]

    def _pass(self, mark: str, tokens: int) -> None:
        """Go past a newline or a tag."""
        if mark == "<think>":
            self._thinking = True
        elif self._thinking:
            self._thinking = mark != "</think>"
        elif mark == "\n":
            self._end_line(tokens)
        else:  # the end of a thought that began before the text did
            self._line = ""
            if self.nodes:
                self._remark("Read nodes from what proved to be a thought", mark)

    def _end_line(self, tokens: int) -> None:
        text, self._line = self._line, ""
        if self._ended:
            return
        line = _read(text[:_MAX_LINE])
        if not self.nodes and _DIRECT.fullmatch(text):
            self.direct = self._ended = True
        elif line is None or (self._numbered and line.number is None):
            self._end_other_line(text)
        elif self.done:
            self._remark(f"Ignored all after the first {self._max_nodes} nodes", text)
            self._ended = True
        elif len(text) > _MAX_LINE:
            self._remark(f"Dropped a line of more than {_MAX_LINE} characters", text)
        elif line.number in self._ids:
            self._remark(f"Dropped another line with the number {line.number}", text)
        elif not _tidy(line.title):
            self._remark("Dropped a line without a title", text)
        else:
            self._add(line, text, tokens)

    def _end_other_line(self, text: str) -> None:
        """A line that is no node: prose before the plan, a detail inside it, or the prose that ends it."""
        if self.nodes and _PROSE.match(text):
            self._ended = True
        elif self.nodes and _PARENTS.search(text):
            self._remark("Ignored parents that are not on their node's line", text)

    def _add(self, line: _Line, text: str, tokens: int) -> None:
        node_id = len(self.nodes) + 1
        number = node_id if line.number is None else line.number
        if number != node_id:
            self._remark(f"Renumbered {number} to {node_id}", text)
        if len(line.title) > MAX_TITLE:
            self._remark(f"Shortened a title to {MAX_TITLE} characters", text)
        length = _bounded(line.length)
        if length != line.length:
            self._remark(f"Took {length} for a length that is not from 1 to {MAX_EXPECTED_TOKENS}", text)
        named = _named(line.references, known=self._ids)
        if unknown := [str(name) for name in named if name not in self._ids]:
            self._remark(f"Dropped parents that are no earlier nodes ({', '.join(unknown):.40})", text)
        self.nodes.append(
            PlanNode(
                id=node_id,
                title=_tidy(line.title),
                parents=tuple(sorted({self._ids[name] for name in named if name in self._ids})),
                expected_tokens=length,
                shown=line.shown,
                difficulty=line.difficulty,
                offset=tokens,
            )
        )
        self._ids[number] = node_id
        self._numbered = line.number is not None

    def _remark(self, what: str, text: str) -> None:
        text = text.strip()
        if len(self.remarks) < _MAX_REMARKS:
            self.remarks.append(f"{what}: {text if len(text) <= 60 else text[:59] + '…'!r}.")


class _Line(NamedTuple):
    """What one line says, as it says it."""

    number: int | None
    title: str
    length: int
    references: str
    difficulty: Difficulty | None
    shown: bool


def _read(text: str) -> _Line | None:
    """Read one line: a number, or a bullet where notes follow the title; None for any other."""
    bullet = _BULLET.match(text)
    text = " ".join(text[bullet.end() if bullet else 0 :].translate(_MARKUP).split())
    number = _NUMBER.match(text)
    start = number.end() if number else 0
    note = _NOTE.search(text, start)
    if number is None and (bullet is None or note is None):
        return None
    end = note.start() if note else len(text)
    parents = _PARENTS.search(text, end)
    gap = parents.span() if parents else (len(text), len(text))
    length = _LENGTH.search(text, end, gap[0]) or _LENGTH.search(text, gap[1])
    difficulty = _DIFFICULTY.search(text, end)
    return _Line(
        number=int(number["number"]) if number else None,
        title=text[start:end].strip(),
        length=int(length["length"].replace(",", "")) if length else DEFAULT_EXPECTED_TOKENS,
        references=parents["references"] if parents else "",
        difficulty=None if difficulty is None else "easy" if difficulty[1].lower() == "easy" else "hard",
        shown=_HIDDEN.search(text, end) is None,
    )


def _tidy(title: str) -> str:
    """A title as one short line without Markdown; cut between words where it must be cut."""
    title = _GAPS.sub(" ", title.translate(_MARKUP)).strip()
    if len(title) > MAX_TITLE:
        title = title[: MAX_TITLE + 1].rpartition(" ")[0] or title[:MAX_TITLE]
    return title.lstrip(" #_-–—:;,|=~>").rstrip(" _-–—:;,|=~.([{")


def _printable(title: str) -> str:
    """A tidy title, without what a reader would take for the end of it."""
    title = _tidy(title.translate(_BRACKETS))
    while note := _NOTE.search(title):
        title = _tidy(title[: note.start()])
    return title


def _bounded(length: int) -> int:
    return min(max(length, 1), MAX_EXPECTED_TOKENS)


def _named(references: str, known: Iterable[int]) -> list[int]:
    """The numbers that `references` name, such as `1, 3-5` or `all`."""
    named: list[int] = []
    for everything, first, last, single in _REFERENCE.findall(references):
        if everything:
            named += known
        elif single:
            named.append(int(single))
        else:
            named += range(int(first), int(last) + 1)
    return named


_TAGS = ("<think>", "</think>")
_MARK = re.compile(r"\n|</?think>")
_DIRECT = re.compile(r"[\W\d_]*direct[\W_]*", re.IGNORECASE)
_PROSE = re.compile(r"(?!\s|[-+*•–]\s|#|```).*[^\W_]")

_MARKUP = str.maketrans("", "", "*`")
_BRACKETS = str.maketrans("()<←", "    ")
_GAPS = re.compile(r"[\s\x00-\x1f\x7f\ud800-\udfff]+")
_BULLET = re.compile(r"\s*[-+*•–]\s")
_NUMBER = re.compile(
    r"[#\s]* (?:(?:part|step)\s)? [(\[]? (?P<number>[0-9]{1,3}) (?:[.:)\]]+ | \s[-–]) (?![0-9])",
    re.IGNORECASE | re.VERBOSE,
)

# What follows a title, in text whose white space is single spaces.
_LENGTH_TEXT = r"""
    (?<![0-9,]) (?P<open>\(\s?)?
    (?: (?: [~≈<] | about | approx(?:\.|imately)? | around | est\.? | up\sto | (?:length|tokens): ) \s?)?
    (?:[0-9,]+\s?[-–]\s?)? (?P<length>[0-9][0-9,]*) \s?  # of a range, the upper end
    (?(open)  # the last of several in brackets: a title may say f(2)
        (?: tok | (?:t|words?)? \s? [,;)] ) (?!.*(?<![-←])(?<![-←]\s)\([0-9]+\))
    | tok(?:en)?s?\b (?=\s?(?:[^\w\s]|$)) )"""
_PARENTS_TEXT = r"""
    (?: <[-=–—−]+ | ←
    | (?<=\)\s) (?: ->|→ | (?=\[[0-9]) )  # only after a length: titles have these
    | (?: \bdep(?:s|ends?\son|endenc(?:y|ies))\b
        | (?<=[(\[]) (?:after|needs|requires|uses)\b
        | \b (?:after|depends|needs|requires|uses|parents?) (?=\s?[:=]) )
      (?= [\s:=\[#]* (?:(?:node|part|step)s?\s)? (?:[0-9]|-|all\b|n/?a\b|none\b|nothing\b) ) )
    [\s:=(\[{]*
    (?P<references> (?:[\s,;&+#–-] | [0-9]+\b(?!\s?tok) | (?:all|and|nodes?|parts?|steps?|to)\b)* )"""
_FLAG_TEXT = r"\(\s?(?:easy|medium|hard|hidden|shown)\s?[,;)] | (?:[(\[,;|]|\s[-–])\s?hidden\W*$"
_LENGTH, _PARENTS, _NOTE = (
    re.compile(text, re.IGNORECASE | re.VERBOSE)
    for text in (_LENGTH_TEXT, _PARENTS_TEXT, f"{_LENGTH_TEXT} | {_PARENTS_TEXT} | {_FLAG_TEXT}")
)
_DIFFICULTY = re.compile(r"[()\[,;|]\s?(easy|hard)\s?(?:[,;)\]|<←]|$)", re.IGNORECASE)
_HIDDEN = re.compile(r"\bhidden\s?(?:[,;.|()\[\]<←]|$)", re.IGNORECASE)
_REFERENCE = re.compile(r"(all)|([0-9]{1,2})\s?(?:[-–]|to)\s?([0-9]{1,2})(?![0-9])|([0-9]+)", re.IGNORECASE)
