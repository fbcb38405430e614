"""Mermaid flowcharts, the graph notation that GitHub and most editors render."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["flowchart"]


def flowchart(
    nodes: Iterable[tuple[int | str, str, Sequence[int | str]]],
    *,
    dashed: Iterable[int | str] = (),
) -> str:
    """A top-down flowchart of (id, label, parents' ids)."""
    listed = list(nodes)
    names = {node_id: f"n{index}" for index, (node_id, _, _) in enumerate(listed, start=1)}
    lines = ["flowchart TD"]
    lines += [f'    {names[node_id]}["{_escape(label)}"]' for node_id, label, _ in listed]
    lines += [
        f"    {names[parent]} --> {names[node_id]}" for node_id, _, parents in listed for parent in parents
    ]
    if faint := [names[node_id] for node_id in dashed]:
        lines += ["    classDef hidden stroke-dasharray: 4 4", f"    class {','.join(faint)} hidden"]
    return "\n".join(lines)


def _escape(label: str) -> str:
    """Mermaid's own entity form; everything else is text inside the quotes."""
    return "".join(f"#{ord(c)};" if c in '"#<>&`\\\n\r' else c for c in label)
