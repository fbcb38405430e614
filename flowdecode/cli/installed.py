"""The packages that a command needs beside flowdecode's own."""

from __future__ import annotations

from importlib.util import find_spec

from flowdecode.errors import ConfigurationError

__all__ = ["check_installed"]

PACKAGES = {
    "bench": ("matplotlib", "numpy", "scipy", "sklearn"),
    "train": ("accelerate", "peft", "torch", "transformers"),
}
"""What the extras bring."""


def check_installed(extra: str) -> None:
    """Raises ConfigurationError, which says how to install what is missing."""
    missing = [name for name in PACKAGES[extra] if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"Expected the packages of this command, got no {' and no '.join(missing)}. "
            f"Install them: pip install 'flowdecode[{extra}]'."
        )
