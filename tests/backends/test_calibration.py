"""An engine is measured, and its profile read again: with simulated engines, whose costs are known."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from flowdecode.backend import Request
from flowdecode.errors import ConfigurationError
from flowdecode.plugins import open_backend
from flowdecode_backends.simulated import CostModel, Profile, Simulated, simulate
from flowdecode_backends.simulated.calibration import calibrate, open_engine, probes_of
from flowdecode_backends.simulated.fit import Observation, errors, fitted
from flowdecode_backends.simulated.profile import SHIPPED

MACHINE = CostModel(
    step=3e-3,
    per_request=4e-4,
    per_kv_token=1.5e-6,
    prefill=4e-3,
    per_prefill_token=1.5e-4,
    per_prefill_pair=2e-7,
    request=5e-3,
)


def endless(request: Request) -> str:
    return "on " * 1_000


def measured(engine: Simulated, *, rounds: int = 1) -> Profile:
    async def program() -> Profile:
        async with engine:
            return await calibrate(engine, machine="made up", rounds=rounds)

    return simulate(program())


def machine(
    *, mixed: bool = False, cost: CostModel = MACHINE, slots: int = 8, context_length: int = 2_048
) -> Simulated:
    return Simulated(
        cost=cost,
        mixed=mixed,
        slots=slots,
        kv_tokens=32_768,
        prefill_chunk=4_096,
        context_length=context_length,
        replies=endless,
    )


# The fit


def test_known_costs_are_found() -> None:
    costs = (3e-3, 4e-4, 1.5e-6)
    counts = [(1.0, float(batch), float(batch * context)) for batch in (1, 4, 16) for context in (30, 900)]
    observations = [Observation(Observation(0, each).predicted(costs), each) for each in counts]
    assert fitted(observations) == pytest.approx(costs)
    assert errors(observations, costs) == pytest.approx([0.0] * 6)


def test_no_cost_is_below_zero() -> None:
    observations = [Observation(10.0 - count, (1.0, float(count))) for count in range(5)]
    constant, slope = fitted(observations)
    assert slope == 0
    assert 6 < constant < 10


def test_noise_moves_costs_a_little() -> None:
    chance, costs = random.Random(0), (3e-3, 4e-4, 1.5e-6)
    observations = [
        Observation(Observation(0, each).predicted(costs) * chance.gauss(1, 0.05), each)
        for each in [
            (1.0, float(batch), float(batch * context))
            for batch in (1, 2, 4, 8, 16)
            for context in (30, 400, 900)
        ]
    ]
    assert fitted(observations) == pytest.approx(costs, rel=0.2)


def test_what_nothing_tells_apart_is_counted_once() -> None:
    observations = [Observation(count, (float(count), float(count))) for count in (1.0, 2.0, 3.0)]
    assert sum(fitted(observations)) == pytest.approx(1.0)


# The whole calibration


@pytest.mark.parametrize("mixed", [False, True], ids=["apart", "mixed"])
def test_a_known_machine_is_recovered(mixed: bool) -> None:
    profile = measured(machine(mixed=mixed))
    found, true = msgspec.structs.asdict(profile.cost), msgspec.structs.asdict(MACHINE)
    assert found == pytest.approx(true, rel=0.05)
    assert (profile.slots, profile.kv_tokens, profile.context_length) == (8, 32_768, 2_048)
    assert (profile.prefill_chunk, profile.mixed, profile.machine) == (4_096, mixed, "made up")
    assert {name: fit.largest_error < 0.01 for name, fit in profile.fits.items()} == {
        "steps": True,
        "prompts": True,
    }


def test_a_machine_without_the_finer_costs_is_recovered_too() -> None:
    plain = CostModel(step=6e-3, per_request=3e-5, per_kv_token=4e-8, per_prefill_token=3e-5)
    found = measured(machine(cost=plain, mixed=True)).cost
    assert found.decoding(8, 4_000) == pytest.approx(plain.decoding(8, 4_000), rel=0.01)
    assert found.prefilling(500, 125_250) == pytest.approx(plain.prefilling(500, 125_250), rel=0.05)
    assert (found.prefill, found.request) == pytest.approx((0, 0), abs=1e-4)


def test_a_calibration_in_virtual_time_repeats_exactly() -> None:
    assert measured(machine(slots=4)) == measured(machine(slots=4))


def test_every_probe_is_told() -> None:
    async def program() -> tuple[int, int]:
        told: list[None] = []
        async with machine(slots=2) as engine:
            await calibrate(engine, rounds=1, done=lambda: told.append(None))
            return len(told), probes_of(engine, rounds=1)

    told, expected = simulate(program())
    assert told == expected > 0


def test_answers_that_end_are_refused() -> None:
    engine = Simulated(replies=lambda request: "Tea is mild.")
    with pytest.raises(ConfigurationError, match=r"Expected 256 tokens of every answer, got 4"):
        measured(engine)


# Profiles


def test_a_profile_goes_through_its_file(tmp_path: Path) -> None:
    profile = measured(machine(slots=2))
    path = tmp_path / "profile.json"
    profile.write(path)
    assert Profile.read(str(path)) == profile
    backend = open_backend(f"simulated:?profile={path}&slots=7")
    assert isinstance(backend, Simulated)
    settings = backend.engines[0].settings
    assert (settings.cost, settings.slots, settings.mixed) == (profile.cost, 7, False)
    assert backend.engine.context_length == 2_048


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.json")), ids=lambda path: path.stem)
def test_a_profile_that_comes_along_is_found_by_its_name(path: Path) -> None:
    profile = Profile.read(path.stem)
    assert profile.machine
    assert set(profile.fits) == {"steps", "prompts"}
    assert 0 < profile.cost.decoding(1, 100) < profile.cost.decoding(8, 800) < 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Input data was truncated"),
        ('{"slots": 4}', "missing required field `cost`"),
        ('{"cost": {"stp": 1}}', r"unknown field `stp` - at `\$.cost`"),
        ('{"cost": {"step": -1}}', r"Expected `float` >= 0.* - at `\$.cost.step`"),
        (
            '{"cost": {}, "slots": 0, "kv_tokens": 1, "prefill_chunk": 1, "context_length": 1}',
            r"Expected `int` >= 1 - at `\$.slots`",
        ),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=f"Expected an engine's profile in .*bad.json.*{message}"):
        Profile.read(str(path))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"one of .*, got 'abacus': No such file"):
        Profile.read("abacus")


@pytest.mark.parametrize("url", ["openai://127.0.0.1:1/v1", "scripted:x.jsonl", "sglang-engine:x"])
def test_what_cannot_be_measured_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="Expected an SGLang server, as in 'sglang:"):
        open_engine(url)


def test_a_server_is_asked_without_warming_and_without_end() -> None:
    engine = open_engine("sglang://127.0.0.1:1?restart=0")
    assert not isinstance(engine, Simulated)
    assert engine.url == "http://127.0.0.1:1"


@pytest.mark.parametrize("context_length", [64, 512, 700, 1_200])
def test_an_engine_with_little_room_is_measured_as_far_as_it_goes(context_length: int) -> None:
    engine = machine(context_length=context_length)
    if context_length == 64:
        with pytest.raises(ConfigurationError, match=r"Expected an engine with room for \d+ tokens"):
            measured(engine)
    else:
        assert measured(engine).cost.step == pytest.approx(MACHINE.step, rel=0.3)
