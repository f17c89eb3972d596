"""Goes on from saved states in a process of its own: `python resume.py FOLDER OUT`, see tests/test_interruptions.py."""

import gc
import sys
from pathlib import Path

import torch

from tests.test_interruptions import CASES, build, rest_and_next


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    gc.freeze()  # else the end of each epoch's graph walks through all that was imported
    for case in CASES:
        for number, state in enumerate(torch.load(out / f"{case}.states", weights_only=True)):
            loader = build(folder, case)
            loader.load_state_dict(state)
            torch.save(rest_and_next(loader), out / f"{case}.{number}")


if __name__ == "__main__":
    main()
