"""The commands: the entry points of `flowdecode.commands`, each imported when it is called."""

from __future__ import annotations

import ast
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

__all__ = ["LazyCommand", "command_line"]


def command_line() -> TyperGroup:
    """All installed commands under one name."""
    commands = [LazyCommand(entry) for entry in entry_points(group="flowdecode.commands")]
    return TyperGroup(
        help="One prompt, many decoders: answers decoded as graphs of coroutines that await their parents.",
        commands=sorted(commands, key=lambda command: command.name or ""),
    )


class LazyCommand(TyperCommand):
    """A command of which only the name and the summary are known until it is called.

    Its entry point is a function whose parameters are declared as Typer reads them, or a `typer.Typer`
    with commands of its own.
    """

    def __init__(self, entry: EntryPoint) -> None:
        super().__init__(entry.name, help=_summary(entry))
        self._entry = entry

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Import the command, which takes over from here."""
        app = loaded = self._entry.load()
        if not isinstance(loaded, typer.Typer):
            app = typer.Typer(add_completion=False)
            app.command(self.name)(loaded)
        return get_command(app).make_context(*args, **kwargs)


def _summary(entry: EntryPoint) -> str:
    """The first line of the function's docstring, or of a Typer's module's, read from its source."""
    try:
        spec = _find(entry.module)
        module = ast.parse(Path(spec.origin).read_bytes() if spec and spec.origin else b"")
    except (OSError, SyntaxError, ValueError):  # A plugin that is broken breaks nothing else.
        return ""
    told: ast.Module | ast.FunctionDef = module
    for statement in module.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == entry.attr:
            told = statement
    return (ast.get_docstring(told) or "").partition("\n")[0]


def _find(module: str) -> ModuleSpec | None:
    """Where a module is; `importlib.util.find_spec` would import the packages above it."""
    name, *parts = module.split(".")
    spec = find_spec(name)
    for part in parts:
        if spec is None:
            break
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, spec.submodule_search_locations)
    return spec
