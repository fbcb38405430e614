"""The packages that training needs beside flowdecode's own."""

from __future__ import annotations

from importlib.util import find_spec

from flowdecode.errors import ConfigurationError

__all__ = ["check_installed"]

NEEDED = ("accelerate", "peft", "torch", "transformers")


def check_installed() -> None:
    """Raises ConfigurationError, which says how to install what is missing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"Expected the packages of training, got no {' and no '.join(missing)}. "
            "Install them: pip install 'flowdecode[train]'."
        )
