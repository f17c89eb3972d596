"""How packs and tars at URLs are read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dali_mixup.errors import check_int, must_be

URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")  # a letter alone would be a drive
REQUESTS = 128
LOCAL = "file://"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """How packs and tars at URLs are read, through fsspec: `s3://`, `gs://`, `http://`, `memory://`, ...

    A request that fails is made again `retries` times, after 0.2, 0.4, 0.8, ... seconds; what fails for the last time
    is a `ReadError` with the sample's name.

    Args:
        requests: how many run at once, and how many samples are asked for before they are needed, at least 1. To feed
            as fast as from a local disk takes somewhat more than images per second times seconds per request. Over
            HTTP aiohttp has 100 connections at most.
        timeout: seconds that a request may take, above 0. File systems that fsspec doesn't run in asyncio (SFTP, FTP)
            keep their own.
        retries: further tries, at least 0.
        storage_options: fsspec's, such as `{"anon": True}` or `{"endpoint_url": "https://..."}` for S3.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    requests: int = REQUESTS
    timeout: float = 30.0
    retries: int = 4
    storage_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_int("requests", self.requests, at_least=1)
        check_int("retries", self.retries, at_least=0)
        if isinstance(self.timeout, bool) or not isinstance(self.timeout, int | float):
            raise TypeError(must_be("timeout", "a number of seconds above 0", self.timeout))
        if not self.timeout > 0:
            raise ValueError(must_be("timeout", "a number of seconds above 0", self.timeout))
        if not isinstance(self.storage_options, Mapping):
            raise TypeError(must_be("storage_options", "a dict of fsspec's options", self.storage_options))


def is_url(place: object) -> bool:
    """Whether a place is one for fsspec; a path is none, and neither is `file://`."""
    return isinstance(place, str) and bool(URL.match(place)) and not place.startswith(LOCAL)
