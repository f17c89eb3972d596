"""mix and paste carry out a draw on whatever belongs to the samples."""

import math
from collections import namedtuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dali_mixup import CutMix, CutMixDraw, MixUp, MixUpDraw, mix, paste
from tests import reference

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
BITS = {torch.float16: torch.int16, torch.bfloat16: torch.int16, torch.float32: torch.int32, torch.float64: torch.int64}
BATCH_SIZES = [0, 1, 2, 3, 7, 8]


Sample = namedtuple("Sample", "image columns")


def rng(seed=0):
    return np.random.default_rng(seed)


def draw_of(lam, partner):
    return MixUpDraw(lam=torch.tensor(lam, dtype=torch.float32), partner=torch.tensor(partner))


def same_bits(a, b):
    return a.dtype == b.dtype and torch.equal(a.view(BITS[a.dtype]), b.view(BITS[b.dtype]))


def assert_mixed(mixed, values, draw):
    """One rounding to the result's dtype, and the few roundings of the dtype that is computed in."""
    computed = torch.float64 if values.dtype == torch.float64 else torch.float32
    expected = reference.mix(values, draw.lam, draw.partner)
    largest = float(values.double().abs().max()) if values.numel() else 0.0
    rounding = torch.finfo(mixed.dtype).eps / 2 * expected.abs() + 4 * torch.finfo(computed).eps * largest
    assert mixed.shape == values.shape
    assert ((mixed.double() - expected).abs() <= rounding).all()


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_mix_agrees_with_the_reference(batch_size, dtype, fold):
    torch.manual_seed(batch_size)
    images = torch.randn(batch_size, 3, 5, 4).mul(3).to(dtype)
    draw = MixUp(fold=fold).draw(batch_size, rng(batch_size))
    mixed = mix(images, draw)
    assert mixed.dtype == dtype
    assert draw.lam.dtype == torch.float32
    assert_mixed(mixed, images, draw)


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_uint8_images_give_float32_without_truncation(batch_size, fold):
    images = torch.from_numpy(rng().integers(0, 256, (batch_size, 5, 4, 3), dtype=np.uint8))
    draw = MixUp(1.0, fold=fold).draw(batch_size, rng(batch_size))
    mixed = mix(images, draw)
    assert mixed.dtype == torch.float32
    assert mixed.shape == images.shape
    assert ((mixed.double() - reference.mix(images, draw.lam, draw.partner)).abs() < 1e-4).all()
    if batch_size > 1:
        assert (mixed != mixed.trunc()).any()


def test_uint8_images_mix_without_wrapping_around():
    images = torch.tensor([[255], [0]], dtype=torch.uint8)
    assert mix(images, draw_of([0.75, 0.75], [1, 0])).tolist() == [[191.25], [63.75]]


@settings(deadline=None, max_examples=60)
@given(
    batch_size=st.integers(0, 9),
    shape=st.lists(st.integers(0, 4), max_size=3),
    seed=st.integers(0, 999),
    dtype=st.sampled_from(FLOATS),
)
def test_mix_agrees_with_the_reference_for_any_shape(batch_size, shape, seed, dtype):
    values = torch.from_numpy(rng(seed).normal(size=(batch_size, *shape))).to(dtype)
    draw = MixUp(1.0, fold=False, partner="permutation").draw(batch_size, rng(seed))
    assert_mixed(mix(values, draw), values, draw)


def test_lam_weighs_the_sample_itself():
    values = torch.tensor([[0.0], [4.0], [100.0]])
    assert mix(values, draw_of([0.75, 1.0, 0.5], [1, 2, 0])).tolist() == [[1.0], [4.0], [50.0]]


def test_lam_zero_gives_the_partner():
    values = torch.rand(4, 3)
    draw = draw_of([0.0] * 4, [1, 2, 3, 0])
    assert torch.equal(mix(values, draw), values.roll(-1, 0))


@pytest.mark.parametrize("dtype", FLOATS)
def test_lam_one_returns_the_batch_unchanged_bit_for_bit(dtype):
    torch.manual_seed(0)
    finfo = torch.finfo(dtype)
    images = torch.randn(8, 3, 16, 16).mul(torch.logspace(-3, 4, 16)).to(dtype)
    images[:, 0, 0, :4] = torch.tensor([finfo.tiny, finfo.tiny / 2, finfo.eps, 0], dtype=dtype)
    mixed = mix(images, draw_of([1.0] * 8, [3, 0, 1, 2, 7, 4, 5, 6]))
    assert same_bits(mixed, images)


