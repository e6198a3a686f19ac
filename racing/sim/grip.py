"""How well the ground grips, place by place: a factor on the tyres' friction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from racing.errors import require
from racing.sim.kernels.bilinear import bilinear
from racing.sim.kernels.kernel import kernel, real

LEAST, MOST = 0.05, 2.0  # [-] factors beyond which no road is

ZERO = real(0)


@dataclass(frozen=True, eq=False)
class GripMap:
    """Factor on the vehicle's friction coefficient; 1 is the ground that the vehicle's parameters are for.

    values: float32 (ny, nx); row 0 is the lowest y, column 0 the lowest x. Outside the border cell's value goes on.
    origin: (x, y) [m] of the centre of cell [0, 0]. resolution: size of a cell [m].
    Raises InputError if a value lies outside [0.05, 2].
    """

    values: npt.NDArray[np.float32]
    origin: tuple[float, float]
    resolution: float

    def __post_init__(self) -> None:
        """Refuse grip that no road has."""
        low, high = float(self.values.min()), float(self.values.max())
        sound = bool(np.isfinite(self.values).all()) and low >= LEAST and high <= MOST
        require(sound, f"grip must be in [{LEAST}, {MOST}] everywhere, got {low:.3g} to {high:.3g}; 1 is dry, 0.5 wet")

    def at(self, points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Grip at `points` (..., 2) [m], bilinear."""
        ny, nx = self.values.shape
        u = np.clip((np.asarray(points[..., 0], float) - self.origin[0]) / self.resolution, 0.0, nx - 1.001)
        v = np.clip((np.asarray(points[..., 1], float) - self.origin[1]) / self.resolution, 0.0, ny - 1.001)
        i, j = v.astype(int), u.astype(int)
        fv, fu = v - i, u - j
        low = self.values[i, j] * (1 - fu) + self.values[i, j + 1] * fu
        high = self.values[i + 1, j] * (1 - fu) + self.values[i + 1, j + 1] * fu
        return np.asarray(low * (1 - fv) + high * fv)


def uniform_grip(factor: float) -> GripMap:
    """The same grip everywhere."""
    return GripMap(np.full((2, 2), factor, np.float32), (0.0, 0.0), 1.0)


@kernel
def grip_at(grip, track, x, y):
    """Factor on the friction at (x, y) [m]: bilinear in the track's part of `grip`; 1 where the track has none."""
    if track.grip_width == 0:
        return real(1)
    u = min(max((x - track.grip_x) * track.grip_per_metre, ZERO), track.grip_last_u)
    v = min(max((y - track.grip_y) * track.grip_per_metre, ZERO), track.grip_last_v)
    return bilinear(grip, track.grip_start, track.grip_width, u, v)
