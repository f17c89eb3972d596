"""Random rotations, affine maps and perspectives: torchvision's draws, and its pixels for the same draws."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision import transforms as v1
from torchvision.transforms import InterpolationMode, functional

import dali_mixup as dm
from dali_mixup.transforms import affine, perspective
from dali_mixup.transforms.operations import apply_batch
from tests.transforms.pictures import SIZE, differences, pictures, stacked

MODES = ["nearest", "bilinear", "bicubic"]
FILL = (9, 8, 7)
HEIGHT, WIDTH = SIZE
BY_TORCH = {affine.warp: affine.warp_by_torch, perspective.warp: perspective.warp_by_torch}


def rows_of(transform, count, seed=0):
    return np.random.default_rng(seed).random((count, transform.uniforms))


def largest_difference(transform, uniform, theirs):
    """Of Pillow's own work on the CPU, and of torch's."""
    images, (operation,) = pictures(), transform.operations(uniform, SIZE)
    expected = [theirs(image) for image in images]
    found = apply_batch(stacked(images), [[operation]] * len(images))
    by_torch = operation._replace(function=BY_TORCH.get(operation.function, operation.function))
    again = apply_batch(stacked(images), [[by_torch]] * len(images))
    return max(int(differences(each, expected).max()) for each in (found, again))


@pytest.mark.parametrize("center", [None, (3.5, 20.0)])
@pytest.mark.parametrize("mode", MODES)
def test_rotations_are_torchvisions_to_the_bit(mode, center):
    for degrees in (0.0, 90.0, 180.0, 270.0, -90.0, 360.0, 1e-9, *np.random.default_rng(1).uniform(-400, 400, 25)):
        turned = dm.RandomRotation((degrees, degrees), mode, center, FILL)

        def theirs(image, degrees=float(degrees)):
            return functional.rotate(image, degrees, InterpolationMode(mode), center=center, fill=FILL)

        assert largest_difference(turned, np.zeros(1), theirs) == 0, degrees


@pytest.mark.parametrize("center", [None, (3.5, 20.0)])
@pytest.mark.parametrize("mode", MODES)
def test_affine_maps_are_torchvisions_to_the_bit(mode, center):
    cases = list(itertools.product((0.0, 90.0, 33.3), ((0, 0), (5, -7)), (1.0, 0.5, 1.7), ((0.0, 0.0), (20.0, -9.0))))
    for degrees, shift, scale, shear in [*cases, (0.0, (0, 0), 0.123456, (0.0, 0.0)), (180.0, (1, 2), 3, (0.0, 0.0))]:
        moved = dm.RandomAffine(
            (degrees, degrees),
            (abs(shift[0]) / WIDTH, abs(shift[1]) / HEIGHT),
            (scale, scale),
            tuple(angle for angle in shear for _ in range(2)),
            mode,
            FILL,
            center,
        )
        uniform = np.array([0, *(0.5 + 0.5 * np.sign(shift)), 0, 0, 0])

        def theirs(image, degrees=degrees, shift=shift, scale=scale, shear=shear):
            how = {"interpolation": InterpolationMode(mode), "fill": FILL, "center": center}
            return functional.affine(image, degrees, list(shift), scale, list(shear), **how)

        assert largest_difference(moved, uniform, theirs) == 0, (degrees, shift, scale, shear)


@pytest.mark.parametrize("mode", MODES)
def test_perspectives_are_torchvisions_to_the_bit(mode):
    ours = dm.RandomPerspective(0.8, 1.0, mode, FILL)
    start = [[0, 0], [WIDTH - 1, 0], [WIDTH - 1, HEIGHT - 1], [0, HEIGHT - 1]]
    reach = np.array([int(0.8 * (WIDTH // 2)) + 1, int(0.8 * (HEIGHT // 2)) + 1])
    for uniform in rows_of(ours, 30):
        inward = (uniform[1:].reshape(4, 2) * reach).astype(int)
        far = np.array([WIDTH, HEIGHT]) - reach + inward
        end = [[(far if start[k][axis] else inward)[k, axis].item() for axis in (0, 1)] for k in range(4)]

        def theirs(image, end=end):
            return functional.perspective(image, start, end, InterpolationMode(mode), FILL)

        assert largest_difference(ours, uniform, theirs) == 0


def test_perspectives_planned_together_are_those_planned_alone():
    ours = dm.RandomPerspective(0.4, 0.6)
    uniform = rows_of(ours, 200)
    together = ours.batch_operations(uniform, SIZE)
    assert together == [ours.operations(row, SIZE) for row in uniform]
    assert 90 < sum(map(len, together)) < 150


def drawn(transform, monkeypatch, name, count=3000):
    """The numbers that `transform` plans for random rows, as handed to `affine` or `perspective`."""
    found = []
    module, function = name
    monkeypatch.setattr(module, function, lambda *numbers: found.append(numbers) or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    for uniform in rows_of(transform, count):
        transform.operations(uniform, SIZE)
    return found


def same_distribution(ours, theirs):
    """Whether two samples may be of one distribution: by chi-square for few values, otherwise by Kolmogorov-Smirnov."""
    values = np.unique([*ours, *theirs])
    if len(values) == 1:
        return True
    if len(values) > 60:
        return stats.ks_2samp(ours, theirs).pvalue > 1e-3
    counts = [[np.count_nonzero(np.asarray(sample) == value) for value in values] for sample in (ours, theirs)]
    return stats.chi2_contingency(np.array(counts)).pvalue > 1e-3


def test_angles_are_drawn_as_torchvisions(monkeypatch):
    ours = [found[0] for found in drawn(dm.RandomRotation((-20.0, 70.0)), monkeypatch, (affine, "rotate"))]
    torch.manual_seed(0)
    theirs = [v1.RandomRotation.get_params([-20.0, 70.0]) for _ in range(3000)]
    assert same_distribution(ours, theirs)
    assert not same_distribution(ours, np.add(theirs, 5))


@pytest.mark.parametrize(
    "options", [{}, {"translate": (0.1, 0.3), "scale": (0.5, 2.0), "shear": (-5.0, 9.0, 1.0, 3.0)}]
)
def test_affine_maps_are_drawn_as_torchvisions(monkeypatch, options):
    ours = [
        (degrees, *shift, scale, *shear)
        for degrees, shift, scale, shear, _ in drawn(dm.RandomAffine(30, **options), monkeypatch, (affine, "move"))
    ]
    other = v1.RandomAffine(30, **options)
    torch.manual_seed(0)
    draws = [
        other.get_params(other.degrees, other.translate, other.scale, other.shear, [WIDTH, HEIGHT]) for _ in range(3000)
    ]
    theirs = [(degrees, *shift, scale, *shear) for degrees, shift, scale, shear in draws]
    for mine, other in zip(np.transpose(ours), np.transpose(theirs), strict=True):
        assert same_distribution(mine, other)


@pytest.mark.parametrize("distortion", [0.1, 0.5, 1.0])
def test_corners_are_drawn_as_torchvisions(monkeypatch, distortion):
    corners = []
    monkeypatch.setattr(
        perspective, "solve", lambda found, _: corners.extend(found.tolist()) or [[0.0] * 8] * len(found)
    )
    ours = dm.RandomPerspective(distortion, 1.0)
    ours.batch_operations(rows_of(ours, 3000), SIZE)
    torch.manual_seed(0)
    theirs = [v1.RandomPerspective.get_params(WIDTH, HEIGHT, distortion)[1] for _ in range(3000)]
    for mine, other in zip(np.reshape(corners, (-1, 8)).T, np.reshape(theirs, (-1, 8)).T, strict=True):
        assert same_distribution(mine, other)
        assert (min(mine), max(mine)) == (min(other), max(other))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: dm.RandomRotation(-3), ValueError, r"degrees must be a number of at least 0, or .*, got -3"),
        (lambda: dm.RandomRotation((5, 3)), ValueError, r"degrees must be .*, got \(5, 3\)"),
        (lambda: dm.RandomRotation("x"), TypeError, "degrees must be .*, got 'x'"),
        (lambda: dm.RandomRotation(3, "lanczos"), ValueError, 'interpolation must be "nearest", "bilinear" or "bic'),
        (lambda: dm.RandomRotation(3, center=(1,)), TypeError, "center must be a column and a row, or None"),
        (lambda: dm.RandomRotation(math.inf), ValueError, "degrees must be .*, got inf"),
        (lambda: dm.RandomAffine(3, (0.1, 1.2)), ValueError, "translate must be two fractions from 0 to 1"),
        (lambda: dm.RandomAffine(3, scale=(0.0, 1.0)), ValueError, "scale must be a pair"),
        (lambda: dm.RandomAffine(3, shear=(1, 2, 3)), TypeError, "shear must be .* or two of those, got"),
        (lambda: dm.RandomAffine(3, fill=300), ValueError, "fill must be a level"),
        (lambda: dm.RandomPerspective(1.5), ValueError, "distortion_scale must be a probability"),
        (lambda: dm.RandomPerspective(p=-1), ValueError, "p must be a probability"),
    ],
)
def test_options_out_of_range_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
