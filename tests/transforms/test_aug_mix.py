"""AugMix: torchvision's draws, and its mixture of them."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision import transforms as v1
from torchvision.transforms import autoaugment

import dali_mixup as dm
from dali_mixup.transforms.auto_augment import make_operation
from dali_mixup.transforms.operations import apply_one
from tests.transforms.pictures import pictures, stacked

SIZE = (48, 64)
COUNT = 1500
CASES = [{}, {"severity": 10, "mixture_width": 2, "chain_depth": 4}, {"all_ops": False, "alpha": 0.4}]


def planned(ours, count=COUNT):
    uniform = np.random.default_rng(0).random((count, ours.uniforms))
    return [own for (own,) in ours.batch_operations(uniform, SIZE)]


@pytest.fixture
def drawn(monkeypatch):
    """A function that runs torchvision's and gives, for each image, its weights and the names and strengths."""

    def run(options, count=COUNT):
        other, found = v1.AugMix(**options), []
        sample = other._sample_dirichlet

        def record_weights(params):
            weights = sample(params)
            found[-1][0].append(weights[0].tolist())
            return weights

        def record(image, name, strength, interpolation, fill):
            found[-1][1].append((name, strength))
            return image

        monkeypatch.setattr(other, "_sample_dirichlet", record_weights)
        monkeypatch.setattr(autoaugment, "_apply_op", record)
        torch.manual_seed(0)
        for _ in range(count):
            found.append(([], []))
            other(torch.zeros(3, *SIZE, dtype=torch.uint8))
        return found

    return run


def same_frequencies(ours, theirs):
    kinds = sorted({*ours, *theirs}, key=repr)
    return stats.chi2_contingency([[each[kind] for kind in kinds] for each in (ours, theirs)]).pvalue > 1e-3


@pytest.mark.parametrize("options", CASES)
def test_operations_come_as_often_as_torchvisions(drawn, options):
    ours = planned(dm.AugMix(**options))
    theirs = drawn(options)
    made = [
        make_operation(name, strength, SIZE, interpolation="bilinear")
        for _, steps in theirs
        for name, strength in steps
    ]
    expected = Counter((each.function, each.numbers, each.fixed) for each in made if each)
    found = Counter((*each,)[:3] for own in ours for chain in own.chains for each in chain)
    # a strength of 0 has one way alone, and rare ones are too few to be compared
    assert {kind for kind, count in expected.items() if count > 9} <= set(found)
    assert set(found) <= set(expected) or max(found[kind] for kind in set(found) - set(expected)) < 10
    assert same_frequencies(found, expected)


@pytest.mark.parametrize("options", CASES)
def test_chains_are_as_long_as_torchvisions(drawn, options):
    ours = planned(dm.AugMix(**options))
    width = dm.AugMix(**options).mixture_width
    assert {len(own.chains) for own in ours} == {width}
    total = Counter(sum(map(len, own.chains)) for own in ours)
    assert same_frequencies(total, Counter(len(steps) for _, steps in drawn(options)))


@pytest.mark.parametrize("options", CASES)
def test_weights_are_distributed_as_torchvisions(drawn, options):
    ours = np.array([own.numbers for own in planned(dm.AugMix(**options))])
    assert np.allclose(ours.sum(1), 1, atol=1e-6)
    theirs = np.array([[first[0], *np.multiply(second, first[1])] for (first, second), _ in drawn(options)])
    for mine, other in zip(ours.T, theirs.T, strict=True):
        assert stats.ks_2samp(mine, other).pvalue > 1e-3
    assert stats.ks_2samp(ours[:, 0], theirs[:, 1]).pvalue < 1e-3


def test_the_mixture_is_torchvisions(monkeypatch):
    ours, other = dm.AugMix(), v1.AugMix()
    for image, own in zip(pictures(), planned(ours, 9), strict=True):
        start = stacked([image])
        chains = iter([apply_one(start, chain) for chain in own.chains])
        weights = torch.tensor(own.numbers)
        shares = iter([torch.stack([weights[0], torch.tensor(1.0)])[None], weights[None, 1:]])
        monkeypatch.setattr(other, "_sample_dirichlet", lambda _, shares=shares: next(shares))
        monkeypatch.setattr(other, "chain_depth", 1)
        monkeypatch.setattr(autoaugment, "_apply_op", lambda *_, chains=chains, **__: next(chains))
        expected = other(torch.from_numpy(np.array(image)).permute(2, 0, 1))
        assert torch.equal(apply_one(start, [own])[0], expected)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: dm.AugMix(11), ValueError, "severity must be from 1 to 10, got 11"),
        (lambda: dm.AugMix(mixture_width=0), ValueError, "mixture_width must be an int of at least 1, got 0"),
        (lambda: dm.AugMix(chain_depth=0), ValueError, "chain_depth must be an int of at least 1, got 0"),
        (lambda: dm.AugMix(alpha=0.0), ValueError, "alpha must be a number above 0, got 0.0"),
        (lambda: dm.AugMix(all_ops=1), TypeError, "all_ops must be"),
        (lambda: dm.AugMix(interpolation="lanczos"), ValueError, "interpolation must be"),
        (lambda: dm.AugMix(fill=-1), ValueError, "fill must be a level"),
    ],
)
def test_options_out_of_range_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
