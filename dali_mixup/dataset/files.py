"""Which files, which labels, which classes: torchvision's `ImageFolder`, with every image's size known beforehand."""

import hashlib
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from dali_mixup.dataset.paths import PathList
from dali_mixup.dataset.quarantine import find_kept
from dali_mixup.dataset.sizes import default_cache_folder, read_sizes
from dali_mixup.errors import BadFileWarning, DatasetError, must_be

# The same list as torchvision.datasets.folder.IMG_EXTENSIONS.
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
NAMED_IN_MESSAGE = 10


class FileList:
    """Images from a list of paths.

    Every header is read once, in threads, and remembered in the user's cache folder; later only files whose size or
    modification time changed are read again. Files that can't be images are named in one warning and stay in the list:
    what the Loader does with them is its `on_bad_sample`.

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

    def __init__(
        self,
        paths: Iterable[str | bytes | os.PathLike],
        targets: Sequence | np.ndarray | torch.Tensor,
        classes: Sequence[str] | None = None,
        *,
        exclude: str | os.PathLike | Iterable[str | bytes | os.PathLike] | None = None,
        cache: bool = True,
        progress: bool = True,
    ):
        self.paths = paths if isinstance(paths, PathList) else PathList(paths)
        keep = None if exclude is None else find_kept(self.paths, exclude)
        if not len(self.paths):
            raise DatasetError(must_be("paths", "at least one file", []))
        self.classes = None if classes is None else list(classes)
        self.class_to_idx = {name: i for i, name in enumerate(self.classes or [])}
        self.targets = _check_targets(targets, len(self.paths), self.classes)
        if keep is not None:
            self.paths, self.targets = PathList(self.paths.encoded(i).tobytes() for i in keep), self.targets[keep]
            if not len(keep):
                raise DatasetError("paths must hold at least one file that isn't excluded, got none")
        self.cache_folder = default_cache_folder() if cache else None
        self.sizes = sizes = read_sizes(self.paths, cache_folder=self.cache_folder, progress=progress)
        self.heights, self.widths, self.bad_files = sizes.height, sizes.width, sizes.reasons
        if self.bad_files:
            _warn_of_bad_files(self.paths, self.bad_files)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[str, int | np.ndarray]:
        """Path and target, as torchvision's `samples[index]`."""
        target = self.targets[index]
        return self.paths[index], int(target) if self.targets.dtype == np.int64 else target

    def fingerprint(self) -> str:
        """32 characters that another order, other file names or other targets change.

        The folder above all files doesn't count.
        """
        digest = hashlib.blake2b(digest_size=16)
        names = self.paths.below(self.paths.common_folder())
        for array in (names.ends, names.blob, self.targets):
            digest.update(array.tobytes())
        return digest.hexdigest()

    def __repr__(self) -> str:
        classes = "" if self.classes is None else f", {len(self.classes)} classes"
        return f"{type(self).__name__}({len(self)} files{classes})"


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
    """

    def __init__(
        self,
        root: str | os.PathLike,
        *,
        exclude: str | os.PathLike | Iterable[str | bytes | os.PathLike] | None = None,
        cache: bool = True,
        progress: bool = True,
    ):
        self.root = os.fspath(root)
        classes = _find_classes(self.root)
        files = [_find_files(os.path.join(self.root, name)) for name in classes]
        empty = [name for name, found in zip(classes, files, strict=True) if not found]
        if empty:
            raise DatasetError(
                f"each class folder must hold an image ({' '.join(EXTENSIONS)}), but "
                f"{_some(map(repr, empty), len(empty))} of "
                f"{self.root!r} hold none; remove or fill them"
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


def _check_targets(targets: Sequence | np.ndarray | torch.Tensor, count: int, classes: list[str] | None) -> np.ndarray:
    array = targets.detach().cpu().numpy() if isinstance(targets, torch.Tensor) else np.asarray(targets)
    if array.ndim == 0 or len(array) != count:
        raise DatasetError(must_be("targets", f"one per path ({count} paths)", array))
    if np.issubdtype(array.dtype, np.floating):
        return np.ascontiguousarray(array, np.float32)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(must_be("targets", "integers (class indices) or floats", array))
    if array.ndim != 1:
        raise DatasetError(
            must_be(
                "targets", "class indices of shape (N,), or floats", array, "convert multi-label targets to float32"
            )
        )
    if classes is not None:
        outside = (array < 0) | (array >= len(classes))
        if outside.any():
            at = int(np.flatnonzero(outside)[0])
            raise DatasetError(must_be(f"targets[{at}]", f"a class index from 0 to {len(classes) - 1}", int(array[at])))
    return array.astype(np.int64)


def _some(names: Iterable[str], count: int) -> str:
    """The first names, and how many more there are."""
    shown = [name for name, _ in zip(names, range(NAMED_IN_MESSAGE), strict=False)]
    return ", ".join(shown) + (f" and {count - len(shown)} more" if count > len(shown) else "")


def _warn_of_bad_files(paths: PathList, reasons: dict[int, str]) -> None:
    lines = _some((f"{paths[i]} ({reason})" for i, reason in sorted(reasons.items())), len(reasons))
    warnings.warn(
        f"{len(reasons)} of {len(paths)} files can't be read as images: {lines}", BadFileWarning, stacklevel=4
    )
