"""One line swaps a torch DataLoader.

The same samples in the same order, the same pixels, or an error that says why not.
"""

import functools
import inspect
import random
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
    default_collate,
)
from torch.utils.data.distributed import DistributedSampler

import dali_mixup as dm
from bench.torchvision_fix import import_torchvision

datasets = import_torchvision("torchvision.datasets")
v1 = import_torchvision("torchvision.transforms")
v2 = import_torchvision("torchvision.transforms.v2")

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VAL = v1.Compose([v1.Resize(18), v1.CenterCrop(16), v1.ToTensor(), v1.Normalize(MEAN, STD)])
TRAIN = v1.Compose([v1.RandomResizedCrop(16), v1.RandomHorizontalFlip(), v1.ToTensor(), v1.Normalize(MEAN, STD)])
COMMON = v2.MixUp(alpha=0.7, num_classes=3)


def image_folder(folder, transform=VAL, **options):
    return datasets.ImageFolder(folder, transform, **options)


def swap(loader, **options):
    return dm.from_dataloader(loader, **{"device": "cpu", "num_threads": 1, **options})


def labels(batches):
    return [targets.tolist() for _, targets in batches]


def numbered(folder, transform=VAL):
    """An ImageFolder whose labels are the samples' numbers."""
    made = image_folder(folder, transform)
    made.samples = [(path, number) for number, (path, _) in enumerate(made.samples)]
    made.classes = None
    return made


def test_validation_batches_equal_torchvisions_within_one_level(photos):
    transform = v1.Compose([v1.Resize(256), v1.CenterCrop(224), v1.ToTensor(), v1.Normalize(MEAN, STD)])
    theirs = DataLoader(image_folder(photos, transform), batch_size=8)
    ours = swap(theirs)
    assert len(ours) == len(theirs)
    for (images, targets), (expected, expected_targets) in zip(ours, theirs, strict=True):
        assert torch.equal(targets, expected_targets)
        levels = (images - expected).abs() * torch.tensor(STD).view(3, 1, 1) * 255
        assert levels.mean() < 0.2
        assert levels[..., 1:-1, 1:-1].max() <= 1.01


def test_the_loader_looks_like_the_dataloader(folder):
    theirs = DataLoader(image_folder(folder, TRAIN), batch_size=4, shuffle=True, drop_last=True)
    ours = swap(theirs, mixup=dm.MixUp(alpha=0.4))
    assert len(ours) == len(theirs) == 5
    assert ours.batch_size == 4
    assert len(ours.dataset) == 23
    assert ours.dataset.classes == theirs.dataset.classes
    assert ours.dataset.class_to_idx == theirs.dataset.class_to_idx
    assert len(ours.sampler) == 20
    assert [tuple(images.shape) for images, _ in ours] == [(4, 3, 16, 16)] * 5
    assert all(targets.shape == (4, 3) for _, targets in ours)
    assert ours.pipeline == dm.from_torchvision(TRAIN)


def test_a_shuffle_is_repeatable_by_torchs_seeds(folder):
    def orders(generator=None):
        made = swap(DataLoader(numbered(folder), batch_size=5, shuffle=True, generator=generator))
        assert made.plan.shuffle
        return [labels(made) for _ in range(2)]

    torch.manual_seed(1)
    first, other = orders(), orders()
    torch.manual_seed(1)
    assert orders() == first
    assert other != first
    assert first[0] != first[1]
    assert sorted(chain.from_iterable(first[0])) == list(range(23))
    assert orders(torch.Generator().manual_seed(5)) == orders(torch.Generator().manual_seed(5))
    assert swap(DataLoader(numbered(folder), shuffle=True, generator=torch.Generator().manual_seed(5))).seed == 5
    assert swap(DataLoader(numbered(folder), shuffle=True), seed=9).seed == 9


