"""HTML that is safe by construction: what is not Markup is text, and text is escaped."""

from __future__ import annotations

import re
from html import escape

__all__ = ["Markup", "element", "join"]

_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
"""What no HTML page may hold: control characters, lone surrogates, noncharacters."""

_VOID = {"meta"}


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(name: str, /, *children: str, **attributes: object) -> Markup:
    """An element with its children; Markup stays as it is, other text is escaped.

    In the names of attributes, `_` stands for `-`, and one at the end is dropped: `class_`,
    `aria_label`. True is an attribute without a value; None and False are none.
    """
    written = "".join([_attribute(name, value) for name, value in attributes.items()])
    end = "" if name in _VOID else f"</{name}>"
    return Markup(f"<{name}{written}>{join(*children)}{end}")


def join(*children: str) -> Markup:
    """Elements and texts one after another."""
    return Markup("".join([child if isinstance(child, Markup) else _escape(child) for child in children]))


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{_escape(str(value))}"'


def _escape(text: str) -> str:
    return escape(_UNPRINTABLE.sub(_shown, text))


def _shown(match: re.Match[str]) -> str:
    """A picture of a control character, where Unicode has one."""
    code = ord(match[0])
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"
