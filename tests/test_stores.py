"""One folder of images, from wherever: the batches of its files, bit for bit, and states that fit all of them."""

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

import dali_mixup as dm
from tests.conftest import jpeg_bytes, noise, picture

COUNT = 26
BATCH = 4
ODD = {1: "L", 8: "CMYK"}  # JPEGs of other colours
STORES = ("list", "tar", "huggingface", "bytes", "pack", "arrays", "pixels")

GEOMETRIES = {
    "window": dm.RandomResizedCrop(48),
    "bicubic window": dm.RandomResizedCrop((40, 56), scale=(0.02, 0.3), interpolation="bicubic"),
    "resized centre": dm.ResizeCenterCrop(64, 56),
    "resized crop": dm.RandomCrop(48, 6, padding_mode="reflect", resize=dm.Resize(50)),
    "padded crop": dm.RandomCrop(64, 3, pad_if_needed=True, fill=(1, 2, 3)),
    "centre": dm.CenterCrop(80, fill=7),
    "small": dm.RandomCrop(32, 4, padding_mode="reflect"),
}
TRANSFORMS = {
    "none": (),
    "colours": (dm.ColorJitter(0.4, 0.4, 0.4, 0.1), dm.RandomGrayscale(0.2), dm.GaussianBlur(5)),
    "policy": (dm.RandAugment(), dm.RandomErasing(0.5, noise="pixel")),
    "trivial": (dm.TrivialAugmentWide(),),
}
MIXERS = {
    "none": None,
    "mixup": dm.MixUp(0.4),
    "cutmix": dm.CutMix(),
    "choice": dm.RandomChoice([dm.MixUp(0.8), dm.CutMix()], p=[0.5, 0.5]),
    "dense": dm.MixUp(0.4, targets="dense", num_classes=3),
}
OUTPUTS = {
    "float32": {},
    "float16 channels last": {"dtype": torch.float16, "memory_format": torch.channels_last},
    "bfloat16": {"dtype": torch.bfloat16},
}
# Each value of each of the four comes, most of them beside several others.
RECIPES = [
    ("window", "none", "mixup", "float32"),
    ("window", "policy", "choice", "bfloat16"),
    ("bicubic window", "colours", "cutmix", "float16 channels last"),
    ("resized centre", "none", "none", "bfloat16"),
    ("resized crop", "trivial", "dense", "float32"),
    ("padded crop", "none", "mixup", "float16 channels last"),
    ("padded crop", "policy", "cutmix", "float32"),
    ("centre", "colours", "choice", "float32"),
]


def encoded(number):
    """A JPEG, or every fifth time a PNG."""
    height, width = 60 + 5 * number, 130 - 3 * number
    if number % 5 == 3:
        buffer = io.BytesIO()
        picture(height, width, number).save(buffer, "PNG")
        return buffer.getvalue()
    if number in ODD:
        buffer = io.BytesIO()
        picture(height, width, number).convert(ODD[number]).save(buffer, "JPEG", quality=90)
        return buffer.getvalue()
    return jpeg_bytes(height, width, number, subsampling=number % 3)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """26 images of as many sizes in 3 classes."""
    folder = tmp_path_factory.mktemp("stores")
    for number in range(COUNT):
        path = folder / "abc"[number * 3 // COUNT] / f"{number:02}.{'png' if number % 5 == 3 else 'jpg'}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(number))
    return folder


@pytest.fixture(scope="module")
def stores(root, tmp_path_factory):
    """The same images and targets in each of `STORES`."""
    datasets = pytest.importorskip("datasets")
    aside = tmp_path_factory.mktemp("aside")
    files = dm.ImageFolder(root, progress=False)
    paths = [Path(path) for path in files.paths]
    names = [str(path.relative_to(root)) for path in paths]
    labels = files.targets.tolist()
    with tarfile.open(aside / "all.tar", "w") as tar:
        for path, name, label in zip(paths, names, labels, strict=True):
            tar.add(path, name)
            member = tarfile.TarInfo(str(Path(name).with_suffix(".cls")))
            content = str(label).encode()
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=files.classes)})
    rows = {"image": [{"bytes": path.read_bytes(), "path": None} for path in paths], "label": labels}
    dm.pack(files, aside / "pack", progress=False)
    dm.pack(files, aside / "pixels", pixels=True, progress=False)
    pixels = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    common = {"classes": files.classes, "names": names}
    return files, {
        "list": dm.FileList(paths, labels, files.classes, progress=False),
        "tar": dm.TarDataset(aside / "all.tar", classes=files.classes, progress=False),
        "huggingface": dm.HFDataset(datasets.Dataset.from_dict(rows, features), names=names, progress=False),
        "bytes": dm.BytesDataset(lambda number: paths[number].read_bytes(), labels, progress=False, **common),
        "pack": dm.PackedDataset(aside / "pack"),
        "arrays": dm.ArrayDataset(pixels, labels, **common),
        "pixels": dm.PackedDataset(aside / "pixels"),
    }


