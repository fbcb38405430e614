"""What is known of an engine that was measured: its costs and its sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec

from flowdecode.errors import ConfigurationError
from flowdecode_backends.simulated.cost import CostModel

__all__ = ["Fit", "Profile"]

SHIPPED = Path(__file__).with_name("profiles")
Count = Annotated[int, msgspec.Meta(ge=1)]


class Fit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How well the costs describe one kind of measurement."""

    measured: int
    """Measurements that the costs were fitted to."""
    median_error: float
    """Of their relative errors."""
    largest_error: float


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An engine, as `flowdecode simulate calibrate` has measured it."""

    machine: str = ""
    """What was measured: the engine, its model and the machine; when."""
    cost: CostModel
    slots: Count
    kv_tokens: Count
    prefill_chunk: Count
    context_length: Count
    mixed: bool = False
    """Whether a step that prefills decodes too."""
    fits: dict[str, Fit] = {}
    """By what was measured."""

    @property
    def settings(self) -> dict[str, Any]:
        """Keywords of `Simulated`."""
        names = ("cost", "slots", "kv_tokens", "prefill_chunk", "context_length", "mixed")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def read(cls, name: str) -> Profile:
        """The profile in a JSON file, or one that comes with this package, by its name.

        Raises ConfigurationError.
        """
        path = Path(name)
        if not path.suffix and not path.exists():
            path = SHIPPED / f"{name}.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except OSError as error:
            known = ", ".join(sorted(path.stem for path in SHIPPED.glob("*.json")))
            raise ConfigurationError(
                f"Expected a profile's file, or one of {known}, got {name!r}: {error.strerror}."
            ) from None
        except (msgspec.DecodeError, UnicodeError) as error:
            raise ConfigurationError(
                f"Expected an engine's profile in {name!r}: {error}. "
                "`flowdecode simulate calibrate` writes one."
            ) from None

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")
