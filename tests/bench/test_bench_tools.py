"""The small benchmarks run end to end on made images, and their numbers mean what they say."""

import json

import pytest
import torch

from bench import loss, stage, startup, variants


@pytest.fixture
def outputs(tmp_path):
    return ["--json", str(tmp_path / "out.json"), "--plot", str(tmp_path / "out.png")]


@pytest.fixture(autouse=True)
def torch_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def written(tmp_path):
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    return json.loads((tmp_path / "out.json").read_text())


def test_stage_compares_both_stages_in_every_dtype_and_layout(tmp_path, outputs, capsys):
    assert stage.main(["--batch-size", "4", "--size", "16", "--rounds", "2", *outputs]) == 0
    table = capsys.readouterr().out
    assert all(word in table for word in ("float32 NCHW", "bfloat16 NHWC", "copy_", "x whole batch", "GB/s"))
    assert len(written(tmp_path)["results"]) == 13


def test_both_stages_of_the_benchmark_give_the_same_batch():
    calls = {name: call.run for name, call in stage.build_calls(5, 16).items()}
    for variant in ("float32 NCHW", "float32 NHWC", "bfloat16 NCHW"):
        ours, whole = calls[f"dali_mixup, {variant}"](), calls[f"whole batch, {variant}"]()
        torch.testing.assert_close(ours, whole, rtol=2e-2 if ours.dtype != torch.float32 else 1e-5, atol=1e-5)


def test_loss_compares_with_plain_cross_entropy(tmp_path, outputs, capsys):
    assert loss.main(["--classes", "3", "40", "--batch-size", "8", "--rounds", "2", "--threads", "1", *outputs]) == 0
    assert "x the time of plain cross-entropy" in capsys.readouterr().out
    assert len(written(tmp_path)["results"]) == 10


def test_variants_count_what_is_decoded(folder, tmp_path, outputs, capsys):
    assert (
        variants.main([str(folder), "--batch-size", "4", "--size", "16", "--batches", "2", "--rounds", "2", *outputs])
        == 0
    )
    assert "decoded per delivered" in capsys.readouterr().out
    decoded = {result["name"]: result["options"]["decoded per delivered"] for result in written(tmp_path)["results"]}
    assert decoded == {"in the batch": 1, "two loaders": 2}


def test_startup_tells_the_steps_for_as_many_files_as_asked_for(folder, tmp_path, outputs, capsys):
    assert startup.main([str(folder), "--files", "30", "60", "--batch-size", "8", "--rounds", "1", *outputs]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("import DALI", "listing", "index", "60, full cache", "x import torch"))
    found = written(tmp_path)
    assert set(found["derived"]) == {"30", "60"}
    assert all(
        seconds > 0 for both in found["derived"].values() for steps in both.values() for seconds in steps.values()
    )
    assert not list(folder.parent.glob(".linked-*"))
