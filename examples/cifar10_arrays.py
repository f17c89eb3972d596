"""CIFAR-10 from memory: torchvision reads it, and no image is decoded after that.

python examples/cifar10_arrays.py ROOT --download
"""

import argparse
import time

import torch
import torchvision
from torch import nn

import dali_mixup as dm
from dali_mixup.pipelines import cifar10


def block(channels_in: int, channels: int) -> list[nn.Module]:
    """Convolution, norm, activation, half the size."""
    return [nn.Conv2d(channels_in, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(2)]


def main() -> None:
    """Train and test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root")
    parser.add_argument("--download", action="store_true")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=500)
    options = parser.parse_args()

    data = {split: torchvision.datasets.CIFAR10(options.root, train=split == "train", download=options.download)
            for split in ("train", "test")}  # fmt: skip
    images = {split: dm.ArrayDataset(each.data, each.targets, each.classes) for split, each in data.items()}
    train = dm.Loader(
        images["train"], cifar10.train(), batch_size=options.batch_size, shuffle=True, mixup=dm.MixUp(0.2)
    )
    test = dm.Loader(images["test"], cifar10.val(), batch_size=options.batch_size)

    model = nn.Sequential(*block(3, 32), *block(32, 64), *block(64, 128), nn.Flatten(), nn.Linear(2048, 10)).to(
        train.device
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=options.epochs * len(train))
    criterion = dm.MixUpLoss(nn.CrossEntropyLoss(label_smoothing=0.1))
    for epoch in range(options.epochs):
        model.train()
        start, waited = time.perf_counter(), train.stats().wait
        for batch, targets in train:
            optimizer.zero_grad()
            criterion(model(batch), targets).backward()
            optimizer.step()
            schedule.step()
        seconds = time.perf_counter() - start
        model.eval()
        with torch.no_grad():
            right = sum((model(batch).argmax(1) == labels).sum().item() for batch, labels in test)
        waiting = (train.stats().wait - waited) / seconds
        print(f"epoch {epoch}: accuracy {right / len(images['test']):.4f}, {seconds:.1f} s, waiting {waiting:.1%}")


if __name__ == "__main__":
    main()
