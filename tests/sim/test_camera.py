"""The first-person camera against geometry that can be computed by hand, and what it promises about its bytes."""

from __future__ import annotations

import numpy as np
import pytest

from racing.errors import InputError
from racing.sim.camera.camera import Camera, Lens, Randomize, make_lens, make_randomize
from racing.sim.camera.ground import PLACE, WORK_ROWS, walk
from racing.sim.camera.mipmap import Texture, luma
from racing.sim.episodes import EpisodeConfig
from racing.sim.kernels.rng import Draw, uniform
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.sim.world import World
from racing.tracks.texture import make_textures

AMPLITUDES = {
    "height": 0.2,
    "pitch": 0.05,
    "yaw": 0.1,
    "field_of_view": 0.1,
    "brightness": 0.2,
    "contrast": 0.5,
    "color": 0.3,
    "noise": 0.1,
    "blur": 0.8,
}


def plain(pixels: np.ndarray, resolution: float = 0.25, origin: tuple[float, float] = (-100.0, -100.0)) -> Texture:
    return Texture(np.ascontiguousarray(pixels, np.uint8), origin, resolution)


def flat(level: int, size: int = 801) -> np.ndarray:
    return np.full((size, size, 3), level, np.uint8)


def standing(track: Track, vehicle: Vehicle, places: list[tuple[float, float, float]], **options) -> World:
    """One race of cars at x, y [m], yaw [rad]."""
    world = World([track], vehicle, races=1, cars_per_race=len(places), **options)
    world.reset()
    for car, place in zip(world.cars[0], places, strict=True):
        car["x"], car["y"], car["yaw"] = place
    return world


def spread_out(track: Track, vehicle: Vehicle, races: int = 24, **options) -> World:
    world = World(
        [track],
        vehicle,
        races=races,
        episodes=EpisodeConfig(start_lateral_offset=0.9, start_heading_error=1.0),
        **options,
    )
    world.reset()
    return world


@pytest.fixture(scope="module")
def ground(wavy: Track) -> list[Texture]:
    return make_textures([wavy])


def row_of(lens: Lens, distance: float) -> float:
    """Row at which the ground `distance` [m] ahead appears: by the angle below the horizon, less the pitch."""
    below = np.arctan2(lens.above, distance)
    return lens.height / 2 - 0.5 + lens.focal * np.tan(below - lens.pitch)


def column_of(lens: Lens, distance: float, left: float) -> float:
    """Column of the point `distance` [m] ahead and `left` [m] aside."""
    axial = distance * np.cos(lens.pitch) + lens.above * np.sin(lens.pitch)
    return lens.width / 2 - 0.5 - lens.focal * left / axial


@pytest.mark.parametrize("distance", [4.0, 7.0, 15.0, 30.0])
@pytest.mark.parametrize("left", [0.0, 1.5, -2.0])
@pytest.mark.parametrize("yaw", [0.0, 2.0])
def test_a_mark_appears_where_geometry_says(distance: float, left: float, yaw: float, wavy: Track, kart: Vehicle):
    lens = Lens(width=96, height=64, pitch=np.radians(15), field_of_view=np.radians(70), above=2.5, forward=0.5)
    eye = np.array([3.0, -2.0])
    ahead = np.array([np.cos(yaw), np.sin(yaw)])
    mark = eye + (0.5 + distance) * ahead + left * np.array([-ahead[1], ahead[0]])
    x, y = np.meshgrid(np.arange(-40, 40, 0.05), np.arange(-40, 40, 0.05))
    size = 0.02 * distance + 0.1
    spot = np.exp(-((x - mark[0]) ** 2 + (y - mark[1]) ** 2) / (2 * size**2))
    texture = plain(np.repeat(np.round(255 * spot)[..., None], 3, axis=2), 0.05, (-40.0, -40.0))
    world = standing(wavy, kart, [(*eye, yaw)])
    seen = Camera(world, lens, [texture]).render()[0, :, :, 0].astype(float)
    seen[: round(row_of(lens, 1e6)) + 1] = 0  # the sky
    rows, columns = np.mgrid[: lens.height, : lens.width]
    assert (seen * columns).sum() / seen.sum() == pytest.approx(column_of(lens, distance, left), abs=0.25)
    assert (seen * rows).sum() / seen.sum() == pytest.approx(row_of(lens, distance), abs=0.4)


