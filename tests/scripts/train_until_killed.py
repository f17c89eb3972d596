"""A training that is killed and goes on from its last checkpoint, in one child process after another.

    python train_until_killed.py FOLDER_OR_TAR OUT SEED

Each child logs a line per step (step, labels, lam, a digest of the pixels) and saves a checkpoint now and then. The
parent kills it with SIGKILL at random steps, 20 times, then lets it finish; a last child runs without an interruption
into a log of its own.
"""

import gc
import hashlib
import importlib
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

import torch

import dali_mixup as dm
from tests.conftest import noise

KILLS, STEPS, SAVE_EVERY = 20, 150, 4


def train(folder: Path, log: Path, checkpoint: Path) -> None:
    warnings.simplefilter("ignore", dm.BadFileWarning)
    torch.set_num_threads(1)
    pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16), flip=0.5, augment=noise)
    dataset = dm.ImageFolder(folder, cache=False) if folder.is_dir() else dm.TarDataset(folder)
    loader = dm.Loader(
        dataset,
        pipeline,
        batch_size=5,
        shuffle=True,
        mixup=dm.MixUp(),
        device="cpu",
        num_threads=1,
        on_bad_sample="replace",
        max_bad_fraction=0.5,
    )
    step = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        step = saved["step"]
        loader.load_state_dict(saved["loader"])
    with log.open("a", buffering=1) as lines:
        while step < STEPS:
            for images, targets in loader:
                step += 1
                pixels = hashlib.blake2b(images.numpy().tobytes(), digest_size=16).hexdigest()
                lines.write(f"{step} {targets.flatten().tolist()} {pixels}\n")
                if step % SAVE_EVERY == 0:
                    torch.save({"step": step, "loader": loader.state_dict()}, checkpoint.with_suffix(".tmp"))
                    os.replace(checkpoint.with_suffix(".tmp"), checkpoint)
                if step == STEPS:
                    break


def start(folder: Path, log: Path, checkpoint: Path) -> int:
    child = os.fork()
    if child == 0:
        train(folder, log, checkpoint)
        os._exit(0)
    return child


def main() -> None:
    folder, out, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(seed)
    log = out / "killed.log"
    log.touch()
    importlib.import_module("dali_mixup.decode.graph")  # with DALI, once for all children
    gc.freeze()  # else the end of each epoch's graph walks through all that was imported
    for _ in range(KILLS):
        child = start(folder, log, out / "checkpoint.pt")
        lines_before = log.read_bytes().count(b"\n")
        lines = chance.randrange(1, 12)
        while log.read_bytes().count(b"\n") < lines_before + lines:
            if os.waitpid(child, os.WNOHANG)[0]:
                raise SystemExit("a child ended by itself")
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
    for name in ("killed", "whole"):
        assert (
            os.waitpid(start(folder, out / f"{name}.log", out / f"{'checkpoint' if name == 'killed' else name}.pt"), 0)[
                1
            ]
            == 0
        )


if __name__ == "__main__":
    main()
