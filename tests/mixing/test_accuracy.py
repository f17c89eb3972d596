"""Dominant and lam-weighted accuracy."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dali_mixup import MixUpAccuracy, stack_targets
from tests import reference


def batch(batch_size, classes=5, seed=0):
    """Logits without ties, and labels with lam off 0.5, where no label has the larger weight."""
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch_size, classes, generator=g)
    labels, partner_labels = torch.randint(classes, (2, batch_size), generator=g)
    lam = (torch.randint(0, 512, (batch_size,), generator=g) * 2 + 1) / 1024
    return logits, labels, partner_labels, lam


@settings(deadline=None, max_examples=60)
@given(batch_size=st.integers(1, 9), classes=st.integers(2, 6), topk=st.integers(1, 2), seed=st.integers(0, 999))
def test_both_figures_agree_with_the_reference(batch_size, classes, topk, seed):
    logits, labels, partner_labels, lam = batch(batch_size, classes, seed)
    accuracy = MixUpAccuracy(topk)
    accuracy.update(logits, stack_targets(labels, partner_labels, lam))
    dominant, weighted = reference.accuracy(logits, labels, partner_labels, lam, topk)
    assert float(accuracy.compute().dominant) == pytest.approx(dominant, abs=1e-6)
    assert float(accuracy.compute().weighted) == pytest.approx(weighted, abs=1e-6)


@pytest.mark.parametrize(
    ("predicted", "lam", "dominant", "weighted"),
    [
        (0, 0.75, 1, 0.75),
        (1, 0.75, 0, 0.25),
        (2, 0.75, 0, 0),
        (0, 0.25, 0, 0.25),
        (1, 0.25, 1, 0.75),
        (0, 1.0, 1, 1),
        (1, 1.0, 0, 0),
    ],
)
def test_the_dominant_label_has_the_larger_weight(predicted, lam, dominant, weighted):
    accuracy = MixUpAccuracy()
    accuracy.update(torch.eye(3)[[predicted]], torch.tensor([[0.0, 1.0, lam]]))
    assert accuracy.compute() == (dominant, weighted)


def test_equal_labels_count_once():
    accuracy = MixUpAccuracy()
    accuracy.update(torch.eye(2), torch.tensor([[0.0, 0.0, 0.75], [0.0, 0.0, 0.75]]))
    assert accuracy.compute() == (0.5, 0.5)


@pytest.mark.parametrize(
    "as_targets", [lambda y: y, lambda y: y[:, None], lambda y: stack_targets(y, y.flip(0), torch.ones(len(y)))]
)
def test_both_figures_are_plain_accuracy_on_unmixed_labels(as_targets):
    logits, labels, *_ = batch(200)
    accuracy = MixUpAccuracy()
    accuracy.update(logits, as_targets(labels))
    plain = (logits.argmax(1) == labels).float().mean()
    torch.testing.assert_close(tuple(accuracy.compute()), (plain, plain))


@pytest.mark.parametrize("topk", [1, 2, 3, 5])
def test_topk_counts_a_label_among_the_largest_logits(topk):
    logits = torch.tensor([[5.0, 4, 3, 2, 1]]).repeat(5, 1)
    accuracy = MixUpAccuracy(topk=topk)
    accuracy.update(logits, torch.arange(5))
    assert float(accuracy.compute().dominant) == pytest.approx(topk / 5)


def test_batches_accumulate_by_their_samples():
    logits, labels, partner_labels, lam = batch(23)
    targets = stack_targets(labels, partner_labels, lam)
    whole, parts = MixUpAccuracy(), MixUpAccuracy()
    whole.update(logits, targets)
    for start, stop in ((0, 8), (8, 8), (8, 9), (9, 23)):  # an empty batch too
        parts.update(logits[start:stop], targets[start:stop])
    torch.testing.assert_close(tuple(parts.compute()), tuple(whole.compute()))


def test_reset_forgets_all_batches():
    accuracy = MixUpAccuracy()
    accuracy.update(torch.eye(3), torch.tensor([1, 2, 0]))
    accuracy.reset()
    assert all(math.isnan(value) for value in accuracy.compute())
    accuracy.update(torch.eye(3), torch.arange(3))
    assert accuracy.compute() == (1, 1)


def test_a_long_run_loses_no_sample():
    accuracy = MixUpAccuracy()
    accuracy.sums += 2.0**24  # where float32 stops counting by one
    for _ in range(100):
        accuracy.update(torch.tensor([[0.0, 1.0]]), torch.tensor([0]))
        accuracy.update(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert accuracy.sums.tolist() == [2**24 + 100, 2**24 + 200] * 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_logits_of_any_float_type_that_need_a_gradient_are_counted(dtype):
    accuracy = MixUpAccuracy()
    accuracy.update(
        torch.eye(3, dtype=dtype).requires_grad_(), torch.tensor([[0.0, 1, 0.75], [1, 2, 0.75], [0, 2, 0.75]])
    )
    dominant, weighted = accuracy.compute()
    assert dominant.dtype == weighted.dtype == torch.float32
    assert not weighted.requires_grad
    assert (float(dominant), float(weighted)) == (pytest.approx(2 / 3), pytest.approx((0.75 + 0.75 + 0.25) / 3))


@pytest.mark.parametrize(
    ("topk", "error", "match"),
    [
        (0, ValueError, r"topk must be an int of at least 1, got 0"),
        (1.0, TypeError, r"topk must be an int of at least 1, got 1.0"),
        ((1, 5), TypeError, r"topk must be an int of at least 1, got \(1, 5\)"),
    ],
)
def test_a_wrong_topk_is_named(topk, error, match):
    with pytest.raises(error, match=match):
        MixUpAccuracy(topk)


@pytest.mark.parametrize(
    ("logits", "targets", "error", "match"),
    [
        (
            torch.rand(2, 3),
            torch.arange(3),
            ValueError,
            r"logits must be of shape \(3, C\) with at least 2 classes, got a float32 .* \(2, 3\)",
        ),
        (
            torch.rand(2, 1),
            torch.arange(2),
            ValueError,
            r"logits must be of shape \(2, C\) with at least 2 classes, got a float32 .* \(2, 1\)",
        ),
        (
            torch.rand(2),
            torch.arange(2),
            ValueError,
            r"logits must be of shape \(2, C\) .*, got a float32 tensor of shape \(2,\)",
        ),
        (
            torch.rand(2, 3),
            torch.rand(2, 4),
            TypeError,
            r"targets must be int64 labels \(B,\) or float32 stacked targets \(B, 3\), got a float32 .* \(2, 4\)",
        ),
        (
            torch.rand(2, 3),
            torch.rand(2, 3).bfloat16(),
            TypeError,
            r"targets must be int64 .*, got a bfloat16 tensor of shape \(2, 3\); the trainer has cast them",
        ),
        (
            torch.rand(2, 3),
            torch.arange(2).int(),
            TypeError,
            r"targets must be int64 .*, got a int32 tensor of shape \(2,\)",
        ),
        (
            torch.rand(2, 3),
            torch.ones(2, 2).long(),
            TypeError,
            r"targets must be int64 .*, got a int64 tensor of shape \(2, 2\)",
        ),
    ],
)
def test_a_batch_that_cannot_be_counted_is_described(logits, targets, error, match):
    accuracy = MixUpAccuracy(topk=2)
    with pytest.raises(error, match=match):
        accuracy.update(logits, targets)


def test_ignored_labels_count_for_nothing():
    """Against torch: what is left is a batch without them."""
    logits = torch.eye(4)
    plain, without = MixUpAccuracy(), MixUpAccuracy()
    plain.update(logits, torch.tensor([0, -100, 1, 3]))
    without.update(logits[[0, 2, 3]], torch.tensor([0, 1, 3]))
    assert plain.compute() == without.compute() == (pytest.approx(2 / 3),) * 2
    mixed = MixUpAccuracy(ignore_index=9)
    targets = stack_targets(
        torch.tensor([0, 9, 2, 9]), torch.tensor([9, 1, 3, 9]), torch.tensor([0.75, 0.75, 0.25, 0.5])
    )
    mixed.update(logits, targets)
    # of four samples the first keeps 0.75 (hit), the second 0.25 (hit), the third 0.25 (hit) and 0.75, the last nothing
    assert mixed.compute() == (pytest.approx(1 / 2), pytest.approx(1.25 / 2))


def test_sums_of_ranks_add_up_to_the_whole():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(30, 5, generator=generator), torch.randint(5, (2, 30), generator=generator)
    targets = stack_targets(*labels, torch.rand(30, generator=generator))
    whole, *parts = [MixUpAccuracy() for _ in range(4)]
    whole.update(logits, targets)
    for part, rows in zip(parts, (slice(7), slice(7, 20), slice(20, 30)), strict=True):
        part.update(logits[rows], targets[rows])
    for part in parts[1:]:
        parts[0].sums += part.sums  # what all_reduce does
    for one, other in zip(parts[0].compute(), whole.compute(), strict=True):
        torch.testing.assert_close(one, other)


def test_it_fits_into_torchmetrics():
    from torchmetrics import Metric

    class Mixed(Metric):
        def __init__(self):
            super().__init__()
            self.add_state("sums", torch.zeros(4, dtype=torch.float64), dist_reduce_fx="sum")

        def update(self, logits, targets):
            batch = MixUpAccuracy()
            batch.update(logits, targets)
            self.sums += batch.sums

        def compute(self):
            whole = MixUpAccuracy()
            whole.sums = self.sums
            return whole.compute().dominant

    metric = Mixed()
    metric(torch.eye(3), torch.tensor([0, 1, 0]))
    metric(torch.eye(3), torch.tensor([0, 0, 0]))
    assert metric.compute() == pytest.approx(3 / 6)


def test_split_targets_count_as_stacked_ones():
    targets = stack_targets(torch.tensor([0, 2]), torch.tensor([1, 0]), torch.tensor([0.75, 0.25]))
    first, second = MixUpAccuracy(), MixUpAccuracy()
    first.update(torch.eye(3)[:2], targets)
    second.update(torch.eye(3)[:2], (targets[:, :2].long(), targets[:, 2]))
    assert first.compute() == second.compute()