@pytest.mark.parametrize("pitch", [0.0, 10.0, 26.0])
@pytest.mark.parametrize("gray", [False, True])
def test_the_ground_begins_at_the_horizon(pitch: float, gray: bool, wavy: Track, kart: Vehicle):
    lens = make_lens(kart, width=64, height=80, gray=gray, pitch=pitch)
    seen = Camera(standing(wavy, kart, [(0, 0, 0.7)]), lens, [plain(flat(0))]).render()[0]
    first = int(np.ceil(lens.height / 2 - 0.5 - lens.focal * np.tan(lens.pitch) + 1e-6))
    assert (seen[first:] == 0).all()
    assert (seen[:first] > 90).all()  # sky
    assert (np.diff(seen[:first, 0, 0].astype(int)) >= 0).all()  # bluer, so darker in red, the higher
    assert seen[0, 0, 0] < seen[first - 1, 0, 0]


def test_left_is_left(wavy: Track, kart: Vehicle):
    pixels = flat(40)
    pixels[401:] = 200  # y > 0: left of a car that looks along +x
    world = standing(wavy, kart, [(0, 0, 0)])
    seen = Camera(world, make_lens(kart), [plain(pixels)]).render()[0, 60:, :, 0]
    assert (seen[:, :38] == 200).all()
    assert (seen[:, 46:] == 40).all()
    world.cars["yaw"] = np.pi
    back = Camera(world, make_lens(kart), [plain(pixels)]).render()[0, 60:, :, 0]
    assert (back[:, :38] == 40).all()


def test_gray_is_luma_of_the_colors(wavy: Track, kart: Vehicle, ground: list[Texture]):
    world = spread_out(wavy, kart, races=8, cars_per_race=3)
    colors = Camera(world, make_lens(kart), ground).render()
    gray = Camera(world, make_lens(kart, gray=True), ground).render()
    assert colors.shape == (24, 84, 84, 3)
    assert gray.shape == (24, 84, 84, 1)
    difference = np.abs(luma(colors).astype(int) - gray[..., 0])
    assert difference.max() <= 4  # roundings of levels and blends
    assert difference.mean() < 0.7
    assert luma(np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)).tolist() == [76, 150, 29]


@pytest.mark.parametrize("gray", [False, True])
def test_bits_do_not_depend_on_threads_batch_or_memory(gray: bool, wavy: Track, kart: Vehicle, ground: list[Texture]):
    def pictures(**options) -> np.ndarray:
        world = spread_out(wavy, kart, cars_per_race=2, seed=5, **options)
        return Camera(world, make_lens(kart, gray=gray), ground, Randomize(**AMPLITUDES)).render()

    whole = pictures(races=24)
    np.testing.assert_array_equal(whole, pictures(races=24, threads=2))
    np.testing.assert_array_equal(whole, pictures(races=24, threads=5))
    np.testing.assert_array_equal(whole[14:24], pictures(races=5, first_race=7))
    camera = Camera(spread_out(wavy, kart, races=24, cars_per_race=2, seed=5), make_lens(kart, gray=gray), ground)
    camera = Camera(camera.world, camera.lens, ground, Randomize(**AMPLITUDES))
    some = np.array([40, 3, 3, 17])
    np.testing.assert_array_equal(camera.render(indices=some), whole[some])
    planes = np.zeros((48, 2 * whole.shape[3], 84, 84), np.uint8)
    newest = planes[:, whole.shape[3] :].transpose(0, 2, 3, 1)
    assert camera.render(out=newest) is newest
    np.testing.assert_array_equal(newest, whole)
    assert not planes[:, : whole.shape[3]].any()


def test_pictures_of_given_cars(wavy: Track, kart: Vehicle, ground: list[Texture]):
    world = spread_out(wavy, kart, races=6)
    camera = Camera(world, make_lens(kart), ground)
    before, records = camera.render(), world.cars.copy()
    world.reset()
    assert (camera.render() != before).any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(camera.render(records), before)
    np.testing.assert_array_equal(camera.render(records.reshape(-1), np.array([4])), before[4:5])
    assert camera.render(indices=np.array([], int)).shape == (0, 84, 84, 3)


