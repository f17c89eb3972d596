"""What a Loader needs of a data set, and the ways to its images: encoded in files or in bytes, or as pixels.

Wherever images come from, the plan, the faults, the stage, the state and the ranks are the same.
"""

import hashlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image

from dali_mixup.dataset.ask_each import Share, alone
from dali_mixup.dataset.orientation import UPRIGHT, read_orientations, turned_sizes
from dali_mixup.dataset.orientation_cache import UNKNOWN, keep_orientations, recall_orientations
from dali_mixup.dataset.paths import PathList
from dali_mixup.dataset.pillow import UndecodableError, decode_source, orientation_of
from dali_mixup.dataset.sizes import Kept, Sizes
from dali_mixup.dataset.source import BytesSource, Source
from dali_mixup.errors import BadFileWarning, BadSampleError, must_be, name_some
from dali_mixup.geometry.geometry import Windows
from dali_mixup.picture import INK, as_html, draw_grid

EXAMPLES, EXAMPLE_SIDE = 8, 96  # images that a notebook shows, and their sides in pixels


class ImageDataset(ABC):
    """N images with their targets and sizes.

    `dataset[i]` is what torchvision's data sets give: the image as Pillow reads it, in RGB, through `transform` if
    there is one, and the target. It is for a torch DataLoader, a Subset or a notebook; a Loader doesn't use it.

    Attributes:
        transform: of `dataset[i]` alone, such as one of torchvision's; None at first, and may be set.
        targets: (N,) int64 class indices, or float32 (N, ...).
        classes: list of str, or None.
        class_to_idx: dict from class name to int.
        heights: (N,) int32, in pixels, before any EXIF rotation; 0 for a bad image.
        widths: (N,) int32.
        bad_files: dict from the number of a sample that can't be an image to the reason.
        names: `PathList` of the samples' own names, by which another store of the same images knows them, too; None if
            they have none.
        leave_out: how a user leaves bad samples out, as messages say it.
    """

    leave_out: ClassVar[str] = "leave them out"
    targets: np.ndarray
    classes: list[str] | None
    heights: np.ndarray
    widths: np.ndarray
    bad_files: dict[int, str]
    names: PathList | None = None
    transform: Callable[[Image.Image], Any] | None = None
    _upright: tuple[np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def _repr_html_(self) -> str:
        """What notebooks show: classes, sizes, and examples of the images."""
        good = self.heights > 0
        rows: list[tuple[str, object]] = [("samples", f"{len(self):,}")]
        if good.any():
            sides = ((name, np.percentile(side[good], (0, 50, 100)).astype(int)) for name, side in self._sides())
            rows += [(name, f"{low} to {high} pixels, median {middle}") for name, (low, middle, high) in sides]
        if self.targets.dtype == np.int64:
            numbers, counts = np.unique(self.targets, return_counts=True)
            named = [
                f"{self.classes[number] if self.classes else number} ({count:,})"
                for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)
            ]
            rows.append(("classes", f"{len(named)}: {name_some(named, len(named))}"))
        else:
            rows.append(("targets", f"{self.targets.dtype} {self.targets.shape}"))
        rows += [("bad files", f"{len(self.bad_files):,}")] if self.bad_files else []
        return as_html(repr(self), rows, self._examples())

    def _sides(self) -> Iterator[tuple[str, np.ndarray]]:
        yield from (("height", self.heights), ("width", self.widths))

    def _examples(self) -> Image.Image | None:
        """Some images evenly over the whole; None where none of them can be decoded."""
        pictures, captions = [], []
        for number in np.unique(np.linspace(0, len(self) - 1, EXAMPLES).astype(int)).tolist():
            try:
                pictures.append(self.pixels(number))
            except BadSampleError:
                continue
            target = self.target(number)
            name = self.classes[target] if self.classes and isinstance(target, int) else str(target)
            captions.append([(name, INK)])
        return draw_grid(pictures, captions, side=EXAMPLE_SIDE, columns=EXAMPLES) if pictures else None

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The number of each class."""
        return {name: i for i, name in enumerate(self.classes or [])}

    def __getitem__(self, index: int) -> tuple[Any, int | np.ndarray]:
        number = range(len(self))[index]
        image = Image.fromarray(self.pixels(number))
        return image if self.transform is None else self.transform(image), self.target(number)

    def target(self, number: int) -> int | np.ndarray:
        """The target of a sample: an int for class indices, otherwise float32."""
        target = self.targets[number]
        return int(target) if self.targets.dtype == np.int64 else target

    @abstractmethod
    def pixels(self, number: int) -> np.ndarray:
        """The whole image of a sample, (H, W, 3) uint8, to be read only.

        Raises:
            BadSampleError: it can't be decoded.
        """

    def orientations(self) -> np.ndarray:
        """(N,) uint8, EXIF's from 1 to 8: how the cameras were held. 1, upright, where nothing says so."""
        return np.full(len(self), UPRIGHT, np.uint8)

    def orientation(self, number: int) -> int:  # noqa: ARG002  none says so
        """That of one sample."""
        return UPRIGHT

    def sizes_of(self, *, upright: bool) -> tuple[np.ndarray, np.ndarray]:
        """Heights and widths, (N,) int32 each, as the images are stored, or as they are held upright."""
        if not upright:
            return self.heights, self.widths
        if self._upright is None:
            self._upright = turned_sizes(self.heights, self.widths, self.orientations())
        return self._upright

    @abstractmethod
    def name(self, number: int) -> str:
        """What messages call a sample: a path, or its place in what holds it."""

    @abstractmethod
    def fingerprint(self) -> str:
        """32 characters that another order, other samples or other targets change: what a saved state belongs to."""


