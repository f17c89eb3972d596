"""What would fail on a GPU, found without one: code for it runs on a pretended one, which refuses what waits.

What comes of it is compared with the CPU's own results, so that a mistake in a GPU's branch is seen, too.
"""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import dali_mixup as dm
from bench.pretended_gpu import GPU, PretendedGpu
from bench.stage import draw_images, plan_finished
from dali_mixup.placement import send
from dali_mixup.stage.whole_batch import TorchStage
from dali_mixup.transforms.operations import apply_batch, apply_one
from dali_mixup.transforms.transforms import count_uniforms, plan_operations
from tests.conftest import picture

COUNT, SIZE = 24, (24, 32)
LABELS = torch.arange(COUNT) % 5
TRANSFORMS = {
    "AugMix": dm.AugMix(alpha=0.5),
    "AutoAugment": dm.AutoAugment("cifar10", interpolation="bilinear", fill=(1, 2, 3)),
    "ColorJitter": dm.ColorJitter(0.4, 0.4, 0.4, 0.1),
    "ElasticTransform": dm.ElasticTransform(200.0, 2.0, fill=(1, 2, 3)),
    "GaussianBlur": dm.GaussianBlur((3, 5)),
    "OneOf": dm.OneOf((dm.RandomRotation(30), dm.RandomApply((), 1.0), dm.ColorJitter(0.5))),
    "RandAugment": dm.RandAugment(4),
    "RandomAffine": dm.RandomAffine(0, (0.2, 0.1), (0.5, 1.5)),
    "RandomAffine, bicubic": dm.RandomAffine(30, shear=(1, 2, 3, 4), interpolation="bicubic", fill=(1, 2, 3)),
    "RandomApply": dm.RandomApply((dm.RandomGrayscale(0.5), dm.RandomVerticalFlip()), 0.7),
    "RandomErasing": dm.RandomErasing(0.8, count=(1, 3), noise="color", std=(50, 60, 70)),
    "RandomErasing of pixels": dm.RandomErasing(0.8, count=(1, 3), noise="pixel", std=(50, 60, 70)),
    "RandomGrayscale": dm.RandomGrayscale(0.5),
    "RandomHorizontalFlip": dm.RandomHorizontalFlip(),
    "RandomOperation": dm.RandomOperation("Equalize", p=0.7),
    "RandomOrder": dm.RandomOrder((dm.RandomRotation(30), dm.ColorJitter(0.5), dm.RandomVerticalFlip())),
    "RandomPerspective": dm.RandomPerspective(0.5, 0.8),
    "RandomPerspective, nearest": dm.RandomPerspective(0.5, 0.8, "nearest"),
    "RandomRotation": dm.RandomRotation(180, "bilinear", (3, 4)),
    "RandomVerticalFlip": dm.RandomVerticalFlip(),
    "TimmAugMix": dm.TimmAugMix(alpha=0.7),
    "TimmAugMix, blended": dm.TimmAugMix(width=2, depth=2, blended=True),
    "TimmAutoAugment": dm.TimmAutoAugment(
        ((dm.TimmStep("Desaturate", 1.0),), (dm.TimmStep("GaussianBlurRand", 1.0), dm.TimmStep("SolarizeAdd", 1.0)))
    ),
    "TimmRandAugment": dm.TimmRandAugment(num_ops=4, fill=(1, 2, 3)),
    "TrivialAugmentWide": dm.TrivialAugmentWide(),
}
MIXERS = {
    "mixup": dm.MixUp(),
    "mixup per batch": dm.MixUp(per_sample=False, partner="permutation", prob=0.5),
    "mixup dense": dm.MixUp(targets="dense", num_classes=5),
    "cutmix": dm.CutMix(),
    "cutmix per batch": dm.CutMix(per_sample=False),
    "cutmix dense": dm.CutMix(targets="dense", num_classes=5),
    "choice": dm.RandomChoice([dm.MixUp(), dm.CutMix()]),
}
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def levels():
    return torch.stack([torch.from_numpy(np.array(picture(*SIZE, seed))).permute(2, 0, 1) for seed in range(COUNT)])


