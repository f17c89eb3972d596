"""Stores that answer late: a file system of fsspec's over local files, and an HTTP server in a process of its own."""

import asyncio
import multiprocessing
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import fsspec
from fsspec.asyn import AsyncFileSystem

PROTOCOL = "late"
REQUEST = re.compile(rb"(GET|HEAD) (\S+) HTTP/1.1\r\n")
RANGE = re.compile(rb"\r\nrange: bytes=(\d+)-(\d+)\r\n", re.IGNORECASE)
LONGEST_HEAD = 1 << 16


class LateFileSystem(AsyncFileSystem):
    """Local files, each answer after `latency` seconds: what a far store costs but for the work of its protocol.

    Args:
        latency: in seconds.
        options: fsspec's.
    """

    protocol = PROTOCOL
    root_marker = "/"

    def __init__(self, latency: float = 0.05, **options: Any):
        super().__init__(**options)
        self.latency = latency
        self._opened: dict[str, int] = {}  # which stay open

    async def _info(self, path: str, **_: Any) -> dict[str, Any]:
        await asyncio.sleep(self.latency)
        status = os.stat(path)
        return {"name": path, "size": status.st_size, "type": "file", "mtime": status.st_mtime_ns}

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        await asyncio.sleep(self.latency)
        if path not in self._opened:
            self._opened[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        fd, begin = self._opened[path], start or 0
        return os.pread(fd, (os.fstat(fd).st_size if end is None else end) - begin, begin)


def register() -> None:
    """Make fsspec know `late://`."""
    fsspec.register_implementation(PROTOCOL, LateFileSystem, clobber=True)


@contextmanager
def serve_late(folder: str, latency: float) -> Iterator[str]:
    """The URL of an HTTP server over a folder."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=_serve, args=(folder, latency, there), daemon=True)
    server.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        server.terminate()
        server.join()


def _serve(folder: str, latency: float, told: Connection) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(latency)
                writer.write(_answer(folder, head))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=LONGEST_HEAD)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def _answer(folder: str, head: bytes) -> bytes:
    asked, bounds = REQUEST.match(head), RANGE.search(head)
    path = os.path.join(folder, asked[2].decode().lstrip("/")) if asked else ""
    if asked is None or not os.path.isfile(path):
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    status = os.stat(path)
    first, last = (int(bounds[1]), int(bounds[2])) if bounds else (0, status.st_size - 1)
    lines = ["HTTP/1.1 206 Partial Content" if bounds else "HTTP/1.1 200 OK", f"Content-Length: {last + 1 - first}"]
    lines += [f"Content-Range: bytes {first}-{last}/{status.st_size}"] if bounds else []
    text = "\r\n".join([*lines, f'ETag: "{status.st_mtime_ns}"', "", ""]).encode()
    if asked[1] == b"HEAD":
        return text
    with open(path, "rb") as file:
        return text + os.pread(file.fileno(), last + 1 - first, first)