def test_each_lane_sees_its_own_track(wavy: Track, eight: Track, kart: Vehicle):
    world = World([wavy, eight], kart, races=6)
    world.reset()
    assert world.cars["track"][:, 0].tolist() == [0, 1, 0, 1, 0, 1]
    pair = [plain(flat(10)), plain(flat(90, 700), origin=(-80.0, -90.0))]
    seen = Camera(world, make_lens(kart), pair).render()
    assert (seen[0::2, 40:] == 10).all()
    assert (seen[1::2, 40:] == 90).all()
    drawn = make_textures([wavy, eight])
    both = Camera(world, make_lens(kart), drawn).render()
    world.cars["track"] = 0
    np.testing.assert_array_equal(Camera(world, make_lens(kart), drawn).render()[0::2], both[0::2])


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("yaw", [0.0, 0.6])
def test_a_fine_checkerboard_is_gray_at_a_distance(gray: bool, yaw: float, wavy: Track, kart: Vehicle):
    squares = np.indices((1600, 1600)).sum(axis=0) % 2 * 255
    texture = plain(np.repeat(squares[..., None], 3, axis=2))
    lens = make_lens(kart, gray=gray)
    seen = Camera(standing(wavy, kart, [(0, 0, yaw)]), lens, [texture]).render()[0, :, :, 0].astype(int)
    far, near = int(row_of(lens, 30.0)), int(row_of(lens, 4.0))
    first = int(row_of(lens, 1e6)) + 1
    assert np.abs(seen[first:far] - 128).max() <= 4  # 0.25 m squares at 30 m and beyond: no stripes, no sparkle
    assert seen[near:].min() < 20  # the squares that are large enough are seen
    assert seen[near:].max() > 235


def test_a_distant_line_neither_vanishes_nor_flickers(wavy: Track, kart: Vehicle):
    """A white stripe across the way, while the car drives towards it."""
    pixels = flat(60, 801)
    pixels[:, 560:562] = 240  # 0.5 m wide, at x = 40 m
    lens = make_lens(kart)
    camera = Camera(standing(wavy, kart, [(0, 0, 0)]), lens, [plain(pixels)])
    weights = []
    for x in np.arange(0.0, 3.0, 0.1):
        camera.world.cars["x"] = x
        column = camera.render()[0, int(row_of(lens, 1e6)) + 1 :, 42, 0].astype(float) - 60
        weights.append(column.sum())
    gap = lens.focal * lens.above / 40**2 * 0.5  # rows that it covers, and so its light, roughly
    assert np.mean(weights) == pytest.approx(180 * gap, rel=0.35)
    assert np.std(weights) < 0.45 * np.mean(weights)
    assert np.min(weights) > 0.35 * np.mean(weights)


@pytest.mark.parametrize("place", [(1e5, 0, 0), (-3e4, 9e4, 2.0), (0, 99.0, 1.5), (100, 100, 0.7)])
def test_beyond_the_texture_its_border_goes_on(place: tuple[float, float, float], wavy: Track, kart: Vehicle):
    for gray in (False, True):
        lens = make_lens(kart, gray=gray)
        seen = Camera(standing(wavy, kart, [place]), lens, [plain(flat(77))]).render()[0]
        assert (seen[int(row_of(lens, 1e6)) + 1 :] == 77).all()


@pytest.mark.parametrize("begin", [(-9.0, 2.0), (2.0, -9.0), (7.9, 3.0), (3.0, 5.9), (40.0, 3.0), (3.0, 40.0)])
@pytest.mark.parametrize("step", [(0.0, 0.0), (0.7, 0.0), (0.0, 0.7), (-0.7, -0.7)])
def test_the_four_pixels_around_a_sample_are_the_textures(begin: tuple[float, float], step: tuple[float, float]):
    """Of 9 x 7 pixels, from number 1000 on, wherever the walk goes: what lies behind the last one is other memory."""
    work = np.zeros((WORK_ROWS, 30), np.uint32)
    walk(1000, 9, 7, *(int(65536 * part) for part in (*begin, *step)), work)
    row, column = np.divmod(work[PLACE].astype(int) - 1000, 9)
    assert row.min() >= 0
    assert row.max() <= 5  # the sixth is the one above
    assert column.max() <= 7


def other_cars_seen(wavy: Track, kart: Vehicle, others: list, gray: bool = False, **lens) -> np.ndarray:
    world = standing(wavy, kart, [(0, 0, 0), *others])
    camera = Camera(world, make_lens(kart, gray=gray, **lens), [plain(flat(100))])
    return camera.render(indices=np.array([0]))[0].astype(int)


def is_blue(seen: np.ndarray) -> np.ndarray:
    return (seen[..., 2] > 1.5 * seen[..., 0]) & (seen[..., 2] > 110)


def is_yellow(seen: np.ndarray) -> np.ndarray:
    return (seen[..., 0] > 1.5 * seen[..., 2]) & (seen[..., 1] > 100)


