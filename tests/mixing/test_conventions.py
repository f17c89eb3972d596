"""The recipes of other libraries, replaced by ours.

Their draws taken over, batches, targets, losses and gradients must be equal.
"""

import numpy as np
import pytest
import torch
from timm.data import mixup as timm_mixup
from timm.loss import SoftTargetCrossEntropy
from torch.nn.functional import cross_entropy

from bench.torchvision_fix import import_torchvision
from dali_mixup import CutMix, CutMixDraw, MixUp, MixUpDraw, MixUpLoss

v2 = import_torchvision("torchvision.transforms.v2")
CLASSES = 7


def batch(count=8):
    torch.manual_seed(count)
    return (
        torch.rand(count, 3, 12, 10),
        torch.randint(CLASSES, (count,)),
        torch.randn(count, CLASSES, dtype=torch.float64),
    )


def gradient(loss_of, logits):
    logits = logits.clone().requires_grad_()
    loss = loss_of(logits)
    return loss.detach(), torch.autograd.grad(loss, logits)[0]


def record_boxes(monkeypatch):
    """What timm's cutmix_bbox_and_lam returns, in the order of its calls."""
    found, original = [], timm_mixup.cutmix_bbox_and_lam

    def recording(*arguments, **options):
        found.append(original(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(timm_mixup, "cutmix_bbox_and_lam", recording)
    return found


def timms_draw(mode, count, boxes, lam):
    """timm's partner is the batch reversed; its lam and boxes as recorded."""
    partner = torch.arange(count).flip(0)
    if not boxes:
        return MixUpDraw(lam=lam, partner=partner)
    rows = torch.tensor([[top, left, bottom, right] for (top, bottom, left, right), _ in boxes])
    rows = {
        "batch": lambda: rows.expand(count, 4),
        "pair": lambda: torch.cat([rows, rows.flip(0)]),
        "elem": lambda: rows,
    }[mode]()
    return CutMixDraw(lam=lam, partner=partner, boxes=rows, size=(12, 10))


def record_lam(monkeypatch):
    """What timm gives to its mixup_target."""
    found, original = [], timm_mixup.mixup_target

    def recording(target, num_classes, lam, *rest):
        found.append(lam)
        return original(target, num_classes, lam, *rest)

    monkeypatch.setattr(timm_mixup, "mixup_target", recording)
    return found


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_timms_mixup_and_soft_cross_entropy_are_equalled(kind, mode, smoothing, monkeypatch):
    images, labels, logits = batch()
    np.random.seed(5)
    alphas = {"mixup_alpha": 0.8, "cutmix_alpha": 0.0} if kind == "mixup" else {"mixup_alpha": 0.0, "cutmix_alpha": 1.0}
    boxes, lams = record_boxes(monkeypatch), record_lam(monkeypatch)
    theirs = timm_mixup.Mixup(**alphas, mode=mode, label_smoothing=smoothing, num_classes=CLASSES)
    expected, expected_targets = theirs(images.clone(), labels)
    lam = torch.as_tensor(lams[0], dtype=torch.float32).flatten().expand(8)
    draw = timms_draw(mode, 8, boxes, lam)
    mixer = MixUp if kind == "mixup" else CutMix
    mixed, stacked = mixer()(images, labels, draw=draw)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=2e-7 if kind == "mixup" else 0)

    _, dense = mixer(targets="dense", num_classes=CLASSES)(images, labels, draw=draw)
    smoothed = dense * (1 - smoothing) + smoothing / CLASSES
    torch.testing.assert_close(smoothed, expected_targets, rtol=0, atol=3e-7)

    loss, slope = gradient(lambda x: SoftTargetCrossEntropy()(x, expected_targets.double()), logits)
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)
    for ours in (
        gradient(lambda x: MixUpLoss(criterion)(x, stacked), logits),
        gradient(lambda x: cross_entropy(x, dense.double(), label_smoothing=smoothing), logits),
    ):
        torch.testing.assert_close(ours, (loss, slope), rtol=1e-6, atol=1e-6)


def test_torchvisions_mixup_gives_the_same_batch(monkeypatch):
    images, labels, _ = batch(5)
    transform = v2.MixUp(alpha=0.3, num_classes=CLASSES)
    monkeypatch.setattr(transform, "make_params", lambda flat: {"lam": 0.3})
    expected, expected_targets = transform(images, labels)
    draw = MixUpDraw(lam=torch.full((5,), 0.3), partner=torch.arange(5).roll(1))
    mixed, targets = MixUp(targets="dense", num_classes=CLASSES)(images, labels, draw=draw)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=2e-7)
    torch.testing.assert_close(targets, expected_targets, rtol=0, atol=2e-7)


def test_fastais_rule_gives_the_same_batch_and_loss():
    """fastai v1: lam = max(lam, 1 - lam) per image, Beta(0.4, 0.4), a shuffle, mean of lam * l1 + (1 - lam) * l2."""
    images, labels, logits = batch(9)
    generator = np.random.default_rng(0)
    lam = np.random.default_rng(0).beta(0.4, 0.4, 9)
    lam = torch.from_numpy(np.maximum(lam, 1 - lam)).float()
    draw = MixUp(0.4, partner="permutation").draw(9, generator)
    shuffle = draw.partner
    assert torch.equal(draw.lam, lam)
    weight = lam.view(9, 1, 1, 1)
    mixed, targets = MixUp()(images, labels, draw=draw)
    torch.testing.assert_close(mixed, images * weight + images[shuffle] * (1 - weight), rtol=0, atol=2e-7)

    def fastais(x):
        one, other = (cross_entropy(x, y, reduction="none") for y in (labels, labels[shuffle]))
        return (one * lam + other * (1 - lam)).mean()

    ours = gradient(lambda x: MixUpLoss(torch.nn.CrossEntropyLoss())(x, targets), logits)
    torch.testing.assert_close(ours, gradient(fastais, logits), rtol=1e-6, atol=1e-6)
