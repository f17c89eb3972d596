"""MixUpIterator, behind lists of batches and behind DALI's own iterators."""

import pytest
import torch

from dali_mixup import MixUp, MixUpIterator


def batches(count=4, batch_size=6):
    torch.manual_seed(0)
    return [(torch.rand(batch_size, 3, 2, 2), torch.randint(10, (batch_size,))) for _ in range(count)]


def equal(ones, others):
    return all(torch.equal(a, b) for one, other in zip(ones, others, strict=True) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("wrap", "options"),
    [
        (lambda x, y: (x, y), {}),
        (lambda x, y: [x, y], {}),
        (lambda x, y: {"data": x, "label": y}, {}),
        (lambda x, y: [{"data": x, "label": y}], {}),
        (lambda x, y: [{"data": x, "label": y[:, None].int()}], {}),  # what DALIClassificationIterator yields
        (lambda x, y: {"pixels": x, "classes": y, "path": "a.jpg"}, {"keys": ("pixels", "classes")}),
        (lambda x, y: [{"pixels": x, "classes": y}], {"keys": ("pixels", "classes")}),
        (lambda x, y: [{"pixels": x, "classes": y}], {}),
        (lambda x, y: [{"label": y, "box": y, "data": x}], {}),
    ],
)
def test_an_iterator_mixes_batches_of_every_known_form(wrap, options):
    source = batches()
    expected = list(MixUpIterator(source, MixUp(), seed=3))
    assert equal(MixUpIterator([wrap(*batch) for batch in source], MixUp(), seed=3, **options), expected)
    assert all(targets.shape == (6, 3) for _, targets in expected)


def test_an_iterator_mixes_images_and_targets_with_one_draw():
    images, labels = torch.eye(6), torch.arange(6)
    [(mixed, targets)] = MixUpIterator([(images, labels)], MixUp(1.0))
    for row, (label, partner_label, lam) in zip(mixed, targets.tolist(), strict=True):
        assert row[int(label)].item() == pytest.approx(lam, abs=1e-6)
        assert row[int(partner_label)].item() == pytest.approx(1 - lam, abs=1e-6)


def test_passes_and_steps_of_an_iterator_differ():
    images, labels = torch.eye(6), torch.arange(6)
    iterator = MixUpIterator([(images, labels)] * 3, MixUp())
    draws = [targets for _ in range(2) for _, targets in iterator]
    assert len({tuple(targets[:, 2].tolist()) for targets in draws}) == 6
    assert len({tuple(targets[:, 1].tolist()) for targets in draws}) > 1


def test_the_same_seed_gives_the_same_passes_and_another_seed_does_not():
    one, same, other = (MixUpIterator(batches(), MixUp(), seed=seed) for seed in (5, 5, 6))
    for _ in range(2):
        passes = list(one), list(same), list(other)
        assert equal(passes[0], passes[1])
        assert not equal(passes[0], passes[2])


def test_a_pass_does_not_depend_on_where_the_one_before_it_stopped():
    whole, broken = MixUpIterator(batches(), MixUp()), MixUpIterator(batches(), MixUp())
    list(whole)
    next(iter(broken))
    assert equal(list(whole), list(broken))


def test_an_iterator_is_as_long_as_its_source():
    assert len(MixUpIterator(batches(5), MixUp())) == 5


@pytest.mark.parametrize(
    ("batch", "options", "match"),
    [
        (torch.rand(2, 2), {}, r"a batch of source must be \(images, labels\), a dict, or a list of dicts, got a float32 tensor"),
        ({"data": 1}, {}, r"a batch of source must be a dict with \('data', 'label'\), got \['data'\]; pass keys=\(images, labels\)"),
        ([{"data": 1, "label": 2}], {"keys": ("x", "y")}, r"a dict with \('x', 'y'\), got \['data', 'label'\]"),
        ({"a": 1, "b": 2, "c": 3}, {}, r"a dict with \('data', 'label'\), got \['a', 'b', 'c'\]; pass keys=\(images, labels\) with two"),
        ([], {}, r"a batch of source must be .*, got \[\]"),
        ((1, 2, 3), {}, r"a batch of source must be .*, got \(1, 2, 3\)"),
    ],
)
def test_an_iterator_describes_a_batch_that_it_does_not_know(batch, options, match):
    with pytest.raises(TypeError, match=match):
        list(MixUpIterator([batch], MixUp(), **options))


@pytest.mark.parametrize(
    ("seed", "error", "match"),
    [
        (-1, ValueError, r"seed must be an int of at least 0, got -1"),
        (0.5, TypeError, r"seed must be an int of at least 0, got 0.5"),
        (2**64, ValueError, r"seed must be .*, got 18446744073709551616"),
    ],
)
def test_an_iterator_names_a_seed_that_it_cannot_use(seed, error, match):
    with pytest.raises(error, match=match):
        MixUpIterator([], MixUp(), seed=seed)
