"""Which files of a batch can't be decoded, and why."""

import os
import re

import torch

from dali_mixup.errors import BadSampleError
from dali_mixup.header import probe
from dali_mixup.plan import BatchPlan, Plan

MAX_PIXELS = 100_000_000  # a larger image is a bad sample unless the Loader is told otherwise
ERROR_CODES = {"#3": "damaged or truncated image data", "#4": "not an image that DALI decodes"}


def find_bad_samples(plan: Plan, batch: BatchPlan, *, device: torch.device, max_pixels: int) -> BadSampleError | None:
    """Look at each file of a failed batch on its own.

    Args:
        plan: knows the files and their sizes.
        batch: the batch that failed.
        device: where it failed.
        max_pixels: a larger image is bad.

    Returns:
        An error that names all bad files, or None if each of them decodes.
    """
    from dali_mixup.graph import decode_error  # here, so that importing the package doesn't import DALI

    device_id = None if device.type == "cpu" else device.index
    bad = []
    for row, index in enumerate(batch.indices.tolist()):
        path = plan.dataset.paths[index]
        known = int(plan.dataset.heights[index]), int(plan.dataset.widths[index])
        reason = why_bad(path, known, max_pixels)
        if not reason:
            anchor, shape = batch.windows.anchor[row], batch.windows.shape[row]
            reason = _in_words(decode_error(plan.dataset.paths.encoded(index), anchor, shape, device_id=device_id), path)
        if reason:
            bad.append((index, path, reason))
    return BadSampleError(bad) if bad else None


def why_bad(path: str, known: tuple[int, int], max_pixels: int) -> str:
    """The reason that a file's header gives, against the (height, width) that the index knows; "" if none."""
    header = probe(os.fsencode(path))
    if header.reason:
        return header.reason
    if (header.height, header.width) != known:
        return f"changed since it was indexed: {header.height} x {header.width} pixels, was {known[0]} x {known[1]}"
    return too_many_pixels(header.height, header.width, max_pixels)


def too_many_pixels(height: int, width: int, max_pixels: int) -> str:
    """The reason for an image above the limit; "" below it."""
    return f"too many pixels: {height} x {width} is more than max_pixels={max_pixels}" if height * width > max_pixels else ""


def _in_words(message: str, path: str) -> str:
    """DALI's message for one file as a reason; "" for none."""
    if not message:
        return ""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2))
        ending = file.read()
        file.seek(0)
        if file.read(2) == b"\xff\xd8" and ending != b"\xff\xd9":
            return f"truncated at byte {size}: its end marker is missing"
    code = re.search(r"'(#\d)'", message)
    return ERROR_CODES.get(code[1], message) if code else message.strip().splitlines()[-1]
