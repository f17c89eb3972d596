import argparse
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from turbojpeg import TurboJPEG

import dali_mixup as dm
from dali_mixup.__main__ import build_parser, main
from dali_mixup.commands import preview
from dali_mixup.commands.demo import choose_recipe
from dali_mixup.commands.folders import find_splits, open_good_images
from dali_mixup.commands.picture import MixedTile, draw_tiles
from dali_mixup.commands.progress import run_in_threads
from dali_mixup.commands.text import draw_table, plural, printable
from dali_mixup.commands.verify import find_damaged


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def noise(height=120, width=160, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@pytest.fixture
def animals(tmp_path):
    """An ImageFolder of two classes, each of one plain colour."""
    for i in range(6):
        for name, colour in (("cat", "red"), ("dog", "blue")):
            save(tmp_path / "animals" / name / f"{i}.jpg", Image.new("RGB", (40 + i, 60), colour), quality=95)
    return tmp_path / "animals"


@pytest.fixture
def splits(tmp_path):
    """A folder with train/ and test/ of 32 x 32 pixels."""
    for split, count in (("train", 30), ("test", 8)):
        for i in range(count):
            save(tmp_path / "data" / split / "ab"[i % 2] / f"{i}.jpg", noise(32, 32, seed=i))
    return tmp_path / "data"


@pytest.fixture
def kinds_of_files(tmp_path):
    """Good files in folder "good", and bad ones whose header is good in "bad"."""
    root = tmp_path / "kinds"
    color = noise()
    save(root / "good" / "progressive.jpg", color, progressive=True)
    save(root / "good" / "cmyk.jpg", color.convert("CMYK"))
    save(root / "good" / "gray.jpg", color.convert("L"))
    save(root / "good" / "lossless.png", color)
    save(root / "good" / "named.jpg", color, format="WEBP")
    baseline = (save(tmp_path / "baseline.jpg", color)).read_bytes()
    progressive = (root / "good" / "progressive.jpg").read_bytes()
    (root / "bad").mkdir()
    (root / "bad" / "half.jpg").write_bytes(baseline[: len(baseline) // 2])
    (root / "bad" / "half_progressive.jpg").write_bytes(progressive[: len(progressive) // 2])
    (root / "bad" / "no_end.jpg").write_bytes(baseline[:-2])
    (root / "bad" / "flipped.jpg").write_bytes(
        baseline[: len(baseline) // 2] + b"\xff\xd9" + baseline[len(baseline) // 2 + 2 :]
    )
    png = (root / "good" / "lossless.png").read_bytes()
    (root / "bad" / "half.png").write_bytes(png[: len(png) // 2])
    return root


def test_without_a_command_the_help_is_shown_and_the_exit_code_is_2(capsys):
    assert main([]) == 2
    assert "demo" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["demo", "preview", "index"])
def test_help_of_each_command_has_examples_and_exit_codes(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0
    assert f"  dali-mixup {command}" in out
    assert "130" in out


def test_version_is_the_package_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"dali-mixup {dm.__version__}\n"


def test_the_module_runs_as_a_program_and_help_imports_no_dali():
    code = (
        "import sys, runpy\nsys.argv = ['dali-mixup', 'demo', '--help']\ntry: runpy.run_module('dali_mixup', "
        "run_name='__main__')\n"
    )
    code += "except SystemExit as stop: print(stop.code, 'nvidia.dali' in sys.modules, 'turbojpeg' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "0 False False"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--epochs", "0"], "must be a whole number of at least 1, got '0'"),
        (["demo", "--images", "9"], "must be a whole number of at least 10, got '9'"),
        (["preview", "x"], "required: --out"),
        (["preview", "x", "--out", "grid.txt"], "must end in .png or .jpg, got 'grid.txt'"),
        (
            ["preview", "x", "--out", "nowhere/grid.png"],
            "must be in a folder that exists and can be written, got 'nowhere/grid.png'",
        ),
    ],
)
def test_a_wrong_option_exits_with_2_and_its_rule(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", [["index"], ["preview", "--out", "{tmp}/grid.png"], ["demo", "--data"]])
def test_a_missing_folder_exits_with_2_and_one_line(command, tmp_path, capsys):
    assert main([*(word.format(tmp=tmp_path) for word in command), str(tmp_path / "nothing")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("dali-mixup: error: ")
    assert len(err.splitlines()) == 1


def test_an_option_that_the_library_refuses_exits_with_2(animals, tmp_path, capsys):
    assert main(["preview", str(animals), "--out", str(tmp_path / "grid.png"), "--alpha", "-1"]) == 2
    assert "alpha must be a finite number above 0, got -1.0" in capsys.readouterr().err


def test_ctrl_c_exits_with_130(animals, monkeypatch, capsys):
    def stop(options):
        raise KeyboardInterrupt

    monkeypatch.setattr("dali_mixup.commands.index.run", stop)
    assert main(["index", str(animals)]) == 130
    assert "stopped" in capsys.readouterr().err


def test_a_reader_that_has_enough_is_no_error(animals):
    command = f"{sys.executable} -m dali_mixup index {animals} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_bug_keeps_its_traceback(animals, monkeypatch):
    def fail(options):
        raise TypeError("a bug")

    monkeypatch.setattr("dali_mixup.commands.index.run", fail)
    with pytest.raises(TypeError, match="a bug"):
        main(["index", str(animals)])


def test_index_counts_classes_and_measures_sizes(animals, capsys):
    assert main(["index", str(animals)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"{animals}: 12 files in 2 classes" in lines
    assert ["cat", "6"] in [line.split() for line in lines]
    assert [line.split() for line in lines if line.startswith(("height", "width"))] == [
        ["height", "60", "60", "60", "60", "60"],
        ["width", "40", "41", "43", "44", "45"],
    ]
    assert "bad files: none (headers only; --verify decodes each file)" in lines


def test_index_reports_each_split_of_a_folder(splits, capsys):
    assert main(["index", str(splits)]) == 0
    out = capsys.readouterr().out
    assert f"{splits}/train: 30 files in 2 classes" in out
    assert f"{splits}/test: 8 files in 2 classes" in out


def test_index_lists_many_classes_only_with_all(tmp_path, capsys):
    for i in range(30):
        save(tmp_path / "many" / f"class{i:02}" / "x.png", Image.new("L", (8, 8)))
    assert main(["index", str(tmp_path / "many")]) == 0
    short = capsys.readouterr().out
    assert "... 10 more (--all)" in short
    assert "class15" not in short
    assert main(["index", str(tmp_path / "many"), "--all"]) == 0
    assert "class15" in capsys.readouterr().out


def test_index_names_each_bad_file_once_and_exits_with_1(animals, capsys):
    (animals / "cat" / "empty.jpg").touch()
    (animals / "dog" / "text.png").write_text("hello")
    assert main(["index", str(animals)]) == 1
    out, err = capsys.readouterr()
    assert "bad files: 2 (headers only" in out
    assert f"  {animals}/cat/empty.jpg: empty file" in out
    assert f"  {animals}/dog/text.png: not an image" in out
    assert (out + err).count("empty.jpg") == 1


def test_index_survives_a_folder_of_bad_files_only(tmp_path, capsys):
    (tmp_path / "bad" / "cat").mkdir(parents=True)
    (tmp_path / "bad" / "cat" / "empty.jpg").touch()
    assert main(["index", str(tmp_path / "bad"), "--verify"]) == 1
    assert "no file is an image" in capsys.readouterr().out


def test_index_without_cache_writes_none(animals, cache_folder):
    assert main(["index", str(animals), "--no-cache"]) == 0
    assert not list(cache_folder.iterdir())


def test_index_shows_names_that_are_not_text(tmp_path, capsys):
    folder = tmp_path / "odd" / "line\nbreak"
    save(folder / "a.jpg", Image.new("RGB", (8, 8)))
    (folder / b"\xff.jpg".decode(errors="surrogateescape")).touch()
    assert main(["index", str(tmp_path / "odd")]) == 1
    out = capsys.readouterr().out
    assert "line\\nbreak  " in out
    assert "line\\nbreak/\\udcff.jpg: empty file" in out


def test_verify_finds_every_damaged_file_and_no_good_one(kinds_of_files, capsys):
    assert main(["index", str(kinds_of_files)]) == 0  # their headers are good
    assert main(["index", str(kinds_of_files), "--verify"]) == 1
    out = capsys.readouterr().out
    bad = [line.strip() for line in out.splitlines() if line.startswith("  ")]
    assert [line.split(": ")[0].rsplit("/", 1)[1] for line in bad] == [
        "flipped.jpg",
        "half.jpg",
        "half.png",
        "half_progressive.jpg",
        "no_end.jpg",
    ]
    assert all("/bad/" in line for line in bad)
    assert sum(": truncated: Premature end of JPEG file" in line for line in bad) >= 3
    assert "bad files: 5 (each file was decoded)" in out


def test_verify_leaves_the_warning_filters_alone(kinds_of_files):
    before = list(warnings.filters)
    find_damaged(dm.ImageFolder(kinds_of_files))
    assert warnings.filters == before


def test_verify_refuses_a_file_that_claims_too_many_pixels_without_decoding_it(tmp_path):
    path = save(tmp_path / "bomb" / "a" / "x.jpg", Image.new("L", (16, 16)))
    data = bytearray(path.read_bytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = (60000).to_bytes(2) * 2
    path.write_bytes(data)
    assert find_damaged(dm.ImageFolder(tmp_path / "bomb")) == {
        0: "too many pixels: 60000 x 60000 is more than max_pixels=100000000"
    }


def test_a_missing_libturbojpeg_says_what_to_install(animals, monkeypatch, capsys):
    def fail(self):
        raise RuntimeError("Unable to locate turbojpeg library automatically.")

    monkeypatch.setattr(TurboJPEG, "__init__", fail)
    assert main(["index", str(animals), "--verify"]) == 2
    assert "apt-get install libturbojpeg0" in capsys.readouterr().err


def test_preview_writes_a_picture_of_the_grid(animals, tmp_path, capsys):
    out = tmp_path / "grid.png"
    assert main(["preview", str(animals), "--out", str(out), "--tiles", "4", "--size", "64"]) == 0
    with Image.open(out) as picture:
        assert capsys.readouterr().out == f"{out}: {picture.width} x {picture.height} pixels\n"
        assert picture.width > 2 * 3 * 64
        assert picture.height > 2 * 64


def test_preview_leaves_bad_files_out_and_says_so(animals, tmp_path, capsys):
    (animals / "cat" / "0.jpg").write_bytes(b"")
    assert main(["preview", str(animals), "--out", str(tmp_path / "grid.png"), "--tiles", "6", "--size", "32"]) == 0
    assert "1 of 12 files of" in capsys.readouterr().out


def test_a_file_that_does_not_decode_stops_the_preview_with_its_name_and_1(animals, tmp_path, capsys):
    broken = save(animals / "cat" / "0.jpg", noise(), quality=95)
    broken.write_bytes(broken.read_bytes()[:2000])
    assert main(["preview", str(animals), "--out", str(tmp_path / "grid.png"), "--size", "32"]) == 1
    err = capsys.readouterr().err
    assert str(broken) in err
    assert "Traceback" not in err


def test_every_tile_is_the_mix_of_the_parents_beside_it(animals, monkeypatch):
    drawn = []
    monkeypatch.setattr(preview, "draw_tiles", lambda tiles, side: drawn.extend(tiles))
    pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(32), flip=0.5)
    preview.draw_preview(dm.ImageFolder(animals), pipeline, tiles=5, seed=1)
    assert len(drawn) == 5
    colours = {"cat": (254, 0, 0), "dog": (0, 0, 254)}
    for tile in drawn:
        assert tile.own.mean((0, 1)).tolist() == pytest.approx(colours[tile.own_name], abs=2)
        assert tile.partner.mean((0, 1)).tolist() == pytest.approx(colours[tile.partner_name], abs=2)
        mixed = tile.lam * tile.own.astype(float) + (1 - tile.lam) * tile.partner
        assert np.abs(tile.mixed - mixed).max() <= 1
    weights = [tile.lam for tile in drawn]
    assert weights == sorted(weights)
    assert weights[0] < 0.9


def test_with_cutmix_every_tile_has_a_box_of_its_partner(animals, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(preview, "draw_tiles", lambda tiles, side: drawn.extend(tiles) or Image.new("RGB", (8, 8)))
    assert (
        main(["preview", str(animals), "--out", str(tmp_path / "grid.png"), "--size", "32", "--cutmix", "--alpha", "1"])
        == 0
    )
    assert len(drawn) == 6
    for tile in drawn:
        of_partner = (tile.mixed == tile.partner).all(2) & ~(tile.own == tile.partner).all(2)
        assert (of_partner | (tile.mixed == tile.own).all(2)).all()
        if tile.own_name != tile.partner_name:
            assert of_partner.mean() == pytest.approx(1 - tile.lam, abs=1e-6)
    assert any(0.1 < tile.lam < 0.9 for tile in drawn)


def test_a_preview_of_few_images_has_fewer_tiles(animals, monkeypatch):
    drawn = []
    monkeypatch.setattr(preview, "draw_tiles", lambda tiles, side: drawn.extend(tiles))
    files = dm.FileList([animals / "cat" / "0.jpg", animals / "dog" / "0.jpg"], [3, 4])
    preview.draw_preview(files, dm.ImagePipeline(geometry=dm.RandomResizedCrop(32)), tiles=6)
    assert sorted(tile.own_name for tile in drawn) == ["class 3", "class 4"]


def test_a_preview_of_float_targets_is_a_type_error(animals):
    files = dm.FileList([animals / "cat" / "0.jpg"], [[0.5, 0.5]])
    with pytest.raises(
        TypeError, match=r"dataset.targets must be class indices, got a float32 array of shape \(1, 2\)"
    ):
        preview.draw_preview(files, dm.ImagePipeline(geometry=dm.RandomResizedCrop(32)))


def test_the_bar_below_a_mixed_image_shows_the_shares():
    plain = np.zeros((40, 80, 3), np.uint8)
    tile = MixedTile(own=plain, partner=plain, mixed=plain, own_name="a" * 90, partner_name="b", lam=0.75)
    picture = np.asarray(draw_tiles([tile], side=160))
    blue = (picture == (0x09, 0x69, 0xDA)).all(2)
    orange = (picture == (0xD4, 0x72, 0x1B)).all(2)
    row = int(blue.sum(1).argmax())
    assert (blue[row].sum(), orange[row].sum()) == (160 + 120, 160 + 40)


def test_a_class_called_train_is_no_split(tmp_path):
    save(tmp_path / "train" / "locomotive.jpg", noise(8, 8))
    save(tmp_path / "bus" / "red.jpg", noise(8, 8))
    assert find_splits(tmp_path) == {"": tmp_path}


def test_good_images_keep_their_labels_and_classes(animals, capsys):
    (animals / "cat" / "3.jpg").write_bytes(b"")
    files = open_good_images(animals)
    assert len(files) == 11
    assert files.classes == ["cat", "dog"]
    assert [files.targets[i] for i in range(11)] == [0 if "/cat/" in path else 1 for path in files.paths]


def test_demo_trains_on_drawn_images_and_uses_them_again(tmp_path, capsys):
    arguments = [
        "demo",
        "--work",
        str(tmp_path / "work"),
        "--out",
        str(tmp_path / "p.png"),
        "--images",
        "60",
        "--epochs",
        "1",
        "--size",
        "32",
    ]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "60 training images, 20 validation images of 10 classes" in out
    assert "bench.cifar10" not in out
    assert [line.split("  ")[0] for line in out.splitlines() if "of the time" in line] == [
        "mixup (alpha 0.2)",
        "no mixup",
    ]
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.width > 900
    (folder,) = (tmp_path / "work").iterdir()
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpg")}
    assert len(written) == 80
    assert main(arguments) == 0
    assert written == {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpg")}
    accuracies = [
        [line.split()[-8:-5] for line in text.splitlines() if "of the time" in line]
        for text in (out, capsys.readouterr().out)
    ]
    assert accuracies[0] == accuracies[1]


def test_demo_trains_on_a_folder_with_test_in_place_of_val(splits, tmp_path, capsys):
    arguments = [
        "demo",
        "--data",
        str(splits),
        "--out",
        str(tmp_path / "p.png"),
        "--epochs",
        "1",
        "--images",
        "20",
        "--batch-size",
        "8",
    ]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "20 training images, 7 validation images of 2 classes" in out
    assert "32 x 32 pixels" in out
    assert f"images of CIFAR-10's size: python -m bench.cifar10 {splits}" in out


def test_demo_needs_train_and_val(animals, tmp_path, capsys):
    assert main(["demo", "--data", str(animals), "--out", str(tmp_path / "p.png")]) == 2
    assert "DATA must be a folder that holds train/ and val/ (or test/)" in capsys.readouterr().err


def test_demo_needs_the_same_classes_in_both(splits, tmp_path, capsys):
    save(splits / "train" / "c" / "x.jpg", noise(32, 32))
    assert main(["demo", "--data", str(splits), "--out", str(tmp_path / "p.png")]) == 2
    assert "the classes of train/ and test/ must be the same, got ['c']" in capsys.readouterr().err


def recipe_for(dataset, *arguments):
    options = build_parser().parse_args(["demo", *arguments])
    assert isinstance(options, argparse.Namespace)
    return choose_recipe(dataset, dataset, options)


def test_small_squares_are_padded_and_other_images_resized(splits, animals):
    squares, others = dm.ImageFolder(splits / "train"), dm.ImageFolder(animals)
    assert recipe_for(squares).train_pipeline.geometry == dm.CropPad(32, padding=4)
    assert recipe_for(squares).val_pipeline.geometry == dm.ResizeCenterCrop(32, 32)
    assert recipe_for(others, "--size", "96").train_pipeline.geometry == dm.RandomResizedCrop(96, scale=(0.6, 1.0))
    assert recipe_for(others, "--size", "96").val_pipeline.geometry == dm.ResizeCenterCrop(109, 96)


def test_both_trainings_start_from_the_same_network(splits):
    recipe = recipe_for(dm.ImageFolder(splits / "train"))
    first, second = recipe.build_network().state_dict(), recipe.build_network().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_work_in_threads_comes_back_in_order_and_stops_at_an_error(capsys):
    assert run_in_threads(lambda x: x * x, range(1000), "squares") == [x * x for x in range(1000)]
    done = []

    def fail(x):
        done.append(x)
        time.sleep(0.001)
        raise ValueError(f"item {x}")

    with pytest.raises(ValueError, match="item 0"):
        run_in_threads(fail, range(100_000), "squares")
    assert len(done) < 1000


def test_tables_align_and_counts_have_their_plural():
    assert draw_table([("class", "files"), ("a", "1,000")]) == "class  files\na      1,000"
    assert [plural(1, "class"), plural(2, "class"), plural(1200, "file")] == ["1 class", "2 classes", "1,200 files"]
    assert printable("a\tb é") == "a\\tb é"
