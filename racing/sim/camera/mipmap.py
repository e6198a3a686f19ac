"""The ground of a track as a camera reads it: a picture, its halved versions, and their packed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from racing.errors import require

Array = npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8]
LUMA = (0.299, 0.587, 0.114)  # of red, green, blue: ITU-R BT.601
MOST_SIDE = 32_000  # [px] positions in it have 16 bits
SMALLEST = 4  # [px] a picture narrower than this is not halved again
LEVEL = np.dtype([("start", np.int64), ("width", np.int64), ("height", np.int64)])


@dataclass(frozen=True, eq=False)
class Texture:
    """A picture that lies on the ground. Beyond its border the ground of the border goes on.

    pixels: uint8 (ny, nx, 3) red, green, blue; row 0 is the lowest y, column 0 the lowest x.
    origin: (x, y) [m] of the centre of pixel [0, 0]. resolution: size of a pixel [m].
    Raises InputError if the picture is smaller than 2 x 2 pixels, or is not of that type.
    """

    pixels: Pixels
    origin: tuple[float, float]
    resolution: float

    def __post_init__(self) -> None:
        """Refuse what is no picture."""
        shape, kind = np.shape(self.pixels), getattr(self.pixels, "dtype", None)
        fits = len(shape) == 3 and shape[2] == 3 and min(shape[:2]) >= 2 and kind == np.uint8
        require(fits, f"a texture must be uint8 (>= 2, >= 2, 3), got {kind} {shape}; convert the picture")
        require(
            max(shape[:2]) <= MOST_SIDE, f"a texture must be <= {MOST_SIDE} pixels a side, got {shape}; scale it down"
        )
        require(self.resolution > 0, f"a texture's resolution must be > 0 m, got {self.resolution}; measure it")

    def levels(self) -> list[Pixels]:
        """The picture, and each level's 2 x 2 means as the next one, down to a few pixels (a mip pyramid)."""
        levels = [self.pixels]
        image: npt.NDArray[np.float32] = self.pixels.astype(np.float32)
        while min(image.shape[:2]) >= 2 * SMALLEST:
            image = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge")
            image = (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]) / np.float32(4)
            levels.append(np.round(image).astype(np.uint8))
        return levels

    def packed(self, gray: bool) -> tuple[Array, npt.NDArray[np.uint32]]:
        """(LEVEL records (L,), all levels as one flat array), as the kernels read them.

        A number of the array is, from its lowest byte on: red, green, blue, and the green of the pixel above. In gray:
        the luma of its pixel, of the next in the row, and of the two above these: a bilinear sample is one load.
        """
        levels = self.levels()
        table = np.zeros(len(levels), LEVEL)
        table["height"], table["width"] = np.array([level.shape[:2] for level in levels]).T
        sizes = table["width"] * table["height"]
        table["start"] = np.cumsum(sizes) - sizes
        pack = _grays if gray else _colors
        return table, np.concatenate([pack(level).ravel() for level in levels])


def luma(rgb: Array) -> Pixels:
    """Brightness uint8 (...) of colors uint8 (..., 3): 0.299 R + 0.587 G + 0.114 B, rounded."""
    return np.round(rgb @ np.array(LUMA, np.float32)).astype(np.uint8)


def _colors(rgb: Pixels) -> npt.NDArray[np.uint32]:
    whole = np.zeros((*rgb.shape[:2], 4), np.uint8)
    whole[..., :3] = rgb
    whole[:-1, :, 3], whole[-1, :, 3] = rgb[1:, :, 1], rgb[-1, :, 1]
    return whole.view("<u4")


def _grays(rgb: Pixels) -> npt.NDArray[np.uint32]:
    gray = np.pad(luma(rgb), ((0, 1), (0, 1)), mode="edge")
    return np.stack([gray[:-1, :-1], gray[:-1, 1:], gray[1:, :-1], gray[1:, 1:]], axis=-1).view("<u4")
