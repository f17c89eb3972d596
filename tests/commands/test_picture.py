"""own + partner = mix, with a bar of the shares below."""

import numpy as np
import pytest

from dali_mixup.commands.picture import MixedTile, draw_tiles

BLUE, ORANGE = (0x09, 0x69, 0xDA), (0xD4, 0x72, 0x1B)


def tile(lam=0.75, height=40, width=80, **names):
    plain = np.zeros((height, width, 3), np.uint8)
    own, partner, mixed = plain + np.uint8(10), plain + np.uint8(20), plain + np.uint8(30)
    return MixedTile(own=own, partner=partner, mixed=mixed, lam=lam, **{"own_name": "a", "partner_name": "b", **names})


def count(picture, colour):
    """Pixels of a colour in each row."""
    return (picture == colour).all(2).sum(1)


@pytest.mark.parametrize(("lam", "own"), [(0.75, 120), (0.0, 0), (1.0, 160), (0.5, 80)])
def test_the_bar_below_a_mixed_image_shows_the_shares(lam, own):
    picture = np.asarray(draw_tiles([tile(lam, own_name="a" * 90)], side=160))
    row = int((count(picture, BLUE) + count(picture, ORANGE)).argmax())
    assert (count(picture, BLUE)[row], count(picture, ORANGE)[row]) == (160 + own, 160 + 160 - own)


def test_the_three_images_stand_beside_each_other_in_their_size():
    picture = np.asarray(draw_tiles([tile()], side=160))
    for level in (10, 20, 30):
        rows = count(picture, (level,) * 3)
        assert rows.max() == 160
        assert (rows == 160).sum() >= 70  # 80, but for the sign between two images
    columns = [int(np.flatnonzero((picture == level).all(2).any(0))[0]) for level in (10, 20, 30)]
    assert columns == sorted(columns)


def runs(flags):
    """How many stretches of True there are."""
    return int((np.diff(flags.astype(int), prepend=0) == 1).sum())


@pytest.mark.parametrize(("tiles", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (3, 2, 2), (6, 2, 3)])
def test_tiles_fill_rows_of_two(tiles, columns, rows):
    mixed = (np.asarray(draw_tiles([tile()] * tiles, side=64)) == 30).all(2)
    assert (runs(mixed.any(0)), runs(mixed.any(1))) == (columns, rows)
    assert mixed.sum() == tiles * (np.asarray(draw_tiles([tile()], side=64)) == 30).all(2).sum()


def test_a_long_name_is_shortened_to_its_place():
    short, long = (np.asarray(draw_tiles([tile(own_name=name)], side=96)) for name in ("a", "w" * 400))
    assert short.shape == long.shape
    assert count(long, BLUE).sum() > count(short, BLUE).sum()
    for picture in (short, long):
        assert (picture[:, :12] == 255).all()
        assert (picture[:, -12:] == 255).all()
