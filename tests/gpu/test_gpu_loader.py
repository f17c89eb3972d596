"""A Loader on a GPU delivers the CPU's sample stream, resumes, and names or replaces bad files."""

import warnings
from dataclasses import replace

import pytest
import torch
from PIL import Image

import dali_mixup as dm
from dali_mixup.pipelines import cifar10, finetune, imagenet
from tests.conftest import jpeg_bytes, noise
from tests.gpu.place import DEVICE, needs_cuda, nothing_waits

pytestmark = pytest.mark.gpu
TRAIN = imagenet.train(64)
NOISY = dm.ImagePipeline(geometry=dm.RandomResizedCrop(64), flip=0.5, augment=noise)
EXACT = dm.GpuDecode(hw_decoder_load=0.0)
TRANSFORMS = (
    dm.ColorJitter(0.4, 0.4, 0.4, 0.1),
    dm.RandAugment(),
    dm.GaussianBlur(3),
    dm.RandomErasing(p=1.0, noise="pixel", std=(9, 9, 9)),
    dm.TrivialAugmentWide(),
)
LEVELS = 255 * 0.225  # of one unit of a normalized batch, about


def loader(dataset, pipeline=TRAIN, **options):
    return dm.Loader(
        dataset, pipeline, **{"batch_size": 6, "shuffle": True, "device": DEVICE, "mixup": dm.MixUp(), **options}
    )


