"""EXIF orientations: how a camera was held, which `ImageOps.exif_transpose` undoes."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dali_mixup.bars import progress_bar

UPRIGHT = 1
SIDEWAYS = 5  # from here on height and width change places
THREADS = 16  # most wait for a disk or a network
SAMPLES_PER_TASK = 128


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
        read: the orientation of the sample of a number; called in threads.
        numbers: of the samples.
        progress: show a bar on stderr once the work takes longer than half a second.
    """
    found: list[int] = []
    parts = [numbers[start : start + SAMPLES_PER_TASK] for start in range(0, len(numbers), SAMPLES_PER_TASK)]
    shown = {"desc": "reading orientations", "unit": " files", "delay": 0.5, "leave": False, "disable": not progress}
    with ThreadPoolExecutor(THREADS) as pool, progress_bar(total=len(numbers), **shown) as bar:
        for turns in pool.map(lambda part: [read(number) for number in part], parts):
            found += turns
            bar.update(len(turns))
    return np.array(found, np.uint8)
