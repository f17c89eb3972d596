"""Batches come in order from any place of any epoch, and DALI's graph is built as seldom as can be."""

import pytest
import torch
from PIL import Image

import dali_mixup as dm
from dali_mixup.decode.faults import Faults
from dali_mixup.pipelines import imagenet
from tests.conftest import noise, picture

WINDOWS = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16), flip=0.5)
NOISY = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16), flip=0.5, augment=noise)
PADDED = dm.ImagePipeline(geometry=dm.RandomCrop(30, padding=4), flip=0.5)
PIPELINES = pytest.mark.parametrize("pipeline", [WINDOWS, NOISY, PADDED], ids=["windows", "augment", "padded"])


def loader(dataset, pipeline, **options):
    return dm.Loader(dataset, pipeline, **{"batch_size": 4, "shuffle": True, "device": "cpu", **options})


def epoch(made):
    images, targets = zip(*made, strict=True)
    return torch.cat(images), torch.cat(targets)


def equal(one, other):
    return all(torch.equal(ours, theirs) for ours, theirs in zip(one, other, strict=True))


@pytest.fixture
def builds(monkeypatch):
    """DALI's pipelines, in the order in which they are built."""
    from nvidia.dali.pipeline import Pipeline

    built, build = [], Pipeline.build

    def record(pipeline):
        if all(pipeline is not other for other in built):
            built.append(pipeline)
        build(pipeline)

    monkeypatch.setattr(Pipeline, "build", record)
    return built


@PIPELINES
def test_jumps_forwards_and_backwards_give_the_epochs_of_a_run_through(dataset, pipeline):
    made = loader(dataset, pipeline)
    expected = [epoch(made) for _ in range(3)]
    assert not any(equal(expected[i], expected[i - 1]) for i in (1, 2))
    for number in (2, 0, 1, 1):
        made.set_epoch(number)
        assert equal(epoch(made), expected[number])


@PIPELINES
def test_a_break_in_any_place_disturbs_no_later_epoch(dataset, pipeline):
    whole = loader(dataset, pipeline)
    epoch(whole)
    expected = epoch(whole)
    for after in range(1, 7):
        made = loader(dataset, pipeline)
        for number, _ in enumerate(made, start=1):
            if number == after:
                break
        assert equal(epoch(made), expected)


@pytest.mark.parametrize("prefetch", [1, 2, 9, 20])
def test_what_is_prepared_ahead_may_reach_into_later_epochs(dataset, prefetch):
    expected, made = loader(dataset, WINDOWS), loader(dataset, WINDOWS, prefetch=prefetch)
    for _ in range(3):
        assert equal(epoch(made), epoch(expected))


def test_one_graph_serves_all_epochs_that_follow_each_other(dataset, builds):
    made = loader(dataset, WINDOWS)
    for _ in range(3):
        epoch(made)
    assert len(builds) == 1
    made.set_epoch(7)  # what it has prepared is of no use there
    epoch(made)
    assert len(builds) == 2


class Shuffled:
    """An order per epoch, as DistributedSampler's."""

    def __init__(self, count):
        self.count, self.epoch = count, 0

    def __len__(self):
        return self.count

    def __iter__(self):
        return iter(torch.randperm(self.count, generator=torch.Generator().manual_seed(self.epoch)).tolist())

    def set_epoch(self, number):
        self.epoch = number


@pytest.mark.parametrize("prefetch", [1, 2, 9, 20])
@pytest.mark.parametrize("pipeline", [WINDOWS, PADDED], ids=["windows", "padded"])
def test_one_graph_serves_all_epochs_of_a_sampler(dataset, pipeline, prefetch, builds):
    options = {"shuffle": False, "prefetch": prefetch}
    made = loader(dataset, pipeline, sampler=Shuffled(len(dataset)), **options)
    epochs = []
    for number in range(3):
        made.set_epoch(number)
        epochs.append(epoch(made))
    assert len(builds) == 1
    for number in (2, 0):
        other = loader(dataset, pipeline, sampler=Shuffled(len(dataset)), **options)
        other.set_epoch(number)
        assert equal(epoch(other), epochs[number])


def test_a_graph_for_what_pillow_decodes_is_built_when_there_is_some(files, builds):
    epoch(loader(listed(files), WINDOWS))
    assert len(builds) == 1
    with Image.open(files[9]) as image:
        image.convert("RGB").save(files[9], "GIF")
    made = loader(listed(files), WINDOWS, shuffle=False)
    for _ in range(2):
        assert epoch(made)[1].tolist() == list(range(32))
    assert len(builds) == 3
    kept = [file for file in files if file != files[9]]
    expected, _ = epoch(loader(listed(kept), imagenet.val(16), shuffle=False))
    images, _ = epoch(loader(listed(files), imagenet.val(16), shuffle=False))
    assert torch.equal(torch.cat([images[:9], images[10:]]), expected)


