"""Several views of each image: each is what a Loader without views gives, and an image is decoded once."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import dali_mixup as dm
from dali_mixup.decode.graph import build_graph
from dali_mixup.geometry.geometry import Windows
from dali_mixup.plan.views import unite
from tests.conftest import noise

TRAIN = dm.ImagePipeline(geometry=dm.RandomResizedCrop(24), flip=0.5, transforms=(dm.ColorJitter(0.4, 0.4),))
LOCAL = dm.ImagePipeline(geometry=dm.RandomResizedCrop(12, scale=(0.05, 0.3), interpolation="bicubic"), flip=0.5)
DINO = [TRAIN, TRAIN, LOCAL, LOCAL, LOCAL]
PADDED = dm.ImagePipeline(geometry=dm.RandomCrop(32, 4, padding_mode="reflect"), flip=0.5)
CENTRE = dm.ImagePipeline(geometry=dm.CenterCrop(28))


def build(dataset, pipeline=TRAIN, **options):
    given = {"batch_size": 5, "shuffle": True, "seed": 3, "device": "cpu", "num_threads": 2}
    return dm.Loader(dataset, pipeline, **{**given, **options})


def epoch(loader):
    return [[part.clone() for part in flat(batch)] for batch in loader]


def flat(batch):
    images, *rest = batch
    return [*(images if isinstance(images, list) else [images]), *rest]


def assert_equal(found, expected):
    assert len(found) == len(expected) > 0
    for ours, theirs in zip(found, expected, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    return {side: dm.ArrayDataset(rng.integers(0, 256, (23, side, side, 3), np.uint8), rng.integers(0, 3, 23))
            for side in (40, 200)}  # fmt: skip


@pytest.fixture(params=["files", "arrays", "large arrays", "gathered", "augment", "augment arrays", "pack"])
def images(request, dataset, arrays, tmp_path):
    """A data set of each way to its images, and pipelines of two views."""
    way = request.param
    if way == "gathered":
        return arrays[40], [PADDED, CENTRE]
    if way in ("arrays", "large arrays"):
        return arrays[200 if way == "large arrays" else 40], [TRAIN, CENTRE]
    if way == "pack":
        dm.pack(dataset, tmp_path / "pack", progress=False)
        dataset = dm.PackedDataset(tmp_path / "pack")
    if "augment" in way:
        plain = dm.ImagePipeline(
            geometry=dm.RandomResizedCrop(24, interpolation="random"), flip=0.5, augment=upside_down
        )
        padded = dm.ImagePipeline(geometry=dm.RandomCrop(32, 4, resize=dm.Resize(34)), augment=upside_down)
        return (arrays[40] if way == "augment arrays" else dataset), [plain, padded]
    return dataset, [TRAIN, LOCAL]


def upside_down(images):
    from nvidia.dali import fn

    return fn.flip(images, vertical=1, horizontal=0)


@pytest.mark.parametrize("mixup", [None, dm.MixUp(0.4)])
def test_the_first_view_is_what_a_loader_without_views_gives(images, mixup):
    dataset, pipelines = images
    expected = epoch(build(dataset, pipelines[0], mixup=mixup))
    for views in (build(dataset, pipelines, mixup=mixup), build(dataset, pipelines[0], views=3, mixup=mixup)):
        found = [[batch[0], batch[-1]] for batch in epoch(views)]
        assert_equal(found, expected)


def test_a_view_depends_on_its_number_and_pipeline_alone(images):
    """The second view of a list of pipelines is the second view of its own pipeline."""
    dataset, pipelines = images
    found = [[batch[1]] for batch in epoch(build(dataset, pipelines))]
    assert_equal(found, [[batch[1]] for batch in epoch(build(dataset, pipelines[1], views=2))])


def test_views_of_an_image_differ_in_window_flip_and_transform(dataset):
    plan = build(dataset, views=2).plan
    step = next(plan.steps())
    first, second = plan.batch(0, plan.order(0), step).views
    assert (first.indices == second.indices).all()
    assert (first.windows.anchor != second.windows.anchor).any()
    assert (first.flips != second.flips).any()
    assert first.operations != second.operations


def test_the_views_of_a_batch_show_the_same_samples_with_the_same_partners(arrays):
    """One pixel of a flat image is its number."""
    levels = np.broadcast_to(np.arange(23, dtype=np.uint8)[:, None, None, None], (23, 20, 20, 3)).copy()
    dataset = dm.ArrayDataset(levels, np.arange(23))
    pipelines = [dm.ImagePipeline(geometry=dm.RandomResizedCrop(size), mean=(0,) * 3, std=(1,) * 3) for size in (8, 4)]
    for (first, second), targets in build(dataset, pipelines, mixup=dm.MixUp(0.8)):
        own, other, lam = targets.T
        expected = (lam * own + (1 - lam) * other) / 255
        for view in (first, second):
            torch.testing.assert_close(view.mean((1, 2, 3)), expected)


def test_cutmix_pastes_the_same_boxes_into_views_of_one_size(dataset):
    crop = dm.ImagePipeline(geometry=dm.CenterCrop(24))
    for (first, second), _ in build(dataset, crop, views=2, mixup=dm.CutMix()):
        assert torch.equal(first, second)


def test_dino_gets_global_and_local_crops(dataset):
    loader = build(dataset, DINO, indices=True)
    images, targets, indices = next(iter(loader))
    assert [tuple(view.shape) for view in images] == [(5, 3, 24, 24)] * 2 + [(5, 3, 12, 12)] * 3
    assert targets.tolist() == dataset.targets[indices.numpy()].tolist()
    assert loader.views == 5
    assert loader.pipeline == tuple(DINO)


def test_one_view_is_a_list_too(dataset):
    (images, _), (expected, _) = (next(iter(build(dataset, **options))) for options in ({"views": 1}, {}))
    assert isinstance(images, list)
    assert torch.equal(images[0], expected)


@pytest.mark.parametrize(
    "pipeline", [DINO, [TRAIN, dm.ImagePipeline(geometry=dm.RandomResizedCrop(24), augment=noise)]]
)
@pytest.mark.parametrize("batch_size", [5, 4])
def test_a_resumed_run_goes_on_with_the_same_views(dataset, pipeline, batch_size):
    loader, again = build(dataset, pipeline), build(dataset, pipeline, batch_size=batch_size)
    batches = iter(loader)
    before = [[part.clone() for part in flat(next(batches))] for _ in range(2)]
    again.load_state_dict(loader.state_dict())
    expected = [torch.cat(parts) for parts in zip(*(flat(batch) for batch in batches), strict=True)]
    found = [torch.cat(parts) for parts in zip(*epoch(again), strict=True)]
    assert len(before) == 2
    same = slice(None) if batch_size == 5 or pipeline is DINO else slice(0, 1)  # DALI's operators are drawn anew
    assert all(torch.equal(one, other) for one, other in zip(found[same], expected[same], strict=True))


def test_ranks_share_out_the_views_of_one_epoch(dataset):
    whole = epoch(build(dataset, views=2, batch_size=6, indices=True))
    parts = [epoch(build(dataset, views=2, batch_size=3, indices=True, shard=(rank, 2))) for rank in range(2)]
    for view in range(4):
        joined = [torch.cat([first[view], second[view]]) for first, second in zip(*parts, strict=True)]
        assert all(torch.equal(one, batch[view]) for one, batch in zip(joined, whole, strict=True))


def test_a_bad_file_is_replaced_in_all_views_and_its_neighbours_stay(dataset, tmp_path):
    paths = []
    for number, path in enumerate(dataset.paths):
        paths.append(tmp_path / f"{number:02}.jpg")
        paths[-1].write_bytes(Path(path).read_bytes())
    before = epoch(build(dm.FileList(paths, dataset.targets), views=2, indices=True))
    paths[9].write_bytes(paths[9].read_bytes()[:700])
    replacing = {"on_bad_sample": "replace", "max_bad_fraction": 0.2}
    damaged = build(dm.FileList(paths, dataset.targets), views=2, indices=True, **replacing)
    with pytest.warns(dm.BadFileWarning):
        after = epoch(damaged)
    changed = [
        int(index)
        for old, new in zip(before, after, strict=True)
        for row, index in enumerate(old[-1])
        if not all(torch.equal(one[row], other[row]) for one, other in zip(old, new, strict=True))
    ]
    assert changed == [9]
    assert 9 not in torch.cat([batch[-1] for batch in after])


def test_one_window_that_holds_those_of_all_views_is_decoded_once(dataset, monkeypatch):
    loader = build(dataset, views=2)
    plan = loader.plan
    batch = plan.batch(0, plan.order(0), next(plan.steps()))
    for view in batch.views:
        assert (view.windows.anchor >= batch.windows.anchor).all()
        assert (view.windows.anchor + view.windows.shape <= batch.windows.anchor + batch.windows.shape).all()
    fed = []

    def remember(pipelines, source, **options):
        def counted(info):
            inputs = source(info)
            fed.append(inputs["anchor"].tolist())
            return inputs

        return build_graph(pipelines, counted, **options)

    monkeypatch.setattr("dali_mixup.decode.graph.build_graph", remember)
    next(iter(loader))
    assert fed[0] == batch.windows.anchor.tolist()


def test_the_united_window_is_the_smallest():
    def windows(anchor, shape, resized):
        return Windows(
            anchor=np.array([anchor], np.int32),
            shape=np.array([shape], np.int32),
            resized=np.array([resized], np.int32),
            offset=np.zeros((1, 2), np.int32),
        )

    found = unite([windows((3, 10), (5, 6), (8, 8)), windows((1, 12), (4, 9), (9, 3))])
    assert found.anchor.tolist() == [[1, 10]]
    assert found.shape.tolist() == [[7, 11]]
    assert found.resized.tolist() == [[8, 8]]


def test_an_image_that_one_view_would_resize_beyond_max_pixels_is_bad(dataset):
    large = dm.ImagePipeline(geometry=dm.Resize((400, 400)))
    loader = build(dataset, [TRAIN, large], max_pixels=100_000)
    with pytest.raises(dm.BadSampleError, match="resized to 400 x 400"):
        next(iter(loader))


def test_views_follow_a_schedule(dataset):
    loader = build(dataset, {0: [TRAIN, TRAIN], 1: [TRAIN, LOCAL]})
    first, second = next(iter(loader)), None
    loader.set_epoch(1)
    second = next(iter(loader))
    assert [tuple(view.shape[2:]) for images, _ in (first, second) for view in images] == [
        (24, 24), (24, 24), (24, 24), (12, 12),
    ]  # fmt: skip


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_views_come_in_any_dtype_and_layout(dataset, dtype, memory_format):
    images, _ = next(iter(build(dataset, DINO, dtype=dtype, memory_format=memory_format)))
    assert all(view.dtype == dtype and view.is_contiguous(memory_format=memory_format) for view in images)


def test_kept_views_are_not_written_over(dataset):
    loader = build(dataset, DINO)
    kept = [(images, [view.clone() for view in images]) for images, _ in loader]
    for images, copies in kept:
        assert all(torch.equal(one, other) for one, other in zip(images, copies, strict=True))


def test_functions_of_the_finished_batch_get_each_view(dataset):
    seen = []

    def halve(images):
        seen.append(tuple(images.shape))
        return images / 2

    plain = build(dataset, [TRAIN, LOCAL])
    halved = build(dataset, [TRAIN, dm.ImagePipeline(geometry=LOCAL.geometry, flip=0.5, after=(halve,))])
    (first, second), _ = next(iter(plain))
    (same, half), _ = next(iter(halved))
    assert torch.equal(first, same)
    assert torch.equal(second / 2, half)
    assert set(seen) <= {(5, 3, 12, 12), (3, 3, 12, 12)}


def test_a_state_of_views_is_plain(dataset):
    loader = build(dataset, DINO)
    next(iter(loader))
    assert json.dumps({name: value for name, value in loader.state_dict().items() if name != "order"})


@pytest.mark.parametrize(
    ("pipeline", "options", "error", "message"),
    [
        ([], {}, ValueError, r"pipeline must be an ImagePipeline.*, or a list of them, one per view, got \[\]"),
        ([TRAIN, 3], {}, TypeError, "pipeline must be an ImagePipeline.*one per view"),
        ([TRAIN, TRAIN], {"views": 3}, ValueError, r"views must be None, or the length .* \(2\), got 3"),
        (TRAIN, {"views": 0}, ValueError, "views must be an int of at least 1, got 0"),
        (TRAIN, {"views": 2.0}, TypeError, "views must be an int"),
        ({0: [TRAIN] * 2, 1: [TRAIN] * 3}, {}, ValueError, r"as many views in all epochs, got \[2, 3\]"),
        ({0: [TRAIN] * 2, 1: TRAIN}, {}, ValueError, "a list in all epochs where it is one"),
        ([TRAIN, LOCAL], {"mixup": dm.CutMix()}, ValueError, "12 x 12, 24 x 24"),
        ([TRAIN, LOCAL], {"mixup": {0: None, 4: dm.RandomChoice([dm.MixUp(), dm.CutMix()])}}, ValueError, "12 x 12"),
        (dm.ImagePipeline(geometry=TRAIN.geometry, decode="scaled"), {"views": 2}, ValueError, '"exact" with several'),
        ([TRAIN, dm.ImagePipeline(geometry=TRAIN.geometry, orient=True)], {}, ValueError, "of one `orient`"),
    ],
)
def test_what_can_not_be_is_refused(dataset, pipeline, options, error, message):
    with pytest.raises(error, match=message):
        build(dataset, pipeline, **options)


def test_a_notebook_shows_the_first_view(dataset):
    gray = dm.ImagePipeline(geometry=dm.RandomResizedCrop(24), mean=(0.4,), std=(0.2,), channels=1)
    for pipeline in (TRAIN, gray):
        plain, viewed = build(dataset, pipeline), build(dataset, pipeline, views=2)
        assert viewed.show_batch(4).tobytes() == plain.show_batch(4).tobytes()


@pytest.mark.parametrize(("before", "after"), [({}, {"views": 2}), ({"views": 2}, {}), ({"views": 2}, {"views": 3})])
@pytest.mark.parametrize("augments", [True, False])
def test_a_state_of_dalis_operators_goes_on_anew_with_other_views_and_without_them(dataset, before, after, augments):
    noisy = dm.ImagePipeline(geometry=dm.RandomResizedCrop(24), augment=noise)
    loader = build(dataset, noisy, indices=True, **before)
    batches = iter(loader)
    next(batches)
    again = build(dataset, noisy if augments else TRAIN, indices=True, **after)
    again.load_state_dict(loader.state_dict())
    assert torch.equal(torch.cat([batch[-1] for batch in again]), torch.cat([batch[-1] for batch in batches]))
