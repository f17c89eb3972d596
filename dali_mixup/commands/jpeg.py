"""libjpeg-turbo through PyTurboJPEG."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from dali_mixup.decode.second_opinion import PIXEL_FORMAT_RGB

if TYPE_CHECKING:
    from turbojpeg import TurboJPEG


def open_turbojpeg() -> TurboJPEG:
    """The encoder and decoder; threads may share it.

    Raises:
        OSError: the system's libturbojpeg is missing.
    """
    from turbojpeg import TurboJPEG  # here, so that --help doesn't wait for it

    try:
        return TurboJPEG()
    except (RuntimeError, OSError) as error:
        message = (
            "libturbojpeg must be installed, but it can't be loaded; on Debian and Ubuntu: apt-get install "
            "libturbojpeg0"
        )
        raise OSError(message) from error


def encode_jpeg(jpeg: TurboJPEG, image: np.ndarray, quality: int) -> bytes:
    """An RGB image (H, W, 3) uint8 as a JPEG file."""
    return cast(bytes, jpeg.encode(image, quality=quality, pixel_format=PIXEL_FORMAT_RGB))
