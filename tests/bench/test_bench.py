import contextlib
import doctest
import importlib
import importlib.util
import json
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path

import pytest
import torch
from PIL import Image

from bench import (
    command,
    fuzz_files,
    fuzz_probe,
    gpu_report,
    machine,
    measure,
    pack,
    remote,
    report,
    scaled,
    scaling,
    throughput,
)
from bench import feed as feeds
from bench.machine import CpuTimes, cores_of_others, wait_until_quiet
from bench.measure import Case, Result, Spread, Timing, measure_cases, speedup
from bench.peers import arrays
from bench.peers.ours import READY, open_loader, time_epoch
from bench.rivals import LoaderFailedError, apart
from bench.torchvision_fix import import_torchvision
from tests.conftest import jpeg_bytes, picture

BENCH = Path(measure.__file__).parent
BENCHMARKS = sorted(
    path.stem for path in BENCH.glob("*.py") if re.search("^(def main[(]|main = )", path.read_text(), re.M)
)
RESULTS = sorted(path for path in (BENCH / "results").glob("*.json") if not path.stem.startswith("cifar10"))


def timings(*seconds):
    return tuple(Timing(items=60, seconds=s) for s in seconds)


def fake_cases(names, log, others=lambda _: 0.0):
    def run(name):
        log.append(name)
        return Timing(items=1, seconds=1.0, others=others(len(log)))

    return [Case(name=name, run=lambda name=name: run(name)) for name in names]


@pytest.fixture(scope="session")
def flat_folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("flat")
    for i in range(16):
        (root / f"{i:02}.jpg").write_bytes(jpeg_bytes(60 + 3 * i, 90 - 2 * i, seed=i))
    return root


@pytest.fixture
def feed(flat_folder):
    paths, labels = feeds.find_files(flat_folder)
    return feeds.Feed(paths=tuple(paths), labels=tuple(labels), classes=16, batch_size=4, size=32, workers=1, threads=1)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8])
def test_every_variant_comes_at_every_place(count):
    turns = [measure.rotated(count, turn) for turn in range(2 * count)]
    assert all(sorted(turn) == list(range(count)) for turn in turns)
    for place in range(count):
        assert {turn[place] for turn in turns} == set(range(count))


@pytest.mark.parametrize("count", [3, 4, 5])
def test_each_of_two_variants_follows_the_other_as_often(count):
    turns = [measure.rotated(count, turn) for turn in range(2 * count)]
    follows = Counter(pair for turn in turns for pair in pairwise(turn))
    assert all(follows[pair] == follows[pair[::-1]] for pair in follows)


def test_variants_take_turns_within_each_round_and_warmup_does_not_count():
    log = []
    results = measure_cases(fake_cases("abc", log), rounds=3, warmup=1, progress=False)
    assert ["".join(log[i : i + 3]) for i in range(0, 12, 3)] == ["abc", "bac", "cab", "acb"]
    assert [result.name for result in results] == ["a", "b", "c"]
    assert [len(result.timings) for result in results] == [3, 3, 3]


def test_disturbed_turns_are_repeated_until_patience_ends(monkeypatch):
    monkeypatch.setattr(measure, "wait_until_quiet", lambda limit_s: 0.0)
    log = []
    cases = fake_cases("a", log, others=lambda turn: 1.5)
    measure_cases(cases, rounds=2, warmup=1, patience_s=3.0, progress=False)
    assert len(log) == 1 + 2 + 3  # each turn takes a second

    log = []
    cases = fake_cases("a", log, others=lambda turn: 1.5 * (turn == 2))
    (result,) = measure_cases(cases, rounds=2, warmup=1, patience_s=9.0, progress=False)
    assert len(log) == 4
    assert [timing.others for timing in result.timings] == [0.0, 0.0]


def test_turns_wait_for_a_quiet_machine_while_patience_lasts(monkeypatch):
    limits = []

    def wait(limit_s):
        limits.append(limit_s)
        return min(2.0, max(0.0, limit_s))

    monkeypatch.setattr(measure, "wait_until_quiet", wait)
    measure_cases(fake_cases("a", []), rounds=3, warmup=1, patience_s=5.0, progress=False)
    assert limits == [5.0, 3.0, 1.0]


def test_without_patience_nothing_waits():
    assert wait_until_quiet(0.0) < 0.1


def test_a_rate_is_the_median_of_the_rounds():
    result = Result(name="a", timings=timings(1.0, 2.0, 3.0, 60.0))
    assert result.rates == [60, 30, 20, 1]
    assert result.rate == Spread(median=25.0, low=15.25, high=37.5, count=4)