class EncodedDataset(ImageDataset):
    """Images in an encoded form: JPEG, PNG, ...

    Attributes:
        sizes: `Sizes` of all samples, with the length of each in bytes, and who decodes it.
    """

    targets: np.ndarray
    classes: list[str] | None
    heights: np.ndarray
    widths: np.ndarray
    bad_files: dict[int, str]
    sizes: Sizes
    _orientations: np.ndarray | None = None

    def _describe(self, targets: np.ndarray, classes: Sequence[str] | None, sizes: Sizes) -> None:
        """Set what all of them have, and warn of bad ones; their names must be known."""
        self.targets, self.classes = targets, None if classes is None else list(classes)
        self.sizes = sizes
        self.heights, self.widths, self.bad_files = sizes.height, sizes.width, sizes.reasons
        if bad := sorted(self.bad_files.items()):
            lines = name_some((f"{self.name(number)} ({reason})" for number, reason in bad), len(bad))
            warnings.warn(
                f"{len(bad)} of {len(self)} files can't be read as images: {lines}", BadFileWarning, stacklevel=4
            )

    @abstractmethod
    def open(self, number: int) -> AbstractContextManager[Source]:
        """The bytes of a sample, as they are now.

        Raises:
            OSError: there is no such sample any more, or it can't be read.
        """

    def pixels(self, number: int) -> np.ndarray:
        """See `ImageDataset`."""
        try:
            with self.open(number) as source:
                return decode_source(source, (int(self.heights[number]), int(self.widths[number])))
        except (OSError, UndecodableError) as error:
            reason = self.bad_files.get(number, str(error))
            raise BadSampleError([(number, self.name(number), reason)], "this image can't be decoded:") from error

    def orientations(self) -> np.ndarray:
        """See `ImageDataset`; when first asked for, they are read from all files that nothing was kept of."""
        if self._orientations is None:
            kept, good = self.kept, self.heights > 0
            known = np.full(len(self), UNKNOWN, np.uint8) if kept is None else recall_orientations(kept, self.sizes)
            unknown = np.flatnonzero((known == UNKNOWN) & good)
            known[~good] = UPRIGHT
            known[unknown] = read_orientations(self.orientation, unknown.tolist(), progress=True)
            if kept is not None and len(unknown):
                keep_orientations(kept, self.sizes, known)
            self._orientations = known
        return self._orientations

    @property
    def kept(self) -> Kept | None:
        """By which names and where something is kept of the samples from run to run; None for nothing."""
        return None

    def orientation(self, number: int) -> int:
        """See `ImageDataset`."""
        try:
            with self.open(number) as source:
                return orientation_of(source)
        except OSError:  # which is said when its pixels are needed
            return UPRIGHT

    def remember(self, verdicts: np.ndarray) -> None:
        """Keep, for later runs, what was learnt of the samples; called at the end of an epoch.

        Args:
            verdicts: (N,) uint8, a `Verdict` of each; BAD where there is nothing to keep.
        """


