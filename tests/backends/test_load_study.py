"""Load, in virtual time: where parts side by side stop paying, `auto` stops using them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from flowdecode.cli import main
from flowdecode.errors import ConfigurationError
from flowdecode_backends.simulated import CostModel, Profile, Simulated
from flowdecode_backends.simulated.picture import draw
from flowdecode_backends.simulated.study import Point, study
from flowdecode_backends.simulated.sweep import Sweep, Variant

# Steps slow down by half for every other request: parts pay for one user, not for eight.
CROWDED = CostModel(
    step=4e-3, per_request=4e-4, per_kv_token=1e-6, prefill=4e-3, per_prefill_token=1e-4, request=2e-3
)


def engine(*, engines: int = 1, slots: int = 64) -> Simulated:
    return Simulated(engines, cost=CROWDED, mixed=False, slots=slots, router="least_loaded")


def points(users: int, **settings: int) -> dict[str, Point]:
    names = ("sequential", "plato", "auto")
    return {name: study(engine(**settings), name, users=users) for name in names}


@pytest.mark.timeout(90)
def test_auto_stops_where_parts_stop_paying() -> None:
    alone, crowd = points(1), points(12)
    assert alone["plato"].seconds < 0.9 * alone["sequential"].seconds
    assert crowd["plato"].seconds > 1.1 * crowd["sequential"].seconds
    assert alone["auto"].parallel > 0.9
    assert alone["auto"].seconds == pytest.approx(alone["plato"].seconds, rel=0.05)
    assert crowd["auto"].parallel < 0.2
    assert crowd["auto"].seconds == pytest.approx(crowd["sequential"].seconds, rel=0.08)


@pytest.mark.timeout(90)
def test_a_full_batch_is_reason_enough_however_quick_its_steps() -> None:
    """The connection keeps what has no place in its own queue: the engine never tells of it."""
    full = study(engine(slots=4), "auto", users=12)
    assert full.parallel < 0.1


def test_a_study_repeats_exactly_and_other_questions_differ() -> None:
    first, again, other = (study(engine(), "plato", users=2, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_several_engines_have_so_many_users_each() -> None:
    one, two = (study(engine(engines=engines), "sequential", users=8) for engines in (1, 2))
    assert (one.engines, two.engines, two.users) == (1, 2, 8)
    assert two.tokens_per_second == pytest.approx(2 * one.tokens_per_second, rel=0.1)
    assert two.seconds == pytest.approx(one.seconds, rel=0.1)


def test_a_width_bounds_the_gain() -> None:
    free, one = (study(engine(), "plato", users=1, width=width) for width in (None, 1))
    assert free.seconds < one.seconds
    assert one.width == 1


# The command


def profile(folder: Path) -> Path:
    path = folder / "crowded.json"
    Profile(cost=CROWDED, slots=64, kv_tokens=99_000, prefill_chunk=4_096, context_length=9_000).write(path)
    return path


@pytest.mark.timeout(90)
def test_the_command_writes_numbers_tables_and_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    url, out = f"simulated:?profile={profile(tmp_path)}", tmp_path / "out"
    arguments = ["simulate", "load", url, "--strategies", "plato:2,auto", "--users", "1,8", "--out", str(out)]
    assert main(arguments) == 0
    assert url in capsys.readouterr().out
    (sweep,) = msgspec.json.decode((out / "load.json").read_bytes(), type=list[Sweep])
    assert [variant.name for variant in sweep.variants] == ["sequential", "plato, width 2", "auto"]
    assert [row[0].users for row in sweep.points] == [1, 8]
    assert sweep.gains(1)[0] > sweep.gains(1)[1]
    table = (out / "load.md").read_text(encoding="utf-8")
    assert "| users | sequential, s | tokens/s | plato, width 2 | auto | in parts |" in table
    picture = (out / "load.svg").read_bytes()
    assert b"plato, width 2" in picture
    draw([sweep], out / "again.svg")
    assert picture == (out / "again.svg").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["openai://127.0.0.1:1/v1"], "Expected a simulated engine, such as 'simulated:', got 'openai:"),
        (["simulated:", "--users", "1,x"], "Expected numbers from 1 on, got 'x' - at --users"),
        (["simulated:", "--users", "0"], "got '0' - at --users"),
        (
            ["simulated:", "--strategies", "plato:0"],
            "Expected a width from 1 on behind the colon",
        ),
        (["simulated:", "--strategies", "wish"], "'wish'"),
    ],
)
def test_a_bad_command_is_refused(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    assert main(["simulate", "load", *arguments, "--out", str(tmp_path)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_variant_is_read_and_named() -> None:
    assert Variant.read(" plato:3") == Variant("plato", 3)
    assert Variant.read("auto").name == "auto"
    with pytest.raises(ConfigurationError, match="got 'plato:x'"):
        Variant.read("plato:x")


def test_the_command_measures_and_writes_a_profile(tmp_path: Path) -> None:
    known, out = profile(tmp_path), tmp_path / "measured.json"
    replies = tmp_path / "replies.jsonl"
    replies.write_bytes(msgspec.json.encode({"text": "on " * 400}) + b"\n")
    url = f"simulated:?profile={known}&replies={replies}&slots=2"
    arguments = ["simulate", "calibrate", url, "--out", str(out), "--machine", "a test", "--rounds", "1"]
    assert main(arguments) == 0
    found = Profile.read(str(out))
    assert found.slots == 2
    assert "a test" in found.machine
