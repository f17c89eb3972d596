"""torchvision's recipes for images of one channel, and its data sets of such images."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets
from torchvision.transforms import v2

import dali_mixup as dm

FLOAT = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
MNIST = [*FLOAT, v2.Normalize((0.1307,), (0.3081,))]


def batches(loader):
    return torch.cat([images.clone() for images, _ in loader])


@pytest.mark.parametrize(
    "steps",
    [
        [v2.CenterCrop(40), v2.Grayscale(1), *MNIST],
        [v2.Grayscale(1), v2.CenterCrop(40), *MNIST],
        [v2.Grayscale(1), v2.CenterCrop(150), *FLOAT],
        [v2.CenterCrop(40), v2.Grayscale(), v2.RandomInvert(1.0), v2.RandomSolarize(90, 1.0), *MNIST],
        [v2.Grayscale(), v2.CenterCrop(40), v2.RandomAutocontrast(1.0), v2.RandomEqualize(1.0), *MNIST],
        [v2.CenterCrop(40), v2.RandomPosterize(3, 1.0), v2.Grayscale(1), *MNIST],
    ],
)
def test_pixels_are_torchvisions(dataset, steps):
    theirs = torch.stack([v2.Compose(steps)(image) for image, _ in (dataset[i] for i in range(len(dataset)))])
    pipeline = dm.from_torchvision(v2.Compose(steps), strict=True)
    ours = batches(dm.Loader(dataset, pipeline, batch_size=5, device="cpu"))
    assert ours.shape[1] == 1
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_what_needs_no_step_of_its_own_has_none():
    pipeline = dm.from_torchvision(v2.Compose([v2.CenterCrop(8), v2.Grayscale(1), *MNIST]))
    assert pipeline.transforms == ()
    assert (pipeline.channels, pipeline.mean, pipeline.std) == (1, (0.1307,), (0.3081,))
    assert "-> channels=1 (exact)" in str(pipeline)


def test_gray_before_a_resize_is_approximate_and_says_so(dataset):
    steps = [v2.Grayscale(1), v2.Resize((40, 40)), *FLOAT]
    pipeline = dm.from_torchvision(v2.Compose(steps))
    assert "images become gray after resizing here" in str(pipeline)
    ours = batches(dm.Loader(dataset, pipeline, batch_size=5, device="cpu"))
    theirs = torch.stack([v2.Compose([v2.PILToTensor(), *steps[:1], *steps[1:]])(dataset[i][0]) for i in range(23)])
    assert (255 * (ours - theirs)).abs().max() <= 3
    with pytest.raises(ValueError, match="approximate"):
        dm.from_torchvision(v2.Compose(steps), strict=True)


def test_grayscale_of_three_channels_behind_it_gives_three():
    pipeline = dm.from_torchvision(v2.Compose([v2.CenterCrop(8), v2.Grayscale(1), v2.Grayscale(3), *FLOAT]))
    assert pipeline.channels == 3


class Mnist(datasets.VisionDataset):
    """As torchvision's: a tensor of images, of which each item is one of Pillow's."""

    def __init__(self, transform):
        super().__init__(None, transform=transform)
        rng = np.random.default_rng(0)
        self.data, self.targets = torch.from_numpy(rng.integers(0, 256, (20, 28, 28), np.uint8)), torch.arange(20) % 7

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.data[index].numpy(), "L")), int(self.targets[index])


@pytest.mark.filterwarnings("ignore:'mode' parameter")
@pytest.mark.parametrize("steps", [MNIST, [v2.Resize(20), *MNIST], [v2.Grayscale(1), v2.Resize(40), *MNIST]])
def test_a_data_set_of_gray_images_comes_as_its_dataloader_gives_it(steps):
    theirs = DataLoader(Mnist(v2.Compose(steps)), batch_size=6)
    ours = dm.from_dataloader(theirs, device="cpu", strict=True)
    assert ours.pipeline.channels == 1
    expected = batches(theirs)
    found = batches(ours)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=0, atol=1.01 / 255 / 0.3081 if len(steps) > 3 else 1e-6)


def test_its_images_in_three_channels_stay_three():
    theirs = DataLoader(Mnist(v2.Compose([v2.Grayscale(3), *FLOAT])), batch_size=6)
    torch.testing.assert_close(batches(dm.from_dataloader(theirs, device="cpu")), batches(theirs), rtol=0, atol=1e-6)
