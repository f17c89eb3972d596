"""One line swaps a torch DataLoader.

The same samples in the same order, the same pixels, or an error that says why not.
"""

import inspect
from itertools import chain
from pathlib import Path

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
    default_collate,
)
from torch.utils.data.distributed import DistributedSampler

import dali_mixup as dm
from tests.translation.peers import (
    COMMON,
    MEAN,
    STD,
    TRAIN,
    Plain,
    by_global,
    image_folder,
    labels,
    numbered,
    swap,
    v1,
    v2,
)


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


@pytest.fixture
def be_rank(monkeypatch):
    def be(rank, world=2):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(world))

    return be


def test_an_unshuffled_dataloader_gives_each_rank_all_samples_and_says_so_on_rank_0(folder, be_rank):
    theirs = DataLoader(numbered(folder), batch_size=4)
    made = swap(theirs)
    be_rank(0)
    with pytest.warns(UserWarning, match="2 ranks. Each gets all samples, since .* shard=.* shares them out") as said:
        epochs = [labels(made) for _ in range(2)]
    assert epochs == [labels(theirs)] * 2
    assert [each.filename for each in said] == [inspect.getsourcefile(labels)]  # once, where the `for` is
    be_rank(1)
    assert labels(swap(theirs)) == labels(theirs)
    assert len(list(swap(theirs, shard=(0, 2)))) == len(list(swap(theirs, shard=(1, 2)))) == 3


@pytest.mark.parametrize("generator", [None, torch.Generator().manual_seed(5)])
def test_ranks_share_a_shuffled_dataloader_out_whatever_seeds_they_would_draw(folder, be_rank, generator):
    theirs = DataLoader(numbered(folder), batch_size=4, shuffle=True, generator=generator)
    made = [swap(theirs) for _ in range(2)]
    alone = [loader.seed for loader in made]
    assert (alone == [5, 5]) if generator else (alone[0] != alone[1])
    be_rank(0)
    with pytest.warns(UserWarning, match=r"2 ranks. They share out the samples .* shard=\(0, 1\) gives each rank all"):
        first = labels(made[0])
    be_rank(1)
    second = labels(made[1])
    assert sorted(chain.from_iterable(first + second)) == list(range(23))
    assert [loader.seed for loader in made] == ([5, 5] if generator else [0, 0])
    assert sorted(chain.from_iterable(labels(swap(theirs, shard=(0, 1))))) == list(range(23))


def test_a_sampler_of_the_users_own_decides_for_its_rank_and_one_that_knows_ranks_is_silent(folder, be_rank):
    be_rank(0)
    for name in ("weighted", "subset"):
        theirs = DataLoader(numbered(folder), batch_size=4, sampler=SAMPLERS[name]())
        made = swap(DataLoader(numbered(folder), batch_size=4, sampler=SAMPLERS[name]()))
        with pytest.warns(UserWarning, match="2 ranks. Each gets all that its own sampler gives"):
            assert labels(made) == labels(theirs)
    assert len(list(swap(DataLoader(numbered(folder), sampler=SAMPLERS["distributed"]())))) == 8


def test_what_is_no_dataloader_and_no_batch_is_refused(folder):
    with pytest.raises(
        TypeError, match=r"loader must be a torch.utils.data.DataLoader, or what timm's create_loader gives, got \[1\]"
    ):
        dm.from_dataloader([1])
    with pytest.raises(ValueError, match=r"loader.batch_size must be an int, got None"):
        swap(DataLoader(image_folder(folder), batch_size=None))
    with pytest.raises(ValueError, match='targets must be "stacked", "dense" or None'):
        swap(DataLoader(image_folder(folder)), targets="soft")


class Repeated(DataLoader):
    def __iter__(self):
        for images, targets in super().__iter__():
            yield images, targets
            yield images, targets


class Shortened(DataLoader):
    def __len__(self):
        return 2


@pytest.mark.parametrize(("kind", "own"), [(Repeated, "__iter__"), (Shortened, "__len__")])
def test_a_dataloader_class_that_does_work_of_its_own_is_refused(folder, kind, own):
    with pytest.raises(TypeError, match=f"loader must be a DataLoader without an {own} of its own, .*{kind.__name__}"):
        swap(kind(image_folder(folder)))