def planned(transforms, size=SIZE):
    rows = np.random.default_rng(0).random((COUNT, count_uniforms(transforms)))
    return plan_operations(transforms, rows, size)


def test_all_transforms_and_mixers_are_here():
    public = [getattr(dm, name) for name in dm.__all__]
    kinds = {type(each) for each in (*TRANSFORMS.values(), *MIXERS.values())}
    assert {kind for kind in public if hasattr(kind, "uniforms") and hasattr(kind, "operations")} <= kinds
    assert {kind for kind in public if hasattr(kind, "mix_labels") and hasattr(kind, "draw")} <= kinds


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_give_the_cpus_pixels_and_wait_for_nothing(name):
    images, operations = levels(), planned((TRANSFORMS[name],))
    with PretendedGpu() as gpu:
        there = send(images, GPU)
        apply_batch(there, operations)  # what is the same for every batch stays there from now on
        before = gpu.copies
        found = apply_batch(there, operations)
        mixes = any(operation.chains for own in operations for operation in own)
        assert (found.device, gpu.copies - before) == (GPU, 2 if mixes else 1)
    expected = torch.cat([apply_one(images[row : row + 1], own) for row, own in enumerate(operations)])
    assert torch.equal(found, expected)


def test_equalize_counts_levels_on_a_gpu_as_pillow_does():
    images = [picture(*SIZE, seed) for seed in range(3)]
    images += [Image.new("RGB", SIZE[::-1], (9, 9, 9)), Image.new("RGB", SIZE[::-1])]
    stacked = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images])
    with PretendedGpu():
        found = apply_batch(send(stacked, GPU), [dm.RandomOperation("Equalize", p=1).operations(np.zeros(1), SIZE)] * 5)
    for ours, image in zip(found, images, strict=True):
        assert np.array_equal(ours.permute(1, 2, 0).numpy(), np.asarray(ImageOps.equalize(image)))


@pytest.mark.parametrize(
    "labels", [LABELS, LABELS[:, None].int(), torch.rand(COUNT, 5)], ids=["ints", "column", "rows"]
)
@pytest.mark.parametrize("images", [levels(), levels() / 255], ids=["uint8", "float32"])
@pytest.mark.parametrize("name", MIXERS)
def test_mixers_give_the_cpus_batches_and_wait_for_nothing(name, images, labels):
    for seed in range(4):
        expected = MIXERS[name](images, labels, generator=np.random.default_rng(seed))
        with PretendedGpu():
            found = MIXERS[name](send(images, GPU), send(labels, GPU), generator=np.random.default_rng(seed))
            assert {values.device for values in found} == {GPU}
        assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


@pytest.mark.parametrize("layout", LAYOUTS, ids=["NCHW", "NHWC"])
@pytest.mark.parametrize("name", [None, *MIXERS])
def test_the_stage_gives_the_cpus_batches_and_waits_for_nothing(name, layout):
    transforms = (TRANSFORMS["ColorJitter"], TRANSFORMS["TrivialAugmentWide"], TRANSFORMS["RandomErasing of pixels"])
    images, operations = draw_images(COUNT, 24), planned(transforms, (24, 24))
    draw = None if name is None else MIXERS[name].draw(COUNT, np.random.default_rng(1), (24, 24))
    batch = plan_finished(COUNT, draw, operations)

    def finish(device):
        pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(24))
        stage = TorchStage(pipeline, dtype=torch.float16, memory_format=layout, device=device)
        return stage(send(images, device), batch)

    with PretendedGpu():
        found = finish(GPU)
        assert found.device == GPU
    assert torch.equal(found, finish(torch.device("cpu")))
    assert found.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("kind", [torch.nn.CrossEntropyLoss, torch.nn.NLLLoss])