def test_another_car_stands_where_it_is(wavy: Track, kart: Vehicle):
    lens = make_lens(kart)
    empty = other_cars_seen(wavy, kart, [])
    seen = other_cars_seen(wavy, kart, [(10, 2.5, 0)])
    rows, columns = np.nonzero((seen != empty).any(axis=2))
    rear = 10 - kart.length / 2
    assert rows.max() == pytest.approx(row_of(lens, rear), abs=1.5)
    assert columns.min() == pytest.approx(column_of(lens, rear, 2.5 + kart.width / 2), abs=1.5)
    assert columns.max() == pytest.approx(column_of(lens, rear, 2.5 - kart.width / 2), abs=1.5)
    assert is_blue(seen)[rows, columns].sum() > 10
    gray = other_cars_seen(wavy, kart, [(10, 2.5, 0)], gray=True)[..., 0]
    assert np.abs(luma(seen.astype(np.uint8)).astype(int) - gray).max() <= 2


@pytest.mark.parametrize("swapped", [False, True])
def test_the_nearer_car_hides_the_farther(swapped: bool, wavy: Track, kart: Vehicle):
    near, far = (7, 0, 0.3), (9, 0.4, 0)
    low = {"above": 1.2, "pitch": 5.0}
    seen = other_cars_seen(wavy, kart, [far, near] if swapped else [near, far], **low)
    near_alone = other_cars_seen(wavy, kart, [(1e4, 0, 0), near] if swapped else [near, (1e4, 0, 0)], **low)
    far_alone = other_cars_seen(wavy, kart, [far, (1e4, 0, 0)] if swapped else [(1e4, 0, 0), far], **low)
    ground = other_cars_seen(wavy, kart, [], **low)
    of_near, of_far = (near_alone != ground).any(axis=2), (far_alone != ground).any(axis=2)
    assert (of_near & of_far).sum() > 20
    np.testing.assert_array_equal(seen[of_near], near_alone[of_near])
    np.testing.assert_array_equal(seen[of_far & ~of_near], far_alone[of_far & ~of_near])
    assert (is_yellow if swapped else is_blue)(seen)[of_near].sum() > 10


def test_cars_behind_and_beside_the_lens(wavy: Track, kart: Vehicle):
    empty = other_cars_seen(wavy, kart, [])
    np.testing.assert_array_equal(other_cars_seen(wavy, kart, [(-8, 0, 0), (-3, 2, 1.0)]), empty)
    low = {"above": 0.5, "pitch": 0.0, "field_of_view": 120.0}
    clipped = other_cars_seen(wavy, kart, [(0.4, -1.2, 0.2)], **low)  # it crosses the plane of the lens
    changed = (clipped != other_cars_seen(wavy, kart, [], **low)).any(axis=2)
    assert changed[:, 60:].sum() > 200
    assert not changed[:, :40].any()


def test_cars_of_other_races_are_not_seen(wavy: Track, kart: Vehicle):
    world = World([wavy], kart, races=2, cars_per_race=2)
    world.reset()
    for k, car in enumerate(world.cars.reshape(-1)):
        car["x"], car["y"], car["yaw"] = (6.0 * k, 0, 0)
    world.cars[0, 1]["x"] = 1e4  # only cars of race 1 are left before car 0
    seen = Camera(world, make_lens(kart), [plain(flat(100))]).render(indices=np.array([0]))[0]
    np.testing.assert_array_equal(seen, other_cars_seen(wavy, kart, []))


def test_nothing_is_random_by_default(wavy: Track, kart: Vehicle, ground: list[Texture]):
    world = spread_out(wavy, kart, races=4, seed=1)
    records = world.cars.copy()
    first = Camera(world, make_lens(kart), ground).render()
    world.reseed(2)
    records["episode"], records["steps"] = 9, 77
    np.testing.assert_array_equal(Camera(world, make_lens(kart), ground).render(records), first)
    none = Randomize(**dict.fromkeys(AMPLITUDES, 0.0))
    np.testing.assert_array_equal(Camera(world, make_lens(kart), ground, none).render(records), first)


