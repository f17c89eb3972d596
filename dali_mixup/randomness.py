"""Random numbers that depend on what they are for and nothing else: numpy's Philox, keyed by (seed, purpose, epoch).

Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3, 2011.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Any, cast

import numpy as np

from dali_mixup.errors import check_int, must_be

CHUNK = 64  # positions that share one generator


class Purpose(IntEnum):
    """What numbers are drawn for; each has a stream of its own. The values are part of every saved state."""

    ORDER = 0
    WINDOW = 1
    FLIP = 2
    LAM = 3
    PARTNER = 4
    REPLACEMENT = 5
    GRAPH = 6
    ITERATOR = 7
    RANK = 8
    BOX = 9
    CHOICE = 10
    TRANSFORM = 11
    AFTER = 12


def check_seed(seed: object) -> None:
    """Raise a TypeError or ValueError unless `seed` is an int from 0 to 2**64 - 1."""
    check_int("seed", seed, at_least=0)
    if cast(int, seed) >= 2**64:
        raise ValueError(must_be("seed", "below 2**64", seed))


def keyed_generator(seed: int, purpose: Purpose, epoch: int, counter: int = 0, *, view: int = 0) -> np.random.Generator:
    """A generator for one (seed, purpose, epoch), advanced to a stretch of 2**128 numbers of `counter` and `view`."""
    key = np.array([seed, purpose << 48 | epoch], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, counter, view], np.uint64)))


def draw_at(
    first: int,
    count: int,
    draw: Callable[[int, np.random.Generator], np.ndarray],
    *,
    seed: int,
    purpose: Purpose,
    epoch: int,
    view: int = 0,
) -> np.ndarray:
    """Rows for the positions first ... first + count - 1, the same ones however positions are cut into batches.

    Positions are drawn in aligned chunks, each from its own generator, so that any of numpy's distributions can be
    used.

    Args:
        first: position of the first row.
        count: number of rows.
        draw: draws n rows from a generator.
        seed: from 0 to 2**64 - 1.
        purpose: the stream.
        epoch: from 0 to 2**48 - 1.
        view: of the image, from 0.
    """
    start = first // CHUNK
    stop = max(start + 1, -(-(first + count) // CHUNK))
    generator = keyed_generator(seed, purpose, epoch, start, view=view)
    state: Any = generator.bit_generator.state
    rows = []
    for chunk in range(start, stop):
        state["state"]["counter"][2] = chunk  # as `keyed_generator` has it, in a quarter of the time
        generator.bit_generator.state = state
        rows.append(draw(CHUNK, generator))
    return np.concatenate(rows)[first - start * CHUNK :][:count]
