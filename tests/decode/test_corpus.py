"""Over 2000 mutants of photos: each is delivered as itself or named, and nothing else notices; in a tar, too."""

import faulthandler
import os
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dali_mixup as dm
from dali_mixup.dataset.header import probe
from dali_mixup.dataset.pillow import UndecodableError, decode_with_pillow
from tests.conftest import jpeg_bytes
from tests.made_tars import write_tar
from tests.mutants import ENCODINGS, KINDS, bomb_jpeg, bomb_png, encode, find_segment, opened, patched

PER_KIND = 66
EVERY = 8  # one file of eight is good
SECONDS = 240  # a process that takes longer hangs; it needs 30 on two idle cores
MAX_PIXELS = 2_000_000
MEMORY = 3 * 16 * 3 * MAX_PIXELS  # three batches of the largest images; 288 MB
NAMES = (b"%04d.jpg", b"%04d with spaces.jpg", b"%04d new\nline.jpg", b"%04d \xff\xfe.jpg", b"%04d '#3' {0} %%s.jpg")


def small_photos(photos):
    """Photos at about 160 x 120 in several encodings, and four as they are."""
    whole = [path.read_bytes() for path in sorted(photos.rglob("*.JPEG"))]
    for i, content in enumerate(whole):
        image = opened(content, "L" if i % 8 == 0 else "RGB")
        image.thumbnail((160, 160))
        yield encode(image, **ENCODINGS[i % len(ENCODINGS)])
    yield from whole[:4]


def find_files(folder):
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder))]


