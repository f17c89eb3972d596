"""`import dali_mixup` imports nothing; its names are there when they are asked for."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dali_mixup

ROOT = Path(__file__).parents[1]


def imported_for_type_checkers():
    """Names by module."""
    (block,) = [node for node in ast.parse(Path(dali_mixup.__file__).read_text()).body if isinstance(node, ast.If)][:1]
    return {node.module.removeprefix("dali_mixup."): [name.name for name in node.names] for node in block.body}


def test_what_is_imported_on_demand_is_what_type_checkers_see():
    assert {module: names.split() for module, names in dali_mixup._HOMES.items()} == imported_for_type_checkers()
    assert sorted(name for names in imported_for_type_checkers().values() for name in names) == sorted(
        dali_mixup.__all__
    )


@pytest.mark.parametrize("name", dali_mixup.__all__)
def test_a_public_name_is_no_module_of_the_root_which_would_hide_it(name):
    assert not (ROOT / "dali_mixup" / name).exists()
    assert not (ROOT / "dali_mixup" / f"{name}.py").exists()


def run(code):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_the_package_imports_no_other():
    code = "import sys, dali_mixup\nprint(*{'torch', 'numpy', 'PIL', 'tqdm', 'nvidia'} & sys.modules.keys())"
    assert run(code) == []


def test_names_are_imported_one_by_one_and_all_at_once():
    one = "import sys, dali_mixup as dm\nprint(dm.MixUp.__name__, 'dali_mixup.loader' in sys.modules)"
    assert run(one) == ["MixUp", "False"]
    everything = "from dali_mixup import *\nprint(Loader.__name__, show.__name__, IMAGENET_MEAN[0], labels.__name__)"
    assert run(everything) == ["Loader", "show", "0.485", "labels"]


def test_dir_lists_the_names_before_they_are_imported():
    assert run("import dali_mixup as dm\nprint(set(dm.__all__) <= set(dir(dm)))") == ["True"]


def test_a_name_that_is_missing_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'dali_mixup' has no attribute 'Mixup'"):
        dali_mixup.Mixup  # noqa: B018
