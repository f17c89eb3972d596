"""The small benchmarks run end to end on made images, and their numbers mean what they say."""

import json

import pytest
import torch

import dali_mixup as dm
from bench import loss, profile, stage, startup, variants
from dali_mixup.pipelines import imagenet


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


def test_startup_indexes_as_many_files_as_asked_for(folder, tmp_path, outputs, capsys):
    assert startup.main([str(folder), "--files", "30", "60", "--batch-size", "8", *outputs]) == 0
    assert "bytes kept per file" in capsys.readouterr().out
    assert set(written(tmp_path)["derived"]) == {"30", "60"}
    assert not list(folder.parent.glob(".linked-*"))


def test_profile_of_a_folder_measures_all_parts(folder, tmp_path, outputs, capsys):
    assert profile.main([str(folder), "--size", "32", "--batch-size", "4", "--steps", "4", *outputs]) == 0
    text = capsys.readouterr().out
    assert all(
        word in text for word in ("waiting for data", "read + decode", "resize / augment", "stage", "ideal loader")
    )
    seconds = written(tmp_path)["derived"]["seconds"]
    assert all(value > 0 for value in seconds.values())


def build_for_profile():
    """What a user hands to `--of`: any loader, and a step."""
    batches = [(torch.rand(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64))] * 3
    return batches, lambda images, labels: (images.sum(), labels.sum())


def test_profile_takes_a_users_own_loader_and_step(capsys):
    assert profile.main(["--of", "tests.bench.test_bench_tools:build_for_profile", "--steps", "5"]) == 0
    assert "read + decode" not in capsys.readouterr().out


def test_profile_wants_one_source(capsys):
    with pytest.raises(SystemExit, match="2"):
        profile.main([])
    assert "give DATA or --of" in capsys.readouterr().err


def test_profile_sees_who_waits_for_whom(dataset):
    def loader():
        return dm.Loader(dataset, imagenet.train(16), batch_size=4, shuffle=True, device="cpu")

    import time

    slow_step = profile.profile(loader(), lambda *_: time.sleep(0.05), steps=5)
    fast_step = profile.profile(loader(), lambda *_: None, steps=5)
    assert slow_step.wait / slow_step.step < fast_step.wait / fast_step.step
    assert slow_step.ideal == pytest.approx(0.05, rel=0.5)


def measured(**seconds):
    defaults = {
        "step": 1.0,
        "wait": 0.5,
        "train": 0.5,
        "ideal": 0.5,
        "loader": 1.0,
        "decode": 0.8,
        "resize": 0.1,
        "stage": 0.1,
    }
    return profile.Profile(**(defaults | seconds))


def test_advice_follows_the_measurements():
    assert "only a faster model" in profile.advise(measured(wait=0.01), {"num_threads=8": 2.0})
    assert "num_threads=8. The loader alone then ran 1.50 times" in profile.advise(
        measured(), {"num_threads=8": 1.5, "prefetch=4": 1.1}
    )
    assert "store images smaller" in profile.advise(measured(), {"num_threads=8": 1.01})
    assert "number of cores" in profile.advise(measured(decode=0.1, resize=0.8), {})
    assert "the loader itself" in profile.advise(measured(decode=None, resize=None, stage=None), {})
