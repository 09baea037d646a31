"""Two pictures laid over each other: how different they look at the worst place.

One is scaled, shifted, brightened and given contrast until it fits the other best (a few steps of Gauss and Newton),
within a tenth; what then differs is looked at place by place. A picture that was encoded, sized, cropped or brightened
anew differs a little everywhere, two drawings of two things by one hand a lot somewhere, if only at the mouth.

Shape legend: S x S pixels of the square, 3 colours, P = 4 places of the map (scale and shift of either axis).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
STEPS = 6
REACH = 0.12  # of half the side: largest change of scale and largest shift
GAINS = (0.6, 1.6)
OUTSIDE = -1e4
WINDOW, STRIDE = 8, 2
LEAST_COVER = 0.7
# Flat pictures have no contrast to fit.
FLAT_VARIANCE = 4.0
# Standard deviation of the colours: below the first codecs leave as much, above the second nothing is scaled.
CONTRASTS = (10.0, 40.0)

Map = NDArray[np.float64]


class _Fit(NamedTuple):
    error: float
    gain: float
    offset: float
    moved_SS: NDArray[np.float32]
    inside_SS: NDArray[np.bool_]
    rest_SS: NDArray[np.float32]


def picture_distance(first_SS3: NDArray[np.uint8], second_SS3: NDArray[np.uint8]) -> float:
    """Root mean square difference of colours at the worst window of 8 x 8 pixels, in levels of 0..255.

    Of pictures with little contrast it is scaled up: a dark drawing on a dark ground is as different as any other.

    Args:
        first_SS3: a picture in a square, as ``decode_image`` gives it.
        second_SS3: another, of the same size.
    """
    target, other = first_SS3.astype(np.float32), second_SS3.astype(np.float32)
    place_P, fit = _laid_over(_smooth(_halved(target @ LUMA)), _smooth(_halved(other @ LUMA)))
    moved_SS3 = np.stack([_moved(np.ascontiguousarray(other[..., colour]), place_P) for colour in range(3)], axis=-1)
    inside_SS = moved_SS3[..., 0] > OUTSIDE / 2
    rest = np.where(inside_SS[..., None], target - (moved_SS3 * fit.gain + fit.offset), 0.0)
    rest = np.stack([_smooth(rest[..., colour]) for colour in range(3)], axis=-1)
    wrong, counted = _windows((rest**2).mean(axis=-1)), _windows(inside_SS.astype(np.float64))
    contrast = np.clip(min(float(target.std(axis=(0, 1)).max()), float(other.std(axis=(0, 1)).max())), *CONTRASTS)
    return float(np.sqrt(np.max(wrong / np.maximum(counted, WINDOW * WINDOW / 2))) * CONTRASTS[1] / contrast)


def _laid_over(target_SS: NDArray[np.float32], other_SS: NDArray[np.float32]) -> tuple[Map, _Fit]:
    place_P = np.zeros(4)
    fit = _fit(target_SS, other_SS, place_P)
    assert fit is not None
    for _ in range(STEPS):
        step_P = np.clip(place_P + _step(fit), -REACH, REACH)
        better = _fit(target_SS, other_SS, step_P)
        if better is None or better.error >= fit.error:
            break
        done = better.error > 0.99 * fit.error
        place_P, fit = step_P, better
        if done:
            break
    return place_P, fit


def _fit(target_SS: NDArray[np.float32], other_SS: NDArray[np.float32], place_P: Map) -> _Fit | None:
    moved_SS = _moved(other_SS, place_P)
    inside_SS = moved_SS > OUTSIDE / 2
    if inside_SS.mean() < LEAST_COVER:
        return None
    a, b = target_SS[inside_SS].astype(np.float64), moved_SS[inside_SS].astype(np.float64)
    variance = b.var()
    gain = (
        1.0 if variance < FLAT_VARIANCE else float(np.clip(((a - a.mean()) * (b - b.mean())).mean() / variance, *GAINS))
    )
    offset = float(a.mean() - gain * b.mean())
    rest_SS = np.where(inside_SS, target_SS - (gain * moved_SS + offset), 0).astype(np.float32)
    return _Fit(float((rest_SS[inside_SS] ** 2).mean()), gain, offset, moved_SS, inside_SS, rest_SS)


def _step(fit: _Fit) -> Map:
    """Change of the map that would remove most of the rest, were the picture linear."""
    down, across = np.gradient(np.where(fit.inside_SS, fit.moved_SS, 0.0) * fit.gain)
    known = fit.inside_SS.copy()
    known[[0, -1]] = known[:, [0, -1]] = False
    known[1:-1, 1:-1] &= (
        fit.inside_SS[:-2, 1:-1] & fit.inside_SS[2:, 1:-1] & fit.inside_SS[1:-1, :-2] & fit.inside_SS[1:-1, 2:]
    )
    half = len(fit.moved_SS) / 2
    axis = (np.arange(2 * half) + 0.5) / half - 1
    slopes = np.stack([across * axis[None, :], down * axis[:, None], across, down], axis=-1)[known] * half
    normal = slopes.T @ slopes + np.eye(4) * (0.05 * len(slopes) + 1e-6)
    return np.asarray(np.linalg.solve(normal, slopes.T @ fit.rest_SS[known].astype(np.float64)))


def _moved(picture_SS: NDArray[np.float32], place_P: Map) -> NDArray[np.float32]:
    """The picture seen through a map; ``OUTSIDE`` where it shows nothing."""
    side = len(picture_SS)
    half = side / 2
    (across, down), (right, below) = 1 + place_P[:2], place_P[2:] * half
    data = (across, 0, half * (1 - across) + right, 0, down, half * (1 - down) + below)
    image = Image.fromarray(picture_SS)
    moved = image.transform((side, side), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR, fillcolor=OUTSIDE)
    return np.asarray(moved)


def _smooth(values: NDArray[np.floating]) -> NDArray[np.float32]:
    padded = np.pad(values, 1, mode="edge")
    padded = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    smooth: NDArray[np.float32] = ((padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) / 16).astype(np.float32)
    return smooth


def _halved(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Means of 2 x 2 pixels: enough to find the map, which is in units of the side."""
    half: NDArray[np.float32] = values.reshape(len(values) // 2, 2, -1, 2).mean(axis=(1, 3)).astype(np.float32)
    return half


def _windows(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Sums over all windows."""
    total = np.pad(values.astype(np.float64), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    at = np.arange(0, len(values) - WINDOW + 1, STRIDE)
    low, high = at[:, None], at[:, None] + WINDOW
    sums = total[high, at + WINDOW] - total[low, at + WINDOW] - total[high, at] + total[low, at]
    positive: NDArray[np.float64] = np.maximum(sums, 0.0)
    return positive
