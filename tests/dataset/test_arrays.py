"""Images that are pixels already: what is taken, what is refused, and the batches of the same images as files."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

import dali_mixup as dm
from bench.pretended_gpu import GPU, PretendedGpu
from tests.conftest import noise, picture

COUNT, SIDE = 23, 32
TRANSFORMS = (dm.ColorJitter(0.4, 0.4, 0.4), dm.RandomErasing(p=0.5))


def drawn(count=COUNT, height=SIDE, width=SIDE):
    """(N, H, W, 3) uint8."""
    return np.stack([np.asarray(picture(height, width, seed)) for seed in range(count)])


def as_files(images, folder):
    """The same images as PNG files, with their targets and names."""
    paths = [folder / "ab"[i % 2] / f"{i:03}.png" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return dm.FileList(paths, np.arange(len(images)) % 2, ["a", "b"], cache=False)


def as_arrays(images, **options):
    """The same data set from pixels."""
    names = [f"{'ab'[i % 2]}/{i:03}.png" for i in range(len(images))]
    return dm.ArrayDataset(images, np.arange(len(images)) % 2, ["a", "b"], names=names, **options)


@pytest.fixture(scope="module")
def images():
    return drawn()


@pytest.fixture(scope="module")
def files(images, tmp_path_factory):
    return as_files(images, tmp_path_factory.mktemp("same"))


@pytest.fixture(scope="module")
def sizes():
    """Images of many sizes."""
    return [np.asarray(picture(40 + 3 * i, 90 - 2 * i, i)) for i in range(COUNT)]


def loader(dataset, pipeline, **options):
    options = {"batch_size": 5, "shuffle": True, "mixup": dm.MixUp(0.4), "device": "cpu", "seed": 3, **options}
    return dm.Loader(dataset, pipeline, **options)


def assert_same(first, second, epochs=2):
    for _ in range(epochs):
        for (images, targets), (others, their_targets) in zip(first, second, strict=True):
            assert images.stride() == others.stride()
            assert torch.equal(images, others)
            assert torch.equal(targets, their_targets)


GEOMETRIES = [
    dm.KeepSize(),
    dm.CenterCrop(24),
    dm.CenterCrop((40, 20), fill=(1, 2, 3)),
    dm.RandomCrop(32, padding=4),
    dm.RandomCrop((40, 36), padding=(1, 2, 3, 4), pad_if_needed=True, fill=(7, 8, 9)),
    *(dm.RandomCrop(32, padding=(5, 4, 3, 9), padding_mode=mode) for mode in ("edge", "reflect", "symmetric")),
    dm.RandomResizedCrop(24),
    dm.RandomResizedCrop(24, interpolation="random"),
    dm.ResizeCenterCrop(40, 32, interpolation="bicubic"),
    dm.RandomCrop(32, padding=4, resize=dm.Resize(36), padding_mode="reflect"),
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_every_geometry_gives_the_batches_of_the_files(files, images, geometry):
    pipeline = dm.ImagePipeline(geometry=geometry, flip=0.5)
    assert_same(loader(files, pipeline), loader(as_arrays(images), pipeline), epochs=1)


@pytest.mark.parametrize(
    ("pipeline", "options"),
    [
        ({"transforms": TRANSFORMS}, {}),
        ({"transforms": TRANSFORMS, "geometry": dm.RandomResizedCrop(24)}, {"dtype": torch.float16}),
        ({"augment": noise}, {}),
        ({"augment": noise, "geometry": dm.RandomResizedCrop(24), "transforms": TRANSFORMS}, {}),
        ({}, {"mixup": None, "dtype": torch.bfloat16}),
        ({}, {"mixup": dm.CutMix(), "memory_format": torch.channels_last}),
        ({}, {"mixup": dm.RandomChoice([dm.MixUp(), dm.CutMix()]), "dtype": torch.float16}),
        ({"transforms": TRANSFORMS}, {"memory_format": torch.channels_last, "batch_size": 1}),
        ({}, {"shard": (1, 3), "batch_size": 3}),
        ({}, {"sampler": [1, 1, 4, 22, 0, 7, 9], "shuffle": False}),
        ({}, {"batch_sampler": [[3], [1, 1, 4], [22, 0]], "shuffle": False, "batch_size": None}),
        ({}, {"shuffle": False, "drop_last": True, "prefetch": 1, "num_threads": 1}),
        ({}, {"num_threads": 5, "prefetch": 5}),
    ],
    ids=lambda given: str(given).partition(" at 0x")[0],  # the same in each process
)
def test_every_option_gives_the_batches_of_the_files(files, images, pipeline, options):
    made = dm.ImagePipeline(**{"geometry": dm.RandomCrop(32, padding=4), "flip": 0.5, **pipeline})
    assert_same(loader(files, made, **options), loader(as_arrays(images), made, **options))


@pytest.mark.parametrize(
    ("geometry", "augment"),
    [(dm.RandomCrop(36, pad_if_needed=True), None), (dm.RandomResizedCrop(24), None), (dm.CenterCrop(24), noise)],
)
def test_images_of_different_sizes_give_the_batches_of_the_files(sizes, tmp_path, geometry, augment):
    pipeline = dm.ImagePipeline(geometry=geometry, flip=0.5, augment=augment)
    assert_same(loader(as_files(sizes, tmp_path), pipeline), loader(as_arrays(sizes), pipeline))


@pytest.mark.parametrize("augment", [None, noise])
def test_a_state_of_one_goes_on_with_the_other(files, images, augment):
    pipeline = dm.ImagePipeline(geometry=dm.RandomCrop(32, padding=4), flip=0.5, augment=augment)
    whole = loader(files, pipeline)
    expected = [batch for _ in range(2) for batch in whole]
    for first, then in ((files, as_arrays(images)), (as_arrays(images), files)):
        begun, resumed = loader(first, pipeline), loader(then, pipeline)
        batches = iter(begun)
        got = [next(batches) for _ in range(3)]
        resumed.load_state_dict(begun.state_dict())
        got += [batch for _ in range(2) for batch in resumed]
        assert all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(got, expected, strict=True))


def test_a_break_and_set_epoch_lose_nothing(files, images):
    pipeline = dm.ImagePipeline(geometry=dm.RandomCrop(32, padding=4), flip=0.5)
    both = loader(files, pipeline), loader(as_arrays(images), pipeline)
    for made in both:
        next(iter(made))
    assert_same(*both)
    for made in both:
        made.set_epoch(7)
    assert_same(*both)


LAYOUTS = {
    "first channels": lambda images: np.ascontiguousarray(images.transpose(0, 3, 1, 2)),
    "tensor": lambda images: torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
    "tensor, last channels": torch.from_numpy,
    "tensor, viewed": lambda images: torch.from_numpy(images).permute(0, 3, 1, 2),
    "every second, upside down": lambda images: np.repeat(images[:, ::-1, :, ::-1], 2, axis=0)[::2, ::-1, :, ::-1],
    "read only": lambda images: np.frombuffer(images.tobytes(), np.uint8).reshape(images.shape),
    "list": list,
    "tuple of tensors": lambda images: tuple(torch.from_numpy(images).permute(0, 3, 1, 2)),
}


@pytest.mark.parametrize("geometry", [dm.RandomCrop(32, padding=4), dm.RandomResizedCrop(24)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_layout_changes_a_batch_or_a_fingerprint(images, layout, geometry):
    pipeline = dm.ImagePipeline(geometry=geometry, flip=0.5)
    targets = np.arange(COUNT)
    plain, other = dm.ArrayDataset(images, targets), dm.ArrayDataset(LAYOUTS[layout](images), targets)
    assert plain.fingerprint() == other.fingerprint()
    assert_same(loader(plain, pipeline), loader(other, pipeline), epochs=1)


@pytest.mark.parametrize("geometry", [dm.RandomCrop(32, padding=4), dm.RandomResizedCrop(24)])
def test_gray_images_become_rgb_as_pillow_makes_them(images, geometry):
    gray = np.ascontiguousarray(images[..., 1])
    rgb = np.stack([np.asarray(Image.fromarray(image).convert("RGB")) for image in gray])
    pipeline = dm.ImagePipeline(geometry=geometry, flip=0.5)
    expected = list(loader(dm.ArrayDataset(rgb, range(COUNT)), pipeline))
    for each in (gray, gray[..., None], gray[:, None], torch.from_numpy(gray), torch.from_numpy(gray)[:, None]):
        made = dm.ArrayDataset(each, range(COUNT))
        assert_same(expected, loader(made, pipeline), epochs=1)
    mixed = [gray[0], torch.from_numpy(rgb[1]).permute(2, 0, 1), *gray[2:]]
    assert_same(expected, loader(dm.ArrayDataset(mixed, range(COUNT)), pipeline), epochs=1)


def test_a_mapped_file_is_read_where_it_lies(images, tmp_path):
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    dataset = dm.ArrayDataset(mapped, range(COUNT))
    assert np.shares_memory(dataset.stack, mapped)
    for geometry in (dm.RandomCrop(32, padding=4), dm.RandomResizedCrop(24), dm.KeepSize()):
        pipeline = dm.ImagePipeline(geometry=geometry)
        assert_same(loader(dm.ArrayDataset(images, range(COUNT)), pipeline), loader(dataset, pipeline), epochs=1)


def test_channels_are_where_each_library_has_them_if_two_axes_could_be_them():
    odd = np.arange(2 * 3 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3, 3)
    np.testing.assert_array_equal(dm.ArrayDataset(odd, [0, 1]).stack, odd)
    tensor = dm.ArrayDataset(torch.from_numpy(odd), [0, 1])
    np.testing.assert_array_equal(tensor.stack, odd.transpose(0, 2, 3, 1))


def zeros(*shape, dtype=np.uint8):
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((zeros(2, 4, 4, 3, dtype=np.float32), [0, 1]), TypeError, r"images must be uint8 levels .* got a float32 arr"),
        ((torch.zeros(2, 3, 4, 4), [0, 1]), TypeError, r"by \(255 \* images\)\.round\(\)\.to\(torch\.uint8\)"),
        ((zeros(2, 4, 4, 4), [0, 1]), ValueError, r"images must be of shape .*; images\[..., :3\] leaves an alpha"),
        ((zeros(2, 4), [0, 1]), ValueError, r"of shape \(N, H, W, 3\) or \(N, 3, H, W\), or gray with one channel or"),
        ((zeros(2, 0, 4, 3), [0, 1]), ValueError, "images must be of at least one pixel"),
        ((zeros(0, 4, 4, 3), []), dm.DatasetError, r"images must be at least one image, got a uint8 array of shape"),
        (([], []), dm.DatasetError, r"images must be at least one image, got \[\]"),
        (
            ([zeros(4, 4, 3), zeros(4, 4, 3, 1)], [0, 1]),
            ValueError,
            r"images\[1\] must be of shape \(H, W, 3\) or \(3,",
        ),
        (([zeros(4, 4, 3), "a.png"], [0, 1]), TypeError, r"images\[1\] must be a uint8 array or tensor, got 'a.png'"),
        ((iter([]), []), TypeError, "images must be a uint8 array or tensor, or a sequence of them"),
        ((zeros(2, 4, 4, 3), [0]), dm.DatasetError, r"targets must be one per sample \(2 samples\)"),
        ((zeros(2, 4, 4, 3), [0, 2], ["a", "b"]), dm.DatasetError, r"targets\[1\] must be a class index from 0 to 1"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        dm.ArrayDataset(*arguments)


def test_names_must_be_one_per_image_and_are_what_messages_say():
    with pytest.raises(dm.DatasetError, match=r"names must be one per image \(2 images\)"):
        dm.ArrayDataset(zeros(2, 4, 4, 3), [0, 1], names=["a"])
    assert dm.ArrayDataset(zeros(2, 4, 4, 3), [0, 1]).name(1) == "image 1"
    assert dm.ArrayDataset(zeros(2, 4, 4, 3), [0, 1], names=["a", "b"]).name(1) == "b"


def test_the_fingerprint_changes_with_order_samples_and_targets_and_by_names_with_these_alone(images, files):
    def of(pixels, targets=tuple(range(COUNT)), **options):
        return dm.ArrayDataset(pixels, targets, **options).fingerprint()

    swapped = images[[1, 0, *range(2, COUNT)]]
    found = {of(images), of(swapped, [0] * COUNT), of(images, [0] * COUNT), of(images[:, :30]), of(images[:, :, :30])}
    assert len(found) == 5
    assert as_arrays(images).fingerprint() == files.fingerprint() == as_arrays(images[:, :8]).fingerprint()


@pytest.mark.parametrize("augment", [None, noise])
@pytest.mark.parametrize("geometry", [dm.RandomCrop(16, pad_if_needed=True), dm.RandomResizedCrop(16)])
def test_too_large_images_are_named_or_replaced(sizes, tmp_path, geometry, augment):
    pipeline = dm.ImagePipeline(geometry=geometry, augment=augment)
    options = {"max_pixels": 5_000}
    made = loader(as_arrays(sizes), pipeline, **options)
    large = next(i for i in made.plan.order(0) if sizes[i].shape[0] * sizes[i].shape[1] > 5_000)
    with pytest.raises(dm.BadSampleError, match="too many pixels") as caught:
        list(made)
    assert large in [sample.number for sample in caught.value.samples]
    made.set_epoch(0)
    options |= {"on_bad_sample": "replace", "max_bad_fraction": 0.9}
    replaced = loader(as_arrays(sizes), pipeline, **options)
    of_files = loader(as_files(sizes, tmp_path), pipeline, **options)
    with pytest.warns(dm.BadFileWarning, match="too many pixels"):
        assert_same(of_files, replaced)
    assert [number for number, _, _ in of_files.bad_samples] == [number for number, _, _ in replaced.bad_samples]


def test_on_bad_sample_changes_nothing_where_all_images_are_good(images):
    pipeline = dm.ImagePipeline(geometry=dm.RandomCrop(32, padding=4))
    assert_same(loader(as_arrays(images), pipeline), loader(as_arrays(images), pipeline, on_bad_sample="replace"))


def test_a_loader_of_pixels_can_be_pickled(images):
    made = loader(as_arrays(images), dm.ImagePipeline(geometry=dm.RandomCrop(32, padding=4)))
    assert_same(made, pickle.loads(pickle.dumps(made)))


def test_too_small_images_are_named(images):
    with pytest.raises(ValueError, match=r"23 images such as image 0 \(32 x 32 pixels\) have too few pixels"):
        loader(dm.ArrayDataset(images, range(COUNT)), dm.ImagePipeline(geometry=dm.RandomCrop(40)))


def test_pixels_are_never_written_to(images):
    before = images.copy()
    for geometry in (dm.KeepSize(), dm.RandomResizedCrop(24)):
        for each in (images, list(images)):
            pipeline = dm.ImagePipeline(geometry=geometry, flip=0.5, transforms=TRANSFORMS)
            list(loader(dm.ArrayDataset(each, range(COUNT)), pipeline))
    np.testing.assert_array_equal(images, before)


def test_nothing_warns(images):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_only = np.broadcast_to(images[:1], images.shape)
        list(loader(dm.ArrayDataset(read_only, range(COUNT)), dm.ImagePipeline(geometry=dm.RandomResizedCrop(24))))


def test_a_tensor_on_a_gpu_stays_there(images):
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    with PretendedGpu() as gpu:
        there = tensor.pin_memory().to(GPU, non_blocking=True)
        dataset = dm.ArrayDataset(there, range(COUNT))
        assert isinstance(dataset.stack, torch.Tensor)
        assert dataset.stack.device == GPU
        assert gpu.kernels == 0
    assert dataset.stack.data_ptr() == there.data_ptr()
    assert dataset.fingerprint() == dm.ArrayDataset(images, range(COUNT)).fingerprint()


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy, list])
def test_an_item_is_the_image_of_pillows_and_its_target(kind):
    levels = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), np.uint8)
    made = dm.ArrayDataset(kind(levels), [4, 5, 6])
    for number in (0, 2, -1):
        image, target = made[number]
        assert image.tobytes() == Image.fromarray(levels[number]).tobytes()
        assert (image.size, image.mode, target) == ((7, 5), "RGB", [4, 5, 6][number])
    made.transform = lambda image: image.size
    assert made[1] == ((7, 5), 5)
