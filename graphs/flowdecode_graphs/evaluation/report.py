"""The report in all its forms: a page, Markdown, and JSON."""

from __future__ import annotations

from pathlib import Path

import msgspec

from flowdecode_graphs.evaluation.answers import Folder
from flowdecode_graphs.evaluation.markdown import to_markdown
from flowdecode_graphs.evaluation.page import to_page
from flowdecode_graphs.evaluation.summary import Summary

__all__ = ["write_report"]


def write_report(folder: Folder, summary: Summary) -> Path:
    """Write `report.html`, `report.md` and `report.json`; returns where the page is."""
    data = msgspec.json.format(msgspec.json.encode(summary), indent=1)
    (folder.path / "report.json").write_bytes(data + b"\n")
    (folder.path / "report.md").write_text(to_markdown(summary), encoding="utf-8")
    page = folder.path / "report.html"
    page.write_text(to_page(summary, folder.answers()), encoding="utf-8")
    return page
