"""One image on its way into a pack: as it is, with restart markers, shrunk, or as pixels."""

import io
import math
import subprocess
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.lib.format import MAGIC_PREFIX as MAGIC
from PIL import Image

from dali_mixup.dataset.header import look
from dali_mixup.dataset.jpeg import START
from dali_mixup.dataset.orientation import UPRIGHT
from dali_mixup.dataset.pillow import decode_source, open_with_pillow
from dali_mixup.dataset.png import SIGNATURE
from dali_mixup.dataset.restarts import BLOCK, Segments, best_interval, find_segments, interval_of
from dali_mixup.dataset.scan import scan
from dali_mixup.dataset.source import BytesSource
from dali_mixup.dataset.verdict import Verdict
from dali_mixup.dataset.webp import is_webp
from dali_mixup.errors import check_int

JPEGTRAN = "jpegtran"
MOST_PIXELS = 80_000_000  # Pillow warns of more
REDUCING_GAP = 2.0  # a JPEG is decoded at a half, a quarter or an eighth that is at least so many times its new size


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrink:
    """To what images are shrunk, once and for all; smaller ones stay as they are.

    Args:
        max_size: the longer side, in pixels.
        short_side: the shorter side, in pixels.
        quality: of the JPEGs, from 1 to 100.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    max_size: int | None = None
    short_side: int | None = None
    quality: int = 90

    def __post_init__(self) -> None:
        for name in ("max_size", "short_side"):
            if getattr(self, name) is not None:
                check_int(name, getattr(self, name), at_least=1)
        check_int("quality", self.quality, at_least=1)
        if self.quality > 100:
            raise ValueError(f"quality must be at most 100, got {self.quality}")

    def shrunk(self, height: int, width: int) -> tuple[int, int]:
        """The new height and width; those of an image that is small enough."""
        scale = min(
            1.0,
            1.0 if self.max_size is None else self.max_size / max(height, width),
            1.0 if self.short_side is None else self.short_side / min(height, width),
        )
        return max(1, round(height * scale)), max(1, round(width * scale))


class Packed(NamedTuple):
    """What is stored of an image.

    Attributes:
        data: an encoded image.
        height: in pixels.
        width: in pixels.
        verdict: who decodes it.
        segments: where it can be cut; None for the whole alone.
        orientation: EXIF's, of which the data may tell no more.
    """

    data: bytes
    height: int
    width: int
    verdict: Verdict
    segments: Segments | None = None
    orientation: int = UPRIGHT

    @property
    def extension(self) -> str:
        """By what it is, so that any reader of WebDatasets knows its decoder."""
        if self.data.startswith(START):
            return "jpg"
        if self.data.startswith(MAGIC):
            return "npy"
        return "png" if self.data.startswith(SIGNATURE) else "webp" if is_webp(self.data[:16]) else "img"


def repack(data: bytes, size: tuple[int, int], verdict: Verdict, shrink: Shrink) -> Packed:
    """What is stored of an encoded image.

    Args:
        data: the image.
        size: height and width in pixels.
        verdict: who decodes it, as the index knows.
        shrink: what is done to larger ones.

    Raises:
        UndecodableError: an image that is to be shrunk can't be decoded.
        OSError: jpegtran is missing.
    """
    if shrink.shrunk(*size) != size:
        return _as_jpeg(_shrink(data, size, shrink), shrink)
    if data.startswith(START) and verdict in (Verdict.DALI, Verdict.SCAN_FIRST) and not scan(data):
        interval = interval_of(data)
        lossless = _add_restarts(data, interval) if interval else b""
        cut = _find_cut(lossless)
        if cut is not None and (cut.height, cut.width) == size:
            return cut
    return Packed(data, *size, verdict)


def decode(data: bytes, size: tuple[int, int], shrink: Shrink) -> np.ndarray:
    """The pixels of an encoded image, (H, W, 3) uint8, shrunk.

    Args:
        data: the image.
        size: height and width in pixels.
        shrink: what is done to larger ones.

    Raises:
        UndecodableError: it can't be decoded.
    """
    if shrink.shrunk(*size) != size:
        return np.asarray(_shrink(data, size, shrink))
    return decode_source(BytesSource(data), size)


def shrink_pixels(image: np.ndarray, shrink: Shrink) -> np.ndarray:
    """The same of an image that is pixels already."""
    size = image.shape[0], image.shape[1]
    if shrink.shrunk(*size) == size:
        return image
    return np.asarray(_resize(Image.fromarray(image), shrink.shrunk(*size)))


def store_pixels(image: np.ndarray) -> Packed:
    """An image (H, W, 3) uint8 as numpy's `.npy`, whose last bytes are the pixels."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(image), allow_pickle=False)
    return Packed(file.getvalue(), image.shape[0], image.shape[1], Verdict.BAD)


def encode_pixels(image: np.ndarray, shrink: Shrink) -> Packed:
    """An image (H, W, 3) uint8 as a PNG, which loses nothing; what is shrunk as a JPEG."""
    size = image.shape[0], image.shape[1]
    if shrink.shrunk(*size) != size:
        return _as_jpeg(_resize(Image.fromarray(image), shrink.shrunk(*size)), shrink)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return _as_it_is(file.getvalue())


def _as_it_is(data: bytes) -> Packed:
    height, width, verdict, _ = look(BytesSource(data))
    return Packed(data, height, width, verdict)


def _as_jpeg(image: Image.Image, shrink: Shrink) -> Packed:
    interval = best_interval(image.width, 2 * BLOCK)
    options = {"subsampling": "4:2:0", "optimize": True, "restart_marker_blocks": interval}
    file = io.BytesIO()
    image.save(file, "JPEG", quality=shrink.quality, **options)
    data = file.getvalue()
    return _as_it_is(data) if (cut := _find_cut(data)) is None else cut


def _find_cut(data: bytes) -> Packed | None:
    """A regular JPEG that can be cut; else None."""
    segments = find_segments(data)
    found = look(BytesSource(data))
    if segments is None or found.verdict is not Verdict.SCAN_FIRST or scan(data):
        return None
    return Packed(data, found.height, found.width, Verdict.DALI, segments)


def _add_restarts(data: bytes, interval: int) -> bytes:
    """The same coefficients as a baseline JPEG with restart markers; b"" where jpegtran has anything to say of it."""
    command = [JPEGTRAN, "-copy", "none", "-optimize", "-restart", f"{interval}B"]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    return b"" if done.returncode or done.stderr else done.stdout


def _shrink(data: bytes, size: tuple[int, int], shrink: Shrink) -> Image.Image:
    target = shrink.shrunk(*size)
    return _resize(_decode_for(data, size, target), target)


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    height, width = size
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=REDUCING_GAP)


def _decode_for(data: bytes, size: tuple[int, int], target: tuple[int, int]) -> Image.Image:
    """An image as RGB; a regular JPEG at a fraction of its size, if that is large enough."""
    if data.startswith(START) and not scan(data) and math.prod(size) <= MOST_PIXELS:
        with open_with_pillow(io.BytesIO(data)) as image:
            image.draft("RGB", (int(target[1] * REDUCING_GAP), int(target[0] * REDUCING_GAP)))
            return image.convert("RGB")
    return Image.fromarray(np.asarray(decode_source(BytesSource(data), size)))
