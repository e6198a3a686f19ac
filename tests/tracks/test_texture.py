"""Textures lie where the track lies, drawn or from its own picture, and stay within their memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from racing.errors import InputError
from racing.sim.camera.mipmap import MOST_SIDE, Texture, luma
from racing.sim.track import Track
from racing.tracks.catalog import load_track
from racing.tracks.images.assemble import scaled_track
from racing.tracks.render import ASPHALT, GRASS, MOWN
from racing.tracks.texture import drawn_texture, make_textures, picture_texture


def colour_at(texture: Texture, points: np.ndarray) -> np.ndarray:
    """(N, 3) of the pixels nearest to `points` (N, 2) [m]."""
    column, row = np.round((points - texture.origin) / texture.resolution).astype(int).T
    return texture.pixels[row, column].astype(int)


def is_asphalt(colours: np.ndarray) -> np.ndarray:
    return np.abs(colours - ASPHALT).max(axis=1) < 12


def test_a_drawn_texture_has_the_road_where_the_track_has_it(wavy: Track):
    texture = drawn_texture(wavy)
    width = 12.0
    assert texture.resolution == pytest.approx(width / 40)
    across = wavy.normals * 6.0
    assert is_asphalt(colour_at(texture, wavy.points + 0.85 * across))[
        20:-20
    ].all()  # the start line has its own colours
    assert is_asphalt(colour_at(texture, wavy.points - 0.85 * across))[20:-20].all()
    line = colour_at(texture, wavy.points + 0.98 * across)
    assert (line.min(axis=1) > 150).mean() > 0.6  # white, but where kerbs are red
    beside = colour_at(texture, wavy.points + 1.6 * across)
    assert (np.minimum(np.abs(beside - GRASS).max(axis=1), np.abs(beside - MOWN).max(axis=1)) < 5).mean() > 0.95


def test_large_textures_are_coarser(wavy: Track):
    small = drawn_texture(wavy, 200_000)
    assert 150_000 < small.pixels.shape[0] * small.pixels.shape[1] <= 200_000
    assert is_asphalt(colour_at(small, wavy.points))[20:-20].all()
    many = make_textures([wavy] * 3)
    assert [t.pixels.shape for t in many] == [many[0].pixels.shape] * 3


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_the_native_picture_lies_where_the_drawing_lies(scale: float):
    track = load_track("oval", scale=scale)
    own, drawn = picture_texture(track), drawn_texture(track)
    half = (track.left.mean() + track.right.mean()) / 2
    points = np.concatenate([track.points + k * half * track.normals for k in (0.0, 0.8, -0.8, 1.5, -1.5)])
    alike = np.abs(colour_at(own, points) - colour_at(drawn, points)).max(axis=1) < 12
    assert alike.mean() > 0.9  # mown stripes and the start line differ
    assert own.resolution == pytest.approx(0.35 * scale)


def test_a_fine_picture_is_averaged_and_bordered(tmp_path: Path):
    picture = np.zeros((70, 100, 4), np.uint8)
    picture[..., 3] = 255
    picture[40:60, 20:50, 0] = 255  # a red patch; row 0 is the top
    picture[:5, 90:, 3] = 0
    Image.fromarray(picture).save(tmp_path / "p.png")
    source = {"picture": str(tmp_path / "p.png"), "metres_per_pixel": 0.1, "pixel_origin": [10.0, 20.0]}
    track = replace(load_track("oval"), source=source, left=np.array([8.0]), right=np.array([8.0]))
    texture = picture_texture(track)  # 16 m / 80: two pixels become one
    assert texture.resolution == pytest.approx(0.2)
    middle = np.array([[10 + 0.1 * 34.5, 20 + 0.1 * (69 - 49.5)]])
    np.testing.assert_array_equal(colour_at(texture, middle), [[255, 0, 0]])
    inside = [[10.1, 20.1], [19.8, 26.9], [12.2, 21.1], [14.8, 22.8]]
    expected = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [255, 0, 0]]
    np.testing.assert_array_equal(colour_at(texture, np.array(inside)), expected)
    np.testing.assert_array_equal(texture.pixels[0, 0], [0, 0, 0])  # a road's width of its border's median around
    assert texture.pixels.shape[:2] == (35 + 2 * 80, 50 + 2 * 80)


@pytest.mark.parametrize("turned", [False, True])
def test_no_picture_to_show(wavy: Track, turned: bool):
    track = replace(load_track("oval"), source={**load_track("oval").source, "yaw": 0.3}) if turned else wavy
    with pytest.raises(InputError, match=f"track {track.name}: it has no picture .*use the drawn texture"):
        make_textures([track], source="picture")


def test_an_unknown_source(wavy: Track):
    with pytest.raises(InputError, match=r"texture must be one of drawn, picture, got 'png'"):
        make_textures([wavy], source="png")


@pytest.mark.parametrize("shape", [(1, 9, 3), (9, 9), (9, 9, 4), (2, MOST_SIDE + 1, 3)])
def test_no_texture(shape: tuple[int, ...]):
    with pytest.raises(InputError, match="a texture must be"):
        Texture(np.zeros(shape, np.uint8), (0.0, 0.0), 1.0)
    with pytest.raises(InputError, match="a texture must be uint8"):
        Texture(np.zeros((9, 9, 3), np.float32), (0.0, 0.0), 1.0)
    with pytest.raises(InputError, match="resolution must be > 0 m"):
        Texture(np.zeros((9, 9, 3), np.uint8), (0.0, 0.0), 0.0)


def test_levels_are_means_and_packed_as_documented():
    pixels = np.random.default_rng(0).integers(0, 256, (21, 34, 3)).astype(np.uint8)
    texture = Texture(pixels, (0.0, 0.0), 1.0)
    levels = texture.levels()
    assert [level.shape for level in levels] == [(21, 34, 3), (11, 17, 3), (6, 9, 3)]
    means = pixels[:20].reshape(10, 2, 17, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(levels[1][:10], means, atol=0.51)
    table, colours = texture.packed(gray=False)
    assert table["start"].tolist() == [0, 21 * 34, 21 * 34 + 11 * 17]
    assert colours[2 * 34 + 5] & 0xFFFFFF == int(pixels[2, 5, 0]) + 256 * int(pixels[2, 5, 1]) + 65536 * int(
        pixels[2, 5, 2]
    )
    _, grays = texture.packed(gray=True)
    gray = luma(pixels).astype(int)
    here = grays[2 * 34 + 5]
    assert [here >> s & 255 for s in (0, 8, 16, 24)] == [gray[2, 5], gray[2, 6], gray[3, 5], gray[3, 6]]


def test_a_scaled_track_takes_its_picture_along():
    track = load_track("oval")
    small = scaled_track(track, 0.5)
    np.testing.assert_allclose(picture_texture(small).origin, np.array(picture_texture(track).origin) / 2)
