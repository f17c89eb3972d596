"""A pack of pixels at a URL: fetched in pieces of whole images, each mapped from the cache or held in memory."""

import numpy as np

from dali_mixup.dataset.remote_samples import Place

PIECE = 2**22  # bytes: few enough to arrive in time, and many enough that a request costs little


def cut_pieces(shard: np.ndarray, start: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, list[Place]]:
    """Pieces of shards that hold all images, of about `PIECE` bytes.

    Args:
        shard: (N,) int64, of each image.
        start: (N,) int64, its first byte there; both ascend.
        size: (N,) int64, its bytes.

    Returns:
        (N,) int64, the piece of each image; and where the pieces lie.
    """
    begins = np.ones(len(shard), bool)
    begins[1:] = (np.diff(shard) != 0) | (np.diff(start // PIECE) != 0)
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(shard)) - 1
    rows = zip(shard[first].tolist(), start[first].tolist(), (start + size)[last].tolist(), strict=True)
    return np.cumsum(begins) - 1, [Place(file, begin, end - begin) for file, begin, end in rows]
