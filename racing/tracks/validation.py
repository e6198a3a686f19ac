"""Validate a track: findings with place and remedy; loading a track raises on the fatal ones of its shape."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from racing.errors import InputError
from racing.sim.track import Track
from racing.sim.vehicle import Vehicle
from racing.tracks.geometry import MIN_CROSSING_ANGLE, Crossing, arc_lengths, crossings
from racing.tracks.reference_driver import Drive

LARGE_HOLE = 0.25  # [road widths squared] smaller holes are folds of the inner edge of a tight hairpin
MOST_ASKEW = np.radians(75)  # largest angle between a start pose or a gate and the road


@dataclass(frozen=True)
class Finding:
    """One finding. fatal: the track cannot be raced on; else it is a warning."""

    fatal: bool
    place: str
    text: str
    remedy: str

    def __str__(self) -> str:
        """Format as one line."""
        return f"{'error' if self.fatal else 'warning'}: {self.place}: {self.text}; {self.remedy}"


def refuse_unusable(track: Track) -> Track:
    """Return the track. Raises InputError if its road touches itself or crosses itself at too small an angle."""
    for finding in shape_findings(track):
        if finding.fatal:
            raise InputError(f"track {track.name}: {finding.place}: {finding.text}; {finding.remedy}")
    return track


def findings(track: Track, vehicle: Vehicle | None = None) -> list[Finding]:
    """Collect all findings, fatal ones first; with `vehicle` also those of its size and turning radius."""
    found = [*shape_findings(track), *gate_findings(track), *start_findings(track)]
    if vehicle is not None:
        found += vehicle_findings(track, vehicle)
    return sorted(found, key=lambda finding: not finding.fatal)


def at(track: Track, index: int) -> str:
    """Describe the place of a centreline point."""
    x, y = track.points[index]
    return f"{index * track.spacing:.1f} m into the lap, at ({x:.1f}, {y:.1f}) m"


def shape_findings(track: Track) -> list[Finding]:
    """Check that the road is one ring, or crosses itself at a sufficient angle, and its tightest bend."""
    found = []
    crossed = crossings(track.points)
    for crossing in crossed:
        if crossing.angle < MIN_CROSSING_ANGLE:
            text = f"the road crosses itself at {np.degrees(crossing.angle):.0f} deg, at least 30 is a crossing"
            found.append(Finding(True, at(track, crossing.i), text, "cross more steeply or keep the roads apart"))
    holes = _large_holes(track)
    if holes != 1 + len(crossed) and not found:
        touch = _touching(track, crossed)
        place = "the whole road" if touch is None else at(track, touch)
        text = f"the road touches itself: it encloses {holes} areas, {1 + len(crossed)} expected"
        found.append(Finding(True, place, text, "make it narrower (--half-width) or move its parts apart"))
    inside = np.where(track.curvature > 0, track.left, track.right)
    tight = np.abs(track.curvature) * inside
    worst = int(np.argmax(tight))
    if tight[worst] > 1.0:
        radius = 1 / abs(track.curvature[worst])
        text = f"the bend has {radius:.2f} m radius, less than the half-width {inside[worst]:.2f} m"
        found.append(
            Finding(False, at(track, worst), text, "its inner edge is a point; widen the bend if that is not meant")
        )
    return found


def _large_holes(track: Track) -> int:
    """Count the areas that the road encloses."""
    grid = track.clearance
    off = np.pad(grid.values <= 0, 1, constant_values=True).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(off, connectivity=4)
    stats[[0, labels[0, 0]], cv2.CC_STAT_AREA] = 0
    width = float(track.left.mean() + track.right.mean())
    return int((stats[:, cv2.CC_STAT_AREA] > LARGE_HOLE * (width / grid.resolution) ** 2).sum())


def _touching(track: Track, crossed: list[Crossing]) -> int | None:
    """Find a centreline point whose road overlaps a distant part, away from crossings; None if there is none."""
    step = max(1, len(track.points) // 1500)
    points, half = track.points[::step], np.maximum(track.left, track.right)[::step]
    width = 2 * float(half.mean())
    arc = arc_lengths(track.points)[:-1][::step]
    along = np.abs(arc[:, None] - arc[None])
    along = np.minimum(along, track.length - along)
    apart = np.linalg.norm(points[:, None] - points[None], axis=2) - half[:, None] - half[None]
    apart[along < 4 * width] = np.inf
    for crossing in crossed:
        near = np.linalg.norm(points - np.array(crossing.place), axis=1) < 3 * width
        apart[np.ix_(near, near)] = np.inf
    first = int(np.argmin(apart.min(axis=1)))
    return first * step if apart[first].min() < 0.1 * width else None


def gate_findings(track: Track) -> list[Finding]:
    """Check that gates lie across the road, in driving order."""
    found = []
    if len(track.gates) < 4:
        found.append(Finding(True, "gates", f"{len(track.gates)} gates, at least 4 are needed", "add checkpoints"))
        return found
    at_arc = []
    for k, gate in enumerate(track.gates):
        middle, across = gate.mean(axis=0), gate[0] - gate[1]
        index, square = _facing(track, middle, across)
        place = f"gate {k} at ({middle[0]:.1f}, {middle[1]:.1f}) m"
        if track.clearance.at(middle) <= 0:
            found.append(Finding(True, place, "lies off the road", "move it onto the road"))
        elif square < np.cos(MOST_ASKEW):
            found.append(Finding(True, place, "is not across the road, or left and right are swapped", "turn it"))
        at_arc.append(index * track.spacing)
    steps = np.diff(np.concatenate([[at_arc[-1]], at_arc])) % track.length
    backwards = np.nonzero(steps > track.length / 2)[0]
    if len(backwards):
        found.append(
            Finding(True, f"gate {backwards[0]}", "comes before the gate ahead of it", "order the gates as driven")
        )
    return found


def _facing(track: Track, place: npt.NDArray[np.float64], left: npt.NDArray[np.float64]) -> tuple[int, float]:
    """Find (index of the centreline point nearest to `place` whose normal is along `left`, cosine between the two)."""
    square = track.normals @ (left / max(float(np.linalg.norm(left)), 1e-9))
    distance = np.linalg.norm(track.points - place, axis=1)
    best = int(np.argmin(distance + np.where(square < np.cos(MOST_ASKEW), 1e9, 0.0)))
    if distance[best] > 2 * (track.left[best] + track.right[best]):
        best = int(np.argmin(distance))
    return best, float(square[best])


def start_findings(track: Track) -> list[Finding]:
    """Check that the start pose is on the road and points along it."""
    x, y = track.start_position
    place = f"start at ({x:.1f}, {y:.1f}) m"
    if track.clearance.at(track.start_position) <= 0:
        return [Finding(True, place, "lies off the road", "move start_position onto the road")]
    ahead = np.array([-np.sin(track.start_angle), np.cos(track.start_angle)])  # left of a car that stands there
    _, square = _facing(track, track.start_position, ahead)
    if square < np.cos(MOST_ASKEW):
        text = f"start_angle {np.degrees(track.start_angle) % 360:.1f} deg does not point along the road"
        return [Finding(True, place, text, "correct start_angle")]
    return []


def vehicle_findings(track: Track, vehicle: Vehicle) -> list[Finding]:
    """Check that the vehicle fits between the edges and can turn as tightly as the road."""
    found = []
    width = track.left + track.right
    k = int(np.argmin(width))
    if width[k] < vehicle.width:
        text = f"the road is {width[k]:.2f} m wide, {vehicle.name} {vehicle.width:.2f} m"
        found.append(Finding(True, at(track, k), text, "use --scale, or a smaller vehicle"))
    elif width[k] < 2 * vehicle.width:
        text = f"the road is {width[k]:.2f} m wide, less than twice {vehicle.name}'s {vehicle.width:.2f} m"
        found.append(Finding(False, at(track, k), text, "use --scale if that is not meant"))
    k = int(np.argmax(np.abs(track.curvature)))
    radius = 1 / max(float(np.abs(track.curvature[k])), 1e-9)
    inside = track.left[k] if track.curvature[k] > 0 else track.right[k]
    reach = radius + max(0.0, width[k] - inside - vehicle.width / 2)  # the widest line that the road leaves
    if reach < vehicle.min_radius:
        text = f"even the outside has only {reach:.2f} m radius, {vehicle.name} turns on {vehicle.min_radius:.2f} m"
        found.append(Finding(True, at(track, k), text, "use --scale, or a vehicle that turns more tightly"))
    elif radius < vehicle.min_radius:
        text = f"the centreline has {radius:.2f} m radius, {vehicle.name} turns on {vehicle.min_radius:.2f} m"
        found.append(Finding(False, at(track, k), text, "it must swing out; use --scale if that is not meant"))
    return found


def drive_findings(track: Track, vehicle: Vehicle, drive: Drive) -> list[Finding]:
    """Check that the reference controller completed a lap."""
    if drive.completed:
        return []
    what = {"off_track": "leaves the road", "time_limit": "does not come round in time"}.get(drive.ending, drive.ending)
    remedy = "widen the road or the bend there, use --scale, or another --vehicle"
    return [Finding(True, at(track, drive.at), f"{vehicle.name} under the reference controller {what}", remedy)]
