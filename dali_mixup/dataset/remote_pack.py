"""A pack at a URL: its index is fetched whole, and its shards are looked at."""

import hashlib
import json
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from dali_mixup.dataset.pack_index import ABOUT, load_arrays, read_about
from dali_mixup.dataset.remote_files import RemoteError, RemoteFile, RemoteFiles
from dali_mixup.errors import DatasetError, must_be

INDEXES = "packs"  # in the cache folder
Index = tuple[dict[str, Any], dict[str, np.ndarray]]  # as `read_about` and `load_arrays` give it


def load_index(files: RemoteFiles, url: str, cache_folder: Path | None) -> Index:
    """The index of a pack, of which all but the JSON comes from the cache if it is kept there.

    Raises:
        DatasetError: there is no pack, it is damaged or of another version, or it can't be reached.
    """
    about = _fetch_about(files, url)
    if cache_folder is None:
        return _fetch(files, url, about)
    kept = cache_folder / INDEXES / hashlib.blake2b(about, digest_size=16).hexdigest()
    try:
        return _load(kept, url)
    except DatasetError:  # nothing is kept, or it was damaged
        shutil.rmtree(kept, ignore_errors=True)
    fresh = kept.with_name(f"{kept.name}.{uuid.uuid4().hex}")
    try:
        fresh.mkdir(parents=True)
    except OSError as error:
        return _without_cache(files, url, about, cache_folder, error)
    try:
        _fetch_to(fresh, files, url, about)
        _put(fresh, kept)
        return _load(kept, url)
    except OSError as error:
        return _without_cache(files, url, about, cache_folder, error)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def holds_pixels(files: RemoteFiles, url: str) -> bool:
    """Whether a pack is one of pixels; False for what is none, which `load_index` refuses.

    Raises:
        DatasetError: there is nothing, or it can't be reached.
    """
    content = _fetch_about(files, url)
    try:
        about = json.loads(content)
    except ValueError:
        return False
    return isinstance(about, dict) and bool(about.get("pixels", False))


def ask_shards(files: RemoteFiles, url: str, shards: Sequence[Mapping[str, Any]]) -> list[RemoteFile]:
    """The shards of a pack as they are now.

    Raises:
        DatasetError: one is missing, or has another size than the index says.
    """
    found = []
    with ThreadPoolExecutor(min(files.options.requests, len(shards))) as pool:
        asked = [(shard, pool.submit(files.ask, f"{url}/{shard['name']}")) for shard in shards]
        for shard, future in asked:
            try:
                found.append(future.result())
            except RemoteError as error:
                pool.shutdown(cancel_futures=True)
                raise DatasetError(f"{url}/{shard['name']} can't be read: {error}") from error
            if found[-1].size != shard["bytes"]:
                text = f"{found[-1].url} must have {shard['bytes']} bytes, has {found[-1].size}"
                raise DatasetError(f"{text}; copy the whole pack there again")
    return found


def _fetch_about(files: RemoteFiles, url: str) -> bytes:
    try:
        return files.read_all(f"{url}/{ABOUT}")
    except RemoteError as error:
        raise DatasetError(must_be("folder", "the URL of a pack", url, f"{url}/{ABOUT}: {error}")) from error


def _load(folder: Path, url: str) -> Index:
    about = read_about(folder, url)
    return about, load_arrays(folder, about, url)


def _fetch(files: RemoteFiles, url: str, about: bytes) -> Index:
    with tempfile.TemporaryDirectory() as folder:  # arrays that are mapped stay
        _fetch_to(Path(folder), files, url, about)
        return _load(Path(folder), url)


def _fetch_to(folder: Path, files: RemoteFiles, url: str, about: bytes) -> None:
    """Fetch the arrays of an index, and the JSON last."""
    (folder / ABOUT).write_bytes(about)
    names = [f"{name}.npy" for name in read_about(folder, url)["arrays"]]
    with ThreadPoolExecutor(min(files.options.requests, len(names))) as pool:
        try:
            for name, data in zip(names, pool.map(files.read_all, (f"{url}/{name}" for name in names)), strict=True):
                (folder / name).write_bytes(data)
        except RemoteError as error:
            raise DatasetError(f"the index of {url} can't be fetched: {error}") from error


def _put(folder: Path, place: Path) -> None:
    """Move a folder to its place, unless another process has done so."""
    try:
        folder.rename(place)
    except OSError:
        if not place.exists():
            raise


def _without_cache(files: RemoteFiles, url: str, about: bytes, cache_folder: Path, error: OSError) -> Index:
    text = f"the index of {url} can't be kept in {cache_folder} ({error.strerror}), and is fetched again next time"
    warnings.warn(text, stacklevel=4)
    return _fetch(files, url, about)
