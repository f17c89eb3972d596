"""Normal noise from counters: equal to the bit on a CPU and a GPU, since it is made of integers and a table."""

from functools import cache
from statistics import NormalDist

import torch

from dali_mixup.placement import send

# as signed numbers; torch multiplies them modulo 2**64
STEP, FIRST, SECOND = (value - 2**64 for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
KINDS = 2**16  # different values, each as likely as any other


def draw_normal(seeds: torch.Tensor, counters: torch.Tensor) -> torch.Tensor:
    """Three independent standard normal numbers for each counter.

    Args:
        seeds: (n, 1) int64; each has numbers of its own.
        counters: (n, m) int64 from 0.

    Returns:
        (n, 3, m) float32.
    """
    quarters = random_words(seeds, counters).view(torch.int16).view(*counters.shape, 4)[..., :3]
    places = quarters.transpose(1, 2).to(torch.int32, memory_format=torch.contiguous_format).add_(KINDS // 2)
    return _quantiles(counters.device).index_select(0, places.flatten()).view(places.shape)


def random_words(seeds: torch.Tensor, counters: torch.Tensor) -> torch.Tensor:
    """64 random bits for each counter, int64: the numbers 0, 1, ... that SplitMix64 draws from a seed.

    Source: Steele, Lea and Flood, Fast splittable pseudorandom number generators, 2014.
    """
    words = (counters + 1).mul_(STEP).add_(seeds)
    words = words.bitwise_xor_(_shift(words, 30)).mul_(FIRST)
    words = words.bitwise_xor_(_shift(words, 27)).mul_(SECOND)
    return words.bitwise_xor_(_shift(words, 31))


def _shift(words: torch.Tensor, bits: int) -> torch.Tensor:
    """To the right, as unsigned numbers."""
    return (words >> bits).bitwise_and_(2 ** (64 - bits) - 1)


@cache
def _quantiles(device: torch.device) -> torch.Tensor:
    """The middles of `KINDS` equally likely parts of the normal distribution, (KINDS,) float32."""
    half = [NormalDist().inv_cdf((k + 0.5) / KINDS) for k in range(KINDS // 2)]
    return send(torch.tensor(half + [-value for value in reversed(half)], dtype=torch.float32), device)