SAMPLERS = {
    "sequential": lambda: None,
    "weighted": lambda: WeightedRandomSampler(range(1, 24), 30, generator=torch.Generator().manual_seed(1)),
    "subset": lambda: SubsetRandomSampler(range(4, 20), generator=torch.Generator().manual_seed(2)),
    "replacement": lambda: RandomSampler(
        range(23), replacement=True, num_samples=40, generator=torch.Generator().manual_seed(3)
    ),
    "half": lambda: RandomSampler(range(23), num_samples=11, generator=torch.Generator().manual_seed(3)),
    "distributed": lambda: DistributedSampler(range(23), num_replicas=3, rank=2, seed=7),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_gives_the_order_that_it_gave(folder, name):
    theirs = DataLoader(numbered(folder), batch_size=4, sampler=SAMPLERS[name]())
    ours = swap(DataLoader(numbered(folder), batch_size=4, sampler=SAMPLERS[name]()))
    for epoch in range(2):
        if name == "distributed":
            theirs.sampler.set_epoch(epoch)
            ours.sampler.set_epoch(epoch)
        assert labels(ours) == labels(theirs)
    assert len(ours) == len(theirs)
    if name == "distributed":
        assert ours.shard == (2, 3)
        assert ours.seed == 7


@pytest.mark.parametrize("kind", [SequentialSampler, RandomSampler])
def test_a_sampler_of_fewer_samples_gives_no_more(folder, kind):
    theirs = DataLoader(numbered(folder), batch_size=4, sampler=kind(range(6)))
    ours = swap(DataLoader(numbered(folder), batch_size=4, sampler=kind(range(6))))
    assert len(ours) == len(theirs) == 2
    assert sorted(chain.from_iterable(labels(ours))) == list(range(6))


def test_a_batch_sampler_keeps_its_batches(folder):
    batches = [[3, 1, 2], [0], [22, 21, 5, 4, 9]]
    made = swap(DataLoader(numbered(folder), batch_sampler=batches))
    assert labels(made) == batches
    assert made.batch_size is None
    inner = DistributedSampler(range(23), num_replicas=2, rank=1)
    sampled = swap(DataLoader(numbered(folder), batch_sampler=BatchSampler(inner, 4, drop_last=True)))
    assert labels(sampled) == list(BatchSampler(inner, 4, drop_last=True))
    assert sampled.shard == (1, 2)


def test_ranks_share_nothing_out_without_a_sampler_that_does(folder, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    theirs = DataLoader(numbered(folder), batch_size=4)
    assert labels(swap(theirs)) == labels(theirs)
    assert len(swap(theirs, shard=(1, 2))) == 3


def test_subsets_of_subsets_keep_their_files_and_labels(folder):
    inner = Subset(image_folder(folder), [20, 3, 8, 1, 9])
    theirs = DataLoader(Subset(inner, [4, 0, 2]), batch_size=2)
    ours = swap(theirs)
    assert labels(ours) == labels(theirs)
    assert ours.dataset.classes == inner.dataset.classes
    (images, _), (expected, _) = next(iter(ours)), next(iter(theirs))
    assert (images - expected).abs().max() < 0.1


def test_target_transforms_are_applied(folder):
    theirs = DataLoader(image_folder(folder, target_transform=lambda label: 2 - label), batch_size=23)
    assert labels(swap(theirs)) == labels(theirs)


class OneHot(datasets.ImageFolder):
    def __init__(self, folder):
        super().__init__(folder, VAL, target_transform=lambda label: np.eye(3, dtype=np.float32)[label])


def test_soft_labels_stay_soft(folder):
    theirs = DataLoader(OneHot(folder), batch_size=23)
    (_, targets), (_, expected) = next(iter(swap(theirs))), next(iter(theirs))
    assert torch.equal(targets, expected)


def open_rgb(path):
    with Image.open(path) as image:
        return image.convert("RGB")


def open_bgr(path):
    return np.asarray(open_rgb(path))[:, :, ::-1]


def test_a_reader_of_the_users_own_must_read_as_pillow_does(folder):
    made = datasets.DatasetFolder(folder, open_rgb, (".jpg",), VAL)
    assert labels(swap(DataLoader(made, batch_size=23))) == [made.targets]
    with pytest.raises(
        ValueError, match=r"loader.dataset.loader must be a reader that gives RGB as Pillow does.*FileList"
    ):
        swap(DataLoader(datasets.DatasetFolder(folder, open_bgr, (".jpg",), VAL)))


class WithPath(datasets.ImageFolder):
    def __getitem__(self, number):
        return *super().__getitem__(number), self.samples[number][0]


class Shifted(datasets.ImageFolder):
    def __getitem__(self, number):
        image, label = super().__getitem__(number)
        return image, label + 1


class OneShifted(datasets.ImageFolder):
    def __getitem__(self, number):
        image, label = super().__getitem__(number)
        return image, label + (number == len(self) // 2)


class Grey(datasets.ImageFolder):
    def __getitem__(self, number):
        path, label = self.samples[number]
        return self.transform(self.loader(path).convert("L").convert("RGB")), label


class Doubled(datasets.ImageFolder):
    def __getitem__(self, number):
        image, label = super().__getitem__(number)
        return image * 2, label


class Cached(datasets.ImageFolder):
    def __getitem__(self, number):
        return torch.zeros(3, 16, 16), self.samples[number][1]


class Half(datasets.ImageFolder):
    def __len__(self):
        return len(self.samples) // 2


class OwnSubset(Subset):
    """The inner dataset's images with something done to them."""

    def __getitem__(self, number):
        image, label = super().__getitem__(number)
        return -image, label

    def __getitems__(self, numbers):
        return [self[number] for number in numbers]


class Standard(datasets.VisionDataset):
    """torchvision's base class, with its `transforms` for image and target."""

    def __init__(self, folder, transform):
        super().__init__(folder, transform=transform, target_transform=lambda label: 2 - label)
        self.samples = datasets.ImageFolder(folder).samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, number):
        path, label = self.samples[number]
        return self.transforms(open_rgb(path), label)


class Plain(torch.utils.data.Dataset):
    """A user's own dataset of files."""

    def __init__(self, folder, transform):
        self.samples = [(path, number % 3) for number, path in enumerate(sorted(Path(folder).rglob("*.jpg")))]
        self.transform = transform

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, number):
        path, label = self.samples[number]
        return self.transform(open_rgb(path)), label


@pytest.mark.parametrize("kind", [Plain, Standard])
def test_any_dataset_with_samples_and_transform_is_read(folder, kind):
    theirs = DataLoader(kind(folder, VAL), batch_size=23)
    (images, targets), (expected, expected_targets) = next(iter(swap(theirs))), next(iter(theirs))
    assert torch.equal(targets, expected_targets)
    assert (images - expected).abs().max() < 0.1


def in_memory():
    return torch.utils.data.TensorDataset(torch.rand(4, 3, 8, 8), torch.arange(4))


class Endless(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(())


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (
            lambda _: in_memory(),
            TypeError,
            "must be a dataset of image files.*got 'TensorDataset'; list the files in a FileList.*MixUp",
        ),
        (lambda _: Subset(in_memory(), [1]), TypeError, "got 'TensorDataset'"),
        (lambda _: datasets.FakeData(4), TypeError, "got 'FakeData'"),
        (lambda _: Endless(), TypeError, "got 'Endless'"),
        (
            lambda folder: WithPath(folder, VAL),
            TypeError,
            r"of loader.dataset, a WithPath, must be \(transform\(image\), target\)",
        ),
        (
            lambda folder: Shifted(folder, VAL),
            ValueError,
            "a Shifted, must be .* the target of `samples`, 0, got 1; list",
        ),
        (
            lambda folder: OneShifted(folder, VAL),
            ValueError,
            "a OneShifted, must be .* the target of `samples`, 1, got 2; list",
        ),
        (lambda folder: Grey(folder, VAL), ValueError, "a Grey, must be .* the image as Pillow reads it, in RGB"),
        (
            lambda folder: Doubled(folder, VAL),
            ValueError,
            "a Doubled, must be .* nothing done before or after the transform",
        ),
        (
            lambda folder: Cached(folder, VAL),
            ValueError,
            "a Cached, must be .* nothing done before or after the transform",
        ),
        (
            lambda folder: Half(folder, VAL),
            ValueError,
            r"len\(loader.dataset\) of a Half must be that of its `samples` \(23\), got 11; take a",
        ),
        (lambda folder: OwnSubset(image_folder(folder), [1, 2]), TypeError, "with `samples`.* got 'OwnSubset'"),
        (
            lambda folder: datasets.ImageFolder(folder, VAL, is_valid_file=lambda _: False, allow_empty=True),
            dm.DatasetError,
            "at least one",
        ),
        (
            lambda folder: datasets.ImageFolder(folder),
            TypeError,
            "loader.dataset.transform of ImageFolder must be a transform",
        ),
        (lambda folder: Subset(image_folder(folder), []), dm.DatasetError, "at least one file"),
    ],
)
def test_datasets_that_cant_be_read_are_refused_by_name_with_the_way_out(folder, build, error, message):
    with pytest.raises(error, match=message):
        swap(DataLoader(build(folder)))


