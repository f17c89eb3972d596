"""MixUp, MixUpDraw and mix."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from dali_mixup import CutMix, MixUp, MixUpDraw, mix
from tests import reference

BATCH_SIZES = [0, 1, 2, 3, 7, 8]
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def rng(seed=0):
    return np.random.default_rng(seed)


def draw_of(lam, partner):
    return MixUpDraw(lam=torch.tensor(lam, dtype=torch.float32), partner=torch.tensor(partner))


def assert_mixed(mixed, values, draw):
    """One rounding to the result's dtype, and the few roundings of the dtype that is computed in."""
    computed = torch.float64 if values.dtype == torch.float64 else torch.float32
    expected = reference.mix(values, draw.lam, draw.partner)
    largest = float(values.double().abs().max()) if values.numel() else 0.0
    rounding = torch.finfo(mixed.dtype).eps / 2 * expected.abs() + 4 * torch.finfo(computed).eps * largest
    assert mixed.shape == values.shape
    assert ((mixed.double() - expected).abs() <= rounding).all()


def ks_p_value(lam, alpha, fold):
    """Kolmogorov-Smirnov against Beta(alpha, alpha), folded and rounded to float32 alike: ties at 0 and 1 count."""
    values, counts = np.unique(lam, return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)]) / len(lam)

    def cdf(float32):
        edge = (
            float32.astype(np.float64) + np.nextafter(float32, np.float32(2)).astype(np.float64)
        ) / 2  # all that rounds down to it
        beta = stats.beta(alpha, alpha)
        whole = np.where(edge >= 1, 1.0, beta.cdf(edge) - (beta.cdf(1 - edge) if fold else 0))
        return np.where(edge < (0.5 if fold else 0), 0.0, whole)

    distance = max(
        abs(below[1:] - cdf(values)).max(), abs(below[:-1] - cdf(np.nextafter(values, np.float32(-1)))).max()
    )
    return stats.kstwo.sf(distance, len(lam))


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("alpha", [1e-4, 0.01, 0.1, 0.4, 1, 4])
def test_lam_follows_the_beta_distribution(alpha, fold):
    lam = MixUp(alpha, fold=fold).draw_lam(50_000, rng(3))
    assert ks_p_value(lam, alpha, fold) > 0.01


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("alpha", [1e-4, 0.01, 0.1, 0.4, 1, 4])
def test_lam_is_distributed_like_scipys_samples(alpha, fold):
    theirs = stats.beta(alpha, alpha).rvs(50_000, random_state=rng(11))
    theirs = np.maximum(theirs, 1 - theirs) if fold else theirs
    assert stats.ks_2samp(MixUp(alpha, fold=fold).draw_lam(50_000, rng(3)), theirs.astype(np.float32)).pvalue > 0.01


@pytest.mark.parametrize("fold", [True, False])
def test_the_distribution_test_rejects_another_alpha(fold):
    lam = MixUp(0.4, fold=fold).draw_lam(50_000, rng(3))
    assert ks_p_value(lam, 0.6, fold) < 1e-6


@pytest.mark.parametrize("alpha", [1e-4, 0.4])
def test_the_distribution_test_rejects_a_forgotten_fold(alpha):
    assert ks_p_value(MixUp(alpha, fold=False).draw_lam(50_000, rng(3)), alpha, fold=True) < 1e-6
    assert ks_p_value(MixUp(alpha, fold=True).draw_lam(50_000, rng(3)), alpha, fold=False) < 1e-6


def test_the_distribution_test_rejects_torchs_beta_at_small_alpha():
    torch.manual_seed(0)
    lam = torch.distributions.Beta(1e-4, 1e-4).sample((50_000,)).numpy()
    assert ks_p_value(lam, 1e-4, fold=False) < 1e-6


def test_folded_lam_is_the_larger_of_lam_and_its_complement():
    plain = MixUp(0.4, fold=False).draw_lam(1000, rng(5)).astype(np.float64)
    folded = MixUp(0.4).draw_lam(1000, rng(5))
    assert (folded >= 0.5).all()
    assert (plain < 0.5).any()
    np.testing.assert_allclose(folded, np.maximum(plain, 1 - plain), rtol=0, atol=6e-8)


def test_lam_differs_from_sample_to_sample():
    assert len(MixUp(1.0).draw(64, rng()).lam.unique()) == 64


def test_one_lam_per_batch_is_shared_by_all_samples_and_changes_from_batch_to_batch():
    generator = rng()
    draws = [MixUp(1.0, per_sample=False).draw(8, generator) for _ in range(20)]
    assert all(draw.lam.shape == (8,) and len(draw.lam.unique()) == 1 for draw in draws)
    assert len({float(draw.lam[0]) for draw in draws}) == 20


