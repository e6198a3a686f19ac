"""Read ROS maps (map_server): a .yaml beside a picture. Widths always come from the picture."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from racing.errors import InputError, require, require_number
from racing.sim.track import Points, Track, resample_closed
from racing.tracks.formats.centreline import read_table
from racing.tracks.formats.map_settings import RosMap, read_settings
from racing.tracks.geometry import nearest, start_at
from racing.tracks.images.assemble import Column, default_direction, digest, mask_track
from racing.tracks.images.diagnosis import bridged_ring, broken_map
from racing.tracks.images.image import Frame, Mask, Picture, find_ring, open_picture, ring_centreline
from racing.tracks.images.lap import UnclearRoad, lap_through_graph
from racing.tracks.images.obstacles import obstacles, warn_of_obstacles
from racing.tracks.images.skeleton import road_graph

log = logging.getLogger(__name__)

UNKNOWN_GRAY = 205  # map_saver writes it for unobserved cells
DISAGREES = 0.10  # relative difference between the table's width and the picture's above which a warning is logged


def read_ros_map(path: Path, *, close_gaps: int = 0) -> Track:
    """Read a ROS map; direction and start come from `<name>_centerline.csv` beside it, if there is one.

    Without a table it is driven clockwise from its longest straight. A table whose width differs by more than 10 % from
    the picture's is used with a warning. close_gaps [px]: bridge gaps up to this size. Raises InputError for an invalid
    map, and UnclearRoad, with the places marked, where no lap is found.
    """
    settings = read_settings(path)
    picture = open_picture(settings.image)
    free = free_pixels(picture, settings)
    try:
        road, holes = _road(picture, settings, free, close_gaps)
        line, width, half = ring_or_crossing(road, holes)
    except UnclearRoad as error:
        raise UnclearRoad(f"{path.name}: {error}", error.marks, settings.image) from None
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from None
    corner, yaw = settings.origin[:2], settings.origin[2]
    half_pixel = settings.resolution / 2 * np.array([np.cos(yaw) - np.sin(yaw), np.sin(yaw) + np.cos(yaw)])
    centre = (corner[0] + float(half_pixel[0]), corner[1] + float(half_pixel[1]))
    frame = Frame(settings.resolution, len(picture), centre, yaw)
    warn_of_obstacles(path.name, obstacles(free, road, width, compact=False), frame)
    points, width = frame.to_world(line), width * settings.resolution
    files = {p.name: digest(p) for p in (path, settings.image)}
    source: dict[str, Any] = {
        "format": "ros",
        "picture": str(settings.image.resolve()),
        "metres_per_pixel": settings.resolution,
    }
    name = path.stem.removesuffix("_map")
    table = path.with_name(f"{name}_centerline.csv")
    if table.is_file():
        ordered = _ordered_as(table, points, width, crossing_pixel=settings.resolution if half is not None else None)
        files[table.name] = digest(table)
    else:
        ordered = default_direction(points, width)
        source["direction"] = "assumed clockwise"
    source |= {"files": files, "pixel_origin": list(centre), "yaw": yaw}
    if half is not None:
        index, _ = nearest(points, ordered)
        half = half[index] * settings.resolution
    return mask_track(name, frame, road, ordered, source, half=half)


def _road(picture: Picture, settings: RosMap, free: Mask, close_gaps: int) -> tuple[Mask, int]:
    """Find the road in the free ground. Raises UnclearRoad if it is not closed."""
    require_number("close_gaps", close_gaps, 0, 1000, whole=True, unit="px", remedy="give the size of the gap")
    if close_gaps:
        found = bridged_ring(free, close_gaps)
    else:
        try:
            found = find_ring(free)
        except InputError:
            found = None
    if found is not None:
        return found

    def free_of(threshold: float, turned: bool) -> Mask:
        return free_pixels(picture, replace(settings, free=threshold, negate=settings.negate != turned))

    gray = picture[..., :3].mean(axis=2)
    raise broken_map(255 - gray if settings.negate else gray, free_of, settings.free)


def ring_or_crossing(road: Mask, holes: int) -> tuple[Points, float, Column | None]:
    """Return (centreline (N, 2), median width, half-widths (N,) if the road crosses itself, else None) [px] of a mask.

    Raises InputError if the road forks: maps have no option to select a branch.
    """
    if holes == 1:
        return *ring_centreline(road), None
    graph, _ = road_graph(road)
    if graph is None:
        raise InputError("no closed ring of road was found in the picture; repair it")
    try:
        lap = lap_through_graph(graph)
    except UnclearRoad as error:
        fork = str(error).partition("; choose one with --branch")[0]
        rule = f"{fork}; erase the branch from the map, or give a centreline CSV"
        raise UnclearRoad(rule, error.marks) from None
    require(not lap.dropped, f"the road encloses {holes} large areas and has a branch; erase the branch from the map")
    return lap.points, 2 * float(np.median(lap.half)), lap.half


def _ordered_as(table: Path, points: Points, width: float, *, crossing_pixel: float | None) -> Points:
    """Order the picture's line by the table beside it: its direction and its start.

    crossing_pixel: size of a pixel [m] of a map whose road crosses itself, else None. A picture leaves the centreline
    undefined over a crossing: a table that agrees with it elsewhere, to a pixel, is used instead.
    """
    given, right, left = read_table(table, half_width=width / 2)
    index, distance = nearest(points, given)
    if float(np.mean(distance)) > width / 2:
        log.warning("%s lies %.2f m off the picture's road on average; ignored", table.name, float(distance.mean()))
        return default_direction(points, width)
    stated = float(right.mean() + left.mean())
    if abs(stated - width) > DISAGREES * width:
        log.warning(
            "%s gives a road width of %.2f m, the picture %.2f m; using the picture's", table.name, stated, width
        )
    if crossing_pixel is not None:
        (line,) = resample_closed(given, crossing_pixel)
        off = nearest(line, points)[1]
        if float(np.median(off)) < crossing_pixel and float(off.max()) < width / 4:
            return line
    ahead = np.diff(np.append(index, index[0])) % len(points)
    if float((ahead <= len(points) / 2).mean()) < 0.5:
        points = points[::-1]
    return start_at(points, given[0])[0]


def free_pixels(picture: Picture, settings: RosMap) -> Mask:
    """Threshold a map (H, W, 4): True where the ground is free. Transparent pixels are unknown."""
    gray = picture[..., :3].mean(axis=2)
    occupancy = gray / 255.0 if settings.negate else (255.0 - gray) / 255.0
    if settings.mode == "raw":
        occupancy = gray / 100.0  # 0 free .. 100 occupied, above: unknown
    unknown = picture[..., 3] < 128
    if settings.mode != "raw":
        unknown |= (picture[..., :3] == UNKNOWN_GRAY).all(axis=2)
    return np.asarray((occupancy < settings.free) & ~unknown)
