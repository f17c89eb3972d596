"""Which files, which labels, which classes: torchvision's `ImageFolder`, with every image's size known beforehand."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch

from dali_mixup.dataset.dataset import EncodedDataset, fingerprint_of
from dali_mixup.dataset.paths import PathList
from dali_mixup.dataset.quarantine import find_kept
from dali_mixup.dataset.sizes import Kept, default_cache_folder, place_of, read_sizes, remember_verdicts
from dali_mixup.dataset.source import FileSource, open_file
from dali_mixup.dataset.targets import check_targets
from dali_mixup.errors import DatasetError, must_be, name_some

# The same list as torchvision.datasets.folder.IMG_EXTENSIONS.
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


class FileList(EncodedDataset):
    """Images from a list of paths.

    Every header is read once, in threads, and remembered in the user's cache folder; later only files whose size or
    modification time changed are read again. Files that can't be images are named in one warning and stay in the list:
    what the Loader does with them is its `on_bad_sample`.

    Levels are those of Pillow's `convert("RGB")`, as in torchvision's ImageFolder. So in a gray PNG or TIFF of 16 bits
    all levels above 255 are 255, nearly all of the image (Pillow 13 clips), and one in RGB keeps the upper 8 of its 16
    bits. For all levels of gray ones scale them first, once: `(levels // 257).astype("uint8")` in new files, or in an
    `ArrayDataset`.

    Args:
        paths: N files (str, bytes or path-like).
        targets: N int class indices, or floats (N, ...) for multi-label, regression or soft labels.
        classes: class names; the class of target i is `classes[i]`. None if the targets aren't class indices, or have
            no names.
        exclude: files to leave out: a list that `dali-mixup index --quarantine` wrote, or paths. Those that aren't
            there are passed over.
        cache: keep the sizes in the cache folder (`$DALI_MIXUP_CACHE`, else `~/.cache/dali_mixup`).
        progress: show a bar on stderr when the probe takes longer than half a second.

    Attributes:
        paths: `PathList` of N paths.
        samples: (path, target) of each; `imgs` is the same.
        root: of an `ImageFolder`, its folder; else None.
        targets: (N,) int64, or float32 (N, ...).
        classes: list of str, or None.
        class_to_idx: dict from class name to int.
        heights: (N,) int32, in pixels, before any EXIF rotation; 0 for a bad file.
        widths: (N,) int32.
        bad_files: dict from the number of a file that can't be an image to the reason.
        sizes: `Sizes` of all files, with file sizes, times and verdicts.

    Raises:
        DatasetError: no files, another number of targets, or a class index outside `classes`.
        TypeError: targets are neither integers nor floats.

    >>> import dali_mixup as dm
    >>> dm.FileList([], [])
    Traceback (most recent call last):
    dali_mixup.errors.DatasetError: paths must be at least one file, got []
    """

    paths: PathList
    leave_out = "leave them out with exclude="
    root: str | None = None

    def __init__(
        self,
        paths: Iterable[str | bytes | os.PathLike[str]],
        targets: Sequence[Any] | np.ndarray | torch.Tensor,
        classes: Sequence[str] | None = None,
        *,
        exclude: str | os.PathLike[str] | Iterable[str | bytes | os.PathLike[str]] | None = None,
        cache: bool = True,
        progress: bool = True,
    ):
        self.paths = paths if isinstance(paths, PathList) else PathList(paths)
        keep = None if exclude is None else find_kept(self.paths, exclude)
        if not len(self.paths):
            raise DatasetError(must_be("paths", "at least one file", []))
        classes = None if classes is None else list(classes)
        checked = check_targets(targets, len(self.paths), classes)
        if keep is not None:
            self.paths, checked = PathList(self.paths.encoded(i).tobytes() for i in keep), checked[keep]
            if not len(keep):
                raise DatasetError("paths must hold at least one file that isn't excluded, got none")
        self.names: PathList | None = self.paths
        self.cache_folder: Path | None = default_cache_folder() if cache else None
        self._describe(checked, classes, read_sizes(self.paths, cache_folder=self.cache_folder, progress=progress))

    @property
    def samples(self) -> "Samples":
        """Path and target of each file, as torchvision's data sets have them."""
        return Samples(self)

    imgs = samples

    def name(self, number: int) -> str:
        """The path of a file."""
        return self.paths[number]

    @contextmanager
    def open(self, number: int) -> Iterator[FileSource]:
        """See `EncodedDataset`."""
        with open_file(self.paths.encoded(number).tobytes()) as (source, _):
            yield source

    @property
    def kept(self) -> Kept | None:
        """See `EncodedDataset`."""
        return None if self.cache_folder is None else place_of(self.paths, self.cache_folder)

    def remember(self, verdicts: np.ndarray) -> None:
        """See `EncodedDataset`: kept in the cache of sizes."""
        remember_verdicts(self.paths, self.sizes, verdicts, cache_folder=self.cache_folder)

    def fingerprint(self) -> str:
        """32 characters that another order, other file names or other targets change.

        The folder above all files doesn't count.
        """
        return fingerprint_of(self.paths, self.targets)

    def __repr__(self) -> str:
        classes = "" if self.classes is None else f", {len(self.classes)} classes"
        return f"{type(self).__name__}({len(self)} files{classes})"


