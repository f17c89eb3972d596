"""Random numbers depend on what they are for alone."""

import numpy as np

from dali_mixup.randomness import Purpose, draw_at, keyed_generator


def test_rows_do_not_depend_on_where_a_draw_begins():
    def draw(first, count):
        return draw_at(
            first, count, lambda n, generator: generator.random((n, 3)), seed=1, purpose=Purpose.WINDOW, epoch=5
        )

    whole = draw(0, 1000)
    assert len(np.unique(whole)) == whole.size
    for first, count in [(0, 0), (0, 1), (63, 1), (63, 2), (64, 64), (130, 300), (999, 1), (500, 0)]:
        assert np.array_equal(draw(first, count), whole[first : first + count])


def test_generators_of_different_keys_are_independent():
    keys = [
        (seed, purpose, epoch, counter)
        for seed in (0, 1, 2**64 - 1)
        for purpose in Purpose
        for epoch in (0, 1)
        for counter in (0, 1)
    ]
    assert len({keyed_generator(*key).random() for key in keys}) == len(keys)


def test_numbers_are_the_same_in_every_version():
    """A saved state means these numbers: a change here needs a new version of the state."""
    generator = keyed_generator(7, Purpose.WINDOW, 3, 11)
    assert generator.random(2).tolist() == [0.1763031215302273, 0.444859585680093]
