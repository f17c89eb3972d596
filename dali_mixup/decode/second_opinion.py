"""Files that DALI refuses and others read: a JPEG whose end marker is missing, a GIF, an exotic TIFF."""

import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from dali_mixup.dataset.header import open_with_pillow
from dali_mixup.decode.turbojpeg import PIXEL_FORMAT_RGB, open_turbojpeg
from dali_mixup.errors import must_be

END_OF_IMAGE = b"\xff\xd9"

_turbojpeg = cache(open_turbojpeg)


class Opinion(NamedTuple):
    """An image (H, W, 3) uint8 and who decoded it."""

    image: np.ndarray
    decoder: str


def decode_otherwise(path: bytes, size: tuple[int, int]) -> Opinion | None:
    """Decode a whole file with PyTurboJPEG, and if that complains, with Pillow.

    Args:
        path: the file.
        size: height and width that the index knows; another size is no image.

    Returns:
        None if both refuse, too.
    """
    for name, decode in (("PyTurboJPEG", _decode_jpeg), ("Pillow", _decode_any)):
        try:
            return Opinion(decode(path, size), name)
        except Exception:  # noqa: BLE001  a decoder may raise anything on a damaged file, and that is its opinion
            continue
    return None


class MemoryFile:
    """A lossless image file in memory, for as long as this object lives.

    Args:
        image: (H, W, 3) uint8.

    Attributes:
        path: a name that any code of this process can open.
    """

    def __init__(self, image: np.ndarray):
        self._fd = os.memfd_create("dali_mixup")
        self.path = b"/proc/self/fd/%d" % self._fd
        with os.fdopen(self._fd, "wb", closefd=False) as file:
            Image.fromarray(image).save(file, "PNG", compress_level=1)

    def __del__(self):
        os.close(self._fd)


def _decode_jpeg(path: bytes, size: tuple[int, int]) -> np.ndarray:
    """A JPEG; an end marker that is missing is added, so that only missing image data is an error."""
    data = Path(os.fsdecode(path)).read_bytes()
    data = data if data.endswith(END_OF_IMAGE) else data + END_OF_IMAGE
    width, height, _, _ = _turbojpeg().decode_header(data)
    _check_size((height, width), size)
    return np.asarray(_turbojpeg().decode(data, pixel_format=PIXEL_FORMAT_RGB))


def _decode_any(path: bytes, size: tuple[int, int]) -> np.ndarray:
    with open_with_pillow(os.fsdecode(path)) as image:
        _check_size((image.height, image.width), size)
        return np.asarray(image.convert("RGB"))


def _check_size(size: tuple[int, int], known: tuple[int, int]) -> None:
    """Before anything is allocated for the pixels."""
    if size != known:
        raise ValueError(must_be("size", f"{known}, as it was indexed", size))
