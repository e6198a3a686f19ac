"""Segment the road in a drawn or painted picture without gates.

Several candidate masks compete: contrast to the background, the area between the lines of an outline, and clusters of
colours (k-means in Lab), each as it is and with narrow lines across the road bridged. Roads have constant width: of the
areas that enclose ground the one of the most even width is chosen, unless another one is about as even and more than
twice as wide, since edge lines are rings too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from racing.tracks.images.image import MOST_BORDER, NARROWEST, SMALLEST_ROAD, Mask, Picture, fill_specks

Bytes = npt.NDArray[np.uint8]

MOST_COMPARED = 2_000_000  # [px] larger pictures are downsampled to compare guesses
SAMPLE = 20_000  # pixels for k-means
COLOURS = (2, 3, 4, 5)
NOISE = 5  # [px] median filter before colours are compared
BRIDGED = (5, 9, 13)  # [px] lines across the road that are bridged by default ...
MOST_BRIDGED = 0.3  # ... up to this share of the road's width
TONES = 0.97  # share of pixels in two tones from which a picture is not clustered by colour
EVEN = 0.10  # areas whose unevenness differs by less are equally even
REPAIR = 0.02  # penalty on an area that had to be bridged, in units of unevenness
PARTS = 6  # areas of one guess that are considered
WIDEST_STROKE = 12.0  # [px] two similar areas up to this width are the lines of an outline
LEAST_CONTRAST = 20.0  # [levels of Lab] between road and ground, from which other colours on a road are told
WIDEST_LINE = 0.12  # [road widths] wider stripes along an edge are not edge lines


@dataclass(frozen=True, eq=False)
class Painted:
    """A road segmented in a picture. mask (H, W); holes: number of large areas that it encloses.

    uneven: spread of its width / width; width [px]. bridge [px]: size of the gaps that were bridged, 1: none.
    contrast: difference of the colours on and beside the road in units of their spread; 0 if lines bound it.
    line: width [px] of the lines painted along its edges, outside the mask.
    alike: what looks like the road (H, W), before specks were filled and gaps bridged; None until it is chosen.
    """

    mask: Mask
    holes: int
    uneven: float
    width: float
    bridge: int = 1
    contrast: float = 0.0
    line: float = 0.0
    alike: Mask | None = None


@dataclass(frozen=True, eq=False)
class Guess:
    """One candidate mask of the road.

    alike: picture -> mask. between: the road lies between drawn lines, and gaps are gaps in these.
    coarse: kerbs and lines count as road.
    """

    alike: Callable[[Picture], Mask]
    between: bool = False
    coarse: bool = False

    def rings(self, alike: Mask, bridge: int) -> list[Painted]:
        """Find the areas of `alike` that enclose ground, with gaps up to `bridge` [px] bridged; 1: none.

        Lines of an outline are excluded: they come in pairs, one along each edge of a road.
        """
        if bridge <= 1:
            every = list(areas(alike, 1))
        elif self.between:  # each area by itself: at a gap in a thin line the areas on both sides touch
            kernel = _disc(bridge)
            cores = areas(cv2.erode(alike.astype(np.uint8), kernel) > 0, bridge)
            grown = ((cv2.dilate(core.mask.astype(np.uint8), kernel) > 0) & alike for core in cores)
            every = [area for mask in grown for area in areas(mask, bridge)]
        else:
            closed = cv2.morphologyEx(alike.astype(np.uint8), cv2.MORPH_CLOSE, _disc(bridge)) > 0
            every = list(areas(closed, bridge))
        sizes = [int(area.mask.sum()) for area in every]

        def is_line(k: int) -> bool:
            return every[k].width < WIDEST_STROKE and any(
                n != k and 0.5 < area.width / every[k].width < 2 and 0.3 < sizes[n] / sizes[k] < 3
                for n, area in enumerate(every)
            )

        return [area for k, area in enumerate(every) if area.holes and not is_line(k)]


def _disc(size: int) -> Bytes:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


def paint_guesses(picture: Picture) -> list[Guess]:
    """List the guesses for `picture`, the simplest first."""
    gray, limit = _difference(picture)
    drawn = gray > limit
    low, high = (float(np.median(gray[part])) if part.any() else 0.0 for part in (~drawn, drawn))
    near = np.minimum(np.abs(gray - low), np.abs(gray - high)) < 0.15 * max(high - low, 1.0)
    plain = [Guess(_drawn), Guess(lambda p: ~_drawn(p), between=True)]
    if float(near.mean()) > TONES:
        return plain
    lab = _lab(picture, NOISE).reshape(-1, 3)
    sample = lab[:: max(1, len(lab) // SAMPLE)].astype(np.float32)
    coloured: list[Guess] = []
    for count in COLOURS:
        cv2.setRNGSeed(1)
        stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 30, 0.5)
        start = np.zeros((len(sample), 1), np.int32)
        _, _, centres = cv2.kmeans(sample, count, start, stop, 3, cv2.KMEANS_PP_CENTERS)
        clusters = _Clusters(centres[np.argsort(centres[:, 0], kind="stable")])
        coloured += [clusters.guess(k) for k in range(count)]
    return coloured + [replace(guess, coarse=True) for guess in plain]


class _Clusters:
    """Nearest of some colours (K, 3), in Lab, of each pixel of a picture; caches the last picture."""

    def __init__(self, centres: npt.NDArray[np.float32]) -> None:
        self.centres = centres
        self._last: tuple[Picture, Bytes] | None = None

    def index(self, picture: Picture) -> Bytes:
        if self._last is None or self._last[0] is not picture:
            self._last = picture, _nearest_colour(picture, self.centres)
        return self._last[1]

    def guess(self, k: int) -> Guess:
        return Guess(lambda picture: np.asarray(self.index(picture) == k))


def _difference(picture: Picture) -> tuple[Bytes, float]:
    """Return (distance of each pixel's colour to the background's, threshold by Otsu's method)."""
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])[:, :3].astype(np.float32)
    ground = np.median(border, axis=0)
    distance = np.zeros(picture.shape[:2], np.float32)
    for band in range(3):  # a band at a time keeps the memory of large pictures down
        distance += (picture[..., band] - ground[band]) ** 2
    level = np.clip(np.sqrt(distance), 0, 255).astype(np.uint8)
    limit, _ = cv2.threshold(level, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return level, float(limit)


def _drawn(picture: Picture) -> Mask:
    level, limit = _difference(picture)
    return np.asarray(level > limit)


def _lab(picture: Picture, noise: int) -> Bytes:
    rgb = np.ascontiguousarray(picture[..., :3])
    rgb = cv2.medianBlur(rgb, noise) if noise else rgb
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), np.uint8)


