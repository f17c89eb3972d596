"""EXIF orientations: how a camera was held, which `ImageOps.exif_transpose` undoes."""

from collections.abc import Callable, Sequence

import numpy as np

from dali_mixup.dataset.ask_each import ask_each

UPRIGHT = 1
SIDEWAYS = 5  # from here on height and width change places


def turn(image: np.ndarray, orientation: int) -> np.ndarray:
    """The upright image, a view.

    Args:
        image: (H, W, 3) as it is stored.
        orientation: EXIF's, from 1 to 8.

    Returns:
        (H, W, 3), or (W, H, 3) from 5 on.
    """
    if orientation >= SIDEWAYS:
        image = image.swapaxes(0, 1)
    rows, columns = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}.get(orientation, (1, 1))
    return image[::rows, ::columns]


def turned_sizes(height: np.ndarray, width: np.ndarray, orientations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Heights and widths (N,) of the upright images."""
    sideways = orientations >= SIDEWAYS
    return np.where(sideways, width, height), np.where(sideways, height, width)


def read_orientations(read: Callable[[int], int], numbers: Sequence[int], *, progress: bool) -> np.ndarray:
    """What `read` says of the samples `numbers`; uint8, one of each.

    Args:
        read: the orientation of the sample of a number; perhaps called in threads.
        numbers: of the samples.
        progress: show a bar on stderr once the work takes longer than half a second.
    """
    found = ask_each(read, numbers, description="reading orientations", progress=progress)
    return np.fromiter(found, np.uint8, len(numbers))
