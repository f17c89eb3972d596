"""Gamma-distributed numbers from uniform ones, so many for each that hardly any runs out of them.

Source: Marsaglia and Tsang, A simple method for generating gamma variables, 2000.
"""

import math

import numpy as np

TRIES = 6  # each of which fails in less than one case of twenty
SMALLEST = np.finfo(np.float64).tiny


def count_uniforms(shape: float) -> int:
    """Uniform numbers for each."""
    return 1 if shape == 1 else 3 * TRIES + 1


def draw_gamma(shape: float, uniform: np.ndarray) -> np.ndarray:
    """Numbers (...) above 0 from `uniform` (..., `count_uniforms(shape)`) in [0, 1).

    Divided by their sum they have a Dirichlet distribution; the share of one of two has a beta distribution.
    """
    if shape == 1:
        return np.maximum(-np.log1p(-uniform[..., 0]), SMALLEST)
    boosted = shape if shape >= 1 else shape + 1
    scale = boosted - 1 / 3
    first, second, third = np.moveaxis(uniform[..., 1:].reshape(*uniform.shape[:-1], TRIES, 3), -1, 0)
    normal = np.sqrt(-2 * np.log1p(-first)) * np.cos(2 * np.pi * second)
    cube = np.maximum(1 + normal / math.sqrt(9 * scale), 0) ** 3
    fits = np.log1p(-third) < normal**2 / 2 + scale * (1 - cube + np.log(np.maximum(cube, SMALLEST)))
    chosen = (fits & (cube > 0)).argmax(-1)[..., None]
    found = scale * np.maximum(np.take_along_axis(cube, chosen, -1)[..., 0], SMALLEST)
    return found if shape >= 1 else np.maximum(found * (1 - uniform[..., 0]) ** (1 / shape), SMALLEST)