def _nearest_colour(picture: Picture, centres: npt.NDArray[np.float32]) -> Bytes:
    """Return the index of the nearest of `centres` (K, 3) for each pixel."""
    lab = _lab(picture, NOISE).astype(np.float32)
    best = np.full(lab.shape[:2], np.inf, np.float32)
    index = np.zeros(lab.shape[:2], np.uint8)
    for k, centre in enumerate(centres):
        distance = ((lab - centre) ** 2).sum(axis=2)
        index[distance < best] = k
        np.minimum(best, distance, out=best)
    return index


def find_painted(picture: Picture, *, close_gaps: int = 0) -> Painted | None:
    """Segment the road of `picture` (H, W, 4); None if no area encloses ground like a road.

    close_gaps [px]: bridge gaps up to this size, whatever the road's width; 0: only thin lines across it.
    """
    small, shrink = shrunk(picture)
    guesses = paint_guesses(small)
    compared = [guess.alike(small) for guess in guesses]
    found: list[tuple[Painted, Guess]] = []
    for size in (close_gaps,) if close_gaps else (1, *BRIDGED):
        step = max(3, round(size / shrink)) | 1 if size > 1 else 1
        if found and size >= BRIDGED[1]:
            break
        for guess, alike in zip(guesses, compared, strict=True):
            if step > 1 and guess.between and not close_gaps:
                continue
            fits = guess.rings(alike, step)
            found += [(a, guess) for a in fits if step == 1 or close_gaps or step <= MOST_BRIDGED * a.width]
    if not found:
        return None
    best = min(part.uneven for part, _ in found)
    even = [pair for pair in found if pair[0].uneven < best + EVEN]
    widest = max(part.width for part, _ in even)
    roads = [pair for pair in even if pair[0].width > widest / 2]
    part, guess = min(roads, key=lambda pair: pair[0].uneven + REPAIR * ((pair[0].bridge > 1) + 2 * pair[1].coarse))
    if shrink > 1:
        part = _at_full_size(picture, part, guess, shrink)
    measured = _measured(picture, part)
    measured = replace(measured, alike=guess.alike(picture) & _of_its_colour(picture, part))
    return replace(measured, contrast=0.0) if guess.between else measured


def shrunk(picture: Picture) -> tuple[Picture, int]:
    """Downsample a picture to compare guesses fast; returns it and the factor."""
    step = int(np.ceil(np.sqrt(picture.shape[0] * picture.shape[1] / MOST_COMPARED)))
    if step == 1:
        return picture, 1
    size = picture.shape[1] // step, picture.shape[0] // step
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8), step


