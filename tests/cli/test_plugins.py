"""`flowdecode plugins`."""

from __future__ import annotations

import msgspec
import pytest

from flowdecode.cli import main
from flowdecode.cli.plugins import Plugin


def test_json_lists_what_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--json"]) == 0
    found = msgspec.json.decode(capsys.readouterr().out, type=list[Plugin])
    ours = [(plugin.kind, plugin.name) for plugin in found if plugin.distribution == "flowdecode"]
    assert ("strategy", "sequential") in ours
    assert ("backend", "scripted") in ours
    assert ("command", "plugins") in ours
    assert all(plugin.version for plugin in found)


def test_table_has_a_line_for_each_plugin(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins"]) == 0
    header, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    assert header == ["kind", "name", "distribution", "version"]
    assert ["strategy", "sequential", "flowdecode", "0.1.0"] in rows
