"""What the sections of the page share: how nodes and times are written."""

from __future__ import annotations

from flowdecode.result import NodeRecord
from flowdecode.timeline.markup import Markup, element, join

__all__ = ["LOST", "label", "look", "nothing", "percent", "scrolled", "seconds", "section", "tokens"]

LOST = ("failed", "skipped", "cancelled")
"""How a node ends that has no output."""


def section(title: str, *content: Markup) -> Markup:
    """A part of the page, under its heading."""
    name = title.lower()
    return element(
        "section",
        element("h2", title, id=f"{name}-title"),
        *content,
        id=name,
        aria_labelledby=f"{name}-title",
    )


def scrolled(content: Markup, name: str, said: str) -> Markup:
    """Content that may be wider than the page; the keyboard scrolls it too."""
    return element("div", content, class_=f"scrolled {name}", tabindex=0, role="region", aria_label=said)


def nothing() -> Markup:
    """What stands in a section that would be empty."""
    return element("p", "Nothing came of this run.", class_="nothing")


def label(node: NodeRecord) -> Markup:
    """A node's number and title; its id where it has no title."""
    if not node.title.strip():
        return element("bdi", node.id or "(no title)")
    number = [element("span", node.id, class_="id"), " "] if node.id.isdecimal() else []
    return join(*number, element("bdi", node.title))


def look(node: NodeRecord) -> str:
    """What a node looks like; its words say the same."""
    hidden, lost = not node.shown, node.status in LOST
    return f"node {node.kind} {node.status}{' hidden' * hidden}{' lost' * lost}"


def tokens(node: NodeRecord) -> str:
    """How much a node decoded, to be followed by its status."""
    count = node.usage.completion_tokens
    return "" if node.kind == "call" else f"{count:,} token{'' if count == 1 else 's'}, "


def seconds(value: float) -> str:
    """A time to read."""
    if value >= 0.1:
        return f"{value:,.2f} s"
    return f"{value * 1000:.0f} ms" if value >= 0.001 else "under 1 ms"


def percent(part: float, whole: float) -> str:
    """A share, for CSS."""
    return f"{100 * part / whole:.3f}%"
