"""The models that come with flowdecode, by name."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from flowdecode.errors import ConfigurationError

__all__ = ["DEFAULT", "bundled"]

DEFAULT = "atlas"
"""The one that `local:` stands for."""


def bundled(name: str) -> Path:
    """The folder of a bundled model. Raises ConfigurationError, which lists what there is."""
    demo = Path(str(files("flowdecode_backends"))) / "demo"
    known = sorted(config.parent.name for config in demo.glob("*/config.json"))
    if name in known:
        return demo / name
    there_are = f"one of {', '.join(f'local:@{each}' for each in known)}" if known else "none is installed"
    raise ConfigurationError(
        f"Expected a bundled model ({there_are}), got {name!r}. "
        "Name a folder or a model of the Hugging Face hub, as in 'local:path/to/model', or another backend."
    )