def epoch(made):
    """Images and targets on the CPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dm.BadFileWarning)
        images, targets = zip(*[(images.float().cpu(), targets.cpu()) for images, targets in made], strict=True)
    return torch.cat(images), torch.cat(targets)


@pytest.mark.parametrize(
    ("pipeline", "mixup"),
    [(TRAIN, None), (TRAIN, dm.CutMix()), (imagenet.val(64), dm.MixUp())],
    ids=["train", "cutmix", "val"],
)
def test_labels_lam_partners_and_windows_are_those_of_the_cpu(real, pipeline, mixup, record):
    ours, expected = loader(real, pipeline, mixup=mixup), loader(real, pipeline, mixup=mixup, device="cpu")
    for _ in range(2):
        (images, targets), (expected_images, expected_targets) = epoch(ours), epoch(expected)
        assert torch.equal(targets, expected_targets)
        levels = (images - expected_images).abs() * LEVELS
        record("Loader", mean=float(levels.mean()), max=float(levels.max()))
        assert levels.mean() < 2  # another window, flip, order or lam would be tens


@pytest.mark.parametrize("pipeline", [TRAIN, NOISY], ids=["windows", "augment"])
def test_an_epoch_resumes_from_the_middle_bit_for_bit(real, pipeline):
    made = loader(real, pipeline, gpu_decode=EXACT)
    expected, states = [], []
    for images, targets in made:
        expected.append((images.cpu(), targets.cpu()))
        states.append(made.state_dict())
    k = len(states) // 2
    fresh = loader(real, pipeline, gpu_decode=EXACT)
    fresh.load_state_dict(states[k])
    rest = [(images.cpu(), targets.cpu()) for images, targets in fresh]
    assert len(rest) == len(expected) - k - 1
    for (images, targets), (expected_images, expected_targets) in zip(rest, expected[k + 1 :], strict=True):
        assert torch.equal(targets, expected_targets)
        assert torch.equal(images, expected_images)


@pytest.mark.parametrize("load", [0.65, 1.0])
def test_an_epoch_comes_again_to_the_bit(real, load, record):
    """Also where the JPEG engine takes a part of the images: which part must not depend on time."""
    made = loader(real, gpu_decode=dm.GpuDecode(hw_decoder_load=load))
    (first, _), _ = epoch(made), made.set_epoch(0)
    again, _ = epoch(made)
    record("again", load=load, max=float((first - again).abs().max()) * LEVELS)
    assert torch.equal(first, again)


def test_size_hints_change_no_pixel(real):
    plain, hinted = (
        loader(real, gpu_decode=dm.GpuDecode(hw_decoder_load=0.0, size_hints=hints)) for hints in (False, True)
    )
    assert torch.equal(epoch(plain)[0], epoch(hinted)[0])


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{i:02}.jpg" for i in range(24)]
    for i, path in enumerate(paths):
        path.write_bytes(jpeg_bytes(60 + i, 90 - i, seed=i))
    return paths


def damage(path, how):
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes({"truncated": content[: len(content) // 2], "text": b"no image at all"}[how])


@pytest.mark.parametrize("how", ["truncated", "missing", "text"])
def test_bad_files_are_named_and_another_loader_goes_on(files, how):
    dataset = dm.FileList(files, list(range(24)), cache=False)
    damage(files[13], how)
    made = loader(dataset, mixup=None, shuffle=False)
    batches = iter(made)
    assert [next(batches)[1].tolist() for _ in range(2)] == [list(range(6)), list(range(6, 12))]
    with pytest.raises(dm.BadSampleError, match=r"13\.jpg") as caught:
        next(batches)
    assert [sample.number for sample in caught.value.samples] == [13]
    if how == "truncated":
        good = loader(dm.FileList(files[:13], list(range(13)), cache=False), mixup=None, shuffle=False)
        assert len(epoch(good)[1]) == 13


def test_bad_files_give_way_and_all_others_stay(files):
    dataset = dm.FileList(files, list(range(24)), cache=False)
    options = {"mixup": None, "gpu_decode": EXACT, "on_bad_sample": "replace", "max_bad_fraction": 0.5}
    expected, labels = epoch(loader(dataset, **options))
    damaged = {4: "truncated", 13: "missing", 20: "text"}
    for number, how in damaged.items():
        damage(files[number], how)
    made = loader(dataset, **options)
    images, found = epoch(made)
    bad = torch.isin(labels, torch.tensor(list(damaged)))
    assert sorted(sample.number for sample in made.bad_samples) == list(damaged)
    assert torch.equal(found[~bad], labels[~bad])
    assert torch.equal(images[~bad], expected[~bad])
    assert (images[bad] != expected[bad]).flatten(1).any(1).all()


def test_windows_that_pillow_decodes_come_into_a_graph_that_was_built_without_them(files):
    """A GIF in the third batch: those before it are as they were."""
    Image.open(files[13]).save(files[13], "GIF")
    dataset = dm.FileList(files, list(range(24)), cache=False)
    (images, labels), (expected, _) = (
        epoch(loader(dataset, imagenet.val(32), mixup=None, shuffle=False, device=device)) for device in (DEVICE, "cpu")
    )
    assert labels.tolist() == list(range(24))
    assert (images - expected).abs().flatten(1).mean(1).max() * LEVELS < 2


@needs_cuda
@pytest.mark.parametrize(
    ("pipeline", "memory_format"),
    [
        (TRAIN, torch.contiguous_format),
        (imagenet.val(64), torch.channels_last),
        (cifar10.train(), torch.contiguous_format),
        (finetune.train(32), torch.contiguous_format),
        (replace(TRAIN, transforms=TRANSFORMS), torch.channels_last),
    ],
    ids=["train", "val", "cifar10", "finetune", "transforms"],
)
def test_a_step_of_the_loader_waits_for_nothing_in_torch(real, pipeline, memory_format):
    batches = iter(loader(real, pipeline, memory_format=memory_format))
    next(batches)  # compiles and allocates
    with nothing_waits():
        for _ in range(3):
            next(batches)


@needs_cuda
def test_decoded_memory_is_not_used_again_while_the_stage_still_reads_it(real):
    """The stage waits long behind other work on its stream, while the host goes on and drops DALI's outputs."""
    expected, _ = epoch(loader(real, gpu_decode=EXACT))
    made = loader(real, gpu_decode=EXACT)
    next(iter(made))  # builds the stage
    stage = made._engine._stage

    def late(images, draw):
        torch.cuda._sleep(20_000_000)  # cycles: about ten milliseconds
        return stage(images, draw)

    made._engine._stage = late
    made.set_epoch(0)
    batches = [images for images, _ in made]
    torch.cuda.synchronize()
    assert torch.equal(torch.cat(batches).cpu(), expected)


@needs_cuda
def test_a_loader_works_on_the_consumers_own_stream(real):
    expected, _ = epoch(loader(real, gpu_decode=EXACT))
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        batches = [images for images, _ in loader(real, gpu_decode=EXACT)]
        found = torch.cat(batches)
    side.synchronize()
    assert torch.equal(found.cpu(), expected)
