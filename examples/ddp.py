"""Several processes with DistributedDataParallel: no DistributedSampler, no shard to pass.

torchrun --standalone --nproc_per_node=2 examples/ddp.py data/train data/val
"""

import argparse
import os

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

import dali_mixup as dm
from dali_mixup.pipelines import imagenet


def main() -> None:
    """Train, and validate with the sums of all ranks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("val")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32, help="per rank")
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()

    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if on_gpu else "gloo")

    folder = dm.ImageFolder(options.train)
    batches = {"batch_size": options.batch_size}
    train = dm.Loader(
        folder, imagenet.train(options.size), shuffle=True, drop_last=True, mixup=dm.MixUp(0.4), **batches
    )
    val = dm.Loader(dm.ImageFolder(options.val), imagenet.val(options.size), **batches)
    body = [nn.Conv2d(3, 64, 8, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    net = nn.Sequential(*body, nn.Linear(64, len(folder.classes or []))).to(train.device)
    model = DistributedDataParallel(net)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    criterion = dm.MixUpLoss(nn.CrossEntropyLoss())
    for epoch in range(options.epochs):
        for images, targets in train:  # this rank's share, in another order each epoch
            optimizer.zero_grad()
            criterion(model(images), targets).backward()
            optimizer.step()
        counted = dm.MixUpAccuracy()
        with torch.no_grad():
            for images, labels in val:  # shared out, too: `net`, since ranks may have one batch more or less
                counted.update(net(images), labels)
        sums = counted.sums
        distributed.all_reduce(sums)
        if distributed.get_rank() == 0:
            right, count = sums.tolist()[:2]
            print(f"epoch {epoch}: {right / count:.3f} of {count:.0f} validation images", flush=True)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
