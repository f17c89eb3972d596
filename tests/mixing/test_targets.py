"""Stacked targets: label ids survive float32, and everything else is an error."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dali_mixup import stack_targets, unstack_targets
from dali_mixup.mixing.targets import densify_targets, is_stacked
from tests import reference

LARGEST = 2**24 - 1
HALF = torch.tensor([0.5])


def test_the_columns_are_label_partner_label_and_lam():
    targets = stack_targets(torch.tensor([7, 3]), torch.tensor([3, 9]), torch.tensor([0.75, 1.0]))
    assert targets.dtype == torch.float32
    assert targets.tolist() == [[7, 3, 0.75], [3, 9, 1]]


@pytest.mark.parametrize("label", [0, 257, 2049, 65_537, LARGEST - 1, LARGEST])
def test_label_ids_come_back_exactly(label):
    labels, partner_labels, lam = unstack_targets(stack_targets(torch.tensor([label]), torch.tensor([label - 1]), HALF))
    assert (labels.tolist(), partner_labels.tolist(), lam.tolist()) == ([label], [label - 1], [0.5])


@settings(deadline=None, max_examples=100)
@given(
    rows=st.lists(
        st.tuples(st.integers(-LARGEST, LARGEST), st.integers(-LARGEST, LARGEST), st.floats(0, 1, width=32)), max_size=9
    )
)
def test_unstacking_undoes_stacking(rows):
    ids = torch.tensor([row[:2] for row in rows], dtype=torch.int64).reshape(-1, 2)
    lam = torch.tensor([row[2] for row in rows], dtype=torch.float32)
    targets = stack_targets(ids[:, 0], ids[:, 1], lam)
    assert targets.shape == (len(rows), 3)
    assert is_stacked(targets)
    for before, after in zip((ids[:, 0], ids[:, 1], lam), unstack_targets(targets), strict=True):
        assert after.dtype == before.dtype
        assert torch.equal(after, before)


@pytest.mark.parametrize("ignored", [-100, -1])
def test_a_negative_ignore_index_is_kept(ignored):
    labels, partner_labels, _ = unstack_targets(
        stack_targets(torch.tensor([ignored, 2]), torch.tensor([2, ignored]), torch.ones(2))
    )
    assert labels.tolist() == [ignored, 2]
    assert partner_labels.tolist() == [2, ignored]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_every_integer_type_stacks_to_float32_and_comes_back_as_int64(dtype):
    targets = stack_targets(torch.tensor([5], dtype=dtype), torch.tensor([127], dtype=dtype), HALF)
    assert targets.dtype == torch.float32
    assert [part.dtype for part in unstack_targets(targets)] == [torch.int64, torch.int64, torch.float32]
    assert targets.tolist() == [[5, 127, 0.5]]


def test_stacking_copies():
    lam = torch.tensor([0.25])
    targets = stack_targets(torch.tensor([1]), torch.tensor([2]), lam)
    targets.zero_()
    assert lam.item() == 0.25


@pytest.mark.parametrize("label", [2**24, 2**24 + 1, 2**40, -(2**24)])
@pytest.mark.parametrize("side", ["labels", "partner_labels"])
def test_a_label_that_float32_does_not_hold_is_an_error(label, side):
    pair = [torch.tensor([1, 1]), torch.tensor([1, 1])]
    pair[side == "partner_labels"][1] = label
    with pytest.raises(
        ValueError, match=rf"^{side} must be below 2\*\*24 \(16,777,216\), which stacked .* hold exactly, got {label}$"
    ):
        stack_targets(*pair, torch.ones(2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.bool, torch.complex64])
@pytest.mark.parametrize("side", ["labels", "partner_labels"])
def test_labels_that_are_not_integers_are_an_error(dtype, side):
    pair = [torch.tensor([1]), torch.tensor([1])]
    pair[side == "partner_labels"] = torch.tensor([1]).to(dtype)
    name = str(dtype).removeprefix("torch.")
    match = (
        rf"^{side} must be an integer tensor \(B,\), got a {name} tensor of shape \(1,\); float labels are mixed "
        r"by `mix`, not stacked"
    )
    with pytest.raises(TypeError, match=match):
        stack_targets(*pair, HALF)


@pytest.mark.parametrize(
    ("labels", "partner_labels", "lam", "match"),
    [
        (
            torch.ones(3).long(),
            torch.ones(2).long(),
            torch.ones(2),
            r"^labels must be of lam's shape \(2,\), got a int64 tensor of shape \(3,\)",
        ),
        (
            torch.ones(2).long(),
            torch.ones(3).long(),
            torch.ones(2),
            r"^partner_labels must be of lam's shape \(2,\), got .* of shape \(3,\)",
        ),
        (
            torch.ones(2, 1).long(),
            torch.ones(2, 1).long(),
            torch.ones(2, 1),
            r"^labels must be of lam's shape .*, got .* of shape \(2, 1\)",
        ),
        (
            torch.tensor(1),
            torch.tensor(1),
            torch.tensor(1.0),
            r"^labels must be of lam's shape \(\), got a int64 tensor of shape \(\)",
        ),
    ],
)
def test_parts_of_other_shapes_are_an_error(labels, partner_labels, lam, match):
    with pytest.raises(ValueError, match=match):
        stack_targets(labels, partner_labels, lam)


@pytest.mark.parametrize(
    "targets",
    [
        torch.rand(2, 3, dtype=torch.float64),
        torch.rand(2, 3).half(),
        torch.ones(2, 3).long(),
        torch.rand(2, 4),
        torch.rand(3),
        torch.rand(2, 3, 1),
    ],
)
def test_targets_of_another_dtype_or_shape_cannot_be_unstacked(targets):
    assert not is_stacked(targets)
    dtype, shape = (
        str(targets.dtype).removeprefix("torch."),
        str(tuple(targets.shape)).replace("(", r"\(").replace(")", r"\)"),
    )
    match = (
        rf"^targets must be float32 \(B, 3\), rows \[label, partner label, lam\], got a {dtype} tensor of shape {shape}"
    )
    with pytest.raises(TypeError, match=match):
        unstack_targets(targets)


@settings(deadline=None, max_examples=100)
@given(rows=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.floats(0, 1, width=32)), max_size=9))
def test_dense_rows_agree_with_the_reference_and_sum_to_one(rows):
    ids = torch.tensor([row[:2] for row in rows], dtype=torch.int64).reshape(-1, 2)
    lam = torch.tensor([row[2] for row in rows], dtype=torch.float32)
    dense = densify_targets(ids[:, 0], ids[:, 1], lam, 7)
    assert dense.dtype == torch.float32
    torch.testing.assert_close(dense.double(), reference.dense_targets(ids[:, 0], ids[:, 1], lam, 7), rtol=0, atol=6e-8)
    assert torch.equal(dense.sum(1), torch.ones(len(rows)))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_every_integer_type_becomes_dense(dtype):
    dense = densify_targets(
        torch.tensor([2, 1], dtype=dtype), torch.tensor([0, 1], dtype=dtype), torch.tensor([0.75, 0.25]), 3
    )
    assert dense.tolist() == [[0.25, 0, 0.75], [0, 1, 0]]


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ([0, 3], r"labels must be class indices from 0 to 2 \(num_classes=3\), got 3; num_classes counts all classes"),
        ([5, 3], r"labels must be class indices from 0 to 2 \(num_classes=3\), got \[3, 5\]"),
        ([-100, 1], r"labels must be class indices .*, got -100; a label to ignore needs stacked targets"),
    ],
)
@pytest.mark.parametrize("side", ["labels", "partner_labels"])
def test_labels_that_are_no_class_are_named(labels, match, side):
    pair = [torch.zeros(2).long(), torch.zeros(2).long()]
    pair[side == "partner_labels"] = torch.tensor(labels)
    with pytest.raises(ValueError, match=rf"^{'partner_' if side == 'partner_labels' else ''}{match}"):
        densify_targets(*pair, torch.ones(2), 3)


def test_float_labels_do_not_become_dense():
    with pytest.raises(
        TypeError, match=r"labels must be an integer tensor .*; float labels are mixed by `mix`, not made dense"
    ):
        densify_targets(torch.rand(2), torch.zeros(2).long(), torch.ones(2), 3)