def test_random_operators_of_the_user_begin_anew_in_each_epoch(dataset, builds):
    made = loader(dataset, NOISY)
    for _ in range(3):
        epoch(made)
    assert len(builds) == 3


def test_seeds_of_the_users_operators_are_the_same_in_every_version(dataset, builds):
    """A saved state means these numbers."""
    made = loader(dataset, NOISY, seed=7)
    for _ in range(2):
        epoch(made)
    assert [graph.seed for graph in builds] == [2084595035, 119997945]


def test_a_graph_is_built_for_the_largest_batch(dataset, builds):
    made = dm.Loader(dataset, WINDOWS, batch_sampler=[[1, 2], [3, 4, 5, 6, 7], [0]], device="cpu")
    assert [len(targets) for _, targets in made] == [2, 5, 1]
    assert [graph.max_batch_size for graph in builds] == [5]


def damaged_png(path):
    """Chunks are whole, so that it is DALI's, and their contents aren't."""
    content = bytearray(path.read_bytes())
    start = content.index(b"IDAT") + 4
    content[start + 20 : start + 40] = bytes(20)
    path.write_bytes(content)


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{i:02}.png" for i in range(32)]
    for i, path in enumerate(paths):
        picture(40, 50, seed=i).save(path)
    return paths


def listed(files):
    return dm.FileList(files, list(range(len(files))), cache=False)


@PIPELINES
@pytest.mark.parametrize("prefetch", [1, 2, 6])
@pytest.mark.parametrize(
    ("damage", "options"),
    [
        (lambda path: path.unlink(), {}),
        (damaged_png, {}),
        (lambda path: path.unlink(), {"on_bad_sample": "replace", "max_bad_fraction": 0.0}),
    ],
    ids=["missing", "refused by DALI", "too many"],
)
@pytest.mark.filterwarnings("ignore::dali_mixup.BadFileWarning")
def test_an_error_comes_after_all_batches_before_it(files, pipeline, prefetch, damage, options):
    options |= {"prefetch": prefetch, "shuffle": False}
    expected, _ = epoch(loader(listed(files), pipeline, **options))
    made = loader(listed(files), pipeline, **options)
    damage(files[22])
    seen = []
    with pytest.raises(dm.BadSampleError, match=r"\n  sample 22: .*22.png: "):
        seen.extend(images for images, _ in made)
    assert len(seen) == 5
    assert torch.equal(torch.cat(seen), expected[:20])
    assert made.state_dict()["position"] == 20


@PIPELINES
def test_a_warning_that_is_an_error_comes_after_all_batches_before_it(files, pipeline):
    made = loader(listed(files), pipeline, shuffle=False, prefetch=4, on_bad_sample="replace", max_bad_fraction=0.5)
    files[22].unlink()
    seen = []
    with pytest.raises(dm.BadFileWarning, match=r"sample 22: .*; replaced"):
        seen.extend(images for images, _ in made)
    assert len(seen) == 5
    made.load_state_dict(made.state_dict())
    assert sum(len(targets) for _, targets in made) == 32 - 20


def test_all_bad_files_of_a_batch_are_named_also_what_only_dali_refuses(files):
    made = loader(listed(files), WINDOWS, shuffle=False)
    damaged_png(files[21])
    files[23].unlink()
    made.load_state_dict({**made.state_dict(), "position": 20})
    with pytest.raises(dm.BadSampleError, match="2 files of this batch") as caught:
        next(iter(made))
    assert [sample.number for sample in caught.value.samples] == [21, 23]


@pytest.mark.parametrize(("failures", "raised"), [([4], False), ([4, 3], False), ([5], True), ([4, 4], True)])
def test_a_batch_that_fails_again_and_again_ends_the_run(files, monkeypatch, failures, raised):
    """Its file decodes by itself: the first failure makes it a suspect, three more in a row may be an accident."""
    from nvidia.dali.pipeline import Pipeline

    run, left = Pipeline.run, list(failures)

    def fail(pipeline):
        images = run(pipeline)
        if left and left[0]:
            left[0] -= 1
            raise RuntimeError("by accident")
        del left[:1]
        return images

    monkeypatch.setattr(Pipeline, "run", fail)
    monkeypatch.setattr(Faults, "find_refused", lambda *_: [30])
    made = loader(listed(files), PADDED, shuffle=False)
    if raised:
        with pytest.raises(RuntimeError, match="by accident"):
            epoch(made)
    else:
        assert epoch(made)[1].tolist() == list(range(32))
