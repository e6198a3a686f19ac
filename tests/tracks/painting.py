"""Pictures as people draw them: renderings with noise, kerbs, lines; roads with pit lanes, gaps and crossings."""

from __future__ import annotations

import cv2
import numpy as np

from racing.sim.track import resample_closed
from racing.tracks.generator import generate
from racing.tracks.geometry import nearest
from racing.tracks.render import draw_track, frame_for

ROUND = np.linspace(0, 2 * np.pi, 600, endpoint=False)
OVAL = np.stack([400 + 300 * np.cos(ROUND), 220 + 150 * np.sin(ROUND)], axis=1)
EIGHT = np.stack([400 + 300 * np.sin(ROUND), 220 + 150 * np.sin(2 * ROUND)], axis=1)
PIT_LANE = np.array([[250, 350.0], [330, 310], [480, 310], [560, 348]])


def rendering(seed, style, length, width, metres_per_pixel, noise):
    """(track, frame, picture (H, W, 4)) in colour: noise, kerbs, edge lines, a dark start line."""
    track = generate(seed, style, length, width)
    frame, columns = frame_for(track, metres_per_pixel)
    picture = draw_track(track, frame, columns).copy()
    ends = np.round(frame.to_pixels(track.gates[-1]) * 16).astype(int).tolist()
    cv2.line(picture, ends[0], ends[1], (20, 20, 20), max(1, round(1.0 / metres_per_pixel)), cv2.LINE_AA, 4)
    noisy = picture + np.random.default_rng(seed).normal(0, noise, picture.shape)
    rgb = np.clip(noisy, 0, 255).astype(np.uint8)
    return track, frame, np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])


def stroke(points, half, mask=None, *, closed=True):
    """A road of half-width `half` [px] along `points`, painted into `mask` (440, 800)."""
    mask = np.zeros((440, 800), np.uint8) if mask is None else mask
    cv2.polylines(mask, [np.round(points * 16).astype(np.int32)], closed, 1, round(2 * half), cv2.LINE_8, 4)
    return mask


def coloured(mask, noise=4):
    """A gray road on green with noise, (H, W, 4)."""
    picture = np.where(mask[..., None] > 0, (95, 95, 100), (90, 150, 60)).astype(float)
    rgb = np.clip(picture + np.random.default_rng(0).normal(0, noise, picture.shape), 0, 255).astype(np.uint8)
    return np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])


def outline():
    """The oval as two black lines on white, 40 px apart, (440, 800)."""
    picture = np.full((440, 800), 255, np.uint8)
    for reach in (280, 320):
        edge = np.stack([400 + reach * np.cos(ROUND), 220 + (reach - 150) * np.sin(ROUND)], axis=1)
        cv2.polylines(picture, [np.round(edge * 16).astype(np.int32)], True, 0, 2, cv2.LINE_AA, 4)
    return picture


def four(gray):
    """A gray picture as (H, W, 4)."""
    return np.dstack([gray, gray, gray, np.full_like(gray, 255)])


def distances(points, line):
    """Distance of `points` to the closed spline through `line`, in its unit."""
    (fine,) = resample_closed(line, float(np.linalg.norm(line[1] - line[0])) / 20)
    return nearest(fine, points)[1]
