"""Files at URLs through fsspec: their sizes and tags, and ranges of their bytes, asked for again where that fails."""

import hashlib
import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple, TypeVar

from dali_mixup.dataset.remote import Remote
from dali_mixup.errors import check_int, must_be

T = TypeVar("T")
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0  # seconds between two tries
TAGS = (
    "ETag",
    "etag",
    "generation",
    "content_md5",
    "Last-Modified",
    "LastModified",
    "last_modified",
    "mtime",
    "created",
)
S3 = {"s3", "s3a"}
HTTP = {"http", "https"}


class RemoteError(OSError):
    """A store doesn't give what it was asked for, also when it was asked again."""


class ChangedError(Exception):
    """What lies at a URL isn't what did."""


class RemoteFile(NamedTuple):
    """A file at a URL, as it was when it was asked about.

    Attributes:
        url: where.
        size: in bytes.
        tag: ETag, or what else the store has to tell one state of it from another, such as its time; "" for nothing.
        etag: a tag on which reads can insist; "" if there is none.
    """

    url: str
    size: int
    tag: str
    etag: str

    def digest(self) -> str:
        """32 characters for this state of the file."""
        return hashlib.blake2b(repr((self.url, self.size, self.tag)).encode(), digest_size=16).hexdigest()

    def stamp(self) -> tuple[int, int]:
        """Its size, and a number for its tag, as files have a size and a time."""
        return self.size, int.from_bytes(hashlib.blake2b(self.tag.encode(), digest_size=8).digest(), signed=True)


class RemoteFiles:
    """Asks stores; any thread may.

    Args:
        options: how.
    """

    def __init__(self, options: Remote):
        self.options = options

    def ask(self, url: str) -> RemoteFile:
        """What there is at a URL.

        Raises:
            RemoteError: nothing, or it can't be reached.
        """
        return self._insist(partial(self._ask, url))

    def read(self, file: RemoteFile, start: int, stop: int) -> bytes:
        """The bytes of a file from `start` to before `stop`.

        Raises:
            RemoteError: they can't be read, or the file isn't the same any more as far as its store says so.
        """
        return self._insist(partial(self._read, file, start, stop)) if start < stop else b""

    def read_all(self, url: str) -> bytes:
        """All bytes at a URL.

        Raises:
            RemoteError: they can't be read.
        """
        return self._insist(partial(self._read_all, url))

    def match(self, url: str) -> list[str]:
        """The URLs that a glob pattern means, sorted.

        Raises:
            RemoteError: the store can't be asked, or knows no lists.
        """
        return self._insist(partial(self._match, url))

    def _ask(self, url: str) -> RemoteFile:
        system, path = self._open(url)
        try:
            info = system.info(path, **self._limit(system))
        except FileNotFoundError as error:  # fsspec's HTTP says so whatever the server did
            raise error.__cause__ or error from None
        tag = next((str(info[name]) for name in TAGS if info.get(name)), "")
        if info.get("size") is None:
            raise RemoteError("the store doesn't say how large it is")
        etag = info.get("ETag") or ""
        return RemoteFile(url, int(info["size"]), tag, "" if etag.startswith("W/") else etag)

    def _read(self, file: RemoteFile, start: int, stop: int) -> bytes:
        system, path = self._open(file.url)
        kind = protocols_of(system)
        if file.etag and kind & S3:
            data = _read_s3(system, path, file.etag, start, stop, self.options.timeout)
        elif kind & HTTP:
            headers = {"Accept-Encoding": "identity"} | ({"If-Match": file.etag} if file.etag else {})
            given = self.options.storage_options.get("headers", {})
            data = system.cat_file(
                path, start=start, end=stop, headers={**given, **headers}, timeout=self.options.timeout
            )
        else:
            data = system.cat_file(path, start=start, end=stop, **self._limit(system))
        if len(data) != stop - start:
            raise ChangedError(f"gave {len(data)} bytes for the {stop - start} from byte {start} on")
        return data

    def _read_all(self, url: str) -> bytes:
        system, path = self._open(url)
        return system.cat_file(path, **self._limit(system))

    def _match(self, url: str) -> list[str]:
        system, path = self._open(url)
        return sorted(map(system.unstrip_protocol, system.glob(path, **self._limit(system))))

    def _open(self, url: str) -> tuple[Any, str]:
        """The file system of a URL, of which fsspec keeps one per process, and the path in it."""
        from fsspec.core import url_to_fs  # here, since only URLs need it

        options = dict(self.options.storage_options)
        if url.partition("://")[0] in S3:  # of whose connections there would be ten
            config = {"max_pool_connections": self.options.requests, **options.get("config_kwargs", {})}
            options["config_kwargs"] = config
        return url_to_fs(url, **options)

    def _limit(self, system: Any) -> Mapping[str, float]:
        return {"timeout": self.options.timeout} if system.async_impl else {}

    def _insist(self, act: Callable[[], T]) -> T:
        """What it gives, at the first or a further try."""
        tries = self.options.retries + 1
        for count in range(1, tries + 1):
            try:
                return act()
            except ImportError:  # a library that isn't installed won't be, a moment later
                raise
            except Exception as error:  # noqa: BLE001  each file system raises its own
                if count == tries:
                    many = f"tried {tries} times" if tries > 1 else "tried once"
                    raise RemoteError(f"{self._why(error)} ({many})") from error
            pause = min(FIRST_PAUSE * 2 ** (count - 1), LONGEST_PAUSE)
            time.sleep(pause * random.uniform(0.5, 1))  # so that not all threads come back at once
        raise AssertionError("unreachable")

    def _why(self, error: BaseException) -> str:
        if isinstance(error, TimeoutError):
            return f"no answer within {self.options.timeout:g} s"
        if "PreconditionFailed" in f"{error} {error.__cause__}" or getattr(error, "status", None) == 412:
            return "it changed since it was looked at"
        return str(error) if isinstance(error, RemoteError) else f"{type(error).__name__}: {error}".strip().rstrip(":")


def open_store(remote: Remote | None, cache_bytes: int | None) -> RemoteFiles:
    """What reads URLs, after a look at the user's options.

    Raises:
        ImportError: fsspec isn't installed.
        ValueError, TypeError: an option out of range.
    """
    if remote is not None and not isinstance(remote, Remote):
        raise TypeError(must_be("remote", "a Remote", remote))
    if cache_bytes is not None:
        check_int("cache_bytes", cache_bytes, at_least=1)
    if find_spec("fsspec") is None:
        raise ImportError("URLs are read through fsspec: pip install 'dali-mixup[remote]'")
    return RemoteFiles(remote or Remote())


def protocols_of(system: Any) -> set[str]:
    """By which names fsspec knows a file system."""
    return {system.protocol} if isinstance(system.protocol, str) else set(system.protocol)


def _read_s3(system: Any, path: str, etag: str, start: int, stop: int, timeout: float) -> bytes:
    """A range of an object of that tag; s3fs's `cat_file` takes any."""
    from fsspec.asyn import sync

    bucket, key, version = system.split_path(path)
    what = {"Bucket": bucket, "Key": key} | ({"VersionId": version} if version else {})
    bounds = f"bytes={start}-{stop - 1}"

    async def get() -> bytes:
        answer = await system._call_s3("get_object", **what, Range=bounds, IfMatch=etag)
        async with answer["Body"] as body:
            return await body.read()

    return sync(system.loop, get, timeout=timeout)
