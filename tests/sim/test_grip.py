"""Grip maps: the tyres feel the ground where they are; without a map nothing changes, to the last bit."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from racing.config import load_group
from racing.errors import InputError
from racing.sim.grip import GripMap, uniform_grip
from racing.sim.world import World
from racing.tracks.catalog import generated_tracks, load_track
from racing.tracks.formats.native import write_native
from racing.tracks.generator import generate
from racing.tracks.reference_driver import drive_round
from racing.tracks.reference_lap import compute_reference_lap


def drive(tracks, vehicle, steps=60):
    world = World(tracks, vehicle, races=8, seed=2)
    world.reset()
    rng = np.random.default_rng(0)
    for _ in range(steps):
        world.step(np.clip(rng.normal(0, 0.5, (8, 2)) + np.array([0, 0.3]), -1, 1))
    return world.cars.tobytes()


@pytest.mark.parametrize("model", ["kinematic", "linear", "saturated"])
def test_full_grip_is_bit_for_bit_no_map_and_less_is_not(wavy, kart, model):
    vehicle = dataclasses.replace(kart, model=model)
    full = dataclasses.replace(wavy, grip=uniform_grip(1.0))
    half = dataclasses.replace(wavy, grip=uniform_grip(0.5))
    assert drive([full], vehicle) == drive([wavy], vehicle)
    assert drive([half], vehicle) != drive([wavy], vehicle)
    assert drive([half], vehicle) == drive([wavy], dataclasses.replace(vehicle, friction=vehicle.friction / 2))


def test_a_map_counts_where_it_lies(wavy, kart):
    """Braking from equal speed on the dry half of the circuit and on the slippery one."""
    low, high = wavy.points.min(axis=0) - 20, wavy.points.max(axis=0) + 20
    shape = tuple(np.ceil((high - low)[::-1] / 5).astype(int) + 1)
    values = np.ones(shape, np.float32)
    values[:, : shape[1] // 2] = 0.2
    track = dataclasses.replace(wavy, grip=GripMap(values, (float(low[0]), float(low[1])), 5.0))
    world = World([track], kart, races=64, seed=1)
    world.reset()
    world.cars["v"] = 15.0
    world.step(np.tile([0.0, -1.0], (64, 1)))
    slowed = 15.0 - world.cars["v"].reshape(-1)
    grip = track.grip.at(np.stack([world.cars["x"].reshape(-1), world.cars["y"].reshape(-1)], axis=1))
    assert slowed[grip < 0.25].max() < 0.5 * slowed[grip > 0.95].min()


@pytest.mark.slow
def test_wet_halves_the_grip_and_shows_in_lap_times(kart):
    (dry,), (wet,) = (load_group("track", "oval", *change) for change in ([], ["track.grip=wet"]))
    assert dry.grip is None
    assert wet.grip.at(wet.points).tolist() == [0.5] * len(wet.points)
    laps = [compute_reference_lap(track, kart).time_s for track in (dry, wet)]
    assert laps[1] > 1.15 * laps[0]
    driven = [drive_round([track], kart)[0].lap_time_s for track in (dry, wet)]
    assert driven[1] > 1.15 * driven[0]
    as_if = compute_reference_lap(dry, dataclasses.replace(kart, friction=kart.friction / 2))
    assert laps[1] == pytest.approx(as_if.time_s, rel=0.01)


def test_a_picture_beside_the_track_is_its_grip_map(tmp_path):
    picture = write_native(generate(4, "kart", 420, 7, name="mine"), tmp_path)
    gray = np.full(Image.open(picture).size[::-1], 255, np.uint8)
    gray[:, : gray.shape[1] // 2] = 51
    Image.fromarray(gray).save(tmp_path / "mine_grip.png")
    track = load_track(picture)
    pixel, (x, _) = track.source["metres_per_pixel"], track.source["pixel_origin"]
    middle = x + gray.shape[1] / 2 * pixel
    west = track.points[:, 0] < middle - 2 * pixel
    assert track.grip.at(track.points[west]) == pytest.approx(0.2)
    assert track.grip.at(track.points[track.points[:, 0] > middle + 2 * pixel]) == pytest.approx(1.0)
    assert "mine_grip.png" in track.source["files"]
    assert load_track(picture, grip="dry").grip is None
    assert load_track(picture, grip="wet").grip.at(track.points[west]) == pytest.approx(0.1)
    small = load_track(picture, scale=0.1, reverse=True)
    assert small.grip.at(track.points * 0.1) == pytest.approx(track.grip.at(track.points))


def test_generated_circuits_can_be_wet():
    (track,) = generated_tracks(seed=0, count=1, style="oval", length=560, width=12, grip=0.7)
    assert track.grip.at(track.points) == pytest.approx(0.7)


def test_wrong_grip_is_refused(tmp_path):
    picture = write_native(generate(4, "kart", 420, 7, name="mine"), tmp_path)
    Image.new("L", (30, 20), 255).save(tmp_path / "small.png")
    np.savetxt(tmp_path / "line.csv", generate(4, "kart", 420, 7).points, delimiter=",")
    for spec, grip, says in (
        (picture, "damp", "must be wet, dry, a factor or the path of a PNG"),
        (picture, 0.0, r"a factor in \[0.05, 2.0\]"),
        (picture, True, "must be wet, dry"),
        (picture, float("nan"), "must be wet, dry"),
        (picture, str(tmp_path / "absent.png"), "does not exist"),
        (picture, str(tmp_path / "small.png"), "has 30 x 20 pixels, the track's picture"),
        (tmp_path / "line.csv", str(tmp_path / "small.png"), "has no picture along the axes"),
    ):
        with pytest.raises(InputError, match=says):
            load_track(spec, grip=grip, **{"half_width": 3.5} if spec.suffix == ".csv" else {})
    with pytest.raises(InputError, match="grip must be in"):
        GripMap(np.full((2, 2), np.nan, np.float32), (0, 0), 1.0)
