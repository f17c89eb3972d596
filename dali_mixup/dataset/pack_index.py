"""What lies beside the shards of a pack: one JSON and plain `.npy` arrays, each with a digest. No pickle."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dali_mixup.errors import DatasetError, must_be

VERSION = 3
ABOUT = "index.json"
MAPPED = 1 << 20  # bytes; smaller arrays are read, since an empty one can't be mapped
REMEDY = "pack it again"


def save_index(folder: Path, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write an index; the JSON comes last, so that a folder with one is complete.

    Args:
        folder: where the shards are.
        about: what the JSON holds; values that JSON knows.
        arrays: by name.
    """
    digests = {}
    for name, array in arrays.items():
        with open(folder / f"{name}.npy", "wb") as file:
            np.save(file, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        digests[name] = _digest_of_file(folder / f"{name}.npy")
    content = {"version": VERSION, **about, "arrays": digests}
    temporary = folder / f"{ABOUT}.tmp"
    with open(temporary, "w", encoding="ascii") as file:
        json.dump({**content, "digest": _digest_of(content)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / ABOUT)


def read_about(folder: Path, place: str = "") -> dict[str, Any]:
    """The JSON of an index.

    Args:
        folder: where it is.
        place: what messages call the folder; "" for its path.

    Raises:
        DatasetError: there is none, it was changed, or another version of this library wrote it.
    """
    place = place or str(folder)
    try:
        content = json.loads((folder / ABOUT).read_bytes())
        digest = content.pop("digest")
    except OSError as error:
        rule = "a folder that `dali-mixup pack` wrote"
        raise DatasetError(must_be("folder", rule, place, f"it has no {ABOUT}")) from error
    except (ValueError, KeyError, AttributeError, RecursionError) as error:
        raise DatasetError(f"{place}/{ABOUT} is damaged; {REMEDY}") from error
    if content.get("version") != VERSION:
        text = must_be(f"the version of {place}/{ABOUT}", str(VERSION), content.get("version"), REMEDY)
        raise DatasetError(text)
    if digest != _digest_of(content):
        raise DatasetError(f"{place}/{ABOUT} is damaged; {REMEDY}")
    return content


def load_arrays(folder: Path, about: Mapping[str, Any], place: str = "") -> dict[str, np.ndarray]:
    """The arrays of an index, mapped, not read.

    Args:
        folder: where they are.
        about: from `read_about`.
        place: what messages call the folder; "" for its path.

    Raises:
        DatasetError: one is missing, or isn't what was written.
    """
    arrays = {}
    for name, digest in about["arrays"].items():
        path = folder / f"{name}.npy"
        try:
            unchanged = _digest_of_file(path) == digest
        except OSError as error:
            raise DatasetError(f"{place or folder}/{name}.npy can't be read ({error.strerror}); {REMEDY}") from error
        if not unchanged:
            raise DatasetError(f"{place or folder}/{name}.npy is damaged; {REMEDY}")
        arrays[name] = np.load(path, mmap_mode="r" if path.stat().st_size > MAPPED else None, allow_pickle=False)
    return arrays


def _digest_of(content: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def _digest_of_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
