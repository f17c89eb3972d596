"""What pixels are worth at a transform's place."""

from typing import NamedTuple

from dali_mixup.translation.options import Triple, three

ZERO = (0.0, 0.0, 0.0)


class Values(NamedTuple):
    """What pixels are worth at a transform's place: (level / 255 - mean) / std."""

    mean: Triple
    std: Triple

    def to_levels(self, value: Triple) -> Triple:
        """Levels of R, G and B."""
        return three(255 * (mean + std * each) for mean, std, each in zip(self.mean, self.std, value, strict=True))