def test_noise_that_hits_a_whole_round_leaves_the_ratio_alone():
    noise = [1.0, 3.0, 1.5, 7.0, 1.1]
    slow = Result(name="slow", timings=timings(*noise))
    fast = Result(name="fast", timings=timings(*(0.25 * factor for factor in noise)))
    ratio = speedup(fast, slow)
    assert (ratio.median, ratio.low, ratio.high, ratio.count) == (4.0, 4.0, 4.0, 5)
    assert fast.rate.high > 1.5 * fast.rate.low


def test_time_calls_counts_items_of_all_calls():
    calls = []
    timing = measure.time_calls(lambda: calls.append(0), calls=5, items=64)
    assert (len(calls), timing.items) == (5, 320)
    assert timing.seconds > 0


def test_cores_of_others_leaves_out_our_own():
    before = CpuTimes(wall=10.0, machine=100.0, tree=20.0)
    assert cores_of_others(before, CpuTimes(wall=12.0, machine=104.0, tree=21.0)) == 1.5
    assert cores_of_others(before, CpuTimes(wall=12.0, machine=100.9, tree=21.0)) == 0.0


def test_a_process_that_falls_idle_is_waited_for_and_a_busy_one_for_so_long_only(monkeypatch):
    clock, busy_until = [0.0], 0.45

    def read():
        return CpuTimes(wall=clock[0], machine=0.0, tree=min(clock[0], busy_until))

    def waited(limit_s):
        clock[0] = 0.0
        machine.wait_until_idle(limit_s)
        return clock[0]

    monkeypatch.setattr(machine, "read_cpu", read)
    monkeypatch.setattr(machine.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(machine.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    assert waited(10.0) == pytest.approx(0.6)  # windows of 0.1 s: the fifth is half busy, the sixth idle
    assert waited(0.3) == pytest.approx(0.3)
    busy_until = 100.0
    assert waited(2.0) == pytest.approx(2.0)


def test_a_process_counts_its_own_time_and_its_childrens():
    code = "import time; print(flush=True); end = time.monotonic() + 9\nwhile time.monotonic() < end: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        before = machine.read_cpu()
        time.sleep(1.0)
        after = machine.read_cpu()
        child.kill()
    assert after.tree - before.tree > 0.1  # of the child: this process sleeps
    assert after.machine - before.machine >= after.tree - before.tree - 0.05


def test_the_peak_is_that_since_the_reset():
    bytearray(b"x") * (64 << 20)
    start = machine.reset_peak()
    assert start < machine.resident_bytes() + (32 << 20)
    bytearray(b"x") * (64 << 20)
    assert 56 << 20 < machine.peak_bytes() - start < 80 << 20


def test_open_files_are_named(tmp_path):
    with open(tmp_path / "open", "wb"):
        assert str(tmp_path / "open") in machine.open_files()
    assert str(tmp_path / "open") not in machine.open_files()


def make_report():
    return report.Report(
        benchmark="fake",
        unit="images",
        settings={"rounds": 2, "batch_sizes": [1, 2]},
        stamp=report.make_stamp(),
        results=(Result(name="a", label="A", timings=timings(1.0, 0.1), options={"threads": 3}),),
        missing={"b": "not installed: No module named 'b'"},
        derived={"exponent": 0.5},
    )


def test_a_report_survives_json(tmp_path):
    made = make_report()
    report.write_json(made, tmp_path / "new folder" / "report.json")
    assert report.read_json(tmp_path / "new folder" / "report.json") == made


def test_a_report_that_fails_to_write_leaves_the_old_one(tmp_path):
    path = tmp_path / "report.json"
    made = make_report()
    report.write_json(made, path)
    broken = report.Report(benchmark="x", unit="", settings={"oops": object()}, stamp=made.stamp, results=())
    with pytest.raises(TypeError, match="not JSON serializable"):
        report.write_json(broken, path)
    assert report.read_json(path) == made
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_a_stamp_names_machine_versions_and_commit():
    stamp = report.make_stamp(["pillow", "no-such-package"])
    assert stamp.cpu
    assert stamp.cores >= 1
    assert stamp.versions["torch"].startswith(torch.__version__.split("+")[0])
    assert "pillow" in stamp.versions
    assert "no-such-package" not in stamp.versions
    assert stamp.commit


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_that_lie_in_the_repository_can_still_be_read_and_described(path):
    read = report.read_json(path)
    module = importlib.import_module(f"bench.{read.benchmark}")
    text = gpu_report.as_markdown(read) if read.benchmark == "gpu_check" else module.bench.describe(read)
    assert len(text.splitlines()) > 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    data: str = command.argument("a folder")
    counts: tuple[int, ...] = command.option((1, 2), "how many")
    sizes: tuple[int, ...] = command.option((3, 4), "how large", parse=command.numbers)
    share: float | None = command.option(None, "of all")
    fast: bool = command.option(False, "in haste")
    name: str = command.option("a", "which", choices=("a", "b"))
    out: str = command.option(..., "where to")
    seed: int = command.option(lambda: 7, "of all")

    def __post_init__(self):
        if self.share == 0:
            raise ValueError("--share must not be 0")


def read_options(*arguments):
    parser = command.build_parser(Options, "x", "About.")
    return command.make_options(Options, parser, vars(parser.parse_args(arguments)))


def test_options_that_are_not_given_keep_their_defaults():
    assert read_options("here", "--out", "there") == Options(data="here", out="there")
    assert Options(data="here", out="there").seed == 7


def test_every_kind_of_option_is_read_by_its_type():
    given = "here --out there --counts 5 6 --sizes 9,8 --share 0.5 --fast --name b --seed 3"
    expected = Options(data="here", out="there", counts=(5, 6), sizes=(8, 9), share=0.5, fast=True, name="b", seed=3)
    assert read_options(*given.split()) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--out y", "required: DATA"),
        ("x", "required: --out"),
        ("x --out y --counts a", "invalid int value: 'a'"),
        ("x --out y --sizes 0", "must be positive numbers, got '0'"),
        ("x --out y --name c", "invalid choice: 'c'"),
        ("x --out y --share 0", "error: --share must not be 0"),
    ],
)
def test_a_wrong_command_line_is_told_and_ends_with_2(given, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        read_options(*given.split())
    assert message in capsys.readouterr().err


def test_the_help_shows_defaults(capsys):
    with pytest.raises(SystemExit, match="0"):
        read_options("--help")
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("how many (default 1 2)", "how large (default 3,4)", "which (default a)"))
    assert "None" not in shown


