"""`racing bench camera`: pictures per second of the first-person camera, beside Gymnasium's CarRacing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from racing.commands.bench.report import Result, Row, say
from racing.commands.bench.simulator import vehicle_called

if TYPE_CHECKING:
    from racing.sim.camera.camera import Camera

PLACES = 8  # that each car takes in turn, so that no picture is drawn from a warm cache only
ABSENT = "CarRacing-v3 is not installed: pip install 'gymnasium[box2d]'"
DRIVE = 60  # steps of CarRacing after which its opening zoom is over


def pictures(options: Mapping[str, Any]) -> Result:
    """Pictures per second of Camera.render, in color and gray, and of CarRacing's rendering where it is installed."""
    from racing.sim.camera.camera import Camera, make_lens
    from racing.sim.world import World
    from racing.tracks.catalog import load_track
    from racing.tracks.texture import make_textures

    vehicle, track = vehicle_called(options["vehicles"][0]), load_track(options["track"])
    textures = make_textures([track])
    rows = []
    for gray in (False, True):
        lens = make_lens(vehicle, width=options["pixels"], height=options["pixels"], gray=gray)
        for threads in options["threads"]:
            world = World([track], vehicle, races=options["cameras"], threads=threads)
            rows.append(timed_pictures(options, Camera(world, lens, textures)))
            say(f"{rows[-1]['name']}, {threads} threads: {rows[-1]['pictures_per_s']:,.0f}/s")
    peer = car_racing(options)
    if peer is None:
        say(ABSENT)
        return rows, {"car_racing": None}
    for row in rows:
        row["to_car_racing"] = row["pictures_per_s"] / peer["pictures_per_s"]
    return [*rows, peer], {"least_to_car_racing": min(row["to_car_racing"] for row in rows)}


def timed_pictures(options: Mapping[str, Any], taker: Camera) -> Row:
    """Median speed of a camera, over cars at PLACES random places each."""
    world = taker.world
    places = []
    for seed in range(PLACES):
        world.reseed(seed)
        world.reset()
        places.append(world.cars.copy())
    out = taker.render()

    def take() -> int:
        for cars in places:
            taker.render(cars, out=out)
        return PLACES * world.num_cars

    name = f"{'gray' if taker.lens.gray else 'RGB'} {taker.lens.width} x {taker.lens.height}"
    return {
        "name": name,
        "cameras": world.num_cars,
        "threads": world.threads,
        **timed(options, take),
        "to_car_racing": None,  # not known yet
    }


def car_racing(options: Mapping[str, Any]) -> Row | None:
    """Speed of the pictures (96 x 96 RGB) that CarRacing-v3 observes; None where it is not installed."""
    import gymnasium

    try:
        env = gymnasium.make("CarRacing-v3", render_mode="state_pixels")
    except (gymnasium.error.DependencyNotInstalled, ImportError):
        return None
    env.reset(seed=0)
    for _ in range(DRIVE):
        env.step(env.action_space.sample())
    say("CarRacing-v3")

    def take() -> int:
        env.render()
        return 1

    row: Row = {
        "name": "CarRacing-v3 96 x 96",
        "cameras": 1,
        "threads": 1,
        **timed(options, take),
        "to_car_racing": 1.0,
    }
    env.close()
    return row


def timed(options: Mapping[str, Any], take: Callable[[], int]) -> Row:
    """Medians of `repeats` measurements of `seconds` each; take: takes some pictures and returns how many."""
    rates, cpu = [], []
    for _ in range(options["repeats"]):
        done, began, cpu_began = 0, time.perf_counter(), time.process_time()
        while not done or time.perf_counter() - began < options["seconds"]:
            done += take()
        rates.append(done / (time.perf_counter() - began))
        cpu.append(1e6 * (time.process_time() - cpu_began) / done)
    return {"pictures_per_s": statistics.median(rates), "cpu_us": statistics.median(cpu), "rates": rates}
