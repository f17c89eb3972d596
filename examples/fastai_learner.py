"""fastai v2: its Learner takes Loaders as its data, and a loss that reads both kinds of targets.

python examples/fastai_learner.py data/train data/val --epochs 5
"""

import argparse

from fastai.callback import schedule  # noqa: F401  it gives Learners fit_one_cycle
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.metrics import accuracy
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
    """Fit one cycle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("val")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()

    folder = dm.ImageFolder(options.train)
    batches = {"batch_size": options.batch_size}
    # fastai's own shuffle may give an image itself as its partner; the default here, a cycle, never does.
    mixup = dm.MixUp(alpha=0.4, partner="permutation")
    train = dm.Loader(folder, imagenet.train(options.size), shuffle=True, drop_last=True, mixup=mixup, **batches)
    val = dm.Loader(dm.ImageFolder(options.val), imagenet.val(options.size), **batches)

    # Its MixUp callback isn't needed: batches come mixed, and validation's come with plain labels.
    learner = Learner(
        DataLoaders(train, val),
        build_model(len(folder.classes or [])).to(train.device),
        loss_func=dm.MixUpLoss(nn.CrossEntropyLoss(label_smoothing=0.1)),
        metrics=accuracy,  # of the validation
    )
    learner.fit_one_cycle(options.epochs, 1e-2)
    for epoch, (loss, _, right) in enumerate(learner.recorder.values):
        print(f"epoch {epoch}: loss {loss:.3f}, accuracy {right:.3f}")


if __name__ == "__main__":
    main()
