"""Training data: prompts with annotated answers, a line of JSON each."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from flowdecode.errors import ConfigurationError
from flowdecode_graphs.files import write_whole

__all__ = ["Example", "append_example", "mend", "read_examples", "write_examples"]


class Example(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was asked, and what is to be answered."""

    prompt: str
    answer: str
    """In PASTA-LANG; an answer that is not annotated yet has no tags."""
    category: str | None = None
    system: str | None = None


def read_examples(path: Path) -> list[Example]:
    """All lines that are not blank. Raises ConfigurationError, with the line that is no example."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigurationError(f"Expected a file of examples, got {path}: {error.strerror}.") from None
    examples: list[Example] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                examples.append(_decoder.decode(line))
            except (msgspec.DecodeError, UnicodeError) as error:
                raise ConfigurationError(
                    "Expected lines of JSON with the texts `prompt` and `answer`: "
                    f"{error} - in {path}, line {number}."
                ) from None
    return examples


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """Replace the file; whoever reads it meanwhile sees the old one."""
    write_whole(path, b"".join(map(_line, examples)))


def append_example(path: Path, example: Example) -> None:
    """Add one line, which is in the file when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(_line(example))


def mend(path: Path) -> None:
    """End the last line, or cut it off where it was not written to its end, so that lines can be added."""
    if path.exists():
        content = path.read_bytes()
        last = content[content.rfind(b"\n") + 1 :]
        if last:
            ended = b"\n" if _is_json(last) else b""
            with path.open("r+b") as file:
                file.seek(len(content) if ended else len(content) - len(last))
                file.write(ended)
                file.truncate()


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeError):
        return False
    return True


def _line(example: Example) -> bytes:
    return _encoder.encode(example) + b"\n"


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Example)