@pytest.mark.parametrize("dtype", FLOATS)
def test_lam_one_keeps_a_negative_zero(dtype):
    values = torch.tensor([[-0.0], [2.0]], dtype=dtype)
    assert same_bits(mix(values, draw_of([1.0, 1.0], [1, 0])), values)


@pytest.mark.parametrize("special", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("dtype", FLOATS)
def test_lam_one_keeps_a_partner_that_is_not_finite_out(dtype, special):
    values = torch.tensor([[1.5], [special]], dtype=dtype)
    mixed = mix(values, draw_of([1.0, 1.0], [1, 0]))
    torch.testing.assert_close(mixed, values, rtol=0, atol=0, equal_nan=True)


def test_channels_last_strided_and_expanded_inputs_mix_like_contiguous_ones():
    images = torch.rand(4, 3, 6, 6)
    draw = MixUp().draw(4, rng())
    expected = mix(images, draw)
    last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(mix(last, draw), expected)
    assert mix(last, draw).is_contiguous(memory_format=torch.channels_last)
    strided = (
        torch.rand(4, 6, 12, 3).copy_(images.permute(0, 2, 3, 1).repeat_interleave(2, 2))[:, :, ::2].permute(0, 3, 1, 2)
    )
    assert not strided.is_contiguous()
    assert torch.equal(mix(strided, draw), expected)
    assert torch.equal(mix(images[:1].expand(4, 3, 6, 6), draw), mix(images[:1].repeat(4, 1, 1, 1), draw))


def test_one_draw_serves_embeddings_columns_and_containers():
    torch.manual_seed(0)
    draw = MixUp().draw(4, rng())
    tokens, columns = torch.randn(4, 6, 8), torch.randn(4, 5)
    assert_mixed(mix(tokens, draw), tokens, draw)
    assert_mixed(mix(columns, draw), columns, draw)

    pair = mix((tokens, columns), draw)
    assert type(pair) is tuple
    listed = mix([tokens, [columns]], draw)
    assert type(listed) is list
    assert type(listed[1]) is list
    named = mix(Sample(image=tokens, columns=columns), draw)
    assert type(named) is Sample
    keyed = mix({"x": tokens, "nested": {"y": (columns,)}}, draw)
    assert list(keyed) == ["x", "nested"]
    for result in (pair[0], listed[0], named.image, keyed["x"]):
        assert torch.equal(result, mix(tokens, draw))
    for result in (pair[1], listed[1][0], named.columns, keyed["nested"]["y"][0]):
        assert torch.equal(result, mix(columns, draw))


@pytest.mark.parametrize("fold", [True, False])
def test_mix_is_differentiable(fold):
    torch.manual_seed(0)
    values = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    draw = MixUp(1.0, fold=fold).draw(5, rng())
    assert torch.autograd.gradcheck(lambda v: mix(v, draw), values)
    assert torch.autograd.gradcheck(lambda v: MixUp()(v, torch.arange(5), draw=draw)[0], values)


def test_values_keep_their_device_wherever_the_draw_lies():
    draw = MixUp().draw(4, rng())
    assert mix(torch.empty(4, 3, device="meta"), draw).device.type == "meta"


@pytest.mark.parametrize(
    ("values", "error", "match"),
    [
        (
            torch.arange(2),
            TypeError,
            r"values must be a float or uint8 tensor, got a int64 tensor of shape \(2,\); .*mix their embeddings",
        ),
        (torch.ones(2, 3, dtype=torch.bool), TypeError, r"values must be .*, got a bool tensor of shape \(2, 3\); "),
        (torch.ones(2, dtype=torch.int16), TypeError, r"values must be .*, got a int16 tensor of shape \(2,\); "),
        (torch.ones(2, dtype=torch.complex64), TypeError, r"values must be .*, got a complex64 tensor of shape \(2,\)"),
        (
            np.ones(2),
            TypeError,
            r"values must be a float or uint8 tensor, or a tuple, list or dict of them, got a float64 array of shape",
        ),
        (None, TypeError, r"values must be .*, got None"),
        ({"age": torch.arange(2)}, TypeError, r"values\['age'\] must be a float or uint8 tensor, got a int64 tensor"),
        ([torch.rand(2), ("x",)], TypeError, r"values\[1\]\[0\] must be .*, got 'x'"),
        (torch.tensor(1.0), TypeError, r"values must be a tensor \(B, \.\.\.\), got a float32 tensor of shape \(\)"),
        (
            torch.rand(3, 4),
            ValueError,
            r"values must be of the draw's batch size \(2\), got a float32 tensor of shape \(3, 4\)",
        ),
        (
            {"x": torch.rand(1, 4)},
            ValueError,
            r"values\['x'\] must be of the draw's batch size \(2\), got a float32 tensor of shape \(1, 4\)",
        ),
    ],
)
def test_mix_names_the_value_that_it_cannot_mix(values, error, match):
    with pytest.raises(error, match=match):
        mix(values, draw_of([1.0, 1.0], [1, 0]))


@pytest.mark.parametrize("dtype", [*FLOATS, torch.uint8, torch.int64, torch.bool])
@pytest.mark.parametrize("batch_size", BATCH_SIZES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_paste_agrees_with_the_reference(batch_size, dtype, shape):
    torch.manual_seed(batch_size)
    values = torch.randint(-50 if dtype.is_signed else 0, 100, (batch_size, *shape, 6, 5)).to(dtype)
    draw = CutMix(partner="permutation").draw(batch_size, rng(batch_size), (6, 5))
    assert torch.equal(paste(values, draw), reference.paste(values, draw.boxes, draw.partner))


@settings(deadline=None, max_examples=60)
@given(batch_size=st.integers(0, 6), height=st.integers(1, 7), width=st.integers(1, 7), seed=st.integers(0, 999))
def test_paste_agrees_with_the_reference_for_any_size(batch_size, height, width, seed):
    values = torch.from_numpy(rng(seed).normal(size=(batch_size, 2, height, width)))
    draw = CutMix(0.5).draw(batch_size, rng(seed), (height, width))
    assert torch.equal(paste(values, draw), reference.paste(values, draw.boxes, draw.partner))


def test_paste_keeps_every_bit_and_lets_nothing_in_from_outside_of_the_box():
    values = torch.tensor([[[-0.0, 1.0]], [[math.nan, math.inf]]])
    draw = CutMixDraw(
        lam=torch.tensor([1.0, 0.5]),
        partner=torch.tensor([1, 0]),
        boxes=torch.tensor([[0, 0, 0, 2], [0, 0, 1, 1]]),
        size=(1, 2),
    )
    pasted = paste(values, draw)
    assert torch.equal(pasted[0].view(torch.int32), values[0].view(torch.int32))
    assert torch.equal(pasted[1, 0, 0].view(torch.int32), values[0, 0, 0].view(torch.int32))
    assert pasted[1, 0, 1] == math.inf


def test_one_draw_serves_images_and_masks_in_containers():
    draw = CutMix().draw(4, rng(), (6, 5))
    images, masks = torch.rand(4, 3, 6, 5), torch.randint(9, (4, 6, 5))
    result = paste({"image": images, "rest": (masks, [images])}, draw)
    assert torch.equal(result["image"], paste(images, draw))
    assert torch.equal(result["rest"][0], reference.paste(masks, draw.boxes, draw.partner))
    assert torch.equal(result["rest"][1][0], paste(images, draw))


def test_paste_is_differentiable():
    draw = CutMix().draw(3, rng(), (3, 4))
    values = torch.randn(3, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: paste(v, draw), values)


@pytest.mark.parametrize(
    ("values", "error", "match"),
    [
        (
            torch.rand(2, 3, 5, 6),
            ValueError,
            r"values must be of shape \(B, ..., H, W\) with the draw's height and width \(6, 5\)",
        ),
        (torch.rand(2, 5), ValueError, r"values must be of shape \(B, ..., H, W\)"),
        (torch.rand(3, 6, 5), ValueError, r"values must be of the draw's batch size \(2\)"),
        (
            {"x": "y"},
            TypeError,
            r"values\['x'\] must be a tensor \(B, ..., H, W\), or a tuple, list or dict of them, got 'y'",
        ),
    ],
)
def test_paste_names_the_value_that_it_cannot_use(values, error, match):
    with pytest.raises(error, match=match):
        paste(values, CutMix().draw(2, rng(), (6, 5)))


def test_paste_refuses_a_draw_without_boxes():
    with pytest.raises(
        TypeError, match=r"draw must be a CutMixDraw, which has boxes, got MixUpDraw.*`mix` applies a MixUpDraw"
    ):
        paste(torch.rand(2, 6, 5), MixUp().draw(2, rng()))