def _at_full_size(picture: Picture, part: Painted, guess: Guess, shrink: int) -> Painted:
    """Find the area `part` of a downsampled picture in the full-size one."""
    wanted = cv2.resize(part.mask.astype(np.uint8), picture.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0
    size = 1 if part.bridge == 1 else part.bridge * shrink | 1
    for area in guess.rings(guess.alike(picture), size):
        if (area.mask & wanted).sum() > wanted.sum() / 2:
            return area
    return Painted(wanted, part.holes, part.uneven, part.width * shrink, size)


def areas(alike: Mask, bridge: int) -> Iterator[Painted]:
    """Yield the connected areas of `alike` that may be a road, with or without holes."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(alike.astype(np.uint8), connectivity=4)
    for k in sorted(range(1, count), key=lambda k: -stats[k, cv2.CC_STAT_AREA])[:PARTS]:
        x, y, w, h, area = stats[k]
        if area < SMALLEST_ROAD * alike.size or min(w, h) < 8:
            return
        own = labels[y : y + h, x : x + w] == k
        border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]) == k
        if float(border.mean()) > MOST_BORDER:
            continue
        part, holes = fill_specks(own)
        uneven, width = evenness(part)
        if width < NARROWEST:
            continue
        mask = np.zeros_like(alike)
        mask[y : y + h, x : x + w] = part
        yield Painted(mask, holes, uneven, width, bridge)


def evenness(road: Mask) -> tuple[float, float]:
    """Return (spread of the road's width / width, its median width [px]) along the ridge of its distance transform."""
    padded = np.pad(road, 1).astype(np.uint8)
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    ridge = inside[(inside >= cv2.dilate(inside, np.ones((3, 3), np.uint8)) - 0.01) & (padded > 0)]
    middle = ridge[ridge > 0.5 * np.percentile(ridge, 80)] - 0.5
    low, centre, high = np.percentile(middle, [10, 50, 90])
    lost = 1 - len(middle) / len(ridge)  # ridges at ragged edges, unlike a road's
    return float((high - low) / max(centre, 0.5) + 0.5 * lost), 2 * float(centre)


def _measured(picture: Picture, part: Painted) -> Painted:
    """Measure the contrast between the road and the ground beside it, and the width of its edge lines."""
    reach = max(2, round(part.width / 4)) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    road = part.mask.astype(np.uint8)
    beside = (cv2.dilate(road, kernel) > 0) & (road == 0)
    colours = _lab(picture, 3)
    on, off = colours[part.mask][::7].astype(np.float64), colours[beside][::7].astype(np.float64)
    spread = np.median(np.abs(on - np.median(on, axis=0)), axis=0).sum() + 1.0
    contrast = float(np.linalg.norm(np.median(on, axis=0) - np.median(off, axis=0)) / spread) if len(off) else 0.0
    line = _edge_line(picture, part, np.median(on, axis=0), np.median(off, axis=0)) if len(off) else 0.0
    return replace(part, contrast=contrast, line=line)


def _of_its_colour(picture: Picture, part: Painted) -> Mask:
    """What has the road's colour rather than another one, (H, W); everything if its ground has the same."""
    lab = _lab(picture, NOISE)
    on = np.median(lab[part.mask][::7].astype(np.float32), axis=0)
    off = np.median(lab[~part.mask][::7].astype(np.float32), axis=0) if not part.mask.all() else on
    apart = float(np.linalg.norm(on - off))
    if apart < LEAST_CONTRAST:
        return np.ones_like(part.mask)
    distance = np.zeros(part.mask.shape, np.float32)
    for band in range(3):  # a band at a time keeps the memory of large pictures down
        distance += (lab[..., band] - on[band]) ** 2
    return np.asarray(distance < (0.5 * apart) ** 2)


def _edge_line(
    picture: Picture, part: Painted, road: npt.NDArray[np.float64], ground: npt.NDArray[np.float64]
) -> float:
    """Measure the width [px] of lines along the road's edge: of neither the road's nor the ground's colour."""
    apart = 0.5 * float(np.linalg.norm(road - ground))
    if apart < 5:
        return 0.0
    outside = cv2.distanceTransform((~part.mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    colours = _lab(picture, 0).astype(np.float32)
    width = 0.0
    for step in range(1, 1 + int(np.ceil(WIDEST_LINE * part.width))):
        band = colours[(outside > step - 0.5) & (outside <= step + 0.5)]
        other = (np.linalg.norm(band - road, axis=1) > apart) & (np.linalg.norm(band - ground, axis=1) > apart)
        share = float(other.mean()) if len(band) else 0.0
        if share < 0.3:
            break
        width += share
    return width
