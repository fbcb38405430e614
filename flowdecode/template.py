"""Templates: `{name}` of a passed field is replaced, once; everything else is literal."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from flowdecode.errors import ConfigurationError
from flowdecode.sampling import Sampling

__all__ = ["Field", "fill_template", "parse_template"]

_PLACEHOLDER = re.compile(r"\{([^\W\d]\w*)\}")


class Field(NamedTuple):
    """A place in a template where a value goes."""

    name: str


def parse_template(
    template: str, fields: Collection[str], *, taken: Collection[str] = ()
) -> list[str | Field]:
    """Literal texts and fields in turn. Raises ConfigurationError where the two don't match.

    Values are put in afterwards and never scanned. Without fields, every brace is literal. What is
    `taken` was passed, but not as a field.
    """
    if not fields and not taken:
        return [template]
    parts = list(_parts(template))
    named = {part.name for part in parts if isinstance(part, Field)}
    if clash := sorted(named & set(taken)):
        raise ConfigurationError(
            f"Expected another name for the field {{{clash[0]}}}: {clash[0]}= is a setting of the node."
        )
    if not fields:
        return [template]
    if unbound := sorted(named - set(fields)):
        raise ConfigurationError(
            f"Expected a field for every {{name}} in the template, got none for {', '.join(unbound)}. "
            f"Pass {unbound[0]}=..., or write the braces into a field's value."
        )
    if unused := sorted(set(fields) - named):
        remedy = f" Pass sampling={{{unused[0]!r}: ...}}." if unused[0] in Sampling.__annotations__ else ""
        raise ConfigurationError(
            f"Expected {{{unused[0]}}} in the template, since {unused[0]}= was passed: {template!r}.{remedy}"
        )
    return parts


def fill_template(template: str, **values: object) -> str:
    """`template` with the values in their places; other braces are literal."""
    return "".join(
        str(values.get(part.name, f"{{{part.name}}}")) if isinstance(part, Field) else part
        for part in _parts(template)
    )


def _parts(template: str) -> Iterator[str | Field]:
    end = 0
    for match in _PLACEHOLDER.finditer(template):
        if match.start() > end:
            yield template[end : match.start()]
        yield Field(match[1])
        end = match.end()
    if end < len(template):
        yield template[end:]