def test_lam_per_batch_follows_the_beta_distribution():
    generator = rng(1)
    mixup = MixUp(0.4, per_sample=False)
    lam = np.array([float(mixup.draw(2, generator).lam[0]) for _ in range(5000)], np.float32)
    assert ks_p_value(lam, 0.4, fold=True) > 0.01
    assert ks_p_value(lam, 0.6, fold=True) < 1e-6


@pytest.mark.parametrize("prob", [0.0, 0.25, 0.9, 1.0])
def test_prob_is_the_fraction_of_mixed_samples_and_lam_is_exactly_one_elsewhere(prob):
    lam = MixUp(4.0, prob=prob, fold=False).draw(50_000, rng(2)).lam
    mixed = int((lam != 1).sum())  # Beta(4, 4) itself never gives 1
    assert stats.binomtest(mixed, 50_000, prob).pvalue > 0.01
    if prob:
        assert ks_p_value(lam[lam != 1].numpy(), 4.0, fold=False) > 0.01


def test_prob_per_batch_leaves_whole_batches_unmixed():
    mixup, generator = MixUp(4.0, per_sample=False, prob=0.3), rng(3)
    mixed = [(mixup.draw(8, generator).lam != 1) for _ in range(2000)]
    assert all(batch.all() or not batch.any() for batch in mixed)
    assert stats.binomtest(sum(bool(batch[0]) for batch in mixed), 2000, 0.3).pvalue > 0.01


@pytest.mark.parametrize("partner", ["cycle", "permutation"])
@pytest.mark.parametrize("per_sample", [True, False])
@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_a_draw_has_float32_lam_and_int64_partners_in_range(batch_size, per_sample, partner):
    draw = MixUp(per_sample=per_sample, partner=partner).draw(batch_size, rng())
    assert (draw.lam.dtype, draw.partner.dtype) == (torch.float32, torch.int64)
    assert draw.lam.shape == draw.partner.shape == (batch_size,)
    assert sorted(draw.partner.tolist()) == list(range(batch_size))
    assert ((draw.lam >= 0.5) & (draw.lam <= 1)).all()


@pytest.mark.parametrize("per_sample", [True, False])
@pytest.mark.parametrize("fold", [True, False])
def test_a_batch_of_one_is_left_unmixed(per_sample, fold):
    mixup = MixUp(per_sample=per_sample, fold=fold)
    assert mixup.draw(1, rng()).lam.tolist() == [1.0]
    images = torch.rand(1, 3, 4, 4)
    mixed, targets = mixup(images, torch.tensor([5]))
    assert torch.equal(mixed, images)
    assert targets.tolist() == [[5, 5, 1]]


def test_the_same_generator_state_gives_the_same_draw_and_the_next_one_differs():
    mixup, generator = MixUp(), rng(4)
    first, second, again = mixup.draw(16, generator), mixup.draw(16, generator), mixup.draw(16, rng(4))
    assert torch.equal(first.lam, again.lam)
    assert torch.equal(first.partner, again.partner)
    assert not torch.equal(first.lam, second.lam)
    assert not torch.equal(first.partner, second.partner)


@pytest.mark.parametrize("dtype", [*FLOATS, torch.uint8])
@pytest.mark.parametrize("lam", [0.75, 1.0])
def test_inputs_are_never_written_and_share_no_memory_with_the_result(dtype, lam):
    images = torch.randint(0, 200, (4, 3, 2, 2)).to(dtype)
    labels, dense = torch.arange(4), torch.rand(4, 5)
    draw = draw_of([lam] * 4, [1, 2, 3, 0])
    inputs = [images, labels, dense, draw.lam, draw.partner]
    before = [value.clone() for value in inputs]
    outputs = [*MixUp()(images, labels, draw=draw), *MixUp()(images, dense, draw=draw)]
    for output in outputs:
        output.fill_(9)
    assert all(torch.equal(value, copy) for value, copy in zip(inputs, before, strict=True))


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_integer_labels_give_rows_of_label_partner_label_and_lam(batch_size):
    images, labels = torch.rand(batch_size, 3, 4, 4), torch.randint(1000, (batch_size,))
    draw = MixUp().draw(batch_size, rng())
    mixed, targets = MixUp()(images, labels, draw=draw)
    assert torch.equal(mixed, mix(images, draw))
    assert targets.dtype == torch.float32
    assert targets.shape == (batch_size, 3)
    for i in range(batch_size):
        assert targets[i].tolist() == [int(labels[i]), int(labels[draw.partner[i]]), float(draw.lam[i])]


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.uint8])
@pytest.mark.parametrize("shape", [(5,), (5, 1)])
def test_labels_of_every_integer_type_give_the_same_targets(dtype, shape):
    draw = MixUp().draw(5, rng())
    expected = MixUp()(torch.rand(5, 2), torch.arange(5), draw=draw)[1]
    assert torch.equal(MixUp()(torch.rand(5, 2), torch.arange(5).to(dtype).reshape(shape), draw=draw)[1], expected)


