"""What a path on the command line means: an ImageFolder, a list, a pack, tars, arrays, what Hugging Face saved.

Or one of these each below train/, val/, test/.
"""

import glob
import warnings
from pathlib import Path

import numpy as np

from dali_mixup.commands.arrays import SUFFIX, open_arrays
from dali_mixup.commands.lists import SUFFIXES, open_list
from dali_mixup.commands.saved import ONE, list_saved, open_saved
from dali_mixup.dataset.dataset import ImageDataset
from dali_mixup.dataset.files import FileList, ImageFolder
from dali_mixup.dataset.pack_index import ABOUT
from dali_mixup.dataset.packed import PackedDataset
from dali_mixup.dataset.tar_dataset import TarDataset
from dali_mixup.errors import BadFileWarning, DatasetError, must_be

TAR = ".tar"
SPLITS = ("train", "val", "test")


def find_splits(folder: Path) -> dict[str, Path]:
    """The ImageFolders, packs, folders of tars or saved splits below `folder` by name.

    Train, val and test where train/ holds class folders or tars or is a pack, else `folder` itself as "".
    """
    if saved := list_saved(folder):
        return saved
    train = folder / "train"
    if train.is_dir() and any(
        entry.is_dir() or entry.name == ABOUT or entry.suffix == TAR for entry in train.iterdir()
    ):
        # else it is a class of trains
        return {name: folder / name for name in SPLITS if (folder / name).is_dir()}
    return {"": folder}


def open_source(path: Path, *, cache: bool = True) -> ImageDataset:
    """What a path means; bad files are left to the caller to name."""
    if path.suffix == SUFFIX:
        return open_arrays(path)
    if (path / ABOUT).is_file():
        return PackedDataset(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BadFileWarning)
        if (path / ONE).is_file():
            return open_saved(path, cache=cache)
        if path.suffix in SUFFIXES:
            return open_list(path, cache=cache)
        return TarDataset(path, cache=cache) if _means_tars(path) else ImageFolder(path, cache=cache)


def _means_tars(path: Path) -> bool:
    if path.is_dir():
        entries = list(path.iterdir())
        return any(entry.suffix == TAR for entry in entries) and not any(entry.is_dir() for entry in entries)
    return TAR in path.suffixes or glob.has_magic(str(path)) or "{" in str(path)


def open_good_source(path: Path) -> ImageDataset:
    """What a path means, of files and tars without the bad ones; says on stdout how many those are."""
    source = open_source(path)
    if isinstance(source, TarDataset):
        return source.subset(_good_ones(source, path)) if source.bad_files else source
    return _without_bad(source, path) if isinstance(source, FileList) else source


def open_good_images(root: Path) -> FileList:
    """The images of an ImageFolder without its bad files; says on stdout how many those are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BadFileWarning)
        folder = ImageFolder(root)
    return _without_bad(folder, root)


def _without_bad(files: FileList, path: Path) -> FileList:
    return subset(files, _good_ones(files, path)) if files.bad_files else files


def _good_ones(dataset: ImageDataset, path: Path) -> np.ndarray:
    """The numbers of all but the bad files; says on stdout how many those are."""
    bad = dataset.bad_files
    print(f"{len(bad)} of {len(dataset)} files of {path} are left out; `dali-mixup index {path}` names them")
    return np.setdiff1d(np.arange(len(dataset)), list(bad))


def open_train_and_val(folder: Path) -> tuple[FileList, FileList]:
    """The images to train on and those to validate on.

    Raises:
        DatasetError: there is no train/, or neither val/ nor test/, or their classes differ.
    """
    splits = find_splits(folder)
    rest = [name for name in ("val", "test") if name in splits]
    if not rest:
        rule = "a folder that holds train/ and val/ (or test/), each with one folder of images per class"
        raise DatasetError(must_be("DATA", rule, str(folder)))
    train, val = open_good_images(splits["train"]), open_good_images(splits[rest[0]])
    if train.classes != val.classes:
        different = sorted(set(train.classes or []) ^ set(val.classes or []))
        name = f"the classes of train/ and {rest[0]}/"
        raise DatasetError(must_be(name, "the same", different[:10], "these are only in one of them"))
    return train, val


def draw_subset(dataset: FileList, count: int, seed: int) -> FileList:
    """At most `count` images, drawn at random, in the data set's order."""
    if count >= len(dataset):
        return dataset
    return subset(dataset, np.sort(np.random.default_rng(seed).choice(len(dataset), count, replace=False)))


def subset(dataset: FileList, indices: np.ndarray) -> FileList:
    """The images `indices` of a data set, with its classes."""
    return FileList([dataset.paths[i] for i in indices], dataset.targets[indices], dataset.classes)
