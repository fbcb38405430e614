"""`flowdecode plugins`: what is installed."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

import msgspec

from flowdecode.cli.options import AsJson
from flowdecode.cli.output import write_json
from flowdecode.cli.table import print_table

__all__ = ["Plugin", "plugins"]

KINDS = {"strategy": "strategies", "backend": "backends", "command": "commands"}


class Plugin(msgspec.Struct, frozen=True):
    """A strategy, backend or command, and the distribution that brings it."""

    kind: str
    name: str
    distribution: str
    version: str

    @classmethod
    def read(cls, kind: str, entry: EntryPoint) -> Plugin:
        """The plugin that an entry point stands for; it is not imported."""
        source = entry.dist
        return cls(kind, entry.name, source.name if source else "", source.version if source else "")


def plugins(*, as_json: AsJson = False) -> None:
    """List the installed strategies, backends and commands."""
    found = [
        Plugin.read(kind, entry)
        for kind, group in KINDS.items()
        for entry in sorted(entry_points(group=f"flowdecode.{group}"), key=lambda entry: entry.name)
    ]
    if as_json:
        write_json(found)
    else:
        print_table(Plugin.__struct_fields__, map(msgspec.structs.astuple, found))
