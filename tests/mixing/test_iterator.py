"""MixUpIterator, behind lists of batches and behind DALI's own iterators."""

import copy
import warnings

import numpy as np
import pytest
import torch

from dali_mixup import CutMix, MixUp, MixUpIterator, RandomChoice


def batches(count=4, batch_size=6):
    torch.manual_seed(0)
    return [(torch.rand(batch_size, 3, 2, 2), torch.randint(10, (batch_size,))) for _ in range(count)]


def equal(ones, others):
    return all(
        torch.equal(a, b) for one, other in zip(ones, others, strict=True) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize(
    ("wrap", "options"),
    [
        (lambda x, y: (x, y), {}),
        (lambda x, y: [x, y], {}),
        (lambda x, y: {"data": x, "label": y}, {}),
        (lambda x, y: [{"data": x, "label": y}], {}),
        (lambda x, y: [{"data": x, "label": y[:, None].int()}], {}),  # what DALIClassificationIterator yields
        (lambda x, y: {"pixels": x, "classes": y, "path": "a.jpg"}, {"keys": ("pixels", "classes")}),
        (lambda x, y: [{"pixels": x, "classes": y}], {"keys": ("pixels", "classes")}),
        (lambda x, y: [{"pixels": x, "classes": y}], {}),
        (lambda x, y: [{"label": y, "box": y, "data": x}], {}),
    ],
)
def test_an_iterator_mixes_batches_of_every_known_form(wrap, options):
    source = batches()
    expected = list(MixUpIterator(source, MixUp(), seed=3))
    assert equal(MixUpIterator([wrap(*batch) for batch in source], MixUp(), seed=3, **options), expected)
    assert all(targets.shape == (6, 3) for _, targets in expected)


def test_an_iterator_mixes_images_and_targets_with_one_draw():
    images, labels = torch.eye(6), torch.arange(6)
    [(mixed, targets)] = MixUpIterator([(images, labels)], MixUp(1.0))
    for row, (label, partner_label, lam) in zip(mixed, targets.tolist(), strict=True):
        assert row[int(label)].item() == pytest.approx(lam, abs=1e-6)
        assert row[int(partner_label)].item() == pytest.approx(1 - lam, abs=1e-6)


def test_passes_and_steps_of_an_iterator_differ():
    images, labels = torch.eye(6), torch.arange(6)
    iterator = MixUpIterator([(images, labels)] * 3, MixUp())
    draws = [targets for _ in range(2) for _, targets in iterator]
    assert len({tuple(targets[:, 2].tolist()) for targets in draws}) == 6
    assert len({tuple(targets[:, 1].tolist()) for targets in draws}) > 1


def test_the_same_seed_gives_the_same_passes_and_another_seed_does_not():
    one, same, other = (MixUpIterator(batches(), MixUp(), seed=seed) for seed in (5, 5, 6))
    for _ in range(2):
        passes = list(one), list(same), list(other)
        assert equal(passes[0], passes[1])
        assert not equal(passes[0], passes[2])


def test_a_pass_does_not_depend_on_where_the_one_before_it_stopped():
    whole, broken = MixUpIterator(batches(), MixUp()), MixUpIterator(batches(), MixUp())
    list(whole)
    next(iter(broken))
    assert equal(list(whole), list(broken))


def test_an_iterator_is_as_long_as_its_source():
    assert len(MixUpIterator(batches(5), MixUp())) == 5


@pytest.mark.parametrize(
    ("batch", "options", "match"),
    [
        (
            torch.rand(2, 2),
            {},
            r"a batch of source must be \(images, labels\), a dict, or a list of dicts, got a float32 tensor",
        ),
        (
            {"data": 1},
            {},
            r"a batch of source must be a dict with \('data', 'label'\), got \['data'\]; pass keys=\(images, labels\)",
        ),
        ([{"data": 1, "label": 2}], {"keys": ("x", "y")}, r"a dict with \('x', 'y'\), got \['data', 'label'\]"),
        (
            {"a": 1, "b": 2, "c": 3},
            {},
            r"a dict with \('data', 'label'\), got \['a', 'b', 'c'\]; pass keys=\(images, labels\) with two",
        ),
        ([], {}, r"a batch of source must be .*, got \[\]"),
        ((1, 2, 3), {}, r"a batch of source must be .*, got \(1, 2, 3\)"),
    ],
)
def test_an_iterator_describes_a_batch_that_it_does_not_know(batch, options, match):
    with pytest.raises(TypeError, match=match):
        list(MixUpIterator([batch], MixUp(), **options))


@pytest.mark.parametrize(
    ("seed", "error", "match"),
    [
        (-1, ValueError, r"seed must be an int of at least 0, got -1"),
        (0.5, TypeError, r"seed must be an int of at least 0, got 0.5"),
        (2**64, ValueError, r"seed must be .*, got 18446744073709551616"),
    ],
)
def test_an_iterator_names_a_seed_that_it_cannot_use(seed, error, match):
    with pytest.raises(error, match=match):
        MixUpIterator([], MixUp(), seed=seed)


@pytest.mark.parametrize(
    "labels", [torch.tensor([[3], [1]], dtype=torch.int32), torch.tensor([3, 1]), torch.tensor([3, 1]).byte()]
)
def test_without_a_mixer_labels_are_int64_and_images_the_sources_own(labels):
    images = torch.rand(2, 3, 4, 4)
    [(same, found)] = MixUpIterator([{"data": images, "label": labels}], None)
    assert same is images
    assert (found.dtype, found.tolist()) == (torch.int64, [3, 1])


def test_without_a_mixer_float_labels_stay_as_they_are():
    labels = torch.rand(2, 1)
    [(_, found)] = MixUpIterator([(torch.rand(2, 3), labels)], None)
    assert found is labels


def test_several_pipelines_give_a_list_of_pairs_each_mixed_by_itself():
    (x, y), (u, v) = batches(2)
    steps = [[{"data": x, "label": y}, {"data": u, "label": v}]] * 2 + [[{"data": x, "label": y}]]
    found = list(MixUpIterator(steps, MixUp(), seed=3))
    assert [type(step) for step in found] == [list] * 3
    assert [len(step) for step in found] == [2, 2, 1]
    assert equal([found[0][0]], list(MixUpIterator([(x, y)], MixUp(), seed=3)))
    assert not torch.equal(found[0][0][1][:, 2], found[0][1][1][:, 2])
    for (images, targets), labels in zip(found[0], (y, v), strict=True):
        assert images.shape == x.shape
        assert targets[:, 0].tolist() == labels.tolist()


@pytest.mark.parametrize("mixer", [CutMix(), MixUp(), RandomChoice([MixUp(), CutMix()])])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_nhwc_images_are_mixed_as_nchw_ones_are(mixer, dtype):
    images, labels = torch.randint(0, 256, (6, 9, 8, 3)).to(dtype), torch.arange(6)
    planes = images.permute(0, 3, 1, 2).contiguous()
    [(expected, targets)] = MixUpIterator([(planes, labels)], mixer)
    [(found, same_targets)] = MixUpIterator([(images, labels)], mixer, layout="NHWC")
    assert torch.equal(found.permute(0, 3, 1, 2), expected)
    assert torch.equal(targets, same_targets)
    assert found.is_contiguous()


def test_nhwc_images_without_the_layout_are_refused():
    with pytest.raises(ValueError, match='layout="NHWC"'):
        list(MixUpIterator([(torch.rand(2, 9, 8, 3), torch.arange(2))], CutMix()))


def test_set_epoch_gives_the_pass_again():
    iterator = MixUpIterator(batches(), MixUp())
    passes = [list(iterator) for _ in range(3)]
    fresh = MixUpIterator(batches(), MixUp())
    fresh.set_epoch(2)
    assert equal(list(fresh), passes[2])
    fresh.set_epoch(1)
    assert equal(list(fresh), passes[1])
    with pytest.raises(ValueError, match="epoch must be an int of at least 0, got -1"):
        fresh.set_epoch(-1)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"mixup": 0.4}, TypeError, "mixup must be dali_mixup's MixUp, CutMix, RandomChoice, or None, got 0.4"),
        ({"keys": "data"}, TypeError, "keys must be the names of the images and of the labels, or None, got 'data'"),
        (
            {"keys": ("data",)},
            TypeError,
            r"keys must be the names of the images and of the labels, or None, got \('data",
        ),
        ({"layout": "HWC"}, ValueError, 'layout must be "NCHW" or "NHWC", got \'HWC\''),
    ],
)
def test_options_out_of_range_are_named(options, error, match):
    with pytest.raises(error, match=match):
        MixUpIterator([], **{"mixup": MixUp(), **options})


