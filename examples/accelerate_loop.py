"""Accelerate, with gradients accumulated: `prepare` takes a Loader as it is.

accelerate launch examples/accelerate_loop.py data/train
"""

import argparse

import torch
from accelerate import Accelerator
from torch import nn

import dali_mixup as dm
from dali_mixup.pipelines import imagenet


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32, help="per rank")
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()

    accelerator = Accelerator(gradient_accumulation_steps=2)
    folder = dm.ImageFolder(options.train)
    train = dm.Loader(
        folder,
        imagenet.train(options.size),
        batch_size=options.batch_size,
        shuffle=True,
        drop_last=True,
        mixup=dm.MixUp(0.4),
    )
    body = [nn.Conv2d(3, 64, 8, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model = nn.Sequential(*body, nn.Linear(64, len(folder.classes or [])))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model, optimizer, train = accelerator.prepare(model, optimizer, train)
    criterion = dm.MixUpLoss(nn.CrossEntropyLoss())
    for epoch in range(options.epochs):
        accuracy = dm.MixUpAccuracy()
        for images, targets in train:
            with accelerator.accumulate(model):
                logits = model(images)
                accelerator.backward(criterion(logits, targets))
                optimizer.step()
                optimizer.zero_grad()
            accuracy.update(logits, targets)
        accelerator.print(f"epoch {epoch}: {accuracy.compute().dominant:.3f} of the dominant labels")


if __name__ == "__main__":
    main()
