"""The command line: help, exit codes, errors in one line."""

import subprocess
import sys

import pytest

import dali_mixup as dm
from dali_mixup.__main__ import main


def test_without_a_command_the_help_is_shown_and_the_exit_code_is_2(capsys):
    assert main([]) == 2
    assert "demo" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["demo", "preview", "index", "pack"])
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


def test_ctrl_c_exits_with_130(folder, monkeypatch, capsys):
    def stop(options):
        raise KeyboardInterrupt

    monkeypatch.setattr("dali_mixup.commands.index.run", stop)
    assert main(["index", str(folder)]) == 130
    assert "stopped" in capsys.readouterr().err


def test_a_reader_that_has_enough_is_no_error(folder):
    command = f"{sys.executable} -m dali_mixup index {folder} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_bug_keeps_its_traceback(folder, monkeypatch):
    def fail(options):
        raise TypeError("a bug")

    monkeypatch.setattr("dali_mixup.commands.index.run", fail)
    with pytest.raises(TypeError, match="a bug"):
        main(["index", str(folder)])


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_streams_are_no_error(closed, folder):
    command = f'exec "{sys.executable}" -m dali_mixup index "{folder}" --no-cache {closed}'
    assert subprocess.run(["sh", "-c", command], capture_output=True, check=False).returncode == 0


def test_stripped_docstrings_which_dali_needs_are_refused_in_words(folder):
    code = (
        "import sys, dali_mixup as dm\n"
        "pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(8))\n"
        "next(iter(dm.Loader(dm.ImageFolder(sys.argv[1]), pipeline, batch_size=2)))"
    )
    done = subprocess.run([sys.executable, "-OO", "-c", code, folder], capture_output=True, text=True, check=False)
    assert "RuntimeError: a Loader can't run under python -OO" in done.stderr
