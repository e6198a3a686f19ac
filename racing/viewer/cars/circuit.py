"""A circuit and its vehicle as the page draws them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.tracks.reference_lap import ReferenceLap

MOST_POINTS = 3000  # of each line: a long circuit is drawn with longer pieces
KERB_RADIUS = 8.0  # [road widths] of a bend below which it has kerbs


def circuit_facts(track: Track, vehicle: Vehicle, reference: ReferenceLap) -> dict[str, Any]:
    """Plain lists for JSON, lengths [m], rounded to a millimetre.

    points: (P, 2) centreline; left, right: (P, 2) edges; s: (P,) arc lengths; kerbs: (P,) 1 inside a left bend, -1 a
    right one, 0 none; line: (L, 2) of the reference lap; gates: start line (2, 2) [left end, right end]; width of the
    road.
    """
    step = int(np.ceil(len(track.points) / MOST_POINTS))
    width = float(track.left.mean() + track.right.mean())
    bend = track.curvature[::step]
    kerbs = np.where(np.abs(bend) * KERB_RADIUS * width > 1, np.sign(bend), 0)
    line_step = int(np.ceil(len(reference.points) / MOST_POINTS))
    return {
        "name": track.name,
        "length": round(track.length, 3),
        "width": round(width, 3),
        "points": _listed(track.points[::step]),
        "left": _listed(track.left_edge[::step]),
        "right": _listed(track.right_edge[::step]),
        "s": _listed(np.arange(len(track.points))[::step] * track.spacing),
        "kerbs": kerbs.astype(int).tolist(),
        "line": _listed(reference.points[::line_step]),
        "start": _listed(np.array([track.left_edge[0], track.right_edge[0]])),
        "reference": round(reference.time_s, 3),
        "vehicle": {
            name: getattr(vehicle, name)
            for name in ("name", "length", "width", "front_axle", "rear_axle", "max_steer", "max_speed", "friction")
        },
    }


def _listed(values: npt.NDArray[Any]) -> list[Any]:
    return np.round(values, 3).tolist()  # type: ignore[no-any-return]
