"""timm's Mixup in a collate_fn becomes a mixer with the same rules."""

import numpy as np
import pytest
import scipy.stats
import torch
from torch.utils.data import DataLoader, default_collate

import dali_mixup as dm
from bench.timm_fix import import_timm
from dali_mixup.mixing.draws import CutMixDraw
from dali_mixup.translation.timm_mixup import read_mixup
from tests.translation.peers import TRAIN, image_folder, swap

timm = import_timm()
mixup = import_timm("timm.data.mixup")
NAME = "loader.collate_fn"
COMMON = {"label_smoothing": 0.0, "num_classes": 3}


def options(**more):
    return {"per_sample": False, "targets": "dense", "num_classes": 3, **more}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"mixup_alpha": 0.8}, dm.MixUp(0.8, fold=False, **options())),
        ({"mixup_alpha": 0.0, "cutmix_alpha": 1.0, "prob": 0.5}, dm.CutMix(1.0, **options(prob=0.5))),
        ({"mixup_alpha": 0.2, "mode": "elem"}, dm.MixUp(0.2, fold=False, **options(per_sample=True))),
        (
            {"mixup_alpha": 0.8, "cutmix_alpha": 0.5, "switch_prob": 0.3},
            dm.RandomChoice([dm.MixUp(0.8, fold=False, **options()), dm.CutMix(0.5, **options())], p=[0.7, 0.3]),
        ),
        ({"prob": 0.0}, None),
    ],
)
def test_options_are_read(theirs, ours):
    for kind in (mixup.Mixup, mixup.FastCollateMixup):
        assert read_mixup(kind(**COMMON, **theirs), smooth=False, name=NAME) == ours


def test_what_is_switched_off_is_none():
    switched_off = mixup.Mixup(**COMMON)
    switched_off.mixup_enabled = False
    assert read_mixup(switched_off, smooth=False, name=NAME) is None


def test_weights_have_timms_distribution():
    theirs = mixup.Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, switch_prob=0.3, prob=0.7, **COMMON)
    ours, count = read_mixup(theirs, smooth=False, name=NAME), 4000
    np.random.seed(0)
    expected = [theirs._params_per_batch() for _ in range(count)]
    draws = [ours.draw(2, np.random.default_rng(seed), (1000, 1000)) for seed in range(count)]
    mixed = [float(draw.lam[0]) for draw in draws if not isinstance(draw, CutMixDraw) and draw.lam[0] < 1]
    lam = [lam for lam, cut in expected if not cut and lam < 1]
    assert abs(len(mixed) - len(lam)) < 4 * np.sqrt(count * 0.5)
    assert scipy.stats.ks_2samp(mixed, lam).pvalue > 1e-3
    boxed = [float(draw.lam[0]) for draw in draws if isinstance(draw, CutMixDraw) and draw.lam[0] < 1]
    kept = [mixup.cutmix_bbox_and_lam((3, 1000, 1000), lam)[1] for lam, cut in expected if cut]
    assert scipy.stats.ks_2samp(boxed, kept).pvalue > 1e-3


def test_smoothing_goes_into_the_criterion_with_an_equal_loss():
    theirs = mixup.Mixup(mixup_alpha=0.8, label_smoothing=0.1, num_classes=7)
    labels, logits = torch.tensor([3, 0, 6, 2]), torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    dense = mixup.mixup_target(labels, 7, 0.3, 0.1)
    expected = import_timm("timm.loss").SoftTargetCrossEntropy()(logits, dense)
    targets = dm.stack_targets(labels, labels.flip(0), torch.full((4,), 0.3))
    found = dm.MixUpLoss(torch.nn.CrossEntropyLoss(label_smoothing=0.1))(logits, targets)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert read_mixup(theirs, smooth=True, name=NAME) == dm.MixUp(0.8, fold=False, **options(num_classes=7))


def test_a_collate_fn_of_timms_is_swapped(folder):
    collate = timm.FastCollateMixup(0.8, 1.0, label_smoothing=0.1, num_classes=3)
    loader = DataLoader(image_folder(folder, TRAIN), batch_size=4, collate_fn=collate)
    with pytest.raises(ValueError, match=r"(?s)label_smoothing of a FastCollateMixup must be 0, got 0.1.*=\"stacked\""):
        swap(loader)
    made = swap(loader, targets="stacked")
    assert made.mixup == dm.RandomChoice(
        [dm.MixUp(0.8, per_sample=False, fold=False), dm.CutMix(1.0, per_sample=False)], p=[0.5, 0.5]
    )


def test_mixup_after_default_collate_is_found(folder):
    mixer = timm.Mixup(0.8, **COMMON)
    loader = DataLoader(
        image_folder(folder, TRAIN), batch_size=4, collate_fn=lambda batch: mixer(*default_collate(batch))
    )
    assert swap(loader).mixup == dm.MixUp(0.8, fold=False, **options())


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        ({"mode": "pair"}, r'loader.collate_fn.mode must be "batch" or "elem", got \'pair\''),
        ({"mode": "elem", "cutmix_alpha": 1.0}, 'loader.collate_fn.mode must be "batch" where both mixup and CutMix'),
        ({"cutmix_minmax": (0.2, 0.8)}, "loader.collate_fn.cutmix_minmax must be None"),
        ({"cutmix_alpha": 1.0, "correct_lam": False}, "loader.collate_fn.cutmix_minmax must be None, with correct_lam"),
        ({"label_smoothing": 0.1}, "loader.collate_fn.label_smoothing of a Mixup must be 0, got 0.1"),
        ({"multi_label": True}, "loader.collate_fn.multi_label must be False, got True"),
    ],
)
def test_what_has_no_counterpart_is_named(theirs, message):
    with pytest.raises(ValueError, match=message):
        read_mixup(mixup.Mixup(**COMMON | theirs), smooth=False, name=NAME)
