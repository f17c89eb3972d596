"""Lightning: Loaders in the place of DataLoaders, built in the script or, as here, in a hook.

python examples/lightning_module.py data/train data/val
"""

import argparse

import lightning.pytorch as lightning
import torch
from torch import nn

import dali_mixup as dm
from dali_mixup.pipelines import imagenet


class Images(lightning.LightningDataModule):
    """Folders of images; ranks share each epoch."""

    def __init__(self, train: str, val: str, size: int, batch_size: int):
        super().__init__()
        self.folders = {"train": dm.ImageFolder(train), "val": dm.ImageFolder(val)}
        self.size, self.batches = size, {"batch_size": batch_size}

    def train_dataloader(self) -> dm.Loader:
        """Mixed batches."""
        pipeline = imagenet.train(self.size)
        mixup = dm.RandomChoice([dm.MixUp(alpha=0.4), dm.CutMix()])
        return dm.Loader(self.folders["train"], pipeline, shuffle=True, drop_last=True, mixup=mixup, **self.batches)

    def val_dataloader(self) -> dm.Loader:
        """Plain ones."""
        return dm.Loader(self.folders["val"], imagenet.val(self.size), **self.batches)


class Classifier(lightning.LightningModule):
    """A small network, and a loss for both kinds of targets."""

    def __init__(self, classes: int):
        super().__init__()
        body = [nn.Conv2d(3, 64, 8, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.network = nn.Sequential(*body, nn.Linear(64, classes))
        self.criterion = dm.MixUpLoss(nn.CrossEntropyLoss())

    def training_step(self, batch: tuple, _: int) -> torch.Tensor:
        """Mixed."""
        images, targets = batch
        return self.criterion(self.network(images), targets)

    def validation_step(self, batch: tuple, _: int) -> None:
        """Accuracy."""
        images, labels = batch
        right = (self.network(images).argmax(1) == labels).float().mean()
        self.log("accuracy", right, batch_size=len(images), prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def main() -> None:
    """Fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("val")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--devices", default="auto")
    options = parser.parse_args()
    images = Images(options.train, options.val, options.size, options.batch_size)
    trainer = lightning.Trainer(
        max_epochs=options.epochs, devices=options.devices, logger=False, enable_checkpointing=False
    )
    trainer.fit(Classifier(len(images.folders["train"].classes or [])), images)
    print(f"accuracy {trainer.callback_metrics['accuracy']:.3f}")


if __name__ == "__main__":
    main()
