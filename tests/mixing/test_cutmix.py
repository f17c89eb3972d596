"""CutMix, CutMixDraw and paste, beside torchvision's and timm's boxes."""

import math
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from scipy import stats

from bench.torchvision_fix import import_torchvision
from dali_mixup import CutMix, CutMixDraw, MixUp, mix
from dali_mixup.mixing.cutmix import boxes_around
from tests import reference

v2 = import_torchvision("torchvision.transforms.v2")
BATCH_SIZES = [0, 1, 2, 3, 7, 8]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
SIZES = [(1, 1), (5, 9), (9, 5), (32, 32), (224, 160)]


def rng(seed=0):
    return np.random.default_rng(seed)


def torchvisions_box(size, lam, row, column, monkeypatch):
    """[top, left, bottom, right] and lam by torchvision's `make_params`, its random numbers replaced."""
    given = {size[1]: column, size[0]: row} if size[0] != size[1] else None
    order = iter([column, row])  # x first
    monkeypatch.setattr(torch, "randint", lambda high, size: torch.tensor([given[high] if given else next(order)]))
    transform = v2.CutMix(num_classes=2)
    transform._dist = type("Fixed", (), {"sample": lambda self, shape: torch.tensor(lam, dtype=torch.float64)})()
    params = transform.make_params([torch.empty(2, 3, *size)])
    monkeypatch.undo()
    left, top, right, bottom = params["box"]
    return [top, left, bottom, right], params["lam_adjusted"]


@pytest.mark.parametrize("size", SIZES)
def test_boxes_and_lam_are_torchvisions_for_the_same_random_numbers(size, monkeypatch):
    generator, whole = rng(1), CutMix().draw(200, rng(1), size)
    lam, centre = generator.beta(1, 1, 200), generator.random((200, 2))
    for i in range(200):
        row, column = int(centre[i, 0] * size[0]), int(centre[i, 1] * size[1])
        box, kept = torchvisions_box(size, lam[i], row, column, monkeypatch)
        assert whole.boxes[i].tolist() == box
        assert float(whole.lam[i]) == np.float32(kept)


@pytest.mark.parametrize("size", SIZES)
def test_boxes_are_timms_but_for_the_last_row_and_column_of_odd_ones(size, monkeypatch):
    from timm.data.mixup import rand_bbox

    generator = rng(2)
    for _ in range(200):
        lam, row, column = generator.random(), int(generator.integers(size[0])), int(generator.integers(size[1]))
        monkeypatch.setattr(np.random, "randint", Mock(side_effect=[row, column]))
        top, bottom, left, right = rand_bbox((3, *size), lam)
        monkeypatch.undo()
        centre = np.array([[(row + 0.5) / size[0], (column + 0.5) / size[1]]])
        ours = boxes_around(np.array([lam]), centre, size)[0]
        odd = [int(side * math.sqrt(1 - lam)) % 2 for side in size]
        assert ours[:2].tolist() == [top, left]
        assert [min(ours[2] + odd[0], size[0]), min(ours[3] + odd[1], size[1])] == [bottom, right]


@pytest.mark.parametrize("per_sample", [True, False])
@pytest.mark.parametrize("partner", ["cycle", "permutation"])
@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_lam_is_the_exact_share_of_the_area_that_is_kept(batch_size, per_sample, partner):
    for seed in range(20):
        draw = CutMix(per_sample=per_sample, partner=partner).draw(batch_size, rng(seed), (12, 17))
        assert (draw.lam.dtype, draw.partner.dtype, draw.boxes.dtype) == (torch.float32, torch.int64, torch.int64)
        assert (draw.lam.shape, draw.partner.shape, draw.boxes.shape) == ((batch_size,), (batch_size,), (batch_size, 4))
        assert sorted(draw.partner.tolist()) == list(range(batch_size))
        if batch_size < 2:
            assert draw.lam.tolist() == [1.0] * batch_size
        for lam, (top, left, bottom, right) in zip(draw.lam.tolist(), draw.boxes.tolist(), strict=True):
            assert 0 <= top <= bottom <= 12
            assert 0 <= left <= right <= 17
            kept = sum(
                not (top <= row < bottom and left <= column < right) for row in range(12) for column in range(17)
            )
            assert lam == np.float32(kept / 204)


