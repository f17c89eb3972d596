"""A training that may be killed at any time and goes on in mid-epoch, with broken files replaced meanwhile.

python examples/resume.py data/train --checkpoint run.pt        # kill it, start it again
"""

import argparse
import os
from pathlib import Path

import torch
from torch import nn

import dali_mixup as dm
from dali_mixup.pipelines import imagenet


def save(file: Path, content: dict) -> None:
    """In one step: a file that was half written would be no checkpoint."""
    torch.save(content, file.with_suffix(".new"))
    os.replace(file.with_suffix(".new"), file)


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("--checkpoint", type=Path, default=Path("run.pt"))
    parser.add_argument("--every", type=int, default=10, help="steps between checkpoints")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--stop-after", type=int, help="steps, as if it were killed")
    options = parser.parse_args()

    torch.manual_seed(0)
    folder = dm.ImageFolder(options.train)
    faults = {"on_bad_sample": "replace", "max_bad_fraction": 0.01}
    train = dm.Loader(
        folder, imagenet.train(options.size), batch_size=options.batch_size, shuffle=True, mixup=dm.MixUp(0.4), **faults
    )
    body = [nn.Conv2d(3, 64, 8, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model = nn.Sequential(*body, nn.Linear(64, len(folder.classes or []))).to(train.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    criterion = dm.MixUpLoss(nn.CrossEntropyLoss())
    parts = {"model": model, "optimizer": optimizer, "loader": train}
    step = 0
    if options.checkpoint.exists():
        saved = torch.load(options.checkpoint, weights_only=True)
        step = saved["step"]
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        print(f"going on at step {step}, epoch {train.next_epoch}")
    while train.next_epoch < options.epochs:
        for images, targets in train:
            optimizer.zero_grad()
            loss = criterion(model(images), targets)
            loss.backward()
            optimizer.step()
            step += 1
            print(f"step {step}: loss {loss.item():.6f}")
            if step % options.every == 0:
                save(options.checkpoint, {"step": step, **{name: part.state_dict() for name, part in parts.items()}})
            if step == options.stop_after:
                return
    print(f"{len(train.bad_samples)} bad files were replaced")


if __name__ == "__main__":
    main()
