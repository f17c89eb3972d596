"""Files at URLs through fsspec: their sizes and tags, and ranges of their bytes, asked for again where that fails."""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
    """Asks stores, in fsspec's loop; any thread may.

    A thread of its own for each request would cost several times as much. A copy, also by pickle, starts afresh.

    Args:
        options: how.
    """

    def __init__(self, options: Remote):
        self.options = options
        self._threads: ThreadPoolExecutor | None = None  # for file systems that fsspec doesn't run in its loop
        self._places: tuple[asyncio.AbstractEventLoop, asyncio.Semaphore] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._opened: dict[str, tuple[Any, str]] = {}  # by URL

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.options,)

    def ask(self, url: str) -> RemoteFile:
        """What there is at a URL.

        Raises:
            RemoteError: nothing, or it can't be reached.
        """
        return self._wait(self._insist(partial(self._ask, url)))

    def read(self, file: RemoteFile, start: int, stop: int) -> bytes:
        """The bytes of a file from `start` to before `stop`.

        Raises:
            RemoteError: they can't be read, or the file isn't the same any more as far as its store says so.
        """
        return self._wait(self._insist(partial(self._read, file, start, stop))) if start < stop else b""

    def start(self, ranges: Sequence[tuple[RemoteFile, int, int]]) -> list["Future[bytes]"]:
        """What `read` gives for each of these, with as many at once as the options say."""
        futures: list[Future[bytes]] = [Future() for _ in ranges]
        loop, places = self._loop()

        def begin() -> None:
            for future, bounds in zip(futures, ranges, strict=True):
                task = loop.create_task(self._fill(future, places, *bounds))
                self._tasks.add(task)  # asyncio itself doesn't hold it
                task.add_done_callback(self._tasks.discard)

        loop.call_soon_threadsafe(begin)
        return futures

    def read_all(self, url: str) -> bytes:
        """All bytes at a URL.

        Raises:
            RemoteError: they can't be read.
        """
        return self._wait(self._insist(partial(self._call, url, "cat_file")))

    def match(self, url: str) -> list[str]:
        """The URLs that a glob pattern means, sorted.

        Raises:
            RemoteError: the store can't be asked, or knows no lists.
        """
        found = self._wait(self._insist(partial(self._call, url, "glob")))
        return sorted(map(self._open(url)[0].unstrip_protocol, found))

    async def _ask(self, url: str) -> RemoteFile:
        try:
            info = await self._call(url, "info")
        except FileNotFoundError as error:  # fsspec's HTTP says so whatever the server did
            raise error.__cause__ or error from None
        tag = next((str(info[name]) for name in TAGS if info.get(name)), "")
        if info.get("size") is None:
            raise RemoteError("the store doesn't say how large it is")
        etag = info.get("ETag") or ""
        return RemoteFile(url, int(info["size"]), tag, "" if etag.startswith("W/") else etag)

    async def _fill(
        self, future: "Future[bytes]", places: asyncio.Semaphore, file: RemoteFile, start: int, stop: int
    ) -> None:
        async with places:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(await self._insist(partial(self._read, file, start, stop)))
                except BaseException as error:  # noqa: BLE001  for who waits for it
                    future.set_exception(error)

    async def _read(self, file: RemoteFile, start: int, stop: int) -> bytes:
        kind = protocols_of(self._open(file.url)[0])
        if file.etag and kind & S3:
            data = await _read_s3(*self._open(file.url), file.etag, start, stop)
        else:
            options = {}
            if kind & HTTP:
                options["headers"] = {**self.options.storage_options.get("headers", {}), "Accept-Encoding": "identity"}
                options["headers"] |= {"If-Match": file.etag} if file.etag else {}
            data = await self._call(file.url, "cat_file", start=start, end=stop, **options)
        if len(data) != stop - start:
            raise ChangedError(f"gave {len(data)} bytes for the {stop - start} from byte {start} on")
        return data

    async def _call(self, url: str, method: str, **options: Any) -> Any:
        """A method of the URL's file system."""
        system, path = self._open(url)
        if system.async_impl:
            return await getattr(system, f"_{method}")(path, **options)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.options.requests, thread_name_prefix="dali_mixup remote")
        act = partial(getattr(system, method), path, **options)
        return await asyncio.get_running_loop().run_in_executor(self._threads, act)

    def _open(self, url: str) -> tuple[Any, str]:
        """The file system of a URL, of which fsspec keeps one per process, and the path in it."""
        if url in self._opened:
            return self._opened[url]
        from fsspec.core import url_to_fs  # here, since only URLs need it

        options = dict(self.options.storage_options)
        if url.partition("://")[0] in S3:  # of whose connections there would be ten
            config = {"max_pool_connections": self.options.requests, **options.get("config_kwargs", {})}
            options["config_kwargs"] = config
        self._opened[url] = url_to_fs(url, **options)
        return self._opened[url]

    def _loop(self) -> tuple[asyncio.AbstractEventLoop, asyncio.Semaphore]:
        """That of fsspec in this process, and how many may ask at once in it."""
        from fsspec.asyn import get_loop

        loop = get_loop()
        if self._places is None or self._places[0] is not loop:  # of a process that was forked
            self._places, self._threads = (loop, asyncio.Semaphore(self.options.requests)), None
            self._tasks, self._opened = set(), {}
        return self._places

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop()[0]).result()

    async def _insist(self, act: Callable[[], Awaitable[T]]) -> T:
        """What it gives, at the first or a further try."""
        tries = self.options.retries + 1
        for count in range(1, tries + 1):
            try:
                async with asyncio.timeout(self.options.timeout):
                    return await act()
            except ImportError:  # a library that isn't installed won't be, a moment later
                raise
            except Exception as error:
                if count == tries:
                    many = f"tried {tries} times" if tries > 1 else "tried once"
                    raise RemoteError(f"{self._why(error)} ({many})") from error
            pause = min(FIRST_PAUSE * 2 ** (count - 1), LONGEST_PAUSE)
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # so that not all come back at once
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


async def _read_s3(system: Any, path: str, etag: str, start: int, stop: int) -> bytes:
    """A range of an object of that tag; s3fs's `cat_file` takes any."""
    bucket, key, version = system.split_path(path)
    what = {"Bucket": bucket, "Key": key} | ({"VersionId": version} if version else {})
    answer = await system._call_s3("get_object", **what, Range=f"bytes={start}-{stop - 1}", IfMatch=etag)
    async with answer["Body"] as body:
        return await body.read()
