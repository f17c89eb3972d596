"""Which images, labels and transform a torch dataset is made of.

Found by looking at its attributes, believed only after trying.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset

from dali_mixup.dataset.arrays import ArrayDataset
from dali_mixup.dataset.dataset import ImageDataset
from dali_mixup.dataset.files import FileList
from dali_mixup.dataset.header import probe
from dali_mixup.errors import DatasetError, must_be
from dali_mixup.translation.items import WAY_OUT, Item, find_transform, is_gray, read_rgb, same_pixels, see_item
from dali_mixup.translation.looking import Candidate, find_columns, find_files, find_numbers, find_pixels, is_path
from dali_mixup.translation.trying import seeded

# torchvision's image readers, all of which give RGB as Pillow reads it.
KNOWN_READERS = ("default_loader", "pil_loader", "accimage_loader")
TRIED = 16  # items of a dataset
HUGGING_FACE = (
    "pass from_dataloader files=dm.HFDataset(dataset, image=..., target=...), and as transform= what its set_transform "
    "does to an image"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a dataset holds, in its order.

    Attributes:
        images: N paths, or uint8 pixels: an array or a tensor of N images, or a list.
        targets: N targets, as items have them.
        named: the attribute that the targets are in.
        classes: names, or None.
        transform: what turns images into items; [] if they are tensors as they should be, None if nothing does.
        tensors: whether images are tensors before it.
        gray: whether they have one channel.
        root: the folder that the dataset names.
    """

    images: Any
    targets: Any
    named: str
    classes: list[str] | None
    transform: Any
    tensors: bool = False
    gray: bool = False
    root: Any = None

    def select(self, numbers: np.ndarray) -> "Content":
        """These samples."""
        return replace(self, images=_take(self.images, numbers), targets=_take(self.targets, numbers))

    def build(self) -> ImageDataset:
        """One of dali_mixup's data sets.

        Raises:
            DatasetError: of no images, or with targets that fit neither them nor the classes.
        """
        if not len(self.images) or is_path(self.images[0]):
            files = FileList(self.images, self.targets, self.classes)
            files.root, files.transform = self.root, self.transform
            return files
        return ArrayDataset(self.images, self.targets, self.classes)


class Found(NamedTuple):
    """Images, and what becomes of them.

    Attributes:
        images: one of dali_mixup's data sets.
        transform: what turns its images into items.
        tensors: whether that gets tensors.
        gray: whether it gets images of one channel.
    """

    images: ImageDataset
    transform: Any
    tensors: bool = False
    gray: bool = False


def read_dataset(dataset: Any, transform: Any = None) -> Found:
    """A dataset as one of dali_mixup's, and its transform.

    Args:
        dataset: see `read_content`, or one of dali_mixup's.
        transform: in the place of the dataset's own.

    Raises:
        DatasetError, TypeError, ValueError: see `read_content` and `Content.build`.
    """
    if isinstance(dataset, ImageDataset):
        found = Found(dataset, transform or dataset.transform)
    else:
        content = read_content(dataset)
        chosen = content.transform if transform is None else transform
        found = Found(content.build(), chosen, content.tensors, content.gray)
    if found.transform is None:
        rule = "a transform of torchvision's that ends in tensors"
        raise TypeError(must_be(f"loader.dataset.transform of {type(dataset).__name__}", rule, None))
    return found


def read_content(dataset: Any) -> Content:
    """What a dataset holds, and its transform.

    Args:
        dataset: of torchvision's, with files or arrays; a `TensorDataset` of uint8 images; a `Subset` or
            `ConcatDataset` of such; one that gives another's images a transform; or any whose attributes hold the
            paths or pixels and the targets of its items. Some items are read, of torchvision's ImageFolder none.

    Raises:
        DatasetError: it holds no images.
        TypeError, ValueError: another one, or its items are something else than transform(image) and the target.
    """
    if type(dataset).__module__.partition(".")[0] == "datasets":
        raise TypeError(must_be("loader.dataset", "a dataset of (image, target)", type(dataset).__name__, HUGGING_FACE))
    if _is_plain_subset(dataset):
        return read_content(dataset.dataset).select(np.asarray(dataset.indices, np.int64))
    if type(dataset) is ConcatDataset:
        return _join([read_content(part) for part in dataset.datasets])
    kind, samples = type(dataset).__name__, getattr(dataset, "samples", None)
    if isinstance(samples, Sequence):
        if not len(samples):
            raise DatasetError(must_be(f"loader.dataset.samples of {kind}", "at least one (path, target)", samples))
        if hasattr(dataset, "__len__") and len(dataset) != len(samples):
            rule = f"that of its `samples` ({len(samples)})"
            remedy = "take a Subset, or shorten `samples`"
            raise ValueError(must_be(f"len(loader.dataset) of a {kind}", rule, len(dataset), remedy))
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__") or not len(dataset):
        raise _unknown(dataset)
    return _look(dataset)


