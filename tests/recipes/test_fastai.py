"""fastai v2: torch's DataLoaders in its DataLoaders, its MixUp callback, Learner.fit_one_cycle."""

from unittest import mock

import pytest
import torch
from torch.utils.data import DataLoader

import dali_mixup as dm
from tests.recipes.comparing import Replayed, differences, network, run_epoch, transform_again
from tests.translation.peers import STD, TRAIN, VAL, image_folder, swap

pytest.importorskip("fastai")
pytestmark = pytest.mark.filterwarnings("ignore")  # fastai's own
CYCLES = 2


def build_loaders(photos):
    train = DataLoader(image_folder(photos, TRAIN), batch_size=8, shuffle=True, drop_last=True)
    return train, DataLoader(image_folder(photos, VAL), batch_size=8)


def fit(train, val, loss_func, callbacks=()):
    """The script: losses of each step, and of each validation its loss and accuracy."""
    from fastai.callback import schedule  # noqa: F401
    from fastai.callback.core import Callback
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.metrics import accuracy

    losses = []

    class Keep(Callback):
        def after_loss(self):
            if self.training:
                losses.append(self.loss.item())

    learner = Learner(DataLoaders(train, val), network(4), loss_func=loss_func, metrics=accuracy, cbs=callbacks)
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(CYCLES, 1e-2, cbs=Keep())
    return losses, [tuple(values)[1:] for values in learner.recorder.values]


def test_order_labels_and_pixels_are_those_of_the_dataloaders(photos):
    train, val = build_loaders(photos)
    ours = swap(train, indices=True)
    labels = torch.tensor(train.dataset.targets)
    batches = run_epoch(ours)
    assert len(batches) == len(train)
    assert sorted(torch.cat([batch.numbers for batch in batches]).tolist()) == list(range(32))
    for batch in batches:
        assert torch.equal(batch.targets, labels[batch.numbers])
        assert differences(batch.images, transform_again(TRAIN, ours, batch), STD).max() < 1.01
    for (images, targets), (expected, same) in zip(swap(val), val, strict=True):
        assert torch.equal(targets, same)
        assert differences(images, expected, STD).max() < 1.01


def test_the_losses_are_those_of_fastais_own_mixup_with_the_same_numbers(photos):
    from fastai.callback.mixup import MixUp
    from fastai.losses import CrossEntropyLossFlat

    train, val = build_loaders(photos)
    mixup = dm.MixUp(alpha=0.4, partner="permutation")
    plain, mixed = (swap(train, mixup=mixer, seed=1, indices=True) for mixer in (None, mixup))
    epochs = [(run_epoch(plain), run_epoch(mixed)) for _ in range(CYCLES)]
    draws = [batch.plan.draw for _, batches in epochs for batch in batches]
    replayed = Replayed(
        [[(transform_again(TRAIN, plain, one), one.targets) for one in batches] for batches, _ in epochs]
    )
    theirs = MixUp(0.4)
    theirs.distrib = mock.Mock()
    theirs.distrib.sample.side_effect = [draw.lam for draw in draws]
    with mock.patch.object(torch, "randperm", side_effect=[draw.partner for draw in draws]):
        expected, validated = fit(replayed, val, CrossEntropyLossFlat(), [theirs])
    losses, found = fit(swap(train, mixup=mixup, seed=1), swap(val), dm.MixUpLoss(torch.nn.CrossEntropyLoss()))
    assert len(losses) == len(draws) == CYCLES * 4
    assert losses == pytest.approx(expected, rel=1e-2)
    assert [loss for loss, _ in found] == pytest.approx([loss for loss, _ in validated], rel=1e-2)
    assert [right for _, right in found] == pytest.approx([right for _, right in validated], abs=1 / 16)


def test_a_loader_of_fastais_own_is_refused_with_the_way_out(photos):
    from fastai.data.transforms import parent_label
    from fastai.vision.augment import Resize
    from fastai.vision.data import ImageDataLoaders

    theirs = ImageDataLoaders.from_folder(photos, train=".", valid_pct=0.25, seed=1, item_tfms=Resize(32), bs=8)
    with pytest.raises(TypeError, match=r"loader must be a torch.utils.data.DataLoader, .*; build a Loader .*FileList"):
        swap(theirs.train)
    items, vocabulary = theirs.valid_ds.items, theirs.vocab
    labels = [vocabulary.o2i[parent_label(path)] for path in items]
    ours = dm.Loader(dm.FileList(items, labels, list(vocabulary)), dm.from_torchvision(VAL), batch_size=8, device="cpu")
    assert torch.cat([targets for _, targets in ours]).tolist() == torch.cat([y for _, y in theirs.valid]).tolist()
