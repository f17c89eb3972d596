"""What each of two ranks of Accelerate's sees, written to OUT/<rank>.pt: `torchrun accelerate_ranks.py FOLDER OUT`."""

import os
import sys
import warnings
from pathlib import Path

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from torch.utils.data import DataLoader

import dali_mixup as dm
from tests.translation.peers import numbered, swap

PIPELINE = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16))
BATCH_SIZE = 2
EPOCHS = 2
LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


def look(loader):
    """Labels of two epochs."""
    epochs = []
    for epoch in range(EPOCHS):
        loader.set_epoch(epoch)
        epochs.append([labels.tolist() for _, labels in loader])
    return epochs


def main(folder, out):
    launched = {name: os.environ.pop(name) for name in LAUNCHER}  # nobody knows of ranks yet
    theirs = DataLoader(numbered(folder), batch_size=BATCH_SIZE, shuffle=True)
    files = dm.FileList([path for path, _ in theirs.dataset.samples], range(len(theirs.dataset)))
    options = {"batch_size": BATCH_SIZE, "device": "cpu", "num_threads": 1}
    loaders = {
        "Loader": dm.Loader(files, PIPELINE, shuffle=True, **options),
        "from_dataloader": swap(theirs),
        "unshuffled": swap(DataLoader(numbered(folder), batch_size=BATCH_SIZE)),
    }
    assert {(loader.shard, len(loader)) for loader in loaders.values()} == {((0, 1), 12)}

    os.environ.update(launched)
    accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True))
    prepared = dict(zip(loaders, accelerator.prepare(*loaders.values()), strict=True))
    with warnings.catch_warnings(record=True, action="always") as caught:
        seen = {name: look(loader) for name, loader in prepared.items()}
    torch.save({"seen": seen, "said": [str(each.message) for each in caught]}, Path(out) / f"{launched['RANK']}.pt")
    accelerator.end_training()


if __name__ == "__main__":
    main(*sys.argv[1:])
