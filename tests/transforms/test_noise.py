"""The noise is SplitMix64's bits as normal numbers."""

import numpy as np
import pytest
import torch
from scipy import stats

from bench.pretended_gpu import GPU, PretendedGpu
from dali_mixup.placement import send
from dali_mixup.transforms.noise import draw_normal, random_words

COUNT = 100_000


def column(*values):
    return torch.tensor(values)[:, None]


def splitmix64(seed, count):
    """As the paper says it, in Python's integers."""
    for k in range(1, count + 1):
        z = (seed + k * 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        yield z ^ z >> 31


def test_words_are_the_published_ones():
    found = random_words(column(1234567), torch.arange(5)[None])[0]
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert found.numpy().view(np.uint64).tolist() == [*published, 16408922859458223821]


def test_words_are_splitmixs_for_all_seeds_and_counters():
    seeds = [0, 1, 2**31 - 1, *np.random.default_rng(0).integers(2**53, size=20).tolist()]
    found = random_words(column(*seeds), torch.arange(300).expand(len(seeds), 300))
    assert found.numpy().view(np.uint64).tolist() == [list(splitmix64(seed, 300)) for seed in seeds]


@pytest.fixture(scope="module")
def normal():
    """(4, 3, COUNT) of neighbouring seeds."""
    return draw_normal(column(5, 6, 7, 8), torch.arange(COUNT).expand(4, COUNT)).double().numpy()


def test_numbers_are_normal(normal):
    assert normal.mean() == pytest.approx(0, abs=4 / normal.size**0.5)
    assert normal.std() == pytest.approx(1, abs=4 / (2 * normal.size) ** 0.5)
    assert stats.skew(normal.ravel()) == pytest.approx(0, abs=4 * (6 / normal.size) ** 0.5)
    assert stats.kurtosis(normal.ravel()) == pytest.approx(0, abs=4 * (24 / normal.size) ** 0.5)
    for numbers in normal.reshape(-1, COUNT):
        assert stats.kstest(numbers, "norm").pvalue > 1e-4


def test_numbers_of_seeds_channels_and_neighbours_are_independent(normal):
    limit = 5 / COUNT**0.5
    for rows in (normal.reshape(-1, COUNT), normal.reshape(-1, COUNT) ** 2):
        together = np.corrcoef(np.concatenate([rows[:, :-1], rows[:, 1:]]))
        assert np.abs(together - np.eye(len(together))).max() < limit
        apart = [np.corrcoef(rows[0, :-lag], rows[0, lag:])[0, 1] for lag in (2, 3, 4, 8, 64, 224)]
        assert np.abs(apart).max() < limit


def test_values_are_the_quantiles_of_65536_equal_parts(normal):
    values = np.unique(normal)
    assert len(values) == 2**16  # all of them come
    np.testing.assert_allclose(values, stats.norm.ppf((np.arange(2**16) + 0.5) / 2**16), rtol=1e-6)


def test_a_counter_gives_the_same_numbers_wherever_it_stands(normal):
    some = torch.tensor([[7, 7, 99_999, 0]])
    assert np.array_equal(draw_normal(column(6), some).numpy(), normal[1:2][..., some[0]].astype(np.float32))


def test_a_gpu_draws_the_same_numbers_and_waits_for_nothing(normal):
    with PretendedGpu() as gpu:
        seeds, counters = send(column(5, 6, 7, 8), GPU), torch.arange(COUNT, device=GPU).expand(4, COUNT)
        draw_normal(seeds, counters)
        copies = gpu.copies
        found = draw_normal(seeds, counters)
        assert gpu.copies == copies  # the table stays there
    assert np.array_equal(found.numpy(), normal.astype(np.float32))


@pytest.mark.gpu
def test_a_real_gpu_draws_the_same_numbers(normal):
    found = draw_normal(column(5, 6, 7, 8).cuda(), torch.arange(COUNT, device="cuda").expand(4, COUNT))
    assert np.array_equal(found.cpu().numpy(), normal.astype(np.float32))
