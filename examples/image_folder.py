"""A classifier of your own images: folders of one folder per class, with mixup.

python examples/image_folder.py data/train data/val --epochs 10
"""

import argparse

import torch
from torch import nn

import dali_mixup as dm
from dali_mixup.pipelines import imagenet


def build_model(classes: int) -> nn.Module:
    """A small network; put yours here."""
    layers = []
    for channels_in, channels in ((3, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(channels_in, channels, 3, stride=2, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, classes))


def main() -> None:
    """Train and validate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("val")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()

    folder = dm.ImageFolder(options.train)
    # The last tenth of the epochs sees images as they are, as many recipes do.
    mixup = {0: dm.MixUp(alpha=0.4), max(1, options.epochs * 9 // 10): None}
    batches = {"batch_size": options.batch_size}
    train = dm.Loader(folder, imagenet.train(options.size), shuffle=True, drop_last=True, mixup=mixup, **batches)
    val = dm.Loader(dm.ImageFolder(options.val), imagenet.val(options.size), **batches)

    model = build_model(len(folder.classes or [])).to(train.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    criterion = dm.MixUpLoss(nn.CrossEntropyLoss(label_smoothing=0.1))
    for epoch in range(options.epochs):
        model.train()
        total = 0.0
        for images, targets in train:  # (B, 3) rows [label, partner label, lam], and (B,) labels without mixup
            optimizer.zero_grad()
            loss = criterion(model(images), targets)
            loss.backward()
            optimizer.step()
            total += loss.item()
        model.eval()
        right = 0
        with torch.no_grad():
            for images, labels in val:
                right += (model(images).argmax(1) == labels).sum().item()
        print(f"epoch {epoch}: loss {total / len(train):.3f}, accuracy {right / len(val.dataset):.3f}")


if __name__ == "__main__":
    main()
