"""timm's recipe: its own loader, with auto-augment, erasing and mixup, swapped by one line.

python examples/timm_recipe.py data/train data/val --model resnet18
"""

import argparse
import warnings

import timm
import torch
from timm.data import FastCollateMixup, ImageDataset, create_loader
from timm.optim import create_optimizer_v2
from torch import nn

import dali_mixup as dm


def main() -> None:
    """Train and validate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("val")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = ImageDataset(options.train)
    classes = len(images.reader.class_to_idx)
    common = {"input_size": options.size, "batch_size": options.batch_size, "num_workers": 0, "device": device}
    mixup = FastCollateMixup(
        mixup_alpha=0.8, cutmix_alpha=1.0, switch_prob=0.5, label_smoothing=0.1, num_classes=classes
    )
    augment = {"auto_augment": "rand-m9-mstd0.5-inc1", "re_prob": 0.25, "re_mode": "pixel", "interpolation": "bicubic"}
    theirs = create_loader(images, is_training=True, collate_fn=mixup, **augment, **common)
    train = dm.from_dataloader(theirs, targets="stacked")  # the line
    val = dm.from_dataloader(create_loader(ImageDataset(options.val), is_training=False, **common))
    print(train.pipeline)

    model = timm.create_model(options.model, num_classes=classes).to(device)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3)
    criterion = dm.MixUpLoss(nn.CrossEntropyLoss(label_smoothing=0.1))  # what timm puts into the targets
    for epoch in range(options.epochs):
        model.train()
        for batch, targets in train:
            optimizer.zero_grad()
            criterion(model(batch), targets).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = sum((model(batch).argmax(1) == labels).sum().item() for batch, labels in val)
        print(f"epoch {epoch}: accuracy {right / len(val.dataset):.3f}")


if __name__ == "__main__":
    warnings.filterwarnings("ignore", "unclosed file", ResourceWarning)  # timm's readers leave files open
    main()