def steps(options):
    for count in range(1, options.counts[-1] + 1):
        yield command.Found(derived={"count": count}, settings={"files": 3}, passed=count < 5)


def bench_of(measure):
    return command.Bench("x", "", Options, measure, lambda made: f"{made.derived['count']} things", unit="things")


def test_all_that_was_found_until_a_benchmark_broke_is_saved(tmp_path):
    def breaks(options):
        yield from steps(options)
        raise KeyboardInterrupt

    path = tmp_path / "x.json"
    with pytest.raises(KeyboardInterrupt):
        bench_of(breaks).main(["here", "--out", "there", "--json", str(path)])
    read = report.read_json(path)
    assert (read.benchmark, read.unit, read.derived) == ("x", "things", {"count": 2})
    assert (read.settings["files"], read.settings["data"]) == (3, "here")


@pytest.mark.parametrize(("count", "status"), [("4", 0), ("5", 1)])
def test_the_last_of_what_was_found_is_shown_and_gives_the_exit_status(count, status, capsys):
    assert bench_of(steps).main(["here", "--out", "there", "--counts", count]) == status
    assert capsys.readouterr().out.startswith(f"{count} things\n")


@pytest.mark.parametrize("module", [command, fuzz_files, fuzz_probe, measure, report, scaling])
def test_examples_in_docstrings_hold(module):
    failed, tried = doctest.testmod(module)
    assert tried
    assert not failed


