"""libjpeg-turbo through PyTurboJPEG, without libjpeg's leniency."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turbojpeg import TurboJPEG

PIXEL_FORMAT_RGB = 0  # TurboJPEG's number
ERROR_CODE = "_TurboJPEG__get_error_code"


def open_turbojpeg() -> TurboJPEG:
    """An encoder and decoder that raises an OSError where libjpeg complains of a file; threads may share it.

    Raises:
        OSError: the system's libturbojpeg is missing.
    """
    from turbojpeg import TurboJPEG  # here, so that --help doesn't wait for it

    try:
        jpeg = TurboJPEG()
    except (RuntimeError, OSError) as error:
        message = (
            "libturbojpeg must be installed, but it can't be loaded; on Debian and Ubuntu: apt-get install "
            "libturbojpeg0"
        )
        raise OSError(message) from error
    # Where libjpeg warns and goes on, PyTurboJPEG issues a Python warning, and a truncated file gets a grey rest. No
    # option makes it raise, and a filter that makes warnings errors would belong to all threads. But with a library too
    # old to tell warnings from errors (one without tjGetErrorCode) it raises for both: let it take this one for that.
    if ERROR_CODE not in vars(jpeg):
        raise ImportError("this PyTurboJPEG can't be made strict; dali_mixup needs a version from 1.7 on, below 2")
    vars(jpeg)[ERROR_CODE] = None
    return jpeg
