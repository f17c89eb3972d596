"""What Hugging Face's `save_to_disk` wrote, as data sets."""

import json
from pathlib import Path

from dali_mixup.dataset.huggingface import HFDataset
from dali_mixup.errors import DatasetError, must_be

ONE, SEVERAL = "state.json", "dataset_dict.json"


def list_saved(folder: Path) -> dict[str, Path]:
    """The folders of a saved `DatasetDict` by the names of their splits; none if it is no such folder."""
    file = folder / SEVERAL
    return {name: folder / name for name in json.loads(file.read_text())["splits"]} if file.is_file() else {}


def open_saved(folder: Path, *, cache: bool = True) -> HFDataset:
    """A saved `Dataset`: its only column of images, and its only `ClassLabel`, or the column "label".

    Raises:
        DatasetError: the package datasets is missing, or these columns aren't clear.
    """
    try:
        import datasets
    except ImportError as error:
        remedy = 'which needs the package datasets: pip install "dali-mixup[hf]"'
        raise DatasetError(f"{folder}: a data set of Hugging Face, {remedy}") from error
    dataset = datasets.Dataset.load_from_disk(str(folder))
    images = [name for name, feature in dataset.features.items() if isinstance(feature, datasets.Image)]
    labels = [name for name, feature in dataset.features.items() if isinstance(feature, datasets.ClassLabel)]
    if len(images) != 1 or len(labels) > 1:
        rule, remedy = "a data set with one column of images and one ClassLabel", "use HFDataset(..., image=, target=)"
        raise DatasetError(must_be(str(folder), rule, [*images, *labels], remedy))
    return HFDataset(dataset, *images, *(labels or ["label"]), cache=cache)
