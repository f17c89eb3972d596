"""Which tars are meant: paths and URLs, patterns with braces as in WebDataset, glob patterns, folders."""

import glob
import os
import re
from collections.abc import Callable, Iterable

from dali_mixup.dataset.remote import is_url
from dali_mixup.errors import DatasetError, must_be

RULE = "paths or URLs of tars, patterns such as train-{000000..000146}.tar or train-*.tar, or folders of tars"


def find_tars(urls: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """The paths that are meant, in their order; those of a glob pattern or a folder are sorted.

    Raises:
        DatasetError: none are meant, no file matches a pattern, a folder holds none, or a URL that is no path.
    """
    given = [urls] if isinstance(urls, str | os.PathLike) else urls
    found = [path for url in given for path in _expand(os.fsdecode(url))]
    if not found:
        raise DatasetError(must_be("urls", RULE, urls))
    return found


def find_remote_tars(given: Iterable[str], match: Callable[[str], list[str]]) -> list[str]:
    """The URLs that are meant, in their order; those of a glob pattern are sorted.

    Args:
        given: URLs and patterns of them.
        match: gives the URLs that fit a glob pattern.

    Raises:
        DatasetError: nothing fits a pattern, or the store can't say what does.
    """
    found = []
    for url in (name for each in given for pattern in each.split("::") for name in expand_braces(pattern)):
        try:
            matches = match(url) if "*" in url else [url]
        except OSError as error:
            raise DatasetError(must_be("urls", RULE, url, f"what matches can't be listed: {error}")) from error
        if not matches:
            raise DatasetError(must_be("urls", RULE, url, "nothing matches"))
        found += matches
    return found


def are_urls(given: Iterable[object]) -> bool:
    """Whether tars lie at URLs.

    Raises:
        DatasetError: some do, and others don't.
    """
    found = {is_url(each) for each in given}
    if len(found) > 1:
        raise DatasetError(must_be("urls", "paths alone or URLs alone", list(given)))
    return found == {True}


def expand_braces(text: str) -> list[str]:
    """The texts that a pattern stands for: `{007..012}` counts, `{train,val}` lists; both may lie in each other.

    >>> expand_braces("{train-{08..10},val}.tar")
    ['train-08.tar', 'train-09.tar', 'train-10.tar', 'val.tar']
    """
    begin = text.find("{")
    if begin < 0:
        return [text]
    parts, depth, last = [], 0, begin + 1
    for at in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if (text[at] == "," and depth == 1) or depth == 0:
            parts.append(text[last:at])
            last = at + 1
        if depth == 0:
            break
    else:
        raise DatasetError(must_be("urls", "patterns whose braces are closed", text))
    count = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", parts[0])
    if len(parts) > 1:
        middles = [each for part in parts for each in expand_braces(part)]
    elif count:
        middles = _count(*count.groups())
    else:
        middles = [f"{{{each}}}" for each in expand_braces(parts[0])]
    return [text[:begin] + middle + tail for middle in middles for tail in expand_braces(text[last:])]


def _count(first: str, last: str) -> list[str]:
    """The numbers from `first` to `last`, all as long where one of them begins with a zero."""
    padded = any(re.match(r"-?0\d", number) for number in (first, last))
    width = max(len(first), len(last)) if padded else 0
    step = 1 if int(first) <= int(last) else -1
    return [f"{number:0{width}}" for number in range(int(first), int(last) + step, step)]


def _expand(url: str) -> list[str]:
    if os.path.isdir(url):
        names = sorted(name for name in os.listdir(url) if name.endswith(".tar"))
        if not names:
            raise DatasetError(must_be("urls", RULE, url, "the folder holds no .tar"))
        return [os.path.join(url, name) for name in names]
    if os.path.exists(url):  # whatever its name looks like
        return [url]
    if re.match(r"\w+:/|pipe:", url):
        raise DatasetError(must_be("urls", RULE, url, "tars that lie elsewhere have to be copied here"))
    return [path for pattern in url.split("::") for name in expand_braces(pattern) for path in _match(name)]


def _match(name: str) -> list[str]:
    if os.path.exists(name) or not glob.has_magic(name):
        return [name]
    found = sorted(glob.glob(name))
    if not found:
        raise DatasetError(must_be("urls", RULE, name, "no file matches"))
    return found
