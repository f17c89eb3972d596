"""timm's auto-augmentations with given random numbers in the place of those that they draw themselves."""

import math
from contextlib import contextmanager

import numpy as np

from bench.timm_fix import import_timm

auto_augment = import_timm("timm.data.auto_augment")


class Drawn:
    """Python's `random` and numpy's for one step after the other, with our five numbers for each."""

    def __init__(self, steps):
        self.steps = iter(steps)
        self.chosen = None

    def start(self):
        """The next step begins."""
        self.whether, first, second, self.way, self.mode = next(self.steps)
        self.first, self.asked = first, 0
        self.normal = math.sqrt(-2 * math.log1p(-first)) * math.cos(2 * math.pi * second)

    def random(self):
        self.asked += 1
        return self.whether if self.probable and self.asked == 1 else self.way

    def gauss(self, mean, std):
        return mean + std * self.normal

    def uniform(self, low, high):
        return low + (high - low) * (self.first if low == 0 else self.way)

    def choice(self, values):
        return values[self.chosen if len(values) != 2 or isinstance(values[0], list) else int(self.mode * 2)]


@contextmanager
def replayed(monkeypatch, steps):
    """Let timm draw these five numbers for each of its steps."""
    drawn = Drawn(np.asarray(steps).tolist())
    own = auto_augment.AugmentOp.__call__

    def call(op, image):
        drawn.start()
        drawn.probable = op.prob < 1
        return own(op, image)

    with monkeypatch.context() as patch:
        patch.setattr(auto_augment, "random", drawn)
        patch.setattr(auto_augment.AugmentOp, "__call__", call)
        yield drawn
