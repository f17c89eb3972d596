import pytest

from dali_mixup.decode.reasons import too_many_pixels


@pytest.mark.parametrize("size", [(10, 10), (1, 100), (0, 1000)])
def test_as_many_pixels_as_the_limit_are_no_reason(size):
    assert too_many_pixels(*size, 100) == ""


def test_more_are_one_in_words():
    assert too_many_pixels(10, 11, 100) == "too many pixels: 10 x 11 is more than max_pixels=100"
    assert too_many_pixels(10, 11, 100, "resized to") == (
        "too many pixels: resized to 10 x 11 is more than max_pixels=100"
    )


def test_sides_of_a_bomb_overflow_nothing():
    assert too_many_pixels(2**31 - 1, 2**31 - 1, 10**8)
