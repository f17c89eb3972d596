"""`LoaderStats`: where a Loader's time goes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderStats:
    """Seconds that a Loader spent since it was built.

    Attributes:
        batches: how many were delivered.
        wait: the consumer waited for a batch.
        decode: waiting for DALI, or for pixels: reading and decoding; where DALI also resizes (with `augment`, on a
            GPU), that too.
        resize: resizing outside of DALI, and on the CPU the pipeline's `transforms`.
        stage: mixup, normalization, cast and layout.
    """

    batches: int
    wait: float
    decode: float
    resize: float
    stage: float