class Samples(Sequence[tuple[str, int | np.ndarray]]):
    """(path, target) of each file, made when they are asked for: a list of a million tuples would fill the memory."""

    def __init__(self, files: FileList):
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> tuple[str, int | np.ndarray]: ...

    @overload
    def __getitem__(self, index: slice) -> list[tuple[str, int | np.ndarray]]: ...

    def __getitem__(self, index: int | slice) -> Any:
        number = range(len(self))[index]
        if isinstance(number, range):
            return [self[i] for i in number]
        return self.files.paths[number], self.files.target(number)


class ImageFolder(FileList):
    """Images in one folder per class, as `torchvision.datasets.ImageFolder` reads them.

    Same order, `classes`, `class_to_idx`.

    Classes are the sorted folders right below `root`; their files are found at any depth, in upper or lower case
    extensions, and through symbolic links. Other files are passed over.

    Args:
        root: the folder that holds the classes.
        exclude: see `FileList`. A class may lose all of its files by it; its index stays.
        cache: see `FileList`.
        progress: see `FileList`.

    Raises:
        DatasetError: `root` isn't a folder, holds no class folder, or a class holds no image.

    >>> import pathlib, tempfile, PIL.Image, dali_mixup as dm
    >>> with tempfile.TemporaryDirectory() as root:
    ...     for name in ("cat", "dog"):
    ...         pathlib.Path(root, name).mkdir()
    ...         PIL.Image.new("RGB", (40, 30)).save(f"{root}/{name}/1.jpg")
    ...     dm.ImageFolder(root)
    ImageFolder(2 files, 2 classes)
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        exclude: str | os.PathLike[str] | Iterable[str | bytes | os.PathLike[str]] | None = None,
        cache: bool = True,
        progress: bool = True,
    ):
        place = os.fspath(root)
        self.root: str | None = place
        classes = _find_classes(place)
        files = [_find_files(os.path.join(place, name)) for name in classes]
        empty = [name for name, found in zip(classes, files, strict=True) if not found]
        if empty:
            raise DatasetError(
                f"each class folder must hold an image ({' '.join(EXTENSIONS)}), but "
                f"{name_some(map(repr, empty), len(empty))} of "
                f"{place!r} hold none; remove or fill them"
            )
        targets = np.repeat(np.arange(len(classes)), [len(found) for found in files])
        super().__init__(
            [path for found in files for path in found],
            targets,
            classes,
            exclude=exclude,
            cache=cache,
            progress=progress,
        )


def _find_classes(root: str) -> list[str]:
    if not os.path.isdir(root):
        raise DatasetError(must_be("root", "a folder with one folder of images per class", root, "it is no folder"))
    with os.scandir(root) as entries:
        classes = sorted(entry.name for entry in entries if entry.is_dir())
    if not classes:
        raise DatasetError(
            must_be(
                "root",
                "a folder with one folder of images per class",
                root,
                "it holds no folders; for plain files use FileList",
            )
        )
    return classes


def _find_files(folder: str) -> list[str]:
    """The images below a class folder in torchvision's order: folders by their path, files by name."""
    return [
        os.path.join(parent, name)
        for parent, names in sorted(_walk(folder))
        for name in sorted(names)
        if name.lower().endswith(EXTENSIONS)
    ]


def _walk(folder: str) -> Iterator[tuple[str, list[str]]]:
    """Each folder below and its files, through symbolic links but those that lead back to a folder above them.

    torchvision goes round and round in such a circle, and with two of them for ever.
    """
    for parent, folders, names in os.walk(folder, followlinks=True):
        yield parent, names
        folders[:] = [name for name in folders if not _leads_back(folder, parent, name)]


def _leads_back(folder: str, parent: str, name: str) -> bool:
    """Whether `parent/name` is a link to one of the folders from `folder` down to `parent`."""
    path = os.path.join(parent, name)
    if not os.path.islink(path):
        return False
    try:
        target = os.stat(path)
        while not os.path.samestat(target, os.stat(parent)):
            if parent == folder:
                return False
            parent = os.path.dirname(parent)
    except OSError:  # gone by now, which os.walk passes over
        return False
    return True