def build(dataset, recipe, **options):
    geometry, transforms, mixer, output = recipe
    pipeline = dm.ImagePipeline(geometry=GEOMETRIES[geometry], flip=0.5, transforms=TRANSFORMS[transforms])
    given = {"batch_size": BATCH, "shuffle": True, "mixup": MIXERS[mixer], "seed": 7, "device": "cpu"}
    return dm.Loader(dataset, pipeline, **{**given, **OUTPUTS[output], **options})


def epoch(loader):
    return [(images.clone(), targets) for images, targets in loader]


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert one.dtype == other.dtype
            assert one.stride() == other.stride()
            assert torch.equal(one, other)


@pytest.fixture(scope="module")
def expected(stores):
    """By recipe: what comes of the files, two epochs of each rank of two, and all of one rank's."""
    files, _ = stores
    made = {}

    def make(recipe):
        if recipe not in made:
            ranks = [build(files, recipe, shard=(rank, 2), on_bad_sample="raise") for rank in (0, 1)]
            made[recipe] = [[*epoch(loader), *epoch(loader)] for loader in ranks]
        return made[recipe]

    return make


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("recipe", RECIPES, ids=", ".join)
def test_two_epochs_of_two_ranks_are_those_of_the_files(stores, expected, recipe, store):
    for rank, theirs in enumerate(expected(recipe)):
        loader = build(stores[1][store], recipe, shard=(rank, 2))
        assert_equal([*epoch(loader), *epoch(loader)], theirs)


def test_the_batches_differ_from_each_other(expected):
    """Else nothing above would show that epochs, ranks and recipes matter."""
    batches = [images for recipe in RECIPES for rank in expected(recipe) for images, _ in rank if len(images) == BATCH]
    hashes = {batch.float().numpy().tobytes() for batch in batches}
    assert len(hashes) == len(batches) > 90


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("recipe", [RECIPES[0], RECIPES[1], RECIPES[6]], ids=", ".join)
def test_a_run_may_move_from_the_files_to_another_store_and_back(stores, recipe, store):
    files, others = stores
    whole = epoch(build(files, recipe))
    first = build(files, recipe)
    found = []
    for count, (images, targets) in enumerate(first, 1):
        found.append((images.clone(), targets))
        if count == 2:
            break
    second = build(others[store], recipe)
    second.load_state_dict(first.state_dict())
    for count, (images, targets) in enumerate(second, 1):
        found.append((images.clone(), targets))
        if count == 2:
            break
    third = build(files, recipe)
    third.load_state_dict(second.state_dict())
    assert_equal([*found, *epoch(third)], whole)


@pytest.mark.parametrize("pixels", [False, True], ids=["encoded", "pixels"])
@pytest.mark.parametrize("store", STORES)
def test_a_pack_of_each_store_is_that_of_the_files(stores, expected, tmp_path, store, pixels):
    files, others = stores
    report = dm.pack(others[store], tmp_path / "pack", pixels=pixels, progress=False)
    assert (report.samples, report.bad) == (COUNT, [])
    packed = dm.PackedDataset(tmp_path / "pack")
    assert packed.classes == files.classes
    assert packed.fingerprint() == files.fingerprint()
    for rank, theirs in enumerate(expected(RECIPES[0])):
        loader = build(packed, RECIPES[0], shard=(rank, 2))
        assert_equal([*epoch(loader), *epoch(loader)], theirs)


@pytest.mark.parametrize("store", STORES)
def test_a_state_of_other_images_is_refused(stores, store):
    files, others = stores
    other = dm.FileList([*files.paths][::-1], files.targets[::-1].copy(), files.classes, progress=False)
    state = build(other, RECIPES[0]).state_dict()
    with pytest.raises(ValueError, match=r"state\['dataset'\] must be that of this Loader"):
        build(others[store], RECIPES[0]).load_state_dict(state)


