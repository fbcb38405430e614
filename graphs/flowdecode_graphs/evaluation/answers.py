"""The folder of a benchmark: what was asked, and one file for every answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from flowdecode.errors import ConfigurationError
from flowdecode.result import Result
from flowdecode_graphs.evaluation.items import Item
from flowdecode_graphs.files import write_whole

__all__ = ["Answered", "Choice", "Folder", "Job", "Judgement", "Manifest", "Order", "Settings"]

MANIFEST = "bench.json"
Stored = TypeVar("Stored", bound=msgspec.Struct)
Each = TypeVar("Each")
Choice = Literal["first", "second", "tie"]
Order = Literal["shown-first", "shown-second"]
"""`shown-first` or `shown-second`: where the judge read the variant's answer."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What every answer depends on: the answers of one folder share it."""

    backend: str
    system: str | None = None
    max_tokens: int | None = None
    temperature: float | None = 0.0
    seed: int | None = None
    timeout: float | None = None
    concurrency: int = 1
    """Runs at once."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a folder's answers are answers to."""

    version: int = 1
    settings: Settings
    source: str
    items: tuple[Item, ...]
    variants: tuple[str, ...]
    repeat: int = 1
    judge: str | None = None
    """The judge's URL, once there is one."""
    machine: str = ""
    started: str = ""


class Job(msgspec.Struct, frozen=True):
    """One answer to be had."""

    item: Item
    variant: str
    repeat: int


class Answered(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run, as it was measured; of a run that failed, why, and what it had reached."""

    item: str
    variant: str
    repeat: int
    result: Result | None = None
    error: str | None = None
    first_text_at: float | None = None
    """Seconds from the run's start until text of the answer was there to read."""
    first_part_at: float | None = None
    """The same for all of the answer's first section."""
    finished: str = ""
    """When, by the wall clock."""

    @property
    def ok(self) -> bool:
        """Whether there is an answer to be measured."""
        return self.error is None and self.result is not None


class Judgement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a judge said of two answers in one order."""

    item: str
    variant: str
    repeat: int
    order: Order
    choice: Choice | None
    """The better answer of the two; None where what it said could not be read."""
    text: str
    model: str


class Folder:
    """Reads and writes; every file is written once, as a whole, and never changed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self, manifest: Manifest) -> Manifest:
        """Begin, or go on: raises ConfigurationError where the answers that are there are others' ones.

        Variants and prompts of before are kept, and repeats only grow.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"Expected a folder that can be written, got {str(self.path)!r}: {error.strerror} - at --out."
            ) from None
        if (self.path / MANIFEST).exists():
            before = self.manifest()
            for name in Settings.__struct_fields__:
                self._check(name, getattr(before.settings, name), getattr(manifest.settings, name))
            if before.judge and manifest.judge:
                self._check("judge", before.judge, manifest.judge)
            manifest = msgspec.structs.replace(
                before,
                source=manifest.source,
                items=_union(before.items, manifest.items),
                variants=_union(before.variants, manifest.variants),
                repeat=max(before.repeat, manifest.repeat),
                judge=before.judge or manifest.judge,
            )
        _write(self.path / MANIFEST, manifest)
        return manifest

    def manifest(self) -> Manifest:
        """What the folder holds. Raises ConfigurationError where it is no benchmark's."""
        return _read(self.path / MANIFEST, Manifest)

    def has(self, job: Job) -> bool:
        return self._answer(job.item.id, job.variant, job.repeat).exists()

    def add(self, answered: Answered) -> None:
        _write(self._answer(answered.item, answered.variant, answered.repeat), answered)

    def answers(self) -> list[Answered]:
        """All answers of the manifest's items and variants that are there."""
        return list(self._all("answers", Answered))

    def has_judgement(self, answered: Answered, order: Order) -> bool:
        return self._judgement(answered.item, answered.variant, answered.repeat, order).exists()

    def add_judgement(self, judged: Judgement) -> None:
        _write(self._judgement(judged.item, judged.variant, judged.repeat, judged.order), judged)

    def judgements(self) -> list[Judgement]:
        return list(self._all("judgements", Judgement))

    def _check(self, name: str, before: object, now: object) -> None:
        if before != now:
            raise ConfigurationError(
                f"Expected the settings of the answers that are there, where `{name}` is {before!r}, "
                f"got {now!r} - in {self.path}. Use the same one, or another folder."
            )

    def _answer(self, item: str, variant: str, repeat: int) -> Path:
        return self.path / "answers" / item / f"{variant}.{repeat}.json"

    def _judgement(self, item: str, variant: str, repeat: int, order: Order) -> Path:
        return self.path / "judgements" / item / f"{variant}.{repeat}.{order}.json"

    def _all(self, kind: str, of: type[Stored]) -> Iterator[Stored]:
        for path in sorted((self.path / kind).glob("*/*.json")):
            yield _read(path, of)


def _union(before: tuple[Each, ...], now: tuple[Each, ...]) -> tuple[Each, ...]:
    return (*before, *[each for each in now if each not in before])


def _read(path: Path, of: type[Stored]) -> Stored:
    try:
        return msgspec.json.decode(path.read_bytes(), type=of)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigurationError(f"Expected what `flowdecode bench` wrote, got {path}: {error}.") from None


def _write(path: Path, value: msgspec.Struct) -> None:
    write_whole(path, msgspec.json.format(msgspec.json.encode(value), indent=1))
