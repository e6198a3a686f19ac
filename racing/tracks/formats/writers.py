"""Write tracks for other programs: ROS map with centreline (f1tenth_gym), TUM centreline table, native format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from racing.files import atomic_path, write_atomic
from racing.sim.track import Track
from racing.tracks.formats.native import write_native
from racing.tracks.images.image import Frame
from racing.tracks.measure import mean_width
from racing.tracks.render import frame_for

PIXELS_ACROSS = 40  # [px] width of the road in a map, unless the size of a pixel is given
MOST_SIDE = 6000  # [px] of a map


def write_csv(track: Track, folder: Path, metres_per_pixel: float | None = None) -> list[Path]:
    """Write folder/<name>.csv as the TUM racetrack database does: x, y, half-width right, half-width left [m]."""
    del metres_per_pixel  # a table has no pixels
    return [_table(track, folder / f"{track.name}.csv")]


def _table(track: Track, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.column_stack([track.points, track.right, track.left])
    with atomic_path(path) as temporary:
        heading = "x_m,y_m,w_tr_right_m,w_tr_left_m"
        np.savetxt(temporary, rows, fmt="%.6f", delimiter=",", header=heading, encoding="utf-8")
    return path


def write_ros(track: Track, folder: Path, metres_per_pixel: float | None = None) -> list[Path]:
    """Write <name>.yaml, <name>.png (the road white on black) and <name>_centerline.csv.

    Two tones only, so that f1tenth_gym (free above gray 128) and ROS (free_thresh) see the same edge.
    """
    width = mean_width(track)
    reach = float(np.ptp(track.points, axis=0).max()) + 4 * width
    frame, columns = frame_for(track, metres_per_pixel or max(width / PIXELS_ACROSS, reach / MOST_SIDE))
    road = road_mask(track, frame, columns)
    folder.mkdir(parents=True, exist_ok=True)
    picture, settings = folder / f"{track.name}.png", folder / f"{track.name}.yaml"
    _save_picture(picture, (road * 255).astype(np.uint8))
    corner = [v - frame.resolution / 2 for v in frame.origin]
    keys = {
        "image": picture.name,
        "resolution": f"{frame.resolution:.9g}",
        "origin": f"[{corner[0]:.9g}, {corner[1]:.9g}, 0.0]",
        "negate": 0,
        "occupied_thresh": 0.65,
        "free_thresh": 0.196,
    }
    write_atomic(settings, "".join(f"{key}: {value}\n" for key, value in keys.items()))
    return [settings, picture, _table(track, folder / f"{track.name}_centerline.csv")]


def road_mask(track: Track, frame: Frame, columns: int) -> npt.NDArray[np.bool_]:
    """Return a mask (frame.height, columns), True for pixels whose centre lies on the road."""
    rows = np.arange(frame.height, dtype=float)
    mask = np.zeros((frame.height, columns), bool)
    for first in range(0, frame.height, 256):  # a band at a time keeps memory down
        x, y = np.meshgrid(np.arange(columns, dtype=float), rows[first : first + 256])
        mask[first : first + 256] = track.clearance.at(frame.to_world(np.stack([x, y], axis=-1))) > 0
    return mask


def _save_picture(path: Path, gray: npt.NDArray[np.uint8]) -> None:
    done, data = cv2.imencode(".png", gray)
    if not done:
        raise OSError(f"{path} cannot be encoded")
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())


def write_native_files(track: Track, folder: Path, metres_per_pixel: float | None = None) -> list[Path]:
    """Write folder/<name>.png and folder/checkpoints.json."""
    picture = write_native(track, folder, metres_per_pixel=metres_per_pixel)
    return [picture, picture.with_name("checkpoints.json")]


FORMATS: dict[str, Callable[[Track, Path, float | None], list[Path]]] = {
    "native": write_native_files,
    "ros": write_ros,
    "csv": write_csv,
}