@pytest.fixture(scope="module")
def corpus(photos, tmp_path_factory):
    """A folder of clean photos, one of the same numbers with mutants among them, and the kind of each.

    "" for a photo left as it was.
    """
    folder = tmp_path_factory.mktemp("corpus")
    originals = list(small_photos(photos))
    kinds = [kind for seed in range(PER_KIND) for kind in KINDS]
    for at in range(0, len(kinds) * EVERY // (EVERY - 1), EVERY):
        kinds.insert(at + 3, "")
    for name in ("clean", "mutants"):
        (folder / name).mkdir()
    for i, kind in enumerate(kinds):
        rng = np.random.default_rng(i)
        photo = originals[rng.integers(len(originals))]
        content = photo
        while kind and content == photo:
            content = KINDS[kind](photo, rng)
        name = os.fsdecode(NAMES[i % len(NAMES)] % i)
        (folder / "clean" / name).write_bytes(photo)
        (folder / "mutants" / name).write_bytes(content)
    return folder, np.array(kinds)


def run(function, folder):
    """What `function(folder)` returns in a process of its own, whose end by a signal or by the clock is a failure."""
    code = (
        f"import pickle, sys; from tests.decode.test_corpus import {function.__name__} as f; "
        "pickle.dump(f(sys.argv[1]), open(sys.argv[2], 'wb'))"
    )
    result = folder / f"{function.__name__}.pickle"
    command = [sys.executable, "-X", "faulthandler", "-c", code, str(folder), str(result)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, timeout=SECONDS + 30, check=False
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-5000:]
    return pickle.loads(result.read_bytes())


def begin():
    """In a process that `run` started."""
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    warnings.simplefilter("ignore")


def peak_memory():
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def loader(source, geometry=None, **options):
    """Of a list of files or of a tar; targets are the numbers, so that they tell which file came."""
    if isinstance(source, list):
        dataset = dm.FileList(source, np.arange(len(source), dtype=np.float32), cache=False, progress=False)
    else:
        dataset = dm.TarDataset(source, target=lambda sample: float(sample["txt"]), cache=False, progress=False)
    options = {"batch_size": 16, "device": "cpu", "num_threads": 2, "max_pixels": MAX_PIXELS, **options}
    return dm.Loader(dataset, dm.ImagePipeline(geometry=geometry or dm.RandomResizedCrop(32), flip=0.5), **options)


def tolerant(source, geometry=None, **options):
    return loader(source, geometry, on_bad_sample="replace", max_bad_fraction=1.0, **options)


def epoch(made):
    images, targets = zip(*made, strict=True)
    return torch.cat(images), torch.cat(targets).long()


def pillow_reads(path):
    """Whether a file below the limit decodes whole, with the size that its header claims."""
    try:
        with Image.open(path) as image:
            size = image.size
            return size[0] * size[1] <= MAX_PIXELS and image.convert("RGB").size == size
    except Exception:  # noqa: BLE001  Pillow raises anything
        return False


def write_lossless(path, lossless):
    """What Pillow makes of a file, as a PNG; the file itself if it refuses it."""
    try:
        Image.fromarray(decode_with_pillow(path, probe(path)[:2])).save(lossless)
    except UndecodableError:
        return path
    return lossless


def deliver(folder):
    """An epoch with mutants, one without, and once more what Pillow reads from those that came, without loss."""
    begin()
    clean, mutants = (find_files(f"{folder}/{name}") for name in ("clean", "mutants"))
    expected, _ = epoch(loader(clean))
    before = peak_memory()
    made = tolerant(mutants)
    images, numbers = epoch(made)
    grown = peak_memory() - before
    bad = {number: reason for number, _, reason in made.bad_samples}
    came = {i: write_lossless(mutants[i], f"{folder}/{i}.png") for i in set(numbers.tolist())}
    again, _ = epoch(loader([came[i] for i in numbers.tolist()], batch_size=11))
    reads = [pillow_reads(path) for path in mutants]
    return {
        "clean": expected,
        "images": images,
        "numbers": numbers.numpy(),
        "again": again,
        "bad": bad,
        "grown": grown,
        "reads": reads,
    }


@pytest.fixture(scope="module")
def delivered(corpus):
    return run(deliver, corpus[0])


def which(kinds, numbers):
    return [f"{kinds[i]} ({i})" for i in numbers]


def differing(one, other):
    return np.flatnonzero((one != other).flatten(1).any(1).numpy())


def test_there_are_2000_different_mutants(corpus):
    folder, kinds = corpus
    contents = {
        Path(path).read_bytes() for path, kind in zip(find_files(folder / "mutants"), kinds, strict=True) if kind
    }
    assert len(contents) >= 2000


def test_each_mutant_is_delivered_as_itself_or_named(corpus, delivered):
    own, bad = delivered["numbers"] == np.arange(len(corpus[1])), delivered["bad"]
    assert which(corpus[1], [i for i in np.flatnonzero(~own) if not bad.get(i, "").endswith("; replaced")]) == []
    assert 500 < own.sum() < len(own) - 500
    assert torch.isfinite(delivered["images"]).all()


def test_no_neighbour_changes(corpus, delivered):
    good = corpus[1] == ""
    assert (delivered["numbers"] == np.arange(len(good)))[good].all()
    assert set(differing(delivered["images"], delivered["clean"])).isdisjoint(np.flatnonzero(good))
    assert set(delivered["bad"]).isdisjoint(np.flatnonzero(good))


def test_what_comes_in_the_place_of_a_mutant_is_a_file_of_the_list(corpus, delivered):
    assert which(corpus[1][delivered["numbers"]], differing(delivered["images"], delivered["again"])) == []


def test_each_reason_is_one_line_of_words(delivered):
    raw = {
        reason
        for reason in delivered["bad"].values()
        if re.search(r"\n|ipeline|C\+\+|\.(cc|h|py)\b|::|_|^;", reason.partition("max_pixels")[0])
    }
    assert raw == set()


def test_what_pillow_reads_is_never_replaced(corpus, delivered):
    """But where it allocates a gray image for a claim that the file can't hold."""
    lost = [i for i, reason in delivered["bad"].items() if delivered["reads"][i] and not reason.startswith("claims ")]
    assert which(corpus[1], lost) == []
    assert sum(delivered["reads"]) > 1000


def test_memory_stays_bounded(delivered):
    assert delivered["grown"] < MEMORY


def deliver_from_a_tar(folder):
    """The epoch with mutants, from a tar."""
    begin()
    files = {}
    for i, path in enumerate(find_files(f"{folder}/mutants")):
        files |= {os.path.basename(path): Path(path).read_bytes(), f"{os.path.basename(path)[:-4]}.txt": b"%d" % i}
    tar = write_tar(f"{folder}/mutants.tar", files)
    epoch(loader(find_files(f"{folder}/clean")))  # libraries that are loaded are no memory of a batch
    before = peak_memory()
    made = tolerant(tar)
    images, numbers = epoch(made)
    return {
        "images": images,
        "numbers": numbers.numpy(),
        "bad": {number: (name, reason) for number, name, reason in made.bad_samples},
        "grown": peak_memory() - before,
    }


def test_the_same_comes_from_a_tar(corpus, delivered):
    found = run(deliver_from_a_tar, corpus[0])
    assert which(corpus[1], np.flatnonzero(found["numbers"] != delivered["numbers"])) == []
    assert which(corpus[1], differing(found["images"], delivered["images"])) == []
    assert {number: reason for number, (_, reason) in found["bad"].items()} == delivered["bad"]
    assert all(name.startswith(f"mutants.tar: {number:04}") for number, (name, _) in found["bad"].items())
    assert found["grown"] < MEMORY


def name_strictly(folder):
    """What "replace" lists and "raise" names batch by batch; this geometry has the same window at each place."""
    begin()
    mutants = find_files(f"{folder}/mutants")[: 30 * 16]
    made = tolerant(mutants, dm.ResizeCenterCrop(32, 32))
    epoch(made)
    strict = loader(mutants, dm.ResizeCenterCrop(32, 32))
    named = {}
    for position in range(0, len(mutants), 16):
        strict.load_state_dict({**strict.state_dict(), "epoch": 0, "position": position})
        try:
            next(iter(strict))
        except dm.BadSampleError as error:
            named[position] = error.samples
    return made.bad_samples, named


def test_raise_names_what_replace_lists(corpus):
    listed, named = run(name_strictly, corpus[0])
    assert len(named) > 24
    assert all(position <= number < position + 16 for position, samples in named.items() for number, _, _ in samples)
    flat = [sample for samples in named.values() for sample in samples]
    assert [sample[:2] for sample in sorted(flat)] == [sample[:2] for sample in listed]
    assert all(long.reason.startswith(f"{short.reason}; ") for short, long in zip(sorted(flat), listed, strict=True))
    assert all(corpus[1][number] for number, _, _ in flat)


def meet_bombs(folder):
    """What each policy says of two bombs in the list, and by how much memory grew.

    Those after the index are smaller, lest a bug hurts.
    """
    begin()
    paths = find_files(f"{folder}/files")
    limit = {"max_pixels": 100_000_000}
    makers = {"replace": lambda: tolerant(paths, **limit), "raise": lambda: loader(paths, **limit)}
    epoch(loader(paths))
    found = {}
    for when, side in (("before", 65_000), ("after", 11_000)):
        for policy, make in makers.items():
            made = make()
            clean = [Path(path).read_bytes() for path in paths[:2]]
            for path, bomb in zip(paths, (bomb_jpeg, bomb_png), strict=False):
                Path(path).write_bytes(bomb(side, side))
            made = make() if when == "before" else made
            before = peak_memory()
            try:
                epoch(made)
                named = made.bad_samples
            except dm.BadSampleError as error:
                named = error.samples
            found[when, policy] = [(number, reason) for number, _, reason in named], peak_memory() - before
            for path, content in zip(paths, clean, strict=False):
                Path(path).write_bytes(content)
    return found


@pytest.fixture(scope="module")
def bombs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bombs")
    (folder / "files").mkdir()
    for i in range(32):
        (folder / "files" / f"{i:02}.jpg").write_bytes(jpeg_bytes(40, 50, seed=i))
    return run(meet_bombs, folder)


@pytest.mark.parametrize("policy", ["replace", "raise"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_decompression_bomb_is_named_and_allocates_nothing(bombs, when, policy):
    named, grown = bombs[when, policy]
    side = 65_000 if when == "before" else 11_000
    reason = f"claims {side} x {side} pixels, which .* bytes can't hold"
    assert [(number, bool(re.match(reason, text))) for number, text in named] == [(0, True), (1, True)]
    assert grown < 50_000_000


@pytest.fixture
def good(tmp_path):
    paths = [tmp_path / f"{i:02}.jpg" for i in range(32)]
    for i, path in enumerate(paths):
        path.write_bytes(jpeg_bytes(60, 80, seed=i))
    return paths


@pytest.mark.filterwarnings("ignore::dali_mixup.BadFileWarning")
def test_an_epoch_does_not_depend_on_what_an_earlier_one_met(good):
    """DALI decodes no further than a window reaches, so a truncated file is good or bad by the window."""
    for path in good[::3]:
        path.write_bytes(path.read_bytes()[: -len(path.read_bytes()) // 8])
    first, second = tolerant(good), tolerant(good)
    epoch(first)
    second.set_epoch(1)
    assert torch.equal(epoch(first)[1], epoch(second)[1])


@pytest.mark.filterwarnings("ignore::dali_mixup.BadFileWarning")
def test_a_jpeg_with_an_undefined_table_has_a_reason_in_words(good):
    content = good[3].read_bytes()
    good[3].write_bytes(patched(content, find_segment(content, (0xC0,))[0] + 12, b"\x03"))
    made = tolerant(good)
    epoch(made)
    assert made.bad_samples == [(3, str(good[3]), "a quantization table of the scan at byte 609 is missing; replaced")]


@pytest.mark.filterwarnings("ignore::dali_mixup.BadFileWarning")
@pytest.mark.parametrize("kind", ["3", "6", "LA"])
def test_a_tiff_is_what_pillow_reads_in_each_window(good, kind):
    image = opened(good[0].read_bytes(), "LA" if kind == "LA" else "RGB")
    tiff, png = good[0].with_name("image.tif"), good[0].with_name("image.png")
    tiff.write_bytes(encode(image, "TIFF", tiffinfo={} if kind == "LA" else {0x0112: int(kind)}))
    with Image.open(tiff) as turned:
        turned.convert("RGB").save(png)
    assert len(differing(epoch(tolerant([tiff] * 32))[0], epoch(loader([png] * 32))[0])) == 0
