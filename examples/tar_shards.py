"""WebDataset's tars: write some, then train on them, shuffled over all shards and shared out exactly among ranks.

python examples/tar_shards.py write data/train shards --per-shard 1000
python examples/tar_shards.py train "shards/train-{000000..000009}.tar"
"""

import argparse
import io
import json
import tarfile
from pathlib import Path

import torch
from torch import nn

import dali_mixup as dm
from dali_mixup.pipelines import imagenet


def write(source: str, out: str, per_shard: int) -> None:
    """Each image with a JSON file of its class beside it."""
    folder = dm.ImageFolder(source)
    Path(out).mkdir(parents=True, exist_ok=True)
    for start in range(0, len(folder), per_shard):
        with tarfile.open(f"{out}/train-{start // per_shard:06}.tar", "w") as tar:
            for number in range(start, min(start + per_shard, len(folder))):
                path, label = folder.samples[number]
                tar.add(path, f"{number:08}.jpg")
                content = json.dumps({"label": label}).encode()
                member = tarfile.TarInfo(f"{number:08}.json")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def train(shards: str, epochs: int, batch_size: int, size: int) -> None:
    """The label of a sample is found by a function of its files."""
    tars = dm.TarDataset(shards, target=lambda sample: json.loads(sample["json"])["label"])
    loader = dm.Loader(
        tars, imagenet.train(size), batch_size=batch_size, shuffle=True, drop_last=True, mixup=dm.MixUp(0.4)
    )
    print(loader)
    body = [nn.Conv2d(3, 64, 8, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model = nn.Sequential(*body, nn.Linear(64, int(tars.targets.max()) + 1)).to(loader.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    criterion = dm.MixUpLoss(nn.CrossEntropyLoss())
    for epoch in range(epochs):
        losses = []
        for images, targets in loader:
            optimizer.zero_grad()
            loss = criterion(model(images), targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch}: loss {sum(losses) / len(losses):.3f}")


def main() -> None:
    """Write or train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    writing = commands.add_parser("write")
    writing.add_argument("source")
    writing.add_argument("out")
    writing.add_argument("--per-shard", type=int, default=1000)
    training = commands.add_parser("train")
    training.add_argument("shards")
    training.add_argument("--epochs", type=int, default=3)
    training.add_argument("--batch-size", type=int, default=32)
    training.add_argument("--size", type=int, default=128)
    options = parser.parse_args()
    if options.command == "write":
        write(options.source, options.out, options.per_shard)
    else:
        train(options.shards, options.epochs, options.batch_size, options.size)


if __name__ == "__main__":
    main()