def _is_plain_subset(dataset: Any) -> bool:
    """Whether its items are those of the dataset inside, with nothing done to them."""
    if not isinstance(dataset, Subset):
        return False
    kind = type(dataset)
    return kind.__getitem__ is Subset.__getitem__ and kind.__getitems__ is Subset.__getitems__


def _unknown(dataset: Any) -> TypeError:
    rule = "a dataset whose attributes hold its image files, or uint8 images, and their targets"
    return TypeError(must_be("loader.dataset", rule, type(dataset).__name__, WAY_OUT))


def _look(dataset: Any) -> Content:
    """Believe what is found in the attributes of a dataset, or of the one that it holds."""
    columns = find_columns(dataset)
    images, targets = [*find_files(dataset, columns), *find_pixels(columns)], find_numbers(columns)
    classes = getattr(dataset, "classes", None) or _classes_of_reader(getattr(dataset, "reader", None))
    if not images:
        inner, orders = _read_inner(dataset, targets)
        selected = [inner.select(order) for order in orders]
        images = [Candidate(inner.named, one.images) for one in selected]
        targets = [Candidate(inner.named, one.targets) for one in selected] + targets
        classes = inner.classes
    if not images or not targets:
        raise _unknown(dataset)
    is_folder = type(dataset).__getitem__.__module__ == "torchvision.datasets.folder"
    if is_folder and not hasattr(dataset, "__getitems__"):
        _check_reader(getattr(dataset, "loader", None), images[0].values)
        return _settle(
            dataset, images[0], targets[0], classes, getattr(dataset, find_transform(dataset) or "transform")
        )
    return _try(dataset, images, targets, classes)


def _classes_of_reader(reader: Any) -> list[str] | None:
    """The names of the classes of a reader of timm's, in their order."""
    places = getattr(reader, "class_to_idx", None)
    if not isinstance(places, dict) or sorted(places.values()) != list(range(len(places))):
        return None
    return sorted(places, key=places.__getitem__)


def _read_inner(dataset: Any, numbers: list[Candidate]) -> tuple[Content, list[np.ndarray]]:
    """The one dataset that another one holds, and the orders that its samples may come in."""
    held = [value for value in vars(dataset).values() if isinstance(value, Dataset)]
    if len(held) != 1:
        raise _unknown(dataset)
    inner, count = read_content(held[0]), len(dataset)
    total = len(inner.images)
    own = [np.asarray(values) for _, values in numbers]
    indices = [one for one in own if one.dtype.kind in "iu" and one.ndim == 1 and 0 <= one.min() <= one.max() < total]
    return inner, [*([np.arange(count)] if count == total else []), *indices]


def _try(dataset: Any, images: list[Candidate], targets: list[Candidate], classes: Any) -> Content:
    """What of the candidates the items of a dataset are made of."""
    change, item = getattr(dataset, "target_transform", None), None
    for place in _readable(images[0], np.linspace(0, len(dataset) - 1, TRIED).astype(np.int64)):
        item = see_item(dataset, place)
        images = _fitting_images(dataset, images, place, item)
        targets = _fitting_targets(dataset, targets, place, item, change)
    if item is None:
        raise _unknown(dataset)
    while len(targets) > 1:  # such as labels of two kinds, which happen to be the same where they were tried
        places = _readable(images[0], np.flatnonzero(_differ(targets[0].values, targets[1].values)))
        if places:
            targets = _fitting_targets(dataset, targets, places[0], see_item(dataset, places[0]), change)
        else:
            del targets[1]
    name = find_transform(dataset)
    transform = getattr(dataset, name) if name else [] if _is_delivered(item.image) else None
    found = _settle(dataset, images[0], targets[0], classes, transform, kind=np.asarray(item.target).dtype.kind)
    return replace(found, tensors=isinstance(item.image, torch.Tensor), gray=is_gray(item.image))


def _settle(
    dataset: Any, images: Candidate, targets: Candidate, classes: Any, transform: Any, *, kind: str = ""
) -> Content:
    """The content of a dataset whose candidates are believed."""
    values, change = targets.values, getattr(dataset, "target_transform", None)
    if change is not None:
        values, classes = _changed(_plain(values), change), None
    elif kind:  # items may have int(label) of a float
        values = np.asarray(values, np.float32 if kind == "f" else np.int64)
    named = isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes)
    return Content(
        images=images.values,
        targets=values,
        named=targets.name,
        classes=list(classes) if named else None,
        transform=transform,
        root=getattr(dataset, "root", None),
    )


def _changed(targets: Sequence[Any], change: Callable) -> list[Any]:
    """What a target_transform makes of targets, once and for all: a random one is refused."""
    name = "loader.dataset.target_transform"
    rule = "a function of the target alone, since it is called once and not in every epoch"
    made = []
    for seed in range(2):
        with seeded(seed):
            try:
                made.append([change(target) for target in targets])
            except Exception as error:
                raise ValueError(must_be(name, "a function of the target", error, WAY_OUT)) from error
    first, again = (np.asarray(each) for each in made)
    if first.shape != again.shape or not ((first == again) | ((first != first) & (again != again))).all():
        remedy = "for random targets change those of each batch in the training loop"
        raise ValueError(must_be(name, rule, change, remedy))
    return made[0]


