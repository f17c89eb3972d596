"""Pillow's opinion of a file, and its pixels: torchvision's `pil_loader`, with limits for hostile files."""

import io
import struct
import threading
import warnings
from collections.abc import Callable
from functools import cache
from typing import IO, TypeVar, cast

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from dali_mixup.dataset import png, webp
from dali_mixup.dataset.orientation import UPRIGHT
from dali_mixup.dataset.source import FileSource, Source, open_file
from dali_mixup.dataset.verdict import SPARE_BYTES, Finding, Verdict, bad, most_bytes, why_unreadable

# What Pillow tries first, then the rest in its own order. EPS isn't among them, for which Pillow would start
# Ghostscript, nor what is no picture of the world (brushes, weather charts, films) or has inner images of any size.
FORMATS = (
    *("BMP", "DIB", "GIF", "JPEG", "PPM", "PNG"),
    *("AVIF", "CUR", "DDS", "ICO", "JPEG2000", "PCX", "PSD", "QOI", "SGI", "TGA", "TIFF", "WEBP"),
)
NO_IMAGE = "not an image of a supported format"
TILE_WIDTH, TILE_LENGTH = 322, 323  # TIFF's tags
LARGEST_TILE = 1 << 22  # pixels, if the image has fewer
LARGEST_ICON = 1024  # pixels on a side: Pillow decodes an icon when it opens it, whatever its directory says
ICONS = b"\0\0\1\0"
ORIENTATION, LAST_ORIENTATION = 0x0112, 8  # EXIF's tag, and its last value
_quiet = threading.Lock()

Result = TypeVar("Result")


class UndecodableError(ValueError):
    """A file that Pillow can't decode; its text is the reason."""


def open_with_pillow(file: str | IO[bytes]) -> Image.Image:
    """An image in one of `FORMATS`."""
    return Image.open(file, formats=_formats())


def look_with_pillow(source: Source) -> Finding:
    """The size that Pillow finds in a file, or why it finds none, in at most 64 MiB and without its pixels."""
    try:
        return _forgiving_warnings(_look, source)
    except UnidentifiedImageError:
        return bad(NO_IMAGE)
    except UndecodableError as error:
        return bad(f"not an image: {error}")
    except Exception as error:  # noqa: BLE001  a plugin's parser may raise anything on a hostile file: a finding, not a crash
        return bad(f"not an image: {type(error).__name__}: {error}")


def orientation_of(source: Source) -> int:
    """How an image was held, from 1 (upright) to 8, as `ImageOps.exif_transpose` reads it; 1 if nothing says so."""
    try:
        return _forgiving_warnings(_orientation, source)
    except Exception:  # noqa: BLE001  a parser may raise anything on a hostile file, whose pixels somebody else judges
        return UPRIGHT


def decode_with_pillow(path: str | bytes, size: tuple[int, int]) -> np.ndarray:
    """Decode a file as torchvision's `pil_loader` does: the first frame, as RGB, without EXIF rotation.

    Safe in threads. Nothing is allocated for another size than the known one, and no file is read much further than its
    pixels need. Pillow's own limit of pixels counts for TIFFs and WebPs alone, from twice `MAX_IMAGE_PIXELS` on.

    Args:
        path: the file.
        size: height and width that the index knows.

    Returns:
        (H, W, 3) uint8, read-only.

    Raises:
        UndecodableError: Pillow refuses the file, it has another size, or it can't be read.
    """
    try:
        with open_file(path) as (source, _):
            return decode_source(source, size)
    except OSError as error:
        raise UndecodableError(why_unreadable(error)) from error


def decode_source(source: Source, size: tuple[int, int]) -> np.ndarray:
    """`decode_with_pillow` for an open file, a part of one, or bytes in memory."""
    try:
        return _forgiving_warnings(_decode, source, size)
    except UndecodableError:
        raise
    except UnidentifiedImageError as error:
        raise UndecodableError(NO_IMAGE) from error
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise UndecodableError(_in_words(error)) from error


def _forgiving_warnings(function: Callable[..., Result], *arguments: object) -> Result:
    """Once more without Pillow's warnings, where the user's filters make errors of them: they are no reason to refuse.

    Python's filters belong to all threads, so they are left alone otherwise.
    """
    try:
        return function(*arguments)
    except Warning:
        with _quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*arguments)


