"""Limits, and why a file exceeds them, in words."""

import numpy as np

MAX_PIXELS = 100_000_000  # a larger image is a bad sample unless the Loader is told otherwise


def too_many_pixels(height: int, width: int, max_pixels: int, done: str = "") -> str:
    """The reason for an image above the limit; "" below it. `done` says what makes it so large: "resized to"."""
    if height * width <= max_pixels:
        return ""
    size = f"{done} {height} x {width}".strip()
    return f"too many pixels: {size} is more than max_pixels={max_pixels}"


def are_hopeless(heights: np.ndarray, widths: np.ndarray, max_pixels: int) -> np.ndarray:
    """(N,) bool: files that are no images (0 x 0) or above the limit, whose pixels nobody ever reads."""
    area = heights.astype(np.int64) * widths
    return (area == 0) | (area > max_pixels)