def _readable(images: Candidate, places: np.ndarray) -> list[int]:
    """Those of the places whose images can be read; bad files are the Loader's business."""
    unique = np.unique(places)[: 10 * TRIED].tolist()
    return [i for i in unique if not is_path(images.values[i]) or not probe(images.values[i]).reason]


def _fitting_images(dataset: Any, images: list[Candidate], place: int, item: Item) -> list[Candidate]:
    fitting = [one for one in images if same_pixels(item.image, _levels(one.values[place]))]
    if not fitting:
        here = images[0].values[place]
        what = f"as Pillow reads it, in RGB ({here} differs)" if is_path(here) else f"that is in `{images[0].name}`"
        rule = f"(transform(image), target), with the image {what}"
        raise ValueError(must_be(_an_item_of(dataset), rule, item.image, WAY_OUT))
    return fitting


def _fitting_targets(
    dataset: Any, targets: list[Candidate], place: int, item: Item, change: Callable | None
) -> list[Candidate]:
    fitting = [one for one in targets if _is_target(item.target, one.values[place], change)]
    if not fitting:
        value = np.asarray(targets[0].values[place]).tolist()
        rule = f"(transform(image), target), with the target of `{targets[0].name}`, {value!r}"
        raise ValueError(must_be(_an_item_of(dataset), rule, item.target, WAY_OUT))
    return fitting


def _is_target(given: Any, kept: Any, change: Callable | None) -> bool:
    try:
        return np.array_equal(np.asarray(given), np.asarray(kept if change is None else change(_plain(kept))))
    except Exception:  # noqa: BLE001  one of several candidates, which the change isn't made for
        return False


def _plain(values: Any) -> Any:
    """Python's numbers in the place of numpy's, as items have them."""
    return values.tolist() if isinstance(values, np.ndarray | np.generic) else values


def _an_item_of(dataset: Any) -> str:
    return f"an item of loader.dataset, a {type(dataset).__name__},"


def _levels(image: Any) -> Any:
    return read_rgb(image) if is_path(image) else image


def _differ(one: Any, other: Any) -> np.ndarray:
    """Where targets differ, (N,) bool."""
    first, second = np.asarray(one), np.asarray(other)
    return (
        (first != second).reshape(len(first), -1).any(1) if first.shape == second.shape else np.ones(len(first), bool)
    )


def _is_delivered(image: Any) -> bool:
    """Whether an image that nothing changes is (channels, H, W) already."""
    return isinstance(image, torch.Tensor) and image.ndim == 3 and image.shape[0] in (1, 3)


def _take(values: Any, numbers: np.ndarray) -> Any:
    if len(numbers) == len(values) and np.array_equal(numbers, np.arange(len(values))):
        return values
    if isinstance(values, torch.Tensor):
        return values[torch.from_numpy(numbers).to(values.device)]
    return values[numbers] if isinstance(values, np.ndarray) else [values[i] for i in numbers.tolist()]


def _join(parts: list[Content]) -> Content:
    """The contents of several datasets, one behind the other, which must have the same transform."""
    first = parts[0]
    for part in parts[1:]:
        same_store = is_path(part.images[0]) == is_path(first.images[0])
        if not same_store or (part.tensors, part.gray) != (first.tensors, first.gray):
            raise TypeError(must_be("loader.dataset", "a ConcatDataset of datasets of one kind", "others", WAY_OUT))
        if part.transform is not first.transform and repr(part.transform) != repr(first.transform):
            rule = "a ConcatDataset of datasets with the same transform"
            raise ValueError(must_be("loader.dataset", rule, [first.transform, part.transform], WAY_OUT))
    images = [image for part in parts for image in part.images]
    shapes = {tuple(part.images.shape[1:]) if hasattr(part.images, "shape") else None for part in parts}
    if len(shapes) == 1 and shapes != {None}:
        images = np.concatenate([np.asarray(part.images) for part in parts])
    return replace(
        first,
        images=images,
        targets=np.concatenate([np.asarray(part.targets) for part in parts]),
        classes=first.classes if all(part.classes == first.classes for part in parts) else None,
    )


def _check_reader(reader: Callable | None, files: Sequence[Any]) -> None:
    """A reader of the user's own must give what everyone's reader gives."""
    module = getattr(reader, "__module__", "")
    if reader is None or (module == "torchvision.datasets.folder" and getattr(reader, "__name__", "") in KNOWN_READERS):
        return
    rule = "a reader that gives RGB as Pillow does, unrotated, like torchvision's default_loader"
    tried = _readable(Candidate("samples", files), np.array([0, len(files) // 2, len(files) - 1]))
    for path in (files[i] for i in tried):
        try:
            found = np.asarray(reader(path))
        except Exception as error:
            raise ValueError(must_be("loader.dataset.loader", f"{rule} ({path} fails)", error, WAY_OUT)) from error
        if not np.array_equal(found, read_rgb(path)):
            raise ValueError(must_be("loader.dataset.loader", f"{rule} ({path} differs)", reader, WAY_OUT))
