"""A small HTTP server over a folder: ranges, ETags, `If-Match`, and whatever a test has it do wrong."""

import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Fault = Callable[["Handler"], bool]  # whether it has answered


class RangeServer(ThreadingHTTPServer):
    """Serves the files of a folder at `url`.

    Attributes:
        requests: (method, path, range) of all that was asked, in order.
        fault: is asked before each answer; None for none.
        failed: how many requests had a fault that `on` chose.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.requests, self.fault = Path(folder), [], None
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.lock = threading.Lock()
        self.failed = 0

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """Clients that have gone are none."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def log_message(self, format, *args):  # noqa: A002
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        with self.server.lock:
            self.server.requests.append((self.command, self.path, self.headers.get("Range")))
        if self.server.fault is not None and self.server.fault(self):
            return
        path = self.server.folder / self.path.lstrip("/")
        if not path.is_file():
            self.say(404)
            return
        status = path.stat()
        etag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
        if self.headers.get("If-Match", etag) != etag:
            self.say(412)
            return
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = (int(found[1]), min(int(found[2]), status.st_size - 1)) if found else (0, status.st_size - 1)
        with open(path, "rb") as file:
            data = os.pread(file.fileno(), last + 1 - first, first)
        headers = {"ETag": etag, "Content-Length": str(last + 1 - first)}
        if found:
            self.say(206, data, **headers, **{"Content-Range": f"bytes {first}-{last}/{status.st_size}"})
        else:
            self.say(200, data, **headers)

    def say(self, status, data=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), "Accept-Ranges": "bytes", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        self.wfile.flush()

    def begin(self, length):
        """A header that promises so many bytes."""
        self.send_response(206)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.flush()

    def reset(self):
        """Break the connection as a router does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()


def answer_with(status):
    def fault(handler):
        handler.say(status)
        return True

    return fault


def stall(handler):
    """Promise bytes, send one, and wait."""
    handler.begin(1000)
    handler.wfile.write(b"x")
    handler.wfile.flush()
    time.sleep(5)
    handler.close_connection = True
    return True


def reset(handler):
    """Break the connection in the middle of a transfer."""
    handler.begin(1000)
    handler.wfile.write(b"x" * 10)
    handler.wfile.flush()
    handler.reset()
    return True


def cut_short(handler):
    """Give half of what was asked for, as if that were all."""
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range", ""))
    count = (int(found[2]) - int(found[1]) + 1) // 2 if found else 10
    handler.say(206, b"\xff" * count)
    return True


def on(pattern, fault, times=None):
    """That fault for requests whose path and range match, at most so many times."""
    lock, left = threading.Lock(), [times]

    def chosen(handler):
        if not re.search(pattern, f"{handler.path} {handler.headers.get('Range')}"):
            return False
        with lock:
            if left[0] == 0:
                return False
            if left[0] is not None:
                left[0] -= 1
            handler.server.failed += 1
        return fault(handler)

    return chosen
