"""Limits, and why a file exceeds them, in words."""

MAX_PIXELS = 100_000_000  # a larger image is a bad sample unless the Loader is told otherwise


def too_many_pixels(height: int, width: int, max_pixels: int, done: str = "") -> str:
    """The reason for an image above the limit; "" below it. `done` says what makes it so large: "resized to"."""
    if height * width <= max_pixels:
        return ""
    size = f"{done} {height} x {width}".strip()
    return f"too many pixels: {size} is more than max_pixels={max_pixels}"
