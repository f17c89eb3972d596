"""The decoder's settings on a GPU; DALI's schema takes the graph for one, also where there is none."""

import numpy as np
import pytest

import dali_mixup as dm
from dali_mixup.decode.gpu_decode import largest_size
from dali_mixup.pipelines import cifar10, finetune, imagenet


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


def test_the_hint_holds_every_plausible_image(dataset):
    heights, widths = np.array([0, 70_000, 500, 300]), np.array([0, 70_000, 200, 400])
    assert largest_size(heights, widths, 100_000_000) == (500, 400)
    assert largest_size(np.zeros(2, np.int32), np.zeros(2, np.int32), 100_000_000) == (0, 0)
    made = dm.Loader(dataset, imagenet.train(16), batch_size=4, device="cpu", gpu_decode=dm.GpuDecode(size_hints=True))
    options = made._decoder._gpu_options
    assert (options["preallocate_height_hint"], options["preallocate_width_hint"]) == (106, 90)


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
def test_dali_takes_the_graph_for_a_gpu(pipeline, monkeypatch):
    """Up to the point where it would touch the GPU: each operator's device and arguments are checked before."""
    from nvidia.dali.pipeline import Pipeline

    from dali_mixup.decode.graph import build_graph

    monkeypatch.setattr(Pipeline, "build", lambda self: None)
    built = build_graph(
        pipeline,
        lambda _: {},
        windows_only=False,
        batch_size=2,
        device_id=0,
        num_threads=1,
        prefetch=1,
        seed=0,
        gpu_options=dm.GpuDecode(hw_decoder_load=0.25, size_hints=True).options((30, 40)),
    )
    built._build_graph()  # DALI's own first step of a build
    assert {output.device for output in built._graph_outputs} == {"gpu"}
    (decoder,) = [text for text in (str(operator.spec) for operator in built._ops) if "decoders__ImageSlice" in text]
    for line in ("device: mixed", "hw_decoder_load: 0.25", "preallocate_height_hint: 30", "preallocate_width_hint: 40"):
        assert line in decoder
