"""What trainers look for at a DataLoader beside its batches."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


def refuse_to_collate(samples: object) -> NoReturn:  # noqa: ARG001
    """A Loader's `collate_fn`, for those who would build a DataLoader of its parts.

    Raises:
        RuntimeError: always; the message says what to do.
    """
    raise RuntimeError(
        "a Loader makes its batches itself; no collate_fn makes them of the items of its dataset. Give a DataLoader "
        "over loader.dataset a collate_fn of its own. In the place of Accelerate's skip_first_batches, "
        "loader.load_state_dict(state) goes on in mid-epoch: accelerator.register_for_checkpointing(loader) saves and "
        "restores the state, and for Hugging Face's Trainer examples/hf_trainer.py has a callback that does"
    )


class Epoch:
    """An epoch under way, as Accelerate looks at one.

    Attributes:
        end_of_dataloader: whether the batch that is out is the last one: gradients that were accumulated until then
            are used.
        remainder: how many samples of the last batch count, where others fill it up; 0 for all of them.
    """

    end_of_dataloader = False
    remainder = 0


@contextmanager
def show_to_accelerate(epoch: Epoch) -> Iterator[None]:
    """Where Accelerate is in use, have it know of an epoch until that ends."""
    module = sys.modules.get("accelerate.state")
    if module is None:
        yield
        return
    state = module.GradientState()
    state.dataloader_references = [*state.dataloader_references, epoch]
    try:
        yield
    finally:
        state.dataloader_references = [each for each in state.dataloader_references if each is not epoch]