class Encoded(NamedTuple):
    """The bytes of an encoded image, or of a cut of one.

    Attributes:
        data: what DALI decodes.
        top: the row of the image where its own first row is.
        left: the column.
        whole: whether it is all of the image.
    """

    data: bytes | memoryview
    top: int = 0
    left: int = 0
    whole: bool = True


class Reading(Protocol):
    """Samples that are on their way."""

    def result(self) -> list[Encoded | str]:
        """What `ReadableDataset.read` gives, once it is there."""
        ...

    def drop(self) -> None:
        """Nobody needs them any more."""


class ReadableDataset(EncodedDataset):
    """Images that are read as bytes, in threads, before DALI needs them.

    Attributes:
        ahead: how many samples it is worth to `start` before they are needed; 0 where reading takes no waiting.
    """

    ahead: int = 0

    @abstractmethod
    def read(self, numbers: list[int], windows: Windows | None = None, share: Share = alone) -> list[Encoded | str]:
        """The bytes of some samples; called in several threads at once.

        Args:
            numbers: of the samples.
            windows: what is needed of each, in the same order; None for the whole.
            share: has threads do what waits for a disk.

        Returns:
            What holds each window, or the reason why there is nothing: that one is a bad sample.

        Raises:
            ReadError: something that is no fault of one sample.
        """

    def start(self, numbers: list[int], windows: Windows | None = None) -> Reading:
        """Begin to read some samples that are needed later; only where `ahead` isn't 0. See `read`."""
        raise NotImplementedError

    def open(self, number: int) -> AbstractContextManager[Source]:
        """See `EncodedDataset`."""
        (found,) = self.read([number])
        if isinstance(found, str):
            raise OSError(found)
        return nullcontext(BytesSource(bytes(found.data)))


class PixelDataset(ImageDataset):
    """Images whose pixels lie in memory, or are mapped to it."""

    @property
    @abstractmethod
    def stack(self) -> np.ndarray | torch.Tensor | None:
        """All images, uint8 (N, H, W, 3) of any strides: an array, or a tensor on a GPU; None if they lie apart."""

    @property
    def one_size(self) -> bool:
        """Whether `whole` gives several images at once."""
        return self.stack is not None

    def upright(self) -> "PixelDataset":
        """The same images, turned by their `orientations`, of which `cut` takes windows then."""
        return self

    def whole(self, numbers: np.ndarray) -> np.ndarray:
        """Some images, if they are of `one_size`, in their order, (B, H, W, 3) uint8; from a GPU in one transfer."""
        if isinstance(self.stack, torch.Tensor):
            return self.stack[torch.from_numpy(numbers).to(self.stack.device)].cpu().numpy()
        assert self.stack is not None  # noqa: S101  who asks has looked
        return self.stack[numbers]

    def pixels(self, number: int) -> np.ndarray:
        """See `ImageDataset`."""
        whole = np.array([[self.heights[number], self.widths[number]]], np.int32)
        start = np.zeros_like(whole)
        (image,) = self.cut(np.array([number]), Windows(anchor=start, shape=whole, resized=whole, offset=start))
        return np.ascontiguousarray(image)

    @abstractmethod
    def cut(self, numbers: np.ndarray, windows: Windows) -> list[np.ndarray]:
        """The windows of some samples: uint8 (h, w, 3) each of any strides, to be read only; called in several threads.

        Args:
            numbers: (B,) int64.
            windows: of each, in the same order.
        """


def check_dataset(dataset: object) -> None:
    """Raise a TypeError unless it is an `ImageDataset`."""
    if not isinstance(dataset, ImageDataset):
        rule = "an ImageFolder, a FileList or another of dali_mixup's data sets"
        raise TypeError(must_be("dataset", rule, dataset))


def fingerprint_of(names: PathList, targets: np.ndarray) -> str:
    """The fingerprint of samples by their names, in which the folder above all of them doesn't count."""
    digest = hashlib.blake2b(digest_size=16)
    below = names.below(names.common_folder())
    for array in (below.ends, below.blob, targets):
        digest.update(array.tobytes())
    return digest.hexdigest()
