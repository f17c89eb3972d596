"""Packs that are damaged once they are written, whose kinds must all refuse them."""

import json
import shutil

import pytest

import dali_mixup as dm


def edit_index(pack, **changes):
    content = json.loads((pack / "index.json").read_text())
    (pack / "index.json").write_text(json.dumps(content | changes))


def check_refused(packed, tmp_path, damage, message):
    """A copy that `damage` was done to isn't opened."""
    pack = tmp_path / "pack"
    shutil.copytree(packed, pack)
    damage(pack)
    with pytest.raises(dm.DatasetError, match=message):
        dm.PackedDataset(pack)
