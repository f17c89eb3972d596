"""What one rank sees, written to OUT/<rank>.pt: `torchrun ... rank_worker.py IMAGES OUT`, started by test_ranks.py."""

import hashlib
import os
import sys
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import torch
from torch import distributed

import dali_mixup as dm
from dali_mixup.placement import pick_device

GLOBAL_BATCH = 24
COUNTS = (97, 107)  # four global batches, and one sample or eleven: a share for rank 0 alone, and uneven ones for all
CLASSES = 5
EPOCHS = 2
TRAIN = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16), flip=0.5)


def numbered(images, count):
    """The first files; a sample's label is its number."""
    return dm.FileList(sorted(Path(images).iterdir())[:count], list(range(count)))


def build(dataset, *, world, **options):
    defaults = {"batch_size": GLOBAL_BATCH // world, "shuffle": True, "seed": 3, "device": "cpu", "num_threads": 1}
    return dm.Loader(dataset, TRAIN, **{**defaults, **options})


def digest(image):
    return hashlib.blake2b(image.contiguous().numpy().tobytes(), digest_size=8).hexdigest()


def rows(images, targets):
    """One (number, digest, partner's number, lam) per sample; without mixup its own number and 1."""
    if targets.ndim == 1:
        targets = dm.stack_targets(targets, targets, torch.ones(len(targets)))
    own, partner, lam = dm.unstack_targets(targets)
    return list(zip(own.tolist(), map(digest, images), partner.tolist(), lam.tolist(), strict=True))


def watch(loader):
    """Epochs of batches of rows, and the state after each batch."""
    seen = {"steps": len(loader), "epochs": [], "states": []}
    for _ in range(EPOCHS):
        seen["epochs"].append([])
        for batch in loader:
            seen["epochs"][-1].append(rows(*batch))
            seen["states"].append(loader.state_dict())
    return seen


def train(loader, world):
    """The gradients of each step of plain gradient descent, averaged over the ranks."""
    weight = torch.zeros(CLASSES, 3 * 16 * 16, requires_grad=True)  # no torch.optim: it takes a second to import
    gradients = []
    for _ in range(EPOCHS):
        for images, labels in loader:
            loss = torch.nn.functional.cross_entropy(images.flatten(1) @ weight.T, labels % CLASSES)
            (gradient,) = torch.autograd.grad(loss, weight)
            distributed.all_reduce(gradient)
            gradients.append(gradient / world)
            weight.data -= 0.01 * gradients[-1]
    return torch.stack(gradients)


def main(images, out):
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    few, many = (numbered(images, count) for count in COUNTS)  # all ranks write the cache of sizes at once
    mixed = {"world": world, "mixup": dm.MixUp(alpha=1.0)}
    seen = {"by environment": watch(build(many, **mixed))}
    with patch.dict(os.environ):
        del os.environ["RANK"]  # half-set variables are an error for the first batch alone
        early = build(many, **mixed)

    distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    os.environ |= {"RANK": "0", "WORLD_SIZE": "1"}  # torch.distributed knows better
    seen["by distributed"] = seen["mixed"] = watch(build(many, **mixed))
    seen["built before"] = watch(early)
    seen["by argument, mirrored"] = watch(build(many, **mixed, shard=(world - 1 - rank, world)))
    seen["mixed, drop_last"] = watch(build(many, **mixed, drop_last=True))
    seen["plain"] = watch(build(many, world=world))
    seen["plain, one left over"] = watch(build(few, world=world))
    seen["gradients"] = train(build(many, world=world, drop_last=True), world)
    with patch.multiple(torch.cuda, is_available=lambda: True, current_device=lambda: 0, device_count=lambda: world):
        seen["device"] = str(pick_device(None))
    torch.save(seen, Path(out) / f"{rank}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
