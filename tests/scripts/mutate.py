"""Runs tests on small wrong changes of the library, drawn at random, and tells which ones no test notices.

Needs cosmic-ray, which is no dependency of the project, beside what the tests need; PYTEST_ADDOPTS may hold options:

    pip install --target /tmp/cosmic cosmic-ray
    PYTHONPATH=/tmp/cosmic python tests/scripts/mutate.py 90 results.jsonl dali_mixup/mixing --tests tests/mixing
    PYTHONPATH=/tmp/cosmic python tests/scripts/mutate.py 90 results.jsonl --again --tests tests/mixing tests/plan

A place of the code is drawn first, then one of its mutations: an operator has eleven replacements. Docstrings, types,
imports, what decorators are called with and the texts of errors are left alone. Each mutant runs in a forked process,
in a copy of the checkout, until a test fails; three times the tests' own time counts as noticed. Linux only.
"""

import argparse
import ast
import importlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

CHECKOUT = Path(__file__).parents[2]
PRELOADED = ("torchvision.transforms.v2", "nvidia.dali.plugin.pytorch", "scipy.stats", "timm", "hypothesis")
TYPES = re.compile(r"int|float|str|tuple|list|dict|(.*\.)?[A-Z]\w+")
OPTIONS = ("-xqp", "no:cacheprovider", "--hypothesis-seed=0", "-Wignore::pytest.PytestAssertRewriteWarning")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, help="mutants to draw")
    parser.add_argument("results", type=Path, help="gets one line of JSON per mutant")
    parser.add_argument("modules", nargs="*", type=Path, help="files, or folders of them")
    parser.add_argument("--tests", nargs="+", required=True, help="for pytest; the module's own go first")
    parser.add_argument("--part", default="0/1", help="0/2 and 1/2 are halves of the sample, for two processes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="what survived in the results, after new tests")
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    mutants = survivors(options.results) if options.again else draw_mutants(options)
    with tempfile.TemporaryDirectory() as folder:
        enter_copy(Path(folder))
        start = time.monotonic()
        if run_tests(options.tests) != 0:
            raise RuntimeError(f"the tests fail without a mutation: {Path('pytest.log').read_text()[-2000:]}")
        limit = 3 * (time.monotonic() - start)
        for mutant in mutants[part::parts]:
            mutant["outcome"] = run_mutant(mutant, options.tests, limit)
            with options.results.open("a") as file:
                file.write(json.dumps(mutant) + "\n")
            print(mutant["outcome"], mutant["path"], mutant["line"], mutant["operator"], flush=True)


def survivors(results: Path) -> list[dict]:
    last = {(line["path"], line["mutated"]): line for line in map(json.loads, results.read_text().splitlines())}
    return [mutant for mutant in last.values() if mutant["outcome"] == "survived"]


def draw_mutants(options) -> list[dict]:
    listed = (path.glob("[!_]*.py") if path.is_dir() else [path] for path in options.modules)
    modules = [module.resolve() for paths in listed for module in sorted(paths)]
    places, generator = [place for module in modules for place in places_of(module)], random.Random(options.seed)
    generator.shuffle(places)
    mutants = []
    for place in places[: options.count]:
        module, line, name, occurrence = generator.choice(place)
        mutated = mutate_code(module.read_text(), get_operator(name)(), occurrence)
        mutants.append({"path": f"{module.relative_to(CHECKOUT)}", "line": line, "operator": name, "mutated": mutated})
    return mutants


def places_of(module: Path) -> list[list[tuple]]:
    """The mutations (module, line, operator, which of the operator's) of each place in the code."""
    source, places = module.read_text(), defaultdict(list)
    left_out, nodes = list(ranges_left_out(ast.parse(source))), list(ast_nodes(get_ast(source)))
    for name in (name for name in operator_names() if not get_operator(name).arguments()):
        found = (position for node in nodes for position in get_operator(name)().mutation_positions(node))
        for occurrence, (start, end) in enumerate(found):
            if not any(low <= tuple(start) and tuple(end) <= high for low, high in left_out):
                places[tuple(start), name.split("_")[0]].append((module, start[0], name, occurrence))
    return list(places.values())


def ranges_left_out(tree: ast.Module) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    for node in ast.walk(tree):
        nodes = [getattr(node, name, None) for name in ("annotation", "returns")]
        nodes += getattr(node, "decorator_list", [])
        between_types = isinstance(node, ast.BinOp) and TYPES.fullmatch(ast.unparse(node.right))
        if isinstance(node, ast.Import | ast.ImportFrom) or between_types:
            nodes.append(node)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            nodes += node.exc.args
        for each in filter(None, nodes):
            yield (each.lineno, each.col_offset), (each.end_lineno, each.end_col_offset)


def enter_copy(folder: Path):
    shutil.copytree(CHECKOUT, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*", "__pycache__", "dist"))
    os.chdir(folder)
    sys.path[0] = os.environ["PYTHONPATH"] = str(folder)
    fix = importlib.import_module("bench.torchvision_fix")
    list(map(fix.import_torchvision, PRELOADED))  # once, before the forks


def run_mutant(mutant: dict, tests: list[str], limit: float) -> str:
    path = Path(mutant["path"])
    source, sys.dont_write_bytecode = path.read_text(), True
    path.write_text(mutant["mutated"])
    own = [str(path), f"tests/{path.parent.name}/test_{path.stem}.py"]
    code = run_tests([name for name in own if Path(name).exists()], limit)
    if code in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
        code = run_tests(tests, limit)
    path.write_text(source)
    return {None: "timeout", 0: "survived"}.get(code, "killed")


def run_tests(tests: list[str], limit: float = 1e6) -> int | None:
    """pytest's exit code, None after `limit` seconds."""
    child = os.fork()
    if child == 0:
        os.setsid()
        log = os.open("pytest.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1), os.dup2(log, 2)
        with suppress(BaseException):  # nothing may reach the parent's code
            os._exit(pytest.main([*OPTIONS, *tests]))
        os._exit(pytest.ExitCode.INTERNAL_ERROR)
    watch = threading.Timer(limit, os.killpg, (child, signal.SIGKILL))
    watch.start()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    watch.cancel()
    return None if code == -signal.SIGKILL else code


if __name__ == "__main__":
    main()
