"""ElasticTransform: torchvision's noise by its distribution, and its pixels for the same noise."""

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision import transforms as v1
from torchvision.transforms import InterpolationMode, functional
from torchvision.transforms.v2 import functional as functional_v2

import dali_mixup as dm
from dali_mixup.transforms.elastic import displace
from dali_mixup.transforms.operations import apply_batch
from tests.transforms.pictures import SIZE, differences, pictures, stacked

FILL = (9, 200, 7)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("module", [functional.elastic_transform, functional_v2.elastic], ids=["v1", "v2"])
def test_pixels_are_torchvisions_for_the_same_field(mode, module):
    images = pictures()
    ours = dm.ElasticTransform((300.0, 200.0), (2.0, 3.0), mode, FILL)
    operations = [ours.operations(np.array([k / 9]), SIZE) for k in range(len(images))]
    found = apply_batch(stacked(images), operations)
    theirs = []
    for image, (operation,) in zip(images, operations, strict=True):
        field = displace(torch.tensor([operation.numbers], dtype=torch.float64), SIZE, *operation.fixed[:2])
        theirs.append(module(image, field, interpolation=InterpolationMode(mode), fill=list(map(float, FILL))))
    assert differences(found, theirs).max() == 0
    assert differences(found, images).float().mean() > 5


@pytest.mark.parametrize("sigma", [(0.0, 0.0), (1.0, 2.5), (4.0, 4.0)])
def test_the_field_is_distributed_as_torchvisions(sigma):
    alpha, size = (30.0, 70.0), (40, 56)
    ours = displace(torch.arange(60, dtype=torch.float64).view(-1, 1) * 7919, size, alpha, sigma)
    torch.manual_seed(0)
    theirs = torch.cat([v1.ElasticTransform.get_params(list(alpha), list(sigma), list(size)) for _ in range(60)])
    assert ours.shape == theirs.shape
    for axis in (0, 1):
        mine, other = ours[..., axis], theirs[..., axis]
        assert mine.std().item() == pytest.approx(other.std().item(), rel=0.05)
        assert stats.ks_2samp(mine[:, 5, 5], other[:, 5, 5]).pvalue > 1e-3
        for shift in (1, 3):  # as smooth along the rows and along the columns
            for dim in (1, 2):
                close = [(each * each.roll(shift, dim)).mean() / each.square().mean() for each in (mine, other)]
                assert close[0].item() == pytest.approx(close[1].item(), abs=0.05)


def test_noise_is_smoothed_as_torchvision_does():
    seed = torch.tensor([[123.0]], dtype=torch.float64)
    noise = displace(seed, SIZE, SIZE[::-1], (0.0, 0.0))  # from -1 to 1
    smooth = displace(seed, SIZE, SIZE[::-1], (1.5, 3.0))
    assert noise.abs().max() <= 1
    for axis, kernel in ((0, 13), (1, 25)):
        expected = functional.gaussian_blur(noise[None, ..., axis], [kernel, kernel], [1.5, 3.0])
        torch.testing.assert_close(smooth[None, ..., axis], expected, rtol=0, atol=1e-6)


def test_fields_of_seeds_differ_and_their_axes_are_apart():
    fields = displace(torch.tensor([[1.0], [2.0]], dtype=torch.float64), (64, 64), (1.0, 1.0), (0.0, 0.0))
    planes = fields.permute(0, 3, 1, 2).flatten(0, 1).flatten(1)
    assert (torch.corrcoef(planes) - torch.eye(4)).abs().max() < 0.05


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: dm.ElasticTransform(-1.0), ValueError, "alpha must be a number of at least 0, or two, got -1.0"),
        (lambda: dm.ElasticTransform((1.0,)), TypeError, "alpha must be"),
        (lambda: dm.ElasticTransform(sigma=(1.0, 0.0)), ValueError, "sigma must be above 0 in both directions, or 0"),
        (lambda: dm.ElasticTransform(interpolation="bicubic"), ValueError, "interpolation must be"),
        (lambda: dm.ElasticTransform(fill=-1), ValueError, "fill must be a level"),
        (
            lambda: dm.ElasticTransform().operations(np.zeros(1), (20, 32)),
            ValueError,
            "sigma must be below 5 for images of 20 x 32 pixels, got 5.0",
        ),
    ],
)
def test_options_out_of_range_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
