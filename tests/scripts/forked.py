"""What a fork does to a Loader: `python forked.py FOLDER`."""

import os
import sys
from collections.abc import Callable

import dali_mixup as dm


def in_child(work: Callable[[], object]) -> None:
    child = os.fork()
    if child == 0:
        try:
            work()
        except RuntimeError as error:
            print(type(error).__name__, error, flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def main() -> None:
    dataset = dm.ImageFolder(sys.argv[1], cache=False)
    pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16))
    loader = dm.Loader(dataset, pipeline, batch_size=4, device="cpu", num_threads=1)
    in_child(lambda: print(len(list(loader)), "batches before the parent has one", flush=True))
    batches = iter(loader)
    next(batches)
    in_child(lambda: next(batches))
    in_child(lambda: next(iter(loader)))
    in_child(lambda: print("state", loader.state_dict()["position"], flush=True))
    in_child(
        lambda: print(
            len(list(dm.Loader(dataset, pipeline, batch_size=4, device="cpu", num_threads=1))), "batches", flush=True
        )
    )
    print(1 + sum(1 for _ in batches), "batches in the parent")


if __name__ == "__main__":
    main()
