"""Build wheel and sdist into dist/, install each into an empty environment, and run there what the README shows.

In each, in an empty folder, run the README's example on drawn photos and `dali-mixup demo`, shortened. What takes long
to download (torch, DALI and what only they need) is lent by this environment; the rest comes from the index, in the
versions of constraints.txt. So a dependency of ours that pyproject.toml doesn't name is missed.

    .venv/bin/python tests/scripts/dist.py
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
OUT = ROOT / "dist"
LENT = ("torch", "nvidia-dali-cuda120")
WHERE = "import dali_mixup, pipelines.imagenet; print(dali_mixup.__version__, dali_mixup.__file__)"
DEMO = ("demo", "--images", "600", "--epochs", "1")


def main() -> None:
    """Build, and check both files; an error ends it with what went wrong."""
    start = time.perf_counter()
    shutil.rmtree(OUT, ignore_errors=True)
    call(sys.executable, "-m", "build", "--outdir", str(OUT), str(ROOT), cwd=ROOT, quiet=True)
    built = sorted(OUT.iterdir())
    assert [path.suffix for path in built] == [".whl", ".gz"], built
    for path in built:
        check(path)
    print(f"{', '.join(path.name for path in built)}: checked in {time.perf_counter() - start:.0f} s")


def check(built: Path) -> None:
    """Install one file into an empty environment and use it from an empty folder."""
    version = re.search(r"-(\d[^-]*?)(?:-py3|\.tar)", built.name)
    assert version, built.name
    with tempfile.TemporaryDirectory() as place:
        environment, folder = Path(place) / "environment", Path(place) / "folder"
        folder.mkdir()
        python = make_environment(environment)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--disable-pip-version-check"]
        call(*pip, "--constraint", str(ROOT / "constraints.txt"), str(built), cwd=folder, quiet=True)
        found, file = call(str(python), "-c", WHERE, cwd=folder).split()
        assert found == version[1], (found, built.name)
        assert Path(file).is_relative_to(environment), file
        assert (Path(file).parent / "py.typed").exists(), "what it ships has no types"
        print(f"{built.name}: dali_mixup {found} in an empty environment")
        run_example(python, folder)
        print(call(str(environment / "bin" / "dali-mixup"), *DEMO, cwd=folder))


def make_environment(place: Path) -> Path:
    """Python of a new environment, which sees what is lent and nothing else."""
    venv.create(place)
    lent = place.parent / "lent"  # not below the environment, whose files pip may replace
    lent.mkdir()
    for each in find_lent():
        for name in {path.parts[0] for path in each.files or ()} - {"..", "__pycache__"}:
            if not name.endswith(".pth") and not (lent / name).exists():
                (lent / name).symlink_to(each.locate_file(name))
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "lent.pth").write_text(f"{lent}\n")
    return place / "bin" / "python"


def find_lent() -> Iterator[Distribution]:
    """The heavy packages with all they need, but for what this package asks for itself."""
    ours = {need.name for need in find_needs(distribution("dali-mixup"), set())} - set(LENT)
    wanted, seen = [Requirement(name) for name in LENT], set()
    while wanted:
        need = wanted.pop()
        asked = (need.name, *sorted(need.extras))
        if need.name not in ours and asked not in seen:
            seen.add(asked)
            yield (found := distribution(need.name))
            wanted += find_needs(found, need.extras)


def find_needs(package: Distribution, extras: set[str]) -> list[Requirement]:
    """What a package requires here, with so many of its extras."""
    needs = map(Requirement, package.requires or ())
    return [
        need
        for need in needs
        if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in {"", *extras})
    ]


def run_example(python: Path, folder: Path) -> None:
    """The README's example, saved as a reader would."""
    sys.path.insert(0, str(ROOT))
    from tests.drawn_photos import write_photos

    for split in ("train", "val"):
        write_photos(folder / "data" / split)
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (folder / "example.py").write_text(example)
    print(call(str(python), "example.py", "data/train", "data/val", cwd=folder))


def call(*command: str, cwd: Path, quiet: bool = False) -> str:
    """What a command prints; none of this checkout's modules are seen by it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["DALI_MIXUP_CACHE"] = str(cwd / "cache")
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nfailed:\n{done.stdout}\n{done.stderr}")
    return "" if quiet else done.stdout


if __name__ == "__main__":
    main()