def _in_words(error: Exception) -> str:
    said = " ".join(str(error).split())
    if isinstance(error, Image.DecompressionBombError):  # of a TIFF or WebP only
        return "more pixels than twice PIL.Image.MAX_IMAGE_PIXELS"
    if said and isinstance(error, OSError | SyntaxError | ValueError | EOFError):
        return f"damaged: {said}"
    return "too little memory" if isinstance(error, MemoryError) else f"damaged image data ({type(error).__name__})"


class _Limited(io.FileIO):
    """A file that stops with an error after so many bytes, so that a length inside of it allocates no gigabytes."""

    def __init__(self, fd: int, most: int):
        super().__init__(fd, "rb", closefd=False)
        self.left = most

    def readinto(self, buffer: memoryview, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        count = super().readinto(memoryview(buffer)[: self.left + 1])
        self._count(count)
        return count

    def readall(self) -> bytes:
        content = self.read(self.left + 1)
        self._count(len(content))
        return content

    def _count(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise UndecodableError("it is far longer than its pixels need")


def _open(source: Source, most: int) -> IO[bytes]:
    """What Pillow reads from: at most so many bytes, which aren't read at once where they are a file of their own."""
    if isinstance(source, FileSource) and not source.start:
        return io.BufferedReader(_Limited(source.fd, most))
    return io.BytesIO(source.read_at(0, most))


def _look(source: Source) -> Finding:
    with _open(source, SPARE_BYTES) as file, _identify(file) as image:
        if not image.height or not image.width:
            return bad("not an image: it has no pixels")
        _check_tiles(image)
        return Finding(image.height, image.width, Verdict.PILLOW)


def _orientation(source: Source) -> int:
    with _open(source, SPARE_BYTES) as file, _identify(file) as image:
        found = image.getexif().get(ORIENTATION, UPRIGHT)
    return found if isinstance(found, int) and UPRIGHT <= found <= LAST_ORIENTATION else UPRIGHT


def _decode(source: Source, size: tuple[int, int]) -> np.ndarray:
    with _open(source, most_bytes(*size)) as file:
        head = file.read(webp.HEADER)
        if webp.is_webp(head):
            _check_size(webp.read_size(head), size)
        with _identify(file) as image:
            _check_size((image.height, image.width), size)
            _check_tiles(image)
            pixels = np.asarray(image.convert("RGB"))
    _check_size(pixels.shape[:2], size)
    return pixels


def _identify(file: IO[bytes]) -> Image.Image:
    """What `Image.open` does, but for its limit of pixels, which is one setting of the whole process."""
    file.seek(0)
    prefix = file.read(16)
    if prefix.startswith(ICONS):
        _check_icons(file)
    for name in _formats():
        factory, accept = Image.OPEN[name]
        try:
            if accept is None or accept(prefix) is True:
                file.seek(0)
                return factory(file, "")  # without a name nothing is mapped: a file that shrinks would kill the process
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
    raise UnidentifiedImageError(NO_IMAGE)


@cache
def _formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def size_changed(found: tuple[int, ...] | None, known: tuple[int, int]) -> str:
    """What is wrong with an image of another (height, width) than the index knows."""
    now = "another size" if found is None else f"{found[0]} x {found[1]} pixels"
    return f"changed since it was indexed: {now}, was {known[0]} x {known[1]}"


def _check_size(size: tuple[int, ...] | None, known: tuple[int, int]) -> None:
    if size != known:
        raise UndecodableError(size_changed(size, known))


def _check_tiles(image: Image.Image) -> None:
    """A tile is decoded whole, however small the image."""
    if image.format != "TIFF":
        return
    tags = cast(TiffImageFile, image).tag_v2
    tile = tags.get(TILE_WIDTH, 1) * tags.get(TILE_LENGTH, 1)
    if tile > max(LARGEST_TILE, 2 * image.height * image.width):
        raise UndecodableError(f"a TIFF of {image.height} x {image.width} pixels in tiles of {tile} pixels")


def _check_icons(file: IO[bytes]) -> None:
    """The images of an icon are decoded when it is opened, and have sizes of their own."""
    file.seek(0)
    header = file.read(6)
    entries = file.read(16 * int.from_bytes(header[4:6], "little"))
    for at in range(0, len(entries) - 15, 16):
        file.seek(int.from_bytes(entries[at + 12 : at + 16], "little"))
        image = file.read(24)
        order, place = ("big", 16) if image.startswith(png.SIGNATURE) else ("little", 4)
        width, height = (int.from_bytes(image[i : i + 4], order) for i in (place, place + 4))
        if width > LARGEST_ICON or height > 2 * LARGEST_ICON:
            raise UndecodableError(f"an icon of {height} x {width} pixels")
