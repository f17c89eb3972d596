import numpy as np

from dali_mixup.commands.picture import MixedTile, draw_tiles


def test_the_bar_below_a_mixed_image_shows_the_shares():
    plain = np.zeros((40, 80, 3), np.uint8)
    tile = MixedTile(own=plain, partner=plain, mixed=plain, own_name="a" * 90, partner_name="b", lam=0.75)
    picture = np.asarray(draw_tiles([tile], side=160))
    blue = (picture == (0x09, 0x69, 0xDA)).all(2)
    orange = (picture == (0xD4, 0x72, 0x1B)).all(2)
    row = int(blue.sum(1).argmax())
    assert (blue[row].sum(), orange[row].sum()) == (160 + 120, 160 + 40)