def test_every_sample_has_a_box_of_its_own_or_the_batch_has_one():
    own, shared = (CutMix(per_sample=per_sample).draw(64, rng(), (64, 64)) for per_sample in (True, False))
    assert len(own.boxes.unique(dim=0)) > 50
    assert len(shared.boxes.unique(dim=0)) == len(shared.lam.unique()) == 1


def test_kept_shares_are_distributed_like_torchvisions():
    torch.manual_seed(0)
    transform = v2.CutMix(alpha=1.0, num_classes=2)
    theirs = [transform.make_params([torch.empty(2, 3, 64, 48)])["lam_adjusted"] for _ in range(4000)]
    assert stats.ks_2samp(CutMix().draw(4000, rng(5), (64, 48)).lam.numpy(), np.float32(theirs)).pvalue > 0.01
    assert stats.ks_2samp(CutMix(0.3).draw(4000, rng(5), (64, 48)).lam.numpy(), np.float32(theirs)).pvalue < 1e-6


def test_boxes_lie_everywhere_in_both_directions():
    boxes = CutMix().draw(20_000, rng(3), (64, 80)).boxes
    covered = torch.zeros(64, 80)
    for top, left, bottom, right in boxes.tolist():
        covered[top:bottom, left:right] += 1
    assert torch.allclose(covered, covered.flip(0, 1), rtol=0.15)  # -half ... +half - 1 is nearly symmetric
    assert (covered > 1000).all()


@pytest.mark.parametrize("per_sample", [True, False])
def test_prob_is_the_fraction_that_gets_a_box(per_sample):
    cutmix, generator = CutMix(4.0, per_sample=per_sample, prob=0.3), rng(4)
    draws = [cutmix.draw(8, generator, (64, 64)) for _ in range(1000)]
    mixed = torch.stack([draw.lam < 1 for draw in draws])
    flags = mixed.flatten() if per_sample else mixed[:, 0]
    assert stats.binomtest(int(flags.sum()), len(flags), 0.3).pvalue > 0.01
    if not per_sample:
        assert (mixed == mixed[:, :1]).all()


@pytest.mark.parametrize("dtype", [*DTYPES, torch.uint8])
@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_a_batch_is_pasted_and_its_targets_hold_the_share(batch_size, dtype):
    images, labels = torch.randint(0, 200, (batch_size, 3, 8, 6)).to(dtype), torch.randint(1000, (batch_size,))
    draw = CutMix().draw(batch_size, rng(batch_size), (8, 6))
    inputs = [images.clone(), labels.clone(), draw.lam.clone(), draw.boxes.clone()]
    mixed, targets = CutMix()(images, labels, draw=draw)
    assert mixed.dtype == (torch.float32 if dtype == torch.uint8 else dtype)
    assert torch.equal(mixed, reference.paste(images, draw.boxes, draw.partner).to(mixed.dtype))
    expected = [[int(labels[i]), int(labels[draw.partner[i]]), float(draw.lam[i])] for i in range(batch_size)]
    assert targets.tolist() == expected
    mixed.fill_(9)
    targets.fill_(9)
    assert all(
        torch.equal(value, copy) for value, copy in zip((images, labels, draw.lam, draw.boxes), inputs, strict=True)
    )


def test_targets_count_the_pixels_of_the_mixed_images():
    labels = torch.arange(6)
    images = labels.float()[:, None, None, None].expand(6, 1, 8, 8)
    for seed in range(20):
        mixed, targets = CutMix()(images, labels, generator=rng(seed))
        for image, (own, partner, lam) in zip(mixed, targets.tolist(), strict=True):
            assert (image == own).float().mean().item() == pytest.approx(lam, abs=1e-6)
            assert (image == partner).float().mean().item() == pytest.approx(1 - lam, abs=1e-6)


