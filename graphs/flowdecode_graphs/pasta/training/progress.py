"""Who is told how a stage goes on."""

from __future__ import annotations

from typing import Protocol

__all__ = ["SILENT", "Progress"]


class Progress(Protocol):
    """Of one stage, such as a bar that is shown."""

    def begin(self, total: int) -> None:
        """So much is to be done, without what was done by earlier runs."""

    def done(self) -> None:
        """One of it is done."""


class _Silent:
    def begin(self, total: int) -> None:
        return

    def done(self) -> None:
        return


SILENT: Progress = _Silent()
"""Shows nothing."""
