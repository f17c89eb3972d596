import numpy as np
import pytest

from dali_mixup.commands.shapes import ASPECTS, KINDS, SIDES, draw_image


@pytest.mark.parametrize("kind", KINDS)
def test_sides_and_aspect_stay_in_range(kind):
    for seed in range(5):
        height, width, channels = draw_image(kind, np.random.default_rng(seed)).shape
        assert channels == 3
        assert SIDES[0] - 1 <= min(height, width) <= max(height, width) <= SIDES[1]
        assert ASPECTS[0] - 0.05 <= width / height <= ASPECTS[1] + 0.05


def test_mean_colours_do_not_tell_the_class():
    rng = np.random.default_rng(0)
    means = np.array([[draw_image(kind, rng).mean((0, 1)) for _ in range(30)] for kind in KINDS])
    between, within = means.mean(1).std(0), means.std(1).mean(0)
    assert (between < 0.4 * within).all()