def test_float_labels_are_mixed_by_the_share():
    draw, labels = CutMix().draw(4, rng(), (8, 8)), torch.rand(4, 7)
    assert torch.equal(CutMix()(torch.rand(4, 1, 8, 8), labels, draw=draw)[1], mix(labels, draw))


@pytest.mark.parametrize("num_classes", [None, 7])
def test_torchvisions_cutmix_gives_the_same_batch(num_classes, monkeypatch):
    """One box per batch, the batch rolled by one: torchvision's own parameters."""
    torch.manual_seed(3)
    images, labels = torch.rand(5, 3, 11, 14), torch.randint(7, (5,))
    transform = v2.CutMix(num_classes=7)
    params = transform.make_params([images])
    monkeypatch.setattr(transform, "make_params", lambda flat: params)
    expected, expected_targets = transform(images, labels)
    left, top, right, bottom = params["box"]
    draw = CutMixDraw(
        lam=torch.full((5,), params["lam_adjusted"]),
        partner=torch.arange(5).roll(1),
        boxes=torch.tensor([[top, left, bottom, right]] * 5),
        size=(11, 14),
    )
    mixed, targets = CutMix(targets="dense" if num_classes else "stacked", num_classes=num_classes)(
        images, labels, draw=draw
    )
    assert torch.equal(mixed, expected)
    if num_classes:
        torch.testing.assert_close(targets, expected_targets, rtol=0, atol=2e-7)
    else:
        assert targets[:, 1].tolist() == labels.roll(1).tolist()


def test_the_same_seeds_give_the_same_batches():
    images, labels = torch.rand(8, 3, 9, 9), torch.arange(8)
    torch.manual_seed(7)
    first, second = CutMix()(images, labels), CutMix()(images, labels)
    torch.manual_seed(7)
    again = CutMix()(images, labels)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], second[1])
    by_generator = CutMix()(images, labels, generator=rng(1))
    assert torch.equal(by_generator[1], CutMix()(images, labels, draw=CutMix().draw(8, rng(1), (9, 9)))[1])


@pytest.mark.parametrize(
    ("size", "error", "match"),
    [
        (8, TypeError, r"size must be a pair \(height, width\), got 8"),
        ((8,), TypeError, r"size must be a pair \(height, width\), got \(8,\)"),
        ((8, 0), ValueError, r"the width of size must be an int of at least 1, got 0"),
        ((2.5, 8), TypeError, r"the height of size must be an int of at least 1, got 2.5"),
    ],
)
def test_a_size_out_of_range_is_named(size, error, match):
    with pytest.raises(error, match=match):
        CutMix().draw(4, rng(), size)


@pytest.mark.parametrize(
    ("images", "error", "match"),
    [
        (
            torch.rand(2, 3),
            TypeError,
            r"images must be a tensor \(B, ..., H, W\), got a float32 tensor of shape \(2, 3\)",
        ),
        (
            torch.rand(2, 8, 9, 3),
            ValueError,
            r"images must be .*without channels at the end.*movedim\(-1, 1\).*layout=\"NHWC\"",
        ),
    ],
)
def test_images_without_height_and_width_at_the_end_are_an_error(images, error, match):
    with pytest.raises(error, match=match):
        CutMix()(images, torch.arange(2))


@pytest.mark.parametrize("shape", [(8, 3), (4, 8, 3), (8, 4, 3), (2, 8, 8, 3)])
def test_small_sides_are_no_channels_where_others_stand_before_them(shape):
    mixed, _ = CutMix()(torch.rand(2, *shape), torch.arange(2))
    assert mixed.shape == (2, *shape)


def test_a_draw_of_another_kind_or_size_is_an_error():
    with pytest.raises(TypeError, match="draw must be one that CutMix draws, got MixUpDraw"):
        CutMix()(torch.rand(2, 3, 8, 8), torch.arange(2), draw=MixUp().draw(2, rng()))
    with pytest.raises(ValueError, match=r"images must be of shape .* height and width \(9, 9\)"):
        CutMix()(torch.rand(2, 3, 8, 8), torch.arange(2), draw=CutMix().draw(2, rng(), (9, 9)))
