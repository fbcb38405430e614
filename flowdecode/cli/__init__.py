"""The command line: `flowdecode COMMAND`.

Exit codes: 0 done, 1 the run failed, 2 it can't work as it was asked for, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from flowdecode.cli.commands import command_line
from flowdecode.cli.output import remark
from flowdecode.errors import ConfigurationError, FlowdecodeError

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> int:
    """Run one command, by default that of `sys.argv`; returns the exit code."""
    if reconfigure := getattr(sys.stdout, "reconfigure", None):
        # What a model writes must reach the reader, whatever the terminal can show.
        reconfigure(errors="backslashreplace")
    args = (sys.argv[1:] if args is None else args) or ["--help"]
    try:
        return command_line().main(args, prog_name="flowdecode", standalone_mode=False) or 0
    except typer.TyperException as error:
        return _fail(error.format_message(), error.exit_code)
    except ConfigurationError as error:
        return _fail(str(error), 2)
    except FlowdecodeError as error:
        return _fail(str(error), 1)


def _fail(message: str, exit_code: int) -> int:
    remark(f"error: {message}")
    return exit_code
