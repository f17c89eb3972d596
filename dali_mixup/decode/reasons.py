"""Why a file can't be decoded, in words."""

import os
import re

MAX_PIXELS = 100_000_000  # a larger image is a bad sample unless the Loader is told otherwise
DAMAGED, UNKNOWN_FORMAT = "damaged or truncated image data", "not an image that DALI decodes"
# What DALI 2.4 says of a file, as patterns.
MEANINGS = {
    r"'#3'": DAMAGED,
    r"'#4'|Invalid sample_type": UNKNOWN_FORMAT,
    r"The cropping window .* is not valid for image dimensions": (
        "its image data has another size than its header claims"
    ),
    r"Failed to decode sample #\d+ :\s*(\n|$)": DAMAGED,
}


def too_many_pixels(height: int, width: int, max_pixels: int) -> str:
    """The reason for an image above the limit; "" below it."""
    if height * width <= max_pixels:
        return ""
    return f"too many pixels: {height} x {width} is more than max_pixels={max_pixels}"


def in_words(message: str, path: str) -> str:
    """DALI's message for one file as a reason; "" for none."""
    if not message:
        return ""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 2))
            ending = file.read()
            file.seek(0)
            if file.read(2) == b"\xff\xd8" and ending != b"\xff\xd9":
                return f"truncated at byte {size}: its end marker is missing"
    except OSError as error:
        return f"unreadable: {error.strerror}"
    known = next((meaning for pattern, meaning in MEANINGS.items() if re.search(pattern, message)), "")
    said = message.partition("encountered:")[2].strip() or message.strip()
    return known or " ".join(said.splitlines()[0].split())
