"""Tar shards on S3: pack a folder and put it there, then train from there, with a cache on this machine's disk.

python examples/s3_shards.py put data/train s3://bucket/train
python examples/s3_shards.py train s3://bucket/train --cache /scratch/train
python examples/s3_shards.py train "s3://bucket/webdataset-{000000..000146}.tar"

Needs `pip install "dali-mixup[remote]" s3fs`; keys come from where AWS's tools find them, such as AWS_ACCESS_KEY_ID.
"""

import argparse
import tempfile

import fsspec
import torch
from torch import nn

import dali_mixup as dm
from dali_mixup.pipelines import imagenet


def put(source: str, url: str, remote: dm.Remote) -> None:
    """Pack into shards here, losslessly, and copy them."""
    with tempfile.TemporaryDirectory() as folder:
        report = dm.pack(dm.ImageFolder(source), f"{folder}/pack")
        system, place = fsspec.url_to_fs(url, **remote.storage_options)
        system.put(f"{folder}/pack/", place, recursive=True)
    print(f"{report.samples} images are at {url}")


def open_dataset(url: str, cache: str | None, remote: dm.Remote) -> dm.PackedDataset | dm.TarDataset:
    """A pack, of which only the windows' bytes are asked for, or WebDataset's tars with a .cls file per image."""
    if url.endswith(".tar"):
        return dm.TarDataset(url, target="cls", cache_dir=cache, remote=remote)
    return dm.PackedDataset(url, cache_dir=cache, remote=remote)


def train(dataset: dm.PackedDataset | dm.TarDataset, epochs: int, batch_size: int, size: int) -> None:
    """Samples are asked for some batches ahead, many at once; with a cache each comes over the network once."""
    loader = dm.Loader(
        dataset, imagenet.train(size), batch_size=batch_size, shuffle=True, drop_last=True, mixup=dm.MixUp(0.4)
    )
    body = [nn.Conv2d(3, 64, 8, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model = nn.Sequential(*body, nn.Linear(64, int(dataset.targets.max()) + 1)).to(loader.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    criterion = dm.MixUpLoss(nn.CrossEntropyLoss())
    for epoch in range(epochs):
        waited, losses = loader.stats().wait, []
        for images, targets in loader:
            optimizer.zero_grad()
            loss = criterion(model(images), targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        waited = loader.stats().wait - waited
        print(f"epoch {epoch}: loss {sum(losses) / len(losses):.3f}, {waited:.1f} s of waiting for data")


def main() -> None:
    """Put or train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    putting, training = commands.add_parser("put"), commands.add_parser("train")
    putting.add_argument("source")
    for each in (putting, training):
        each.add_argument("url")
        each.add_argument("--endpoint", help="of another store that speaks S3, such as MinIO")
    training.add_argument("--cache", help="a folder, which the processes of a machine share")
    training.add_argument("--epochs", type=int, default=3)
    training.add_argument("--batch-size", type=int, default=32)
    training.add_argument("--size", type=int, default=128)
    options = parser.parse_args()
    remote = dm.Remote(storage_options={"endpoint_url": options.endpoint} if options.endpoint else {})
    if options.command == "put":
        put(options.source, options.url, remote)
    else:
        dataset = open_dataset(options.url, options.cache, remote)
        train(dataset, options.epochs, options.batch_size, options.size)


if __name__ == "__main__":
    main()
