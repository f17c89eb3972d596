"""Functions are looked into, and tried without a trace in anyone's random numbers."""

import functools
import random

import numpy as np
import pytest
import torch

from dali_mixup.translation.trying import find_within, seeded

MARK, OTHER = object(), object()


def held_by(value):
    """What is right below a value."""
    return list(find_within(value, lambda other: other is not value, depth=1))


def closing_over(value):
    return lambda: value


def by_global():
    return MARK


def by_default(_value=MARK, *, _other=OTHER):
    return None


class Holder:
    def __init__(self, value):
        self.value = value

    def method(self):
        return self.value

    def __call__(self):
        return MARK


@pytest.mark.parametrize(
    ("value", "held"),
    [
        ([1, MARK], [1, MARK]),
        ((MARK,), [MARK]),
        ({"a": MARK, "b": 2}, [MARK, 2]),
        (functools.partial(by_global, 1, other=MARK), [by_global, 1, MARK]),
        (closing_over(OTHER), [OTHER]),
        (by_global, [MARK]),
        (by_default, [MARK, OTHER]),
    ],
)
def test_what_a_value_refers_to_is_found(value, held):
    assert held_by(value) == held


def test_a_method_refers_to_its_function_and_its_object_and_an_object_to_its_attributes():
    holder = Holder(OTHER)
    assert held_by(holder.method) == [Holder.method, holder]
    assert held_by(holder) == [OTHER, Holder.__call__]


@pytest.mark.parametrize("value", [3, "text", None, Holder, random, np.zeros(2)])
def test_plain_values_classes_and_modules_are_not_looked_into(value):
    assert held_by(value) == []


def draw():
    return random.random(), np.random.rand(), torch.rand(()).item()


def fail():
    draw()
    raise KeyError


def test_seeded_numbers_are_those_of_the_seed_and_disturb_no_generator():
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    expected = [draw(), draw()]
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    first = draw()
    with seeded(7):
        seven = draw()
    with seeded(7):
        assert draw() == seven
    with seeded(8):
        assert draw() != seven
    with pytest.raises(KeyError), seeded(9):
        fail()
    assert [first, draw()] == expected
