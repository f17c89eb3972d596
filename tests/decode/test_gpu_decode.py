"""The decoder's settings on a GPU; DALI builds the graph for one, also where there is none."""

import dataclasses

import numpy as np
import pytest
import torch

import dali_mixup as dm
from dali_mixup.decode.gpu_decode import largest_size
from dali_mixup.pipelines import cifar10, finetune, imagenet

ON_GPU = torch.cuda.is_available()


def test_options_are_dalis_arguments():
    assert dm.GpuDecode().options((30, 40)) == {
        "hw_decoder_load": 0.65,
        "preallocate_height_hint": 0,
        "preallocate_width_hint": 0,
        "jpeg_fancy_upsampling": True,
    }
    chosen = dm.GpuDecode(hw_decoder_load=1, size_hints=True, fancy_upsampling=False).options((30, 40))
    assert list(chosen.values()) == [1.0, 30, 40, False]


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"hw_decoder_load": 1.5}, ValueError, "hw_decoder_load must be a probability from 0 to 1, got 1.5"),
        ({"hw_decoder_load": "all"}, TypeError, "hw_decoder_load must be a probability"),
        ({"size_hints": 1}, TypeError, "size_hints must be True or False, got 1"),
        ({"fancy_upsampling": None}, TypeError, "fancy_upsampling must be True or False, got None"),
    ],
)
def test_an_option_out_of_range_is_named(options, error, match):
    with pytest.raises(error, match=match):
        dm.GpuDecode(**options)


def test_the_loader_refuses_other_things(dataset):
    with pytest.raises(TypeError, match=r"gpu_decode must be a GpuDecode, such as .*, got 0\.5"):
        dm.Loader(dataset, imagenet.train(16), batch_size=4, device="cpu", gpu_decode=0.5)


@pytest.mark.parametrize(("batch_size", "expected"), [(1, (6000, 4000)), (29, (6000, 4000)), (30, (500, 375))])
def test_size_hints_are_those_of_one_image_and_a_batch_of_it_takes_2_gib_at_most(batch_size, expected):
    heights, widths = np.array([0, 70_000, 500, 6000, 20, 500]), np.array([0, 70_000, 375, 4000, 9000, 300])
    assert largest_size(heights, widths, 100_000_000, batch_size) == expected
    assert expected[0] * expected[1] * 3 * batch_size <= 2 << 30


def test_there_are_no_hints_where_no_image_is_plausible():
    assert largest_size(np.array([0, 70_000]), np.array([0, 70_000]), 100_000_000, 1) == (0, 0)
    assert largest_size(np.array([500]), np.array([500]), 100_000_000, 10_000) == (0, 0)


@pytest.fixture
def told(monkeypatch):
    """The options of the decoders of all graphs that are built, also where torch finds no GPU but pretends one."""
    from nvidia.dali import fn

    found = []

    def spy(name):
        decode = getattr(fn.decoders, name)

        def record(*inputs, **options):
            found.append({"operator": name, **options})
            return decode(*inputs, **options)

        return record

    for name in ("image", "image_slice"):
        monkeypatch.setattr(fn.decoders, name, spy(name))
    for name, value in {"is_available": True, "device_count": 1, "current_device": 0}.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    return found


def build_for_a_gpu(dataset, pipeline, **options):
    """Up to the point where DALI misses a GPU; it has checked each operator's device and arguments before."""
    made = dm.Loader(dataset, pipeline, batch_size=4, device="cuda", num_threads=1, **options)
    if ON_GPU:
        next(iter(made))
        return
    with pytest.raises(RuntimeError, match="create a GPU DALI pipeline while CUDA is not available"):
        next(iter(made))


@pytest.mark.parametrize("size_hints", [False, True])
def test_dali_is_told_the_settings_and_the_size_of_the_largest_image_of_the_dataset(dataset, told, size_hints):
    decode = dm.GpuDecode(hw_decoder_load=0.25, size_hints=size_hints, fancy_upsampling=False)
    build_for_a_gpu(dataset, imagenet.train(16), gpu_decode=decode)
    (options,) = told
    assert options["device"] == "mixed"
    assert options["hw_decoder_load"] == 0.25
    assert options["jpeg_fancy_upsampling"] is False
    hints = options["preallocate_height_hint"], options["preallocate_width_hint"]
    largest = np.argmax(dataset.heights * dataset.widths)
    assert hints == ((dataset.heights[largest], dataset.widths[largest]) if size_hints else (0, 0))


@pytest.mark.parametrize(("fancy", "operator"), [(True, "image"), (False, "image_slice")])
def test_windows_with_smooth_chroma_are_cut_from_whole_images(dataset, told, fancy, operator):
    """nvImageCodec leaves them to the CPU otherwise, and prints a warning for each."""
    build_for_a_gpu(dataset, imagenet.train(16), gpu_decode=dm.GpuDecode(fancy_upsampling=fancy))
    assert [(options["operator"], options["device"]) for options in told] == [(operator, "mixed")]


@pytest.mark.parametrize(
    "pipeline",
    [
        imagenet.train(32),
        imagenet.val(32),
        cifar10.train(),
        finetune.train(32),
        dm.ImagePipeline(geometry=dm.RandomResizedCrop(16, interpolation="random")),
        dm.ImagePipeline(geometry=dm.RandomCrop(16, padding=4, padding_mode="reflect")),
    ],
    ids=["train", "val", "cifar10", "finetune", "random", "padded"],
)
def test_dali_takes_the_graph_and_its_images_stay_on_the_gpu(dataset, pipeline, told):
    devices = []

    def look(images):
        devices.append(images.device)
        return images if pipeline.augment is None else pipeline.augment(images)

    build_for_a_gpu(dataset, dataclasses.replace(pipeline, augment=look))
    assert devices == ["gpu"]
    assert [options["device"] for options in told] == ["mixed"]