@pytest.mark.parametrize("name", AMPLITUDES)
def test_each_amplitude_follows_seed_lane_and_episode(name: str, wavy: Track, kart: Vehicle, ground: list[Texture]):
    world = spread_out(wavy, kart, races=12, seed=3)
    world.cars[:] = world.cars[0, 0]  # all at one place, so that only the draw differs
    plain_picture = Camera(world, make_lens(kart), ground).render()[0]
    camera = Camera(world, make_lens(kart), ground, Randomize(**{name: AMPLITUDES[name]}))
    seen = camera.render()
    assert sum((picture != plain_picture).any() for picture in seen) >= 8  # a blur may be drawn next to nothing
    assert len({picture.tobytes() for picture in seen}) >= 8  # cars differ
    np.testing.assert_array_equal(camera.render(), seen)
    world.cars["steps"] += 1
    assert np.array_equal(camera.render(), seen) == (name != "noise")  # anew for each frame
    world.cars["episode"] += 1
    assert (camera.render() != seen).any(axis=(1, 2, 3)).sum() >= 8
    world.cars["episode"] -= 1
    world.cars["steps"] -= 1
    world._rules["seed"] = 4
    assert (camera.render() != seen).any(axis=(1, 2, 3)).sum() >= 8


def test_amplitudes_are_limits(wavy: Track, kart: Vehicle):
    cars = 200
    world = spread_out(wavy, kart, races=cars)

    def shifts(level: int, **amplitudes) -> np.ndarray:
        camera = Camera(world, make_lens(kart, width=8, height=8), [plain(flat(level))], Randomize(**amplitudes))
        return camera.render()[:, 7].astype(int) - level

    bright = shifts(100, brightness=0.2)
    assert -51 <= bright.min() < -45 < 45 < bright.max() <= 51
    assert abs(bright.mean()) < 8
    assert (bright == bright[:, :1, :1]).all()
    assert shifts(100, contrast=0.5).max() <= 14  # (127.5 - 100) / 2
    color = shifts(100, color=0.3)
    assert -30 <= color.min() < -25 < 25 < color.max() <= 30
    assert np.ptp(color, axis=2).max() > 30  # each channel by itself
    noise = shifts(100, noise=0.1)
    assert -26 <= noise.min() < -22 < 22 < noise.max() <= 26
    assert abs(noise.mean()) < 1.0
    assert noise.std() == pytest.approx(25.5 / np.sqrt(3), rel=0.1)
    assert np.abs(shifts(100, blur=0.8)).max() == 0  # an even picture stays as it is


@pytest.mark.parametrize(
    ("name", "amplitude", "draws"),
    [
        ("contrast", 0.5, [Draw.CONTRAST] * 3),
        ("brightness", 0.2, [Draw.BRIGHTNESS] * 3),
        ("color", 0.3, [Draw.COLOR, Draw.COLOR + 1, Draw.COLOR + 2]),
    ],
)
def test_a_large_draw_is_more_of_it(name: str, amplitude: float, draws: list[int], wavy: Track, kart: Vehicle):
    """On the level 60: 67.5 below middle gray, of which contrast changes a share, as color does of the level itself."""
    world = spread_out(wavy, kart, races=16, seed=3)
    camera = Camera(world, make_lens(kart, width=8, height=8), [plain(flat(60))], Randomize(**{name: amplitude}))
    seen = camera.render()[:, 7, 0].astype(float)
    of_full = {"contrast": -67.5, "brightness": 255.0, "color": 60.0}[name]
    for car, picture in enumerate(seen):
        shares = np.array([2 * uniform(3, car, 0, draw) - 1 for draw in draws])
        np.testing.assert_allclose(picture, np.maximum(60 + amplitude * shares * of_full, 0), atol=0.51)


def test_every_frame_of_an_episode_has_a_noise_of_its_own(wavy: Track, kart: Vehicle):
    world = standing(wavy, kart, [(0, 0, 0)])
    camera = Camera(world, make_lens(kart, width=8, height=8), [plain(flat(100))], Randomize(noise=0.1))
    frames = set()
    for step in range(300):
        world.cars["steps"] = step
        frames.add(camera.render().tobytes())
    assert len(frames) == 300


