"""What docs/architecture.md says of the packages is so: which there are, which may import which, who talks to DALI."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "dali_mixup"
DOCUMENT = ROOT / "docs" / "architecture.md"


def read_layers() -> list[set[str]]:
    """The layers that the document draws, lowest first: packages, and modules of the root."""
    drawn = re.search(r"```layers\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert drawn
    return [set(line.split()) for line in drawn[1].splitlines()]


LEVELS = {name: level for level, names in enumerate(read_layers()) for name in names}


def find_modules() -> dict[str, Path]:
    """Modules of the library by their dotted names below `dali_mixup`."""
    return {".".join(path.relative_to(LIBRARY).with_suffix("").parts): path for path in sorted(LIBRARY.rglob("*.py"))}


MODULES = find_modules()


def imported_by(source: str) -> Iterator[str]:
    """Dotted names that a module imports, at any place in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            yield node.module


def owner_of(name: str) -> str:
    """The package or module of the root that a dotted name below `dali_mixup` belongs to."""
    return name.partition(".")[0] or "__init__"


def find_edges() -> set[tuple[str, str]]:
    """(importer, imported): packages, and modules of the root."""
    edges = {
        (owner_of(module), owner_of(name.removeprefix("dali_mixup").removeprefix(".")))
        for module, path in MODULES.items()
        for name in imported_by(path.read_text())
        if name.partition(".")[0] == "dali_mixup"
    }
    return {(mine, theirs) for mine, theirs in edges if mine != theirs}


def test_imports_are_found_wherever_they_stand():
    source = "import a.b\nfrom c import d\ndef f():\n    from dali_mixup.plan.plan import Plan\n"
    assert list(imported_by(source)) == ["a.b", "c", "dali_mixup.plan.plan"]
    known = {
        ("plan", "mixing"),
        ("decode", "plan"),
        ("stage", "pipeline"),
        ("loader", "errors"),
        ("pipelines", "__init__"),
    }
    assert known <= find_edges()


def test_every_package_and_module_of_the_root_has_a_layer():
    assert {owner_of(name) for name in MODULES} <= LEVELS.keys()


def test_imports_point_towards_lower_layers():
    assert not sorted((mine, theirs) for mine, theirs in find_edges() if LEVELS[theirs] >= LEVELS[mine])


def test_no_two_packages_import_each_other():
    edges = find_edges()
    assert not sorted((mine, theirs) for mine, theirs in edges if (theirs, mine) in edges)


def test_only_decoding_and_augment_talk_to_dali():
    found = {owner_of(module) for module, path in MODULES.items() if "nvidia" in roots_imported_by(path)}
    assert found == {"decode", "pipelines"}


def test_the_library_needs_nothing_that_it_only_reads_or_is_measured_with():
    foreign = {"torchvision", "timm", "bench", "tests", "pipelines"}
    assert not {
        module: roots_imported_by(path) & foreign
        for module, path in MODULES.items()
        if roots_imported_by(path) & foreign
    }


def roots_imported_by(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported_by(path.read_text())}


def test_dataclasses_are_frozen_and_slotted():
    found = []
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found += [(module, node.name, ast.unparse(each)) for each in node.decorator_list]
    dataclasses = [(module, name, text) for module, name, text in found if "dataclass" in text]
    assert len(dataclasses) > 20
    assert not [each for each in dataclasses if not {"frozen=True", "slots=True"} <= set(re.split(r"[(), ]+", each[2]))]


def test_importing_all_of_the_library_imports_neither_dali_nor_what_it_only_reads():
    code = "import sys, dali_mixup.pipelines, dali_mixup.__main__\nfrom dali_mixup import *\n"
    code += "print(*{'nvidia', 'torchvision', 'timm', 'datasets', 'pyarrow'} & sys.modules.keys())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


def rows_of(heading: str) -> list[str]:
    """The first cells of the table below a heading of the document, without backticks."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    assert section, heading
    return re.findall(r"^\| `([^`]+)`", section[1], re.MULTILINE)


def test_the_document_names_every_package_and_no_other():
    packages = {path.parent.name for path in LIBRARY.glob("*/__init__.py")}
    assert sorted(name.removesuffix("/") for name in rows_of("Packages")) == sorted(packages)
