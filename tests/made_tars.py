"""Tars of given files, in any form that `tarfile` writes."""

import io
import os
import tarfile


def write_tar(path, files, **options):
    """Names and contents in this order; names may be bytes that are no UTF-8."""
    with tarfile.open(path, "w", **options) as tar:
        for name, content in files.items() if isinstance(files, dict) else files:
            member = tarfile.TarInfo(os.fsdecode(name))
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def folder_as_files(folder):
    """What a tar of an ImageFolder holds: each file under its name below the root, and its class."""
    files = {}
    for path, label in zip(folder.paths, folder.targets, strict=True):
        name = os.path.relpath(os.fsencode(path), os.fsencode(folder.root))
        with open(path, "rb") as file:
            files[name] = file.read()
        files[name[: name.rindex(b".")] + b".cls"] = b"%d" % label
    return files