@pytest.mark.parametrize("image_dtype", [*FLOATS, torch.uint8])
def test_lam_stays_float32_whatever_the_images_are(image_dtype):
    draw = MixUp(1.0).draw(64, rng())
    assert not torch.equal(draw.lam, draw.lam.half().float())
    targets = MixUp()(torch.ones(64, 2).to(image_dtype), torch.arange(64), draw=draw)[1]
    assert targets.dtype == torch.float32
    assert torch.equal(targets[:, 2], draw.lam)


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 7), (4, 2, 3)])
@pytest.mark.parametrize("dtype", FLOATS)
def test_float_labels_are_mixed_themselves(shape, dtype):
    labels = torch.rand(shape).to(dtype)
    draw = MixUp().draw(4, rng())
    targets = MixUp()(torch.rand(4, 3), labels, draw=draw)[1]
    assert targets.dtype == dtype
    assert_mixed(targets, labels, draw)


def test_images_and_targets_keep_their_devices():
    images, targets = MixUp()(torch.empty(4, 3, device="meta"), torch.arange(4))
    assert (images.device.type, targets.device.type) == ("meta", "cpu")


def test_torchs_manual_seed_rules_the_draw():
    def once():
        return MixUp()(images, labels)

    images, labels = torch.rand(8, 3), torch.arange(8)
    torch.manual_seed(7)
    first, second = once(), once()
    torch.manual_seed(7)
    again = once()
    torch.manual_seed(8)
    other = once()
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], second[1])
    assert not torch.equal(first[1], other[1])


def test_a_generator_rules_the_draw_and_leaves_torchs_alone():
    images, labels = torch.rand(8, 3), torch.arange(8)
    state = torch.get_rng_state()
    first, again = (MixUp()(images, labels, generator=rng(1)) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert torch.equal(first[1], MixUp()(images, labels, draw=MixUp().draw(8, rng(1)))[1])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"alpha": 0}, ValueError, r"alpha must be a finite number above 0, got 0; for no mixup pass mixup=None"),
        ({"alpha": -0.5}, ValueError, r"alpha must be a finite number above 0, got -0.5; for no mixup"),
        ({"alpha": math.inf}, ValueError, r"alpha must be a finite number above 0, got inf"),
        ({"alpha": math.nan}, ValueError, r"alpha must be a finite number above 0, got nan"),
        ({"alpha": "1"}, TypeError, r"alpha must be a finite number above 0, got '1'"),
        ({"alpha": True}, TypeError, r"alpha must be a finite number above 0, got True"),
        ({"per_sample": 1}, TypeError, r"per_sample must be True or False, got 1"),
        ({"fold": None}, TypeError, r"fold must be True or False, got None"),
        ({"partner": "roll"}, ValueError, r'partner must be "cycle" or "permutation", got \'roll\''),
        ({"prob": 1.1}, ValueError, r"prob must be a probability from 0 to 1, got 1.1"),
        ({"prob": -0.1}, ValueError, r"prob must be a probability from 0 to 1, got -0.1"),
        ({"prob": math.nan}, ValueError, r"prob must be a probability from 0 to 1, got nan"),
        ({"prob": "0.5"}, TypeError, r"prob must be a probability from 0 to 1, got '0.5'"),
    ],
)
def test_an_option_out_of_range_is_named(options, error, match):
    with pytest.raises(error, match=match):
        MixUp(**options)


def test_images_of_integers_are_an_error():
    with pytest.raises(
        TypeError, match=r"must be a float or uint8 tensor, got a int32 tensor of shape \(2, 3\); indices have no mean"
    ):
        MixUp()(torch.ones(2, 3, dtype=torch.int32), torch.arange(2))


def test_a_draw_of_another_kind_is_an_error():
    draw = CutMix().draw(3, rng(), (4, 4))
    with pytest.raises(TypeError, match="draw must be one that MixUp draws, got CutMixDraw"):
        MixUp()(torch.rand(3, 1, 4, 4), torch.arange(3), draw=draw)


def test_a_draw_of_another_length_is_an_error():
    with pytest.raises(
        ValueError, match=r"must be of the draw's batch size \(2\), got a float32 tensor of shape \(3, 1\)"
    ):
        MixUp()(torch.rand(3, 1), torch.arange(3), draw=draw_of([1.0, 1.0], [1, 0]))
