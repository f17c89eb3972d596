"""Images of Hugging Face's `datasets`: from the Hub, from Parquet files, from folders."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dali_mixup.dataset.arrow_columns import ImageColumn, read_targets
from dali_mixup.dataset.ask_each import Share, alone
from dali_mixup.dataset.dataset import Encoded, ReadableDataset, fingerprint_of
from dali_mixup.dataset.header import Header, look
from dali_mixup.dataset.paths import PathList
from dali_mixup.dataset.sizes import (
    Kept,
    default_cache_folder,
    probe_sizes,
    read_sizes,
    remember_kept,
    remember_verdicts,
)
from dali_mixup.dataset.source import BytesSource, Source, open_file
from dali_mixup.dataset.targets import check_targets
from dali_mixup.dataset.verdict import most_bytes, why_unreadable
from dali_mixup.errors import DatasetError, must_be
from dali_mixup.geometry.geometry import Windows

if TYPE_CHECKING:
    from datasets import Dataset


class HFDataset(ReadableDataset):
    """The images of a `datasets.Dataset`, as bytes or as files; it never decodes them itself.

    `select`, `shuffle`, `filter`, `train_test_split` and `concatenate_datasets` are honoured; what `set_transform` and
    `map` would do when an item is asked for isn't done. Needs the package `datasets`: `pip install "dali-mixup[hf]"`.

    Args:
        dataset: a `datasets.Dataset`: one split of what `load_dataset` gives.
        image: the column of the images, a `datasets.Image`.
        target: the column of the targets: a `ClassLabel`, integers or floats; lists of `ClassLabel` or of integers for
            multi-label, which become float32 (N, C) of 0 and 1; lists of floats, all of one length.
        names: what messages call the samples; None takes the paths where all have one, else "row 12". A state that was
            saved with one data set fits all others with the same names and targets: of a folder, take the files' paths
            below it.
        cache: keep the sizes of images in the cache folder (`$DALI_MIXUP_CACHE`, else `~/.cache/dali_mixup`); of tables
            in memory nothing is kept.
        progress: show a bar on stderr when the first look takes longer than half a second.

    Raises:
        DatasetError: no rows, a column that isn't there, or one of another kind.
        TypeError: a `DatasetDict`, an `IterableDataset`, or something else.

    >>> import datasets, io, PIL.Image, dali_mixup as dm
    >>> file = io.BytesIO()
    >>> PIL.Image.new("RGB", (40, 30)).save(file, "JPEG")
    >>> features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["cat", "dog"]))
    >>> columns = {"image": [{"bytes": file.getvalue()}] * 3, "label": [0, 1, 1]}
    >>> dataset = dm.HFDataset(datasets.Dataset.from_dict(columns, features).shuffle(seed=0))
    >>> dataset, dataset.classes, dataset.targets.tolist()
    (HFDataset(3 samples, 2 classes), ['cat', 'dog'], [1, 0, 1])
    """

    leave_out = "leave them out with select() of the Hugging Face data set"

    def __init__(
        self,
        dataset: "Dataset",
        image: str = "image",
        target: str = "label",
        *,
        names: Sequence[str] | None = None,
        cache: bool = True,
        progress: bool = True,
    ):
        _check_dataset(dataset, image, target)
        if names is not None and len(names) != len(dataset):
            raise DatasetError(must_be("names", f"one per row ({len(dataset)} rows)", names))
        found, classes = read_targets(dataset, target)
        targets = check_targets(found, len(dataset), classes if found.ndim == 1 else None)
        self._images = ImageColumn(dataset, image)
        paths = self._images.paths() if names is None or self._images.are_files else None
        self._files = PathList(paths) if paths and self._images.are_files else None
        own = paths if names is None else names
        self.names: PathList | None = None if own is None else PathList(own)
        self._cache_folder = default_cache_folder() if cache else None
        key = self._images.key() if self._cache_folder else ""
        rows = PathList(map(str, self._images.rows))
        self._kept = Kept(rows, self._cache_folder / f"{key}.sizes") if self._cache_folder and key else None
        if self._files is None:
            sizes = probe_sizes(self._probe, len(dataset), kept=self._kept, progress=progress)
        else:
            sizes = read_sizes(self._files, cache_folder=self._cache_folder, progress=progress)
        self._stamps = sizes.mtime_ns
        self._describe(targets, classes, replace(sizes, mtime_ns=np.zeros_like(sizes.mtime_ns)))

    def name(self, number: int) -> str:
        """The path of a sample, or its row."""
        return f"row {number}" if self.names is None else self.names[number]

    def fingerprint(self) -> str:
        """See `ImageDataset`; without names, samples are told apart by their length in bytes."""
        names = PathList(map(str, self.sizes.file_size)) if self.names is None else self.names
        return fingerprint_of(names, self.targets)

    @contextmanager
    def open(self, number: int) -> Iterator[Source]:
        """See `EncodedDataset`."""
        data = self._images.data(number)
        if data is not None:
            yield BytesSource(data)
            return
        path = self._images.path(number)
        if path is None:
            raise OSError("neither bytes nor a path")
        with open_file(path) as (source, _):
            yield source

    def read(
        self,
        numbers: list[int],
        windows: Windows | None = None,  # noqa: ARG002  all of it
        share: Share = alone,
    ) -> list[Encoded | str]:
        """See `ReadableDataset`."""
        return share(lambda run: [self._read(numbers[i]) for i in run], len(numbers))

    @property
    def kept(self) -> Kept | None:
        """See `EncodedDataset`."""
        return self._kept if self._files is None else None

    def remember(self, verdicts: np.ndarray) -> None:
        """See `EncodedDataset`: kept in the cache of sizes."""
        if self._files is not None:
            sizes = replace(self.sizes, mtime_ns=self._stamps)
            remember_verdicts(self._files, sizes, verdicts, cache_folder=self._cache_folder)
        elif self._kept is not None:
            remember_kept(self._kept, self.sizes, verdicts)

    def _read(self, number: int) -> Encoded | str:
        data = self._images.data(number)
        if data is not None:  # numpy copies, and maybe reads from a disk, while other threads go on
            return Encoded(np.frombuffer(data, np.uint8).copy().data)
        try:
            with self.open(number) as source:
                return Encoded(source.read_at(0, most_bytes(int(self.heights[number]), int(self.widths[number]))))
        except OSError as error:
            return why_unreadable(error)

    def _probe(self, number: int) -> Header:
        try:
            with self.open(number) as source:
                found = look(source)
                return Header(*found[:2], source.size, 0, found.reason, found.verdict)
        except OSError as error:
            return Header(0, 0, -1, 0, why_unreadable(error))

    def __repr__(self) -> str:
        classes = "" if self.classes is None else f", {len(self.classes)} classes"
        return f"{type(self).__name__}({len(self)} sample{'s' * (len(self) > 1)}{classes})"


def _check_dataset(dataset: Any, image: str, target: str) -> None:
    """A `datasets.Dataset` that has these columns."""
    import datasets  # which takes a second, and who has one of its data sets has it already

    rule = "a datasets.Dataset"
    if isinstance(dataset, datasets.DatasetDict):
        raise TypeError(
            must_be(
                "dataset", rule, dataset, f"take one of its splits, such as dataset[{next(iter(dataset), 'train')!r}]"
            )
        )
    if isinstance(dataset, datasets.IterableDataset | datasets.IterableDatasetDict):
        remedy = "it can't be read in any order: load it without streaming=True"
        raise TypeError(must_be("dataset", rule, type(dataset).__name__, remedy))
    if not isinstance(dataset, datasets.Dataset):
        raise TypeError(must_be("dataset", rule, dataset))
    if not len(dataset):
        raise DatasetError(must_be("dataset", "of at least one row", dataset))
    for name, column in {"image": image, "target": target}.items():
        if column not in dataset.column_names:
            raise DatasetError(must_be(name, f"one of the columns {dataset.column_names}", column))
    if not isinstance(dataset.features[image], datasets.Image):
        remedy = f"dataset.cast_column({image!r}, datasets.Image()) makes one of bytes or of paths"
        raise DatasetError(must_be(f"column {image!r}", "a datasets.Image", dataset.features[image], remedy))