def test_loss_and_accuracy_are_the_cpus_and_wait_for_nothing(kind, reduction, weighted):
    weight = torch.rand(10) + 0.5 if weighted else None
    logits, targets = torch.randn(COUNT, 10), dm.stack_targets(LABELS, LABELS.roll(1), torch.rand(COUNT))
    expected, on_cpu = dm.MixUpLoss(kind(weight, reduction=reduction))(logits, targets), dm.MixUpAccuracy()
    on_cpu.update(logits, targets)
    with PretendedGpu():
        loss, accuracy = (
            dm.MixUpLoss(kind(weight if weight is None else send(weight, GPU), reduction=reduction)),
            dm.MixUpAccuracy(),
        )
        found = loss(send(logits, GPU), send(targets, GPU))
        for _ in range(2):
            accuracy.update(send(logits, GPU), send(targets, GPU))
    torch.testing.assert_close(found.as_subclass(torch.Tensor), expected)
    assert [float(value) for value in accuracy.compute()] == [float(value) for value in on_cpu.compute()]


@pytest.mark.parametrize("label", [-1, 5])
def test_a_label_that_is_no_class_fails_on_the_gpu(label):
    labels = torch.cat([LABELS[:-1], torch.tensor([label])])
    with PretendedGpu(), pytest.raises(RuntimeError, match="class indices from 0 to 4"):
        MIXERS["mixup dense"](send(levels(), GPU), send(labels, GPU))


@pytest.mark.parametrize("label", [-(2**24), 2**24])
def test_a_label_that_stacked_targets_cant_hold_fails_on_the_gpu(label):
    labels = torch.cat([LABELS[:-1], torch.tensor([label])])
    with PretendedGpu(), pytest.raises(RuntimeError, match="must be below 2"):
        MIXERS["mixup"](send(levels(), GPU), send(labels, GPU))


WAITING = {
    "item": lambda values: values[0].item(),
    "tolist": lambda values: values.tolist(),
    "cpu": lambda values: values.cpu(),
    "to": lambda values: values.to("cpu"),
    "numpy": lambda values: values.numpy(),
    "asarray": lambda values: np.asarray(values),
    "bool": lambda values: bool(values[0]),
    "if": lambda values: 1 if values[0] > 2 else 0,
    "int": lambda values: int(values[0]),
    "range": lambda values: range(values[0]),
    "format": lambda values: f"{values[0]}",
    "in": lambda values: 3 in values,
    "a mask": lambda values: values[values > 2],
    "a mask that is written to": lambda values: values.__setitem__(values > 2, 0),
    "a mask of rows": lambda values: values[None, values > 2],
    "masked_select": lambda values: values.masked_select(values > 2),
    "a list": lambda values: values[[0, 1]],
    "an array": lambda values: values[np.array([0, 1])],
    "nonzero": lambda values: values.nonzero(),
    "where": lambda values: torch.where(values > 2),
    "unique": lambda values: values.unique(),
    "bincount": lambda values: torch.bincount(values),
    "equal": lambda values: torch.equal(values, values),
    "repeat_interleave": lambda values: values.repeat_interleave(values),
    "tensor": lambda values: torch.tensor([1], device=values.device),
    "pageable memory": lambda values: torch.ones(3).to(values.device, non_blocking=True),
    "a blocking copy": lambda values: torch.ones(3).pin_memory().to(values.device),
    "both devices": lambda values: values + torch.arange(6),
    "a draw of the CPU": lambda values: values[torch.arange(2)],
    "copy_": lambda values: torch.ones(6).copy_(values),
}


@pytest.mark.parametrize("name", WAITING)
def test_what_waits_for_a_gpu_is_refused_by_the_pretended_one(name):
    with PretendedGpu():
        values = send(torch.arange(6), GPU)
        with pytest.raises(AssertionError, match=r"waits|mixes devices"):
            WAITING[name](values)


def test_the_pretended_gpu_computes_and_counts():
    with PretendedGpu() as gpu:
        values = send(torch.arange(6), GPU)
        found = torch.where(values > 2, values, torch.full((6,), 9, device=GPU))[1:].view(torch.int32)
        assert (gpu.kernels, gpu.copies, found.device) == (3, 1, GPU)
    assert found[::2].tolist() == [9, 9, 3, 4, 5]