def test_blur_spreads_an_edge_by_its_deviation(wavy: Track, kart: Vehicle):
    pixels = flat(0)
    pixels[401:] = 200
    world = spread_out(wavy, kart, races=64)
    world.cars["x"] = world.cars["y"] = world.cars["yaw"] = 0
    lens = make_lens(kart)
    sharp = Camera(world, lens, [plain(pixels)]).render()[0, 80, :, 0].astype(float)
    soft = Camera(world, lens, [plain(pixels)], Randomize(blur=0.8)).render()[:, 80, :, 0].astype(float)
    place = np.arange(83)

    def variance(row: np.ndarray) -> float:
        weight = -np.diff(row) / 200
        return float((weight * place**2).sum() - (weight * place).sum() ** 2)

    added = np.array([variance(row) for row in soft]) - variance(sharp)
    assert added.min() >= -0.1
    assert 0.45 < added.max() < 0.75  # [pixels^2] up to 0.8^2 among the episodes


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: {"width": 7}, r"^width must be a whole number in \[8, 1024\] pixels, got 7; 84 is usual"),
        (lambda: {"height": 84.5}, r"^height must be a whole number"),
        (lambda: {"pitch": float("nan")}, r"^pitch must be a number of degrees, got nan"),
        (lambda: {"pitch": "steep"}, r"^pitch must be a number of degrees, got 'steep'"),
        (lambda: {"pitch": 95.0}, r"^pitch must be a number in \[-70, 80\] degrees, got 95"),
        (lambda: {"field_of_view": 0.0}, r"^field_of_view must be a number in \[10, 150\] degrees"),
        (lambda: {"above": 0.0}, r"^above must be a number in \[0\.001, 100\] m, got 0\.0"),
        (lambda: {"forward": float("inf")}, r"^forward must be a number"),
    ],
)
def test_a_lens_that_cannot_be(make, says: str, kart: Vehicle):
    with pytest.raises(InputError, match=says):
        make_lens(kart, **make())


@pytest.mark.parametrize(
    ("amplitudes", "says"),
    [
        ({"noise": -0.1}, r"^randomize\.noise must be a number in \[0, 1\]"),
        ({"blur": 2.0}, r"^randomize\.blur must be a number in \[0, 0\.8\] pixels, got 2\.0; 0 turns it off"),
        ({"yaw": 90.0}, r"^randomize\.yaw must be a number in \[0, 30\] degrees"),
        ({"pitch": None}, r"^randomize\.pitch must be a number of degrees, got None"),
        ({"colour": 0.1}, r"^randomize has no 'colour', it has height, .*correct its spelling"),
    ],
)
def test_amplitudes_that_cannot_be(amplitudes: dict, says: str):
    with pytest.raises(InputError, match=says):
        make_randomize(amplitudes)


def test_degrees_outside_radians_inside(kart: Vehicle, f1tenth: Vehicle):
    lens = make_lens(kart, field_of_view=90.0, pitch=30.0)
    assert lens.focal == pytest.approx(42.0)
    assert make_lens(kart, width=96, height=64, field_of_view=90.0).focal == pytest.approx(48.0)
    assert lens.pitch == pytest.approx(np.pi / 6)
    assert make_lens(f1tenth).above / make_lens(kart).above == pytest.approx(f1tenth.width / kart.width)
    assert make_lens(kart, above=1.6).above == 1.6
    assert make_randomize({"pitch": 3.0, "blur": 0.5}) == Randomize(pitch=float(np.radians(3.0)), blur=0.5)


@pytest.mark.parametrize(("pitch", "amplitudes"), [(-50.0, {}), (-30.0, {"pitch": np.radians(15)})])
def test_a_camera_must_see_ground(pitch: float, amplitudes: dict, wavy: Track, kart: Vehicle):
    world = standing(wavy, kart, [(0, 0, 0)])
    with pytest.raises(InputError, match=r"^pitch must show ground, got -\d+\.0 degrees.*26 is usual"):
        Camera(world, make_lens(kart, pitch=pitch), [plain(flat(0))], Randomize(**amplitudes))


def test_arrays_that_do_not_fit(wavy: Track, kart: Vehicle):
    world = standing(wavy, kart, [(0, 0, 0), (5, 0, 0)])
    camera = Camera(world, make_lens(kart), [plain(flat(0))])
    for wrong in (
        {"cars": world.cars[:, :1]},
        {"cars": world.cars["x"]},
        {"indices": np.array([2])},
        {"indices": np.array([-1])},
        {"indices": np.array([[0, 1]])},
        {"out": np.zeros((1, 84, 84, 3), np.uint8)},
        {"out": np.zeros((2, 84, 84, 3), np.float32)},
        {"out": np.zeros((2, 84, 84, 3), np.int8)},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            camera.render(**wrong)
    with pytest.raises(ValueError, match=r"numbers \(K,\) in 0\.\.1, one per car"):
        camera.render(indices=np.array([2]))
    with pytest.raises(ValueError, match="1 tracks need as many textures, got 2"):
        Camera(world, make_lens(kart), [plain(flat(0))] * 2)
