"""Images from anywhere: a function of the user's gives their bytes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from dali_mixup.dataset.ask_each import Share, alone
from dali_mixup.dataset.dataset import Encoded, ReadableDataset, fingerprint_of
from dali_mixup.dataset.header import Header, look
from dali_mixup.dataset.paths import PathList
from dali_mixup.dataset.sizes import probe_sizes
from dali_mixup.dataset.source import BytesSource
from dali_mixup.dataset.targets import check_targets
from dali_mixup.errors import DatasetError, ReadError, must_be
from dali_mixup.geometry.geometry import Windows


class BytesDataset(ReadableDataset):
    """Images whose bytes a function gives: from LMDB, a zip file, a database, ...

    Each image is read once when the data set is built, for its size, and from then on once per epoch.

    Args:
        read: `read(number) -> bytes`, an encoded image (JPEG, PNG, ...). It is called in several threads at once. What
            it raises reaches the user as a `ReadError` with the sample's name.
        targets: N int class indices, or floats (N, ...) for multi-label, regression or soft labels.
        classes: class names; the class of target i is `classes[i]`. None if there are none.
        names: what messages call the samples, such as their keys; None for "sample 12". A state that was saved with
            one data set fits all others with the same names and targets: of a folder, take the files' paths below it.
        progress: show a bar on stderr when the first look takes longer than half a second.

    Raises:
        DatasetError: no samples, another number of names, or a class index outside `classes`.
        TypeError: targets are neither integers nor floats, or `read` gives no bytes.
        ReadError: what `read` raised.

    >>> import io, PIL.Image, dali_mixup as dm
    >>> file = io.BytesIO()
    >>> PIL.Image.new("RGB", (40, 30)).save(file, "PNG")
    >>> dm.BytesDataset([file.getvalue()].__getitem__, targets=[0])
    BytesDataset(1 sample)
    """

    def __init__(
        self,
        read: Callable[[int], bytes],
        targets: Sequence[Any] | np.ndarray | torch.Tensor,
        classes: Sequence[str] | None = None,
        *,
        names: Sequence[str] | None = None,
        progress: bool = True,
    ):
        if not callable(read):
            raise TypeError(must_be("read", "a function from a sample's number to its bytes", read))
        if not len(targets):
            raise DatasetError(must_be("targets", "one per sample, at least one", targets))
        if names is not None and len(names) != len(targets):
            raise DatasetError(must_be("names", f"one per target ({len(targets)} targets)", names))
        self._read = read
        self.names: PathList | None = None if names is None else PathList(names)
        checked = check_targets(targets, len(targets), classes)
        self._describe(checked, classes, probe_sizes(self._probe, len(checked), progress=progress))

    def name(self, number: int) -> str:
        """See `ImageDataset`."""
        return f"sample {number}" if self.names is None else self.names[number]

    def fingerprint(self) -> str:
        """See `ImageDataset`; without names, samples are told apart by their length in bytes."""
        names = PathList(map(str, self.sizes.file_size)) if self.names is None else self.names
        return fingerprint_of(names, self.targets)

    def read(
        self,
        numbers: list[int],
        windows: Windows | None = None,  # noqa: ARG002  all of it
        share: Share = alone,
    ) -> list[Encoded | str]:
        """See `ReadableDataset`."""
        return share(lambda run: [Encoded(self._bytes(numbers[i])) for i in run], len(numbers))

    def _probe(self, number: int) -> Header:
        source = BytesSource(self._bytes(number))
        height, width, verdict, reason = look(source)
        return Header(height, width, source.size, 0, reason, verdict)

    def _bytes(self, number: int) -> bytes:
        try:
            data = self._read(number)
        except Exception as error:
            raise ReadError(f"{self.name(number)}: read({number}) raised {type(error).__name__}: {error}") from error
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(must_be(f"read({number})", "the bytes of an encoded image", data))
        return bytes(data)

    def __repr__(self) -> str:
        classes = "" if self.classes is None else f", {len(self.classes)} classes"
        return f"{type(self).__name__}({len(self)} sample{'s' * (len(self) > 1)}{classes})"
