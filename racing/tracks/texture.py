"""Make ground textures of tracks: rendered, or the picture that the track was read from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from racing.errors import require
from racing.sim.camera.mipmap import Texture
from racing.sim.track import Track
from racing.tracks.images.image import Picture, open_picture
from racing.tracks.render import draw_track, frame_for

SOURCES = ("drawn", "picture")
PIXELS_PER_WIDTH = 40  # [px] width of a rendered road
MOST_PIXELS = 4_000_000  # of one texture; larger circuits get a coarser one
MOST_TOGETHER = 64_000_000  # [px] of all textures of one world


def make_textures(tracks: Sequence[Track], *, source: str = "drawn") -> list[Texture]:
    """Make the ground texture of each track.

    source: "drawn": grass, kerbs, asphalt, lines. "picture": the picture that the track was read from.
    A pixel is 1/40 of the road's width, coarser if a texture would exceed 4 million pixels or all textures 64 million.
    A camera takes 5.3 bytes of memory per pixel, mipmaps included: at most 0.34 GB.
    Raises InputError if a track has no such picture.
    """
    require(source in SOURCES, f"texture must be one of {', '.join(SOURCES)}, got {source!r}; drawn is usual")
    most = min(MOST_PIXELS, MOST_TOGETHER // max(1, len(tracks)))
    make = drawn_texture if source == "drawn" else picture_texture
    return [make(track, most) for track in tracks]


def drawn_texture(track: Track, most_pixels: int = MOST_PIXELS) -> Texture:
    """Render grass, kerbs, asphalt, edge lines and start line, with a margin of one road width."""
    width = float(track.left.mean() + track.right.mean())
    frame, columns = frame_for(track, width / PIXELS_PER_WIDTH)
    excess = frame.height * columns / most_pixels
    if excess > 1:
        frame, columns = frame_for(track, frame.resolution * float(np.sqrt(excess)) * 1.01)
    return Texture(np.flipud(draw_track(track, frame, columns)), frame.origin, frame.resolution)


def picture_texture(track: Track, most_pixels: int = MOST_PIXELS) -> Texture:
    """Use the picture that the track was read from, on white, padded with its border's median colour.

    Raises InputError if the track was not read from a picture, or the picture is rotated in the world.
    """
    source = track.source
    require(
        "picture" in source and source.get("yaw", 0.0) == 0.0,
        f"track {track.name}: it has no picture along the axes to show as ground; use the drawn texture",
    )
    picture = open_picture(Path(source["picture"]))
    scale = float(source.get("scale", 1.0))
    resolution, (x, y) = float(source["metres_per_pixel"]) * scale, source["pixel_origin"]
    width = float(track.left.mean() + track.right.mean())
    too_many = np.sqrt(picture.shape[0] * picture.shape[1] / most_pixels)
    step = int(np.ceil(max(too_many, width / (2 * PIXELS_PER_WIDTH) / resolution)))
    rgb = _coarser(_opaque(picture), step)
    first, resolution = (
        (step - 1) / 2 * resolution,
        resolution * step,
    )  # the centre of the lower-left pixel moves as it grows
    margin = int(np.ceil(width / resolution))
    border = np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]])
    padded = np.empty((rgb.shape[0] + 2 * margin, rgb.shape[1] + 2 * margin, 3), np.uint8)
    padded[:] = np.median(border, axis=0).astype(np.uint8)
    padded[margin:-margin, margin:-margin] = rgb
    origin = (x * scale + first - margin * resolution, y * scale + first - margin * resolution)
    return Texture(np.flipud(padded), origin, resolution)


def _opaque(picture: Picture) -> npt.NDArray[np.uint8]:
    """Composite a picture (H, W, 4) onto white; returns RGB."""
    share = picture[..., 3:].astype(np.float32) / 255
    return np.round(picture[..., :3] * share + 255 * (1 - share)).astype(np.uint8)


def _coarser(rgb: npt.NDArray[np.uint8], step: int) -> npt.NDArray[np.uint8]:
    """Downsample by means over step x step pixels, from the lower left; the other edges are padded by repetition."""
    high, wide = (-n % step for n in rgb.shape[:2])
    whole = np.pad(rgb, ((high, 0), (0, wide), (0, 0)), mode="edge")
    size = whole.shape[1] // step, whole.shape[0] // step
    return np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)
