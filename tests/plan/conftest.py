import pytest

import dali_mixup as dm


@pytest.fixture
def numbered(dataset):
    """Each file's label is its number."""
    return dm.FileList(dataset.paths, list(range(len(dataset))))