@pytest.mark.parametrize("name", BENCHMARKS)
def test_help_shows_examples(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        importlib.import_module(f"bench.{name}").main(["--help"])
    shown = capsys.readouterr().out
    called = name if f"usage: python -m bench.{name} " in shown else name.replace("_", " ")  # cifar10 has two commands
    assert f"usage: python -m bench.{called} " in shown
    assert f"    python -m bench.{called}" in shown.split("Examples:")[1]


def test_unknown_variants_are_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        throughput.main(["x", "--variants", "ours,theirs"])
    assert "got theirs" in capsys.readouterr().err


def test_a_folder_without_images_is_named(tmp_path):
    with pytest.raises(SystemExit, match="holds no images"):
        feeds.find_files(tmp_path)
    with pytest.raises(SystemExit, match="is no folder"):
        feeds.find_files(tmp_path / "nowhere")


def test_class_folders_give_their_labels(folder):
    paths, labels = feeds.find_files(folder, limit=9)
    assert labels == [0] * 8 + [1]
    assert all(Path(path).parent.name == "abc"[label] for path, label in zip(paths, labels, strict=True))


def test_endless_files_keep_their_labels():
    longer = feeds.endless(feeds.Feed(paths=tuple("abc"), labels=(0, 1, 2), classes=3, size=5), 7)
    assert longer == feeds.Feed(paths=tuple("abcabcabc"), labels=(0, 1, 2) * 3, classes=3, size=5)


def test_torchvision_imports_beside_any_torch():
    assert import_torchvision("torchvision.transforms.v2") is import_torchvision("torchvision.transforms.v2")
    with pytest.raises(ImportError, match="nothing_there"):
        import_torchvision("torchvision.nothing_there")


PEERS = ["torchvision_pillow:batches", "torchvision_turbojpeg:batches", "timm_peer:batches", "raw_dali:batches"]
PEERS += ["ours:with_mixup", "packs:lossless", "packs:shrunk"]
if importlib.util.find_spec("spdl"):  # of bench/requirements-peers.txt, which CI doesn't install
    PEERS += ["spdl_peer:batches"]


@pytest.mark.parametrize("source", PEERS)
def test_a_peer_delivers_mixed_normalized_batches(source, feed):
    module, _, function = source.partition(":")
    stream = getattr(importlib.import_module(f"bench.peers.{module}"), function)(feed)
    batches = [next(stream) for _ in range(6)]  # into the second epoch
    with contextlib.closing(stream):
        for images, targets in batches:
            assert images.shape == (4, 3, 32, 32)
            assert images.dtype == torch.float32
            assert len(targets) == 4
        if targets.shape[1] == 16:
            assert torch.cat([targets for _, targets in batches]).sum(1).allclose(torch.ones(24))
        pixels = torch.cat([images for images, _ in batches])
        assert -2.2 < pixels.min() < -0.5
        assert 0.5 < pixels.max() < 2.7


def test_a_loader_that_can_not_run_says_why(feed):
    with (
        pytest.raises(LoaderFailedError, match=r"not installed: No module named 'bench\.peers\.nothing_there'"),
        apart("bench.peers.nothing_there:batches", feed, lead=1, batches=1),
    ):
        pass
    with (
        pytest.raises(LoaderFailedError, match=r"^builtins:iter failed: TypeError: 'Feed' object is not iterable"),
        apart("builtins:iter", feed, lead=1, batches=1),
    ):
        pass


def test_throughput_measures_the_variants_side_by_side(flat_folder, tmp_path, capsys):
    paths = [str(tmp_path / name) for name in ("result.json", "plot.png")]
    options = (
        "--batch-size 4 --size 32 --rounds 1 --batches 2 --threads 1 --workers 1 --variants "
        "ours,ours_tar,torchvision,raw_dali,decode"
    )
    assert throughput.main([str(flat_folder), *options.split(), "--json", paths[0], "--plot", paths[1]]) == 0
    table = capsys.readouterr().out
    for label in (
        "dali_mixup",
        "dali_mixup, files in a tar",
        "torchvision, Pillow",
        "DALI + v2.MixUp",
        "DALI's window decode alone",
    ):
        assert label in table
    read = report.read_json(paths[0])
    assert {result.name for result in read.results} == {"ours", "ours_tar", "torchvision", "raw_dali", "decode"}
    assert all(timing.items == 8 and timing.seconds > 0 for result in read.results for timing in result.timings)
    assert json.loads(Path(paths[0]).read_text())["settings"]["batch_size"] == 4
    assert Path(paths[1]).read_bytes().startswith(b"\x89PNG")


# timm's reader opens files, and leaves it to the garbage collector to close them
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_throughput_of_deits_recipe_measures_timms_loader_beside_the_same_one_swapped(flat_folder, tmp_path, capsys):
    file = str(tmp_path / "result.json")
    options = "--batch-size 4 --size 32 --rounds 1 --batches 2 --threads 1 --workers 1 --recipe deit"
    assert throughput.main([str(flat_folder), *options.split(), "--json", file]) == 0
    assert {result.name for result in report.read_json(file).results} == {"ours", "timm", "decode"}
    assert "ours is x" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        throughput.main([str(flat_folder), "--arrays", "--recipe", "deit"])
    assert "--arrays has the plain recipe alone" in capsys.readouterr().err


def test_throughput_of_arrays_measures_the_same_crops_from_memory_and_from_files(flat_folder, tmp_path, capsys):
    file = str(tmp_path / "result.json")
    options = "--batch-size 4 --size 32 --rounds 1 --batches 2 --threads 1 --workers 1 --arrays "
    options += "--variants ours,pixels,torchvision,ffcv"
    assert throughput.main([str(flat_folder), *options.split(), "--json", file]) == 0
    found = report.read_json(file)
    assert {result.name for result in found.results} | set(found.missing) == {"ours", "pixels", "torchvision", "ffcv"}
    assert {"ours", "pixels", "torchvision"} <= {result.name for result in found.results}
    table = capsys.readouterr().out
    assert "FFCV, raw pixels" in table
    assert "x torchvision" in table


def test_the_same_images_come_from_memory_from_a_pack_and_from_files(feed, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(8)]
    for i, path in enumerate(paths):
        picture(32, 32, i).save(path)
    same = replace(feed, paths=tuple(map(str, paths)), labels=tuple(range(8)), classes=8)
    same = feeds.endless(same, 20)  # three passes, which are one epoch
    streams = [arrays.with_mixup(same), arrays.from_pack(same), arrays.from_files(same)]
    for (images, targets), *others in islice(zip(*streams, strict=False), 7):
        for found, their_targets in others:
            assert torch.equal(images, found)
            assert torch.equal(targets, their_targets)
    for stream in streams:
        stream.close()


def test_a_long_epoch_is_passes_over_files_of_which_each_is_known_once(feed, tmp_path):
    paths = [str(tmp_path / f"{i}.jpg") for i in range(8)]
    for i, path in enumerate(paths):
        picture(32, 32, i).save(path)
    few = replace(feed, paths=tuple(paths), labels=tuple(range(8)), classes=8)
    made = open_loader(feeds.endless(few, 20), None)
    assert len(made.dataset) == 8
    order = list(made.sampler)
    assert [sorted(order[start : start + 8]) for start in (0, 8, 16)] == [list(range(8))] * 3
    assert len({tuple(order[start : start + 8]) for start in (0, 8, 16)}) == 3
    assert sum(len(images) for images, _ in made) == 24


def test_the_best_number_of_threads_counts_and_what_is_missing_is_told():
    results = [
        Result(name="decode", label="decode", timings=timings(1.0 / n, 2.0 / n), options={"threads": n})
        for n in (2, 3, 1)
    ]
    settings = {"rounds": 2, "batches": 1, "batch_size": 4, "size": 32, "files": 1, "data": "x"}
    missing = {"ffcv": "not installed: No module named 'ffcv'"}
    made = report.Report(
        benchmark="x",
        unit="images",
        settings=settings,
        stamp=report.make_stamp(),
        results=tuple(results),
        missing=missing,
    )
    assert [result.options for result in throughput.best_of_each(results)] == [{"threads": 3}]
    table = throughput.describe(made)
    assert "FFCV, same JPEGs: not installed: No module named 'ffcv'" in table
    assert "1.00 (1.00-1.00)" in table


def test_scaling_fits_how_cost_grows(flat_folder, tmp_path, capsys):
    paths = [str(tmp_path / name) for name in ("result.json", "plot.png")]
    options = ["--batch-sizes", "2,4", "--sizes", "", "--files", "", "--images", "8", "--rounds", "1", "--threads", "1"]
    assert scaling.main([str(flat_folder), *options, "--json", paths[0], "--plot", paths[1]]) == 0
    assert "time per batch ~ x^" in capsys.readouterr().out
    read = report.read_json(paths[0])
    assert [result.options["value"] for result in read.results] == [2, 4]
    assert all(timing.peak_bytes and timing.peak_bytes > 0 for result in read.results for timing in result.timings)
    assert set(read.derived) == {"batch"}
    assert Path(paths[1]).read_bytes().startswith(b"\x89PNG")


def test_what_is_far_away_is_timed_beside_what_is_here(flat_folder, tmp_path, capsys):
    options = ["--rounds", "1", "--batch-size", "1", "--size", "32", "--latency", "0.01", "--requests", "8"]
    paths = [str(tmp_path / name) for name in ("remote.json", "remote.png")]
    assert remote.main([str(flat_folder), *options, "--json", paths[0], "--plot", paths[1]]) == 0
    read = report.read_json(paths[0])
    names = [f"{kind}, {place}" for place in ("here", "late", "http", "late, cached") for kind in ("pack", "tar")]
    assert [result.name for result in read.results] == names
    assert [*read.derived["ms of cores"]] == names
    assert "ms of cores per image" in capsys.readouterr().out
    assert Path(paths[1]).stat().st_size > 5000


def test_a_pack_is_timed_beside_its_files(flat_folder, tmp_path, capsys):
    paths = [str(tmp_path / name) for name in ("result.json", "plot.png")]
    options = ["--batch-size", "1", "--size", "32", "--rounds", "1"]
    assert pack.main([str(flat_folder), *options, "--json", paths[0], "--plot", paths[1]]) == 0
    assert "x files" in capsys.readouterr().out
    read = report.read_json(paths[0])
    names = ["files", "lossless pack", "pack of 400 px", "pixels of 400 px"]
    assert [result.name for result in read.results] == [each for name in names for each in (name, f"decode: {name}")]
    assert all(result.rate.low > 0 for result in read.results)
    packing = read.derived["packing"]
    assert [*packing] == names[1:]
    assert all(0 < packing[name]["bytes read"] < 2 for name in names[1:3])
    assert packing["pixels of 400 px"]["bytes read"] > 1
    assert all(packing[name]["microseconds to cut"] > 0 for name in names[1:])
    assert Path(paths[1]).read_bytes().startswith(b"\x89PNG")


def test_an_epoch_that_is_ready_before_it_begins_is_not_timed(feed):
    loader = open_loader(feed, None)
    with pytest.raises(ValueError, match=rf"more than {READY} batches, has {len(loader)}; take smaller ones"):
        time_epoch(loader)


def test_scaled_decode_is_timed_beside_the_exact_one(tmp_path, capsys):
    for number in range(2):
        picture(500, 700, number).save(tmp_path / f"{number}.jpg")
    result = tmp_path / "scaled.json"
    options = ["--batch-size", "2", "--images", "10", "--size", "64", "--rounds", "1", "--json", str(result)]
    assert scaled.main([str(tmp_path), *options]) == 0
    assert "x train, files, exact" in capsys.readouterr().out
    read = report.read_json(str(result))
    ways = [f"{place}, {decode}" for place in ("files", "pack") for decode in ("exact", "scaled")]
    ways.append("shrunk pack, exact")
    assert [each.name for each in read.results] == [
        "bits",
        *(f"{kind}, {way}" for kind in ("val", "train") for way in ways),
    ]
    shares = read.derived["windows by scale"]
    assert shares["val"] == {"2": 1.0}
    assert sum(shares["train"].values()) == pytest.approx(1)


def test_linked_files_are_the_given_ones_in_turn_and_vanish(flat_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(feeds, "PER_CLASS", 3)
    paths, _ = feeds.find_files(flat_folder, limit=3)
    with feeds.linked(paths, 7, tmp_path) as links:
        assert len(set(links)) == 7
        assert [Path(link).samefile(paths[i % 3]) for i, link in enumerate(links)] == [True] * 7
        assert [Path(link).parent.name[-1] for link in links] == list("0001112")
    assert not list(tmp_path.iterdir())


def test_drawn_images_lie_between_their_sides_and_are_the_same_each_time(tmp_path):
    first, again = tmp_path / "first", tmp_path / "again"
    for folder in (first, again):
        folder.mkdir()
        paths = feeds.draw_jpegs(str(folder), 20, (8, 90))
    sides = []
    for path in paths:
        with Image.open(path) as image:
            sides += image.size
    assert min(sides) < 16
    assert max(sides) > 45
    assert all(8 <= side <= 90 for side in sides)
    assert all((first / Path(path).name).read_bytes() == Path(path).read_bytes() for path in paths)


def test_growth_compares_points_of_one_axis():
    def point(axis, value, seconds, peak):
        timing = Timing(items=100, seconds=seconds, peak_bytes=peak)
        return Result(name=f"{axis} {value}", timings=(timing,), options={"value": value})

    results = [
        point("batch", 10, 1.0, 1000),
        point("batch", 20, 1.0, 2000),
        point("size", 10, 1.0, 500),
        point("size", 20, 4.0, 1000),
    ]
    fitted = scaling.growth(results)
    assert fitted["batch"]["time"] == pytest.approx(1.0)
    assert fitted["size"]["time"] == pytest.approx(2.0)
    assert fitted["batch"]["bytes_each"] == pytest.approx(100)
    assert "index" not in fitted
