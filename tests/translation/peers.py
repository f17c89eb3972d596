"""DataLoaders of torch and torchvision, and the Loaders that take their place."""

from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import default_collate

import dali_mixup as dm
from bench.torchvision_fix import import_torchvision

datasets = import_torchvision("torchvision.datasets")
v1 = import_torchvision("torchvision.transforms")
v2 = import_torchvision("torchvision.transforms.v2")

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VAL = v1.Compose([v1.Resize(18), v1.CenterCrop(16), v1.ToTensor(), v1.Normalize(MEAN, STD)])
TRAIN = v1.Compose([v1.RandomResizedCrop(16), v1.RandomHorizontalFlip(), v1.ToTensor(), v1.Normalize(MEAN, STD)])
COMMON = v2.MixUp(alpha=0.7, num_classes=3)


def image_folder(folder, transform=VAL, **options):
    return datasets.ImageFolder(folder, transform, **options)


def numbered(folder, transform=VAL):
    """An ImageFolder whose labels are the samples' numbers."""
    made = image_folder(folder, transform)
    made.samples = [(path, number) for number, (path, _) in enumerate(made.samples)]
    made.classes = None
    return made


def swap(loader, **options):
    return dm.from_dataloader(loader, **{"device": "cpu", "num_threads": 1, **options})


def labels(batches):
    return [targets.tolist() for _, targets in batches]


def open_rgb(path):
    with Image.open(path) as image:
        return image.convert("RGB")


class Plain(torch.utils.data.Dataset):
    """A user's own dataset of files."""

    def __init__(self, folder, transform):
        self.samples = [(path, number % 3) for number, path in enumerate(sorted(Path(folder).rglob("*.jpg")))]
        self.transform = transform

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, number):
        path, label = self.samples[number]
        return self.transform(open_rgb(path)), label


def by_global(batch):
    return COMMON(*default_collate(batch))