@pytest.fixture(scope="module")
def dali():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nvidia.dali.plugin.pytorch as plugin
    return plugin


def graph(folder, *, shards=1, shard=0, pad=False, boxes=False, dynamic=True):
    """Files in order, (4, 4) images of the file's number, labels (1,) int32."""
    from nvidia.dali import fn, pipeline_def, types

    paths = sorted(str(path) for path in folder.rglob("*.jpg"))

    @pipeline_def(batch_size=4, num_threads=1, device_id=None, exec_dynamic=dynamic)
    def build():
        _, labels = fn.readers.file(
            files=paths,
            labels=list(range(len(paths))),
            name="reader",
            num_shards=shards,
            shard_id=shard,
            pad_last_batch=pad,
        )
        images = fn.cast(labels, dtype=types.FLOAT) + types.Constant(np.zeros((3, 4, 4), np.float32), device="cpu")
        return (images, labels, labels) if boxes else (images, labels)

    return build()


def iterate(dali, pipelines, names=("data", "label"), **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # DALI advises against `size`
        return dali.DALIGenericIterator(pipelines, list(names), **options)


def labels_of(passes):
    return [
        [targets[:, 0].int().tolist() if targets.ndim == 2 else targets.tolist() for _, targets in one]
        for one in passes
    ]


OPTIONS = [{"auto_reset": auto, **by} for auto in (True, False) for by in ({"reader_name": "reader"}, {"size": 23})]


@pytest.mark.parametrize("policy", ["FILL", "PARTIAL", "DROP"])
@pytest.mark.parametrize("options", OPTIONS)
def test_dalis_epochs_are_kept_whatever_the_policy(dali, folder, options, policy):
    """Three passes, each compared with those of a bare DALI iterator."""
    from nvidia.dali.plugin.base_iterator import LastBatchPolicy

    options = {**options, "last_batch_policy": LastBatchPolicy[policy]}
    bare, ours, plain = (iterate(dali, graph(folder), **options) for _ in range(3))
    mixed, unmixed = MixUpIterator(ours, MixUp()), MixUpIterator(plain, None)
    for _ in range(3):
        assert len(mixed) == len(bare)
        expected = [batch[0]["label"][:, 0].tolist() for batch in bare]
        assert labels_of([mixed]) == [expected]
        assert labels_of([unmixed]) == [expected]
        if not options["auto_reset"]:
            for iterator in (bare, mixed, unmixed):
                iterator.reset()
    sizes = {"FILL": 4, "PARTIAL": 3}
    assert len(expected[-1]) == sizes.get(policy, 4)


def test_a_break_goes_on_as_dali_does(dali, folder):
    bare, wrapped = (
        iterate(dali, graph(folder), reader_name="reader"),
        MixUpIterator(iterate(dali, graph(folder), reader_name="reader"), None),
    )
    for source in (bare, wrapped):
        for i, _ in enumerate(source):
            if i == 1:
                break
    assert labels_of([wrapped]) == [[batch[0]["label"][:, 0].tolist() for batch in bare]]


@pytest.mark.parametrize("dynamic", [True, False])
def test_batches_that_are_kept_stay_as_they_were(dali, folder, dynamic):
    for mixer in (MixUp(), CutMix(), None):
        source = iterate(dali, graph(folder, dynamic=dynamic), reader_name="reader", auto_reset=True)
        kept, copies = [], []
        for images, targets in MixUpIterator(source, mixer):
            kept.append((images, targets))
            copies.append((images.clone(), targets.clone()))
        assert equal(kept, copies)


@pytest.mark.parametrize("mixer", [MixUp(), CutMix(), RandomChoice([MixUp(), CutMix()])])
def test_images_and_targets_of_dali_belong_together(dali, folder, mixer):
    source = iterate(dali, graph(folder), ["picture", "class"], reader_name="reader", auto_reset=True)
    for images, targets in MixUpIterator(source, mixer):
        assert targets.dtype == torch.float32
        mean = targets[:, 2] * targets[:, 0] + (1 - targets[:, 2]) * targets[:, 1]
        torch.testing.assert_close(images.mean((1, 2, 3)), mean, rtol=1e-5, atol=1e-5)


def test_the_classification_iterator_works(dali, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = dali.DALIClassificationIterator(graph(folder), reader_name="reader", auto_reset=True)
    assert labels_of([MixUpIterator(source, MixUp())])[0][0] == [0, 1, 2, 3]


def test_other_outputs_need_keys(dali, folder):
    names = ["image", "class", "box"]
    with pytest.raises(
        TypeError, match=r"got \['image', 'class', 'box'\]; pass keys=\(images, labels\) with two of these names"
    ):
        next(iter(MixUpIterator(iterate(dali, graph(folder, boxes=True), names, reader_name="reader"), MixUp())))
    source = iterate(dali, graph(folder, boxes=True), names, reader_name="reader")
    assert labels_of([MixUpIterator(source, MixUp(), keys=("image", "class"))])[0][0] == [0, 1, 2, 3]


@pytest.mark.parametrize("options", [{"reader_name": "reader"}, {"size": 23}])
def test_several_pipelines_of_dali_give_lists(dali, folder, options):
    from nvidia.dali.plugin.base_iterator import LastBatchPolicy

    options = {**options, "last_batch_policy": LastBatchPolicy.PARTIAL}
    bare, ours = (
        iterate(dali, [graph(folder, shards=2, shard=shard) for shard in range(2)], **options) for _ in range(2)
    )
    found = list(MixUpIterator(ours, MixUp()))
    expected = [[part["label"][:, 0].tolist() for part in step] for step in bare]
    assert all(isinstance(step, list) for step in found)
    assert [labels_of([step])[0] for step in found] == expected
    assert len(expected[0]) == 2


def test_the_length_of_dalis_iterator_without_a_size_is_an_error(dali, folder):
    """DALI itself says 0, and `for` would still deliver."""
    source = iterate(dali, graph(folder))
    assert len(source) == 0
    with pytest.raises(
        TypeError,
        match="source's length must be known, got size=-1; build the DALI iterator with reader_name= or size=",
    ):
        len(MixUpIterator(source, MixUp()))


@pytest.mark.parametrize("labels", [torch.tensor([5, 6]), torch.tensor([[5], [6]]), torch.rand(2, 7)])
@pytest.mark.parametrize("mixup", [MixUp(0.4), None])
def test_two_outputs_with_the_labels_first_are_told_apart(labels, mixup):
    images = torch.rand(2, 3, 8, 8)
    first, last = ({"labels": labels, "pixel_values": images}, {"pixel_values": images, "labels": labels})
    found, expected = (next(iter(MixUpIterator([batch], mixup))) for batch in (first, last))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert found[0].shape == images.shape


def test_a_loaders_attributes_are_readable_through_it():
    from torch.utils.data import DataLoader, TensorDataset

    dataset = TensorDataset(torch.rand(6, 3, 4, 4), torch.arange(6))
    source = DataLoader(dataset, batch_size=2)
    iterator = MixUpIterator(source, MixUp(0.4))
    assert iterator.dataset is dataset
    assert (iterator.batch_size, iterator.num_workers, iterator.sampler) == (2, 0, source.sampler)
    with pytest.raises(AttributeError, match="nothing"):
        _ = iterator.nothing
    assert not hasattr(MixUpIterator([1], None), "dataset")
    assert copy.deepcopy(MixUpIterator([1], None)).source == [1]


@pytest.mark.parametrize("through", ["sampler", "batch_sampler"])
def test_set_epoch_reaches_a_distributed_sampler(through):
    from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, TensorDataset

    dataset = TensorDataset(torch.zeros(40, 1, 1, 1), torch.arange(40))
    sampler = DistributedSampler(dataset, num_replicas=2, rank=0, shuffle=True)
    options = (
        {"sampler": sampler, "batch_size": 4}
        if through == "sampler"
        else {"batch_sampler": BatchSampler(sampler, 4, False)}
    )
    iterator = MixUpIterator(DataLoader(dataset, **options), None)

    def order(epoch):
        iterator.set_epoch(epoch)
        return torch.cat([labels for _, labels in iterator]).tolist()

    first, second = order(0), order(1)
    assert first != second
    for epoch, found in enumerate((first, second)):
        sampler.set_epoch(epoch)
        assert found == list(sampler)


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")
def test_the_state_of_the_source_is_not_passed_off_as_one_of_the_draws():
    from torchdata.stateful_dataloader import StatefulDataLoader

    source = StatefulDataLoader([(torch.rand(3, 4, 4), 1)] * 4, batch_size=2)
    assert hasattr(source, "state_dict")
    iterator = MixUpIterator(source, MixUp(0.4))
    assert not hasattr(iterator, "state_dict")
    assert not hasattr(iterator, "load_state_dict")


@pytest.mark.parametrize("mixup", [MixUp(), None])
def test_labels_that_are_no_tensor_are_named(mixup):
    with pytest.raises(TypeError, match=r"labels must be a tensor \(B, ...\), got \['a', 'b'\]"):
        list(MixUpIterator([(torch.rand(2, 3), ["a", "b"])], mixup))