def test_what_is_no_dataloader_and_no_batch_is_refused(folder):
    with pytest.raises(TypeError, match=r"loader must be a torch.utils.data.DataLoader, got \[1\]"):
        dm.from_dataloader([1])
    with pytest.raises(ValueError, match=r"loader.batch_size must be an int, got None"):
        swap(DataLoader(image_folder(folder), batch_size=None))
    with pytest.raises(ValueError, match='targets must be "stacked", "dense" or None'):
        swap(DataLoader(image_folder(folder)), targets="soft")


def test_looking_at_a_dataset_leaves_torchs_random_numbers_alone(folder):
    transform = v2.Compose([v2.RandomResizedCrop(16), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    theirs = DataLoader(Plain(folder, transform), collate_fn=lambda batch: COMMON(*default_collate(batch)))
    before = torch.get_rng_state()
    swap(theirs, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_strict_refuses_approximate_transforms(folder):
    transform = v1.Compose([v1.RandomAffine(5), v1.ToTensor()])
    with pytest.raises(TypeError, match="RandomAffine"):
        swap(DataLoader(image_folder(folder, transform)))
    made = v1.Compose([v1.Resize((16, 16)), v1.ColorJitter(0.4), v1.ToTensor(), v1.Normalize(MEAN, STD)])
    assert swap(DataLoader(image_folder(folder, made)), strict=True).pipeline.transforms


# what a collate_fn may look like


def by_global(batch):
    return COMMON(*default_collate(batch))


def by_closure(mixer):
    def collate(batch):
        images, targets = default_collate(batch)
        return mixer(images, targets)

    return collate


class ByObject:
    def __init__(self, mixer):
        self.mixer = mixer

    def __call__(self, batch):
        return self.mixer(*default_collate(batch))

    def method(self, batch):
        return self(batch)


def by_argument(batch, mixer):
    return mixer(default_collate(batch))


def reversed_pairs(batch):
    images, targets = COMMON(*default_collate(batch))
    return images.flip(0), targets


def plain(batch):
    images, targets = zip(*batch, strict=True)
    return torch.stack(images), torch.tensor(targets)


@pytest.mark.parametrize(
    "collate",
    [
        by_global,
        by_closure(COMMON),
        lambda batch: COMMON(*default_collate(batch)),
        ByObject(COMMON),
        ByObject(COMMON).method,
        functools.partial(by_argument, mixer=COMMON),
    ],
)
def test_a_collate_fn_with_mixup_is_found_wherever_it_holds_it(folder, collate):
    made = swap(DataLoader(image_folder(folder, TRAIN), batch_size=8, collate_fn=collate))
    assert made.mixup == dm.MixUp(0.7, per_sample=False, fold=False, targets="dense", num_classes=3)
    for images, targets in made:
        assert targets.shape == (len(images), 3)
        assert torch.allclose(targets.sum(1), torch.ones(len(images)))


def test_cutmix_and_a_random_choice_are_taken_over_with_their_probabilities(folder):
    cutmix = v2.CutMix(alpha=0.5, num_classes=3)
    ours = dm.CutMix(0.5, per_sample=False, targets="dense", num_classes=3)
    made = swap(DataLoader(image_folder(folder), collate_fn=by_closure(cutmix)))
    assert made.mixup == ours
    choice = swap(
        DataLoader(image_folder(folder), collate_fn=by_closure(v2.RandomChoice([COMMON, cutmix], p=[1, 3])))
    ).mixup
    assert choice.mixers == (dm.MixUp(0.7, per_sample=False, fold=False, targets="dense", num_classes=3), ours)
    assert choice.p == (0.25, 0.75)


def test_the_callers_mixup_and_targets_come_first(folder):
    theirs = DataLoader(image_folder(folder), batch_size=4, collate_fn=by_global)
    assert swap(theirs, mixup=dm.MixUp(0.4)).mixup == dm.MixUp(0.4)
    assert swap(theirs, targets="stacked").mixup == dm.MixUp(0.7, per_sample=False, fold=False)
    dense = swap(
        DataLoader(image_folder(folder)), mixup=dm.RandomChoice([dm.MixUp(0.4), dm.CutMix()]), targets="dense"
    ).mixup
    assert {(mixer.targets, mixer.num_classes) for mixer in dense.mixers} == {("dense", 3)}


def test_a_collate_fn_that_only_collates_means_no_mixup(folder):
    assert swap(DataLoader(image_folder(folder), collate_fn=plain)).mixup is None


@pytest.mark.parametrize("collate", [reversed_pairs, lambda batch: batch, lambda batch: (*default_collate(batch), 1)])
def test_a_collate_fn_that_does_something_else_is_refused(folder, collate):
    with pytest.raises(
        ValueError,
        match=r"loader.collate_fn must be default_collate, or v2.MixUp.*got <function.*pass from_dataloader a mixup=",
    ):
        swap(DataLoader(image_folder(folder), collate_fn=collate))


@pytest.mark.parametrize("draw", [random.random, np.random.random, lambda: torch.rand(()).item()])
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_a_collate_fn_that_mixes_some_batches_is_refused(folder, draw, share):
    def collate(batch):
        return COMMON(*default_collate(batch)) if draw() < share else default_collate(batch)

    states = random.getstate(), str(np.random.get_state()), torch.get_rng_state()
    with pytest.raises(ValueError, match=r"loader.collate_fn must be default_collate.*; pass from_dataloader a mixup="):
        swap(DataLoader(image_folder(folder), collate_fn=collate), seed=1)
    assert (random.getstate(), str(np.random.get_state())) == states[:2]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert swap(DataLoader(image_folder(folder), collate_fn=collate), mixup=dm.MixUp(0.4)).mixup == dm.MixUp(0.4)


def test_a_collate_fn_that_fails_is_refused_with_its_error(folder):
    with pytest.raises(ValueError, match="it raises KeyError: 'image'") as caught:
        swap(
            DataLoader(
                image_folder(folder),
                collate_fn=lambda batch: batch[0]["x"] if isinstance(batch[0], dict) else {}["image"],
            )
        )
    assert isinstance(caught.value.__cause__, KeyError)


def test_bad_files_are_the_loaders_business(folder, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.jpg").write_bytes(b"")
    (tmp_path / "a" / "1.jpg").write_bytes(next(Path(folder).rglob("*.jpg")).read_bytes())
    theirs = DataLoader(image_folder(tmp_path), batch_size=2)
    with pytest.warns(dm.BadFileWarning):
        made = swap(theirs, on_bad_sample="replace", max_bad_fraction=0.5)
    assert labels(made) == [[0, 0]]


def test_every_option_of_the_loader_is_taken_or_read():
    ours = set(inspect.signature(dm.from_dataloader).parameters) - {"loader", "strict", "targets"}
    read = {"dataset", "pipeline", "batch_size", "shuffle", "sampler", "batch_sampler", "drop_last"}
    assert ours | read == set(inspect.signature(dm.Loader).parameters)