@pytest.mark.filterwarnings("ignore:'set_vital'")  # which torchdata calls
def test_a_prepared_dataloader_is_refused_and_a_stateful_one_is_read(folder):
    accelerate = pytest.importorskip("accelerate")
    prepared = accelerate.data_loader.prepare_data_loader(DataLoader(image_folder(folder)))
    with pytest.raises(TypeError, match=r"got 'DataLoaderShard'; pass the DataLoader .*before accelerator.prepare"):
        swap(prepared)
    stateful = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader
    assert labels(swap(stateful(numbered(folder), batch_size=23))) == [list(range(23))]


def test_options_of_a_dataloader_are_answered_with_ours(folder):
    with pytest.raises(TypeError, match=r"from_dataloader has no option 'num_workers': .* num_threads="):
        swap(DataLoader(image_folder(folder)), num_workers=4)


def test_looking_at_a_dataset_leaves_torchs_random_numbers_alone(folder):
    transform = v2.Compose([v2.RandomResizedCrop(16), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    theirs = DataLoader(Plain(folder, transform), collate_fn=lambda batch: COMMON(*default_collate(batch)))
    before = torch.get_rng_state()
    swap(theirs, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_strict_refuses_approximate_transforms(folder):
    transform = v1.Compose([v1.Resize((16, 16)), v1.ToTensor(), v1.RandomAffine(5)])
    with pytest.raises(ValueError, match=r"(?s)approximate are:.*RandomAffine"):
        swap(DataLoader(image_folder(folder, transform)), strict=True)
    made = v1.Compose([v1.Resize((16, 16)), v1.ColorJitter(0.4), v1.ToTensor(), v1.Normalize(MEAN, STD)])
    assert swap(DataLoader(image_folder(folder, made)), strict=True).pipeline.transforms


def test_functions_of_finished_batches_are_handed_over(folder):
    def halve(images):
        return images / 2

    theirs = DataLoader(image_folder(folder), batch_size=4)
    made = dm.ImagePipeline(geometry=dm.CenterCrop(16), after=(torch.nn.Identity(),))
    assert swap(theirs, after=[halve]).pipeline.after == (halve,)
    assert swap(theirs, transform=made, after=[halve]).pipeline.after == (*made.after, halve)
    whole, halved = (next(iter(swap(theirs, **options)))[0] for options in ({}, {"after": [halve]}))
    assert torch.equal(halved, whole / 2)


def test_the_callers_mixup_and_targets_come_first(folder):
    theirs = DataLoader(image_folder(folder), batch_size=4, collate_fn=by_global)
    assert swap(theirs, mixup=dm.MixUp(0.4)).mixup == dm.MixUp(0.4)
    assert swap(theirs, targets="stacked").mixup == dm.MixUp(0.7, per_sample=False, fold=False)
    dense = swap(
        DataLoader(image_folder(folder)), mixup=dm.RandomChoice([dm.MixUp(0.4), dm.CutMix()]), targets="dense"
    ).mixup
    assert {(mixer.targets, mixer.num_classes) for mixer in dense.mixers} == {("dense", 3)}


def test_bad_files_are_the_loaders_business(folder, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.jpg").write_bytes(b"")
    (tmp_path / "a" / "1.jpg").write_bytes(next(Path(folder).rglob("*.jpg")).read_bytes())
    theirs = DataLoader(image_folder(tmp_path), batch_size=2)
    with pytest.warns(dm.BadFileWarning):
        made = swap(theirs, on_bad_sample="replace", max_bad_fraction=0.5)
    assert labels(made) == [[0, 0]]


def test_every_option_of_the_loader_is_taken_or_read():
    ours = set(inspect.signature(dm.from_dataloader).parameters) - {
        "loader",
        "strict",
        "targets",
        "files",
        "transform",
        "after",
    }
    read = {"dataset", "pipeline", "batch_size", "shuffle", "sampler", "batch_sampler", "drop_last"}
    assert ours | read == set(inspect.signature(dm.Loader).parameters)