@pytest.mark.parametrize("store", STORES)
def test_dalis_random_operators_draw_the_same(stores, store):
    pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(48), flip=0.5, augment=noise)
    options = {"batch_size": BATCH, "shuffle": True, "mixup": dm.MixUp(0.4), "device": "cpu"}
    theirs = epoch(dm.Loader(stores[0], pipeline, **options))
    assert_equal(epoch(dm.Loader(stores[1][store], pipeline, **options)), theirs)


@pytest.mark.parametrize("store", STORES)
def test_a_sampler_and_too_many_pixels_mean_the_same_everywhere(stores, store):
    files, others = stores
    order = [5, 5, 0, 16, 25, 13, 2, 17, 24, 24, 1]
    limit = int(np.sort(files.heights.astype(int) * files.widths)[-4])  # three images are larger
    options = {"sampler": order, "shuffle": False, "max_pixels": limit, "on_bad_sample": "replace"}
    options["max_bad_fraction"] = 0.2
    large = np.flatnonzero(files.heights.astype(int) * files.widths > limit)
    assert {16, 17} <= set(large)
    loaders = [build(dataset, RECIPES[0], **options) for dataset in (files, others[store])]
    with pytest.warns(dm.BadFileWarning):
        theirs, ours = (epoch(loader) for loader in loaders)
    assert_equal(ours, theirs)
    known, found = ([sample.number for sample in loader.bad_samples] for loader in loaders)
    assert found == known
    assert {16, 17} <= set(found)


def test_small_images_of_one_size_are_those_of_their_files(tmp_path):
    """Which arrays cut together, and tensors, mapped files and planes likewise."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (21, 32, 32, 3), np.uint8)
    paths = [tmp_path / f"{number:02}.png" for number in range(21)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    labels = rng.integers(0, 3, 21)
    np.save(tmp_path / "images.npy", images)
    files = dm.FileList(paths, labels, progress=False)
    names = [path.name for path in paths]
    stacks = {
        "array": images,
        "mapped": np.load(tmp_path / "images.npy", mmap_mode="r"),
        "tensor": torch.from_numpy(images),
        "planes": torch.from_numpy(images.transpose(0, 3, 1, 2).copy()),
    }
    loaders = {name: dm.ArrayDataset(stack, labels, names=names) for name, stack in stacks.items()}
    dm.pack(files, tmp_path / "pack", pixels=True, progress=False)
    loaders["pack"] = dm.PackedDataset(tmp_path / "pack")
    recipes = [
        ("small", transforms, mixer, output)
        for transforms in TRANSFORMS
        for mixer, output in zip(("none", "mixup", "cutmix"), OUTPUTS, strict=True)
    ]
    for recipe in recipes:
        theirs = epoch(build(files, recipe))
        for dataset in loaders.values():
            assert_equal(epoch(build(dataset, recipe)), theirs)


def test_a_torch_dataloader_of_pixels_keeps_its_order(root):
    files = dm.ImageFolder(root, progress=False)
    square = [np.asarray(Image.open(path).convert("RGB").resize((40, 40))) for path in files.paths]
    planes = torch.from_numpy(np.stack(square)).permute(0, 3, 1, 2).contiguous()
    theirs = DataLoader(TensorDataset(planes, torch.from_numpy(files.targets)), batch_size=BATCH)
    ours = dm.from_dataloader(
        theirs, transform=dm.ImagePipeline(geometry=dm.KeepSize(), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    )
    for (images, labels), (levels, expected) in zip(ours, theirs, strict=True):
        assert torch.equal(labels, expected)
        torch.testing.assert_close(images, levels / 255)


@pytest.mark.parametrize(
    ("store", "way_out"),
    [
        ("list", "leave them out with exclude=,"),
        ("tar", r"leave them out with subset\(\),"),
        ("huggingface", r"leave them out with select\(\) of the Hugging Face data set,"),
        ("bytes", "leave them out,"),
        ("pack", r"leave them out when packing \(skip_bad, --skip-bad\),"),
        ("arrays", "leave them out,"),
        ("pixels", r"leave them out when packing \(skip_bad, --skip-bad\),"),
    ],
)
def test_a_bad_sample_comes_with_a_way_out_that_its_store_has(stores, store, way_out):
    dataset = stores[1][store]
    loader = build(dataset, RECIPES[0], shuffle=False, max_pixels=60 * 130 - 1)
    with pytest.raises(dm.BadSampleError, match=f"repair them, {way_out}") as caught:
        epoch(loader)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    with pytest.raises(dm.BadSampleError, match=f"repair them, {way_out} or allow more"):
        build(dataset, RECIPES[0], max_pixels=60 * 130 - 1, on_bad_sample="replace")
