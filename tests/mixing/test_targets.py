"""Stacked targets: label ids survive float32, and everything else is an error."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dali_mixup as dm
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


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.complex64])
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
    rule = r"int64 labels \(B,\) or float32 stacked targets \(B, 3\)"
    match = rf"^targets must be {rule}, got a {dtype} tensor of shape {shape}"
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


STACKED = torch.tensor([[7.0, 3.0, 0.75], [2.0, 5.0, 0.25], [4.0, 4.0, 0.5], [-100.0, 1.0, 1.0]])


def test_hard_labels_of_any_targets():
    """Against torch: the argmax of the dense rows."""
    dense = torch.nn.functional.one_hot(STACKED[:3, 0].long(), 8) * STACKED[:3, 2:]
    dense = dense + torch.nn.functional.one_hot(STACKED[:3, 1].long(), 8) * (1 - STACKED[:3, 2:])
    assert dm.labels(STACKED[:3]).tolist() == dense.argmax(1).tolist() == [7, 5, 4]
    assert dm.labels(dense).tolist() == [7, 5, 4]
    assert dm.labels((STACKED[:, :2].long(), STACKED[:, 2])).tolist() == [7, 5, 4, -100]
    assert dm.labels(STACKED.double()).tolist() == [7, 5, 4, -100]
    assert dm.labels(torch.tensor([[3], [1]])).tolist() == [3, 1]
    assert dm.labels(torch.tensor([[0.1, 0.7, 0.2]])).tolist() == [1]  # three classes, told by their values
    assert dm.labels(STACKED).dtype == torch.int64


def test_labels_of_torchvisions_reference_accuracy_are_right_and_those_of_stacked_targets_not():
    """What its script does with two-dimensional targets, and what the line of the README does."""
    logits = torch.nn.functional.one_hot(STACKED[:3, 0].long(), 8).float()
    misread = STACKED[:3].max(dim=1)[1]
    assert (logits.argmax(1) == misread).float().mean() == 0
    assert (logits.argmax(1) == dm.labels(STACKED[:3])).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([[0.2, 0.3, 0.5]], "got labels that are no whole numbers"),
        ([[1.0, 0.0, 1.5]], r"got weights outside of \[0, 1\]"),
        ([[1.0, 0.0, float("nan")]], r"got weights outside of \[0, 1\]"),
        ([[float("nan"), 0.0, 1.0]], "got labels that are no whole numbers"),
    ],
)
def test_dense_rows_of_three_classes_are_no_stacked_targets(rows, reason):
    with pytest.raises(ValueError, match=rf"targets must be rows \[label, partner label, lam\], {reason}; dense"):
        unstack_targets(torch.tensor(rows))


@pytest.mark.parametrize(("dtype", "most"), [(torch.float16, 2048), (torch.bfloat16, 256)])
def test_targets_cast_to_halves_say_what_happened(dtype, most):
    with pytest.raises(TypeError, match=rf'holds class numbers only up to {most}; take MixUp\(targets="split"\)'):
        unstack_targets(STACKED.to(dtype))
    assert float(torch.tensor(most + 1.0).to(dtype)) != most + 1


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("targets", ["stacked", "split", "dense"])
def test_the_default_dtype_changes_nothing(default, targets):
    mixup = dm.MixUp(0.4, targets=targets, num_classes=300 if targets == "dense" else None)
    labels, draw = torch.tensor([299, 7, 257]), mixup.draw(3, np.random.default_rng(0))
    expected = mixup.mix_labels(labels, draw)
    torch.set_default_dtype(default)
    try:
        found = mixup.mix_labels(labels, draw)
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_split_targets_survive_a_trainer_that_casts_floats():
    labels = torch.tensor([70_000, 7, 257])
    mixup = dm.MixUp(0.4, targets="split")
    _, (pairs, lam) = mixup(torch.rand(3, 2), labels, generator=np.random.default_rng(0))
    halved = pairs, lam.bfloat16()  # what Lightning's HalfPrecision does: floats alone
    own, partner, weight = unstack_targets(halved)
    assert torch.equal(own, labels)
    assert sorted(partner.tolist()) == sorted(labels.tolist())
    torch.testing.assert_close(weight.float(), lam, rtol=0.004, atol=0)


@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        (torch.rand(4, 1), TypeError, r"got a float32 tensor of shape \(4, 1\)"),
        (torch.rand(4), TypeError, r"got a float32 tensor of shape \(4,\)"),
        (torch.tensor([[1.0, 1.0, 0.0, 1.0]]), ValueError, "rows of probabilities that sum to 1, .*; many labels"),
        (torch.tensor([[1.0, 0.0, 1.5]]), ValueError, "stacked, or rows of probabilities"),
        (torch.rand(4, 3).half(), TypeError, "the trainer has cast them"),
        (torch.tensor([1, 2], dtype=torch.int32), TypeError, r"targets.long\(\)"),
        ("cat", TypeError, "got 'cat'"),
    ],
)
def test_targets_without_hard_labels_are_refused(targets, error, message):
    with pytest.raises(error, match=message):
        dm.labels(targets)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_hard_labels_of_smoothed_probabilities_in_any_dtype(dtype):
    """Against torch: the argmax, however the rows' sums are rounded."""
    rows = torch.rand(50, 1000, generator=torch.Generator().manual_seed(0)).softmax(1).to(dtype)
    assert torch.equal(dm.labels(rows), rows.argmax(1))


def test_unstacked_weights_are_float32_whatever_the_trainer_made_of_the_targets():
    expected = unstack_targets(STACKED)
    for targets in (STACKED, STACKED.double(), (STACKED[:, :2].long(), STACKED[:, 2].bfloat16())):
        found = unstack_targets(targets)
        assert [part.dtype for part in found] == [torch.int64, torch.int64, torch.float32]
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (torch.tensor([True, False]), TypeError, r"two classes are labels.long\(\), many labels .* labels.float\(\)"),
        (torch.tensor([[1, 7], [2, 5]]), ValueError, r"mix each head with the same draw, mixup\(images, labels"),
        ([1, 2], TypeError, r"labels must be a tensor \(B, ...\), got \[1, 2\]; torch.as_tensor"),
        (np.array([1, 2]), TypeError, "torch.as_tensor"),
    ],
)
@pytest.mark.parametrize("targets", ["stacked", "split", "dense"])
def test_labels_that_cannot_be_mixed_are_refused_with_what_to_do(labels, error, message, targets):
    mixup = dm.MixUp(targets=targets, num_classes=10 if targets == "dense" else None)
    with pytest.raises(error, match=message):
        mixup(torch.rand(2, 3), labels)


def test_the_remedy_for_two_heads_works():
    """One draw for both heads: the same partners and weights."""
    mixup, heads = dm.MixUp(0.4), torch.tensor([[1, 7], [2, 5], [0, 6]])
    draw = mixup.draw(3, np.random.default_rng(0))
    for head in (0, 1):
        _, targets = mixup(torch.rand(3, 2), heads[:, head], draw=draw)
        own, partner, lam = unstack_targets(targets)
        assert torch.equal(own, heads[:, head])
        assert torch.equal(partner, heads[draw.partner, head])
        assert torch.equal(lam, draw.lam)
