"""What happens when: events of a Loader, and the file that Chrome and Perfetto read."""

import json
import time

import numpy as np
import pytest
import torch

import dali_mixup as dm
from dali_mixup.decode.decoder import Decoder
from dali_mixup.plan.plan import Plan
from dali_mixup.profiling.trace import KINDS, Event, save_chrome, trace
from tests.conftest import jpeg_bytes

CROP = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16))


def datasets():
    content = [jpeg_bytes(40, 50, seed=number) for number in range(24)]
    levels = np.zeros((24, 20, 20, 3), np.uint8)
    return {
        "bytes": dm.BytesDataset(content.__getitem__, [0] * 24, progress=False),
        "arrays": dm.ArrayDataset(levels, [0] * 24),
    }


@pytest.mark.parametrize("store", ["files", "bytes", "arrays"])
def test_all_kinds_of_work_are_seen_in_their_threads(dataset, store):
    images = dataset if store == "files" else datasets()[store]
    loader = dm.Loader(images, CROP, batch_size=4, device="cpu", mixup=dm.MixUp())
    events = trace(loader, lambda *_: time.sleep(0.002), steps=12)
    assert {event.name for event in events} == set(KINDS)
    assert [event.start for event in events] == sorted(event.start for event in events)
    assert all(event.start <= event.end for event in events)
    threads = {name: {event.thread for event in events if event.name == name} for name in KINDS}
    assert threads["wait"] == threads["step"] == {"MainThread"}
    assert "MainThread" not in threads["plan"] | threads["stage"]
    steps = [event for event in events if event.name == "step"]
    assert len(steps) == 12
    assert all(event.end - event.start >= 0.002 for event in steps)


def test_afterwards_nothing_is_timed_any_more(dataset):
    before = Plan.batch, Decoder._run
    with pytest.raises(ZeroDivisionError):
        trace(dm.Loader(dataset, CROP, batch_size=4, device="cpu"), lambda *_: 1 / 0, steps=2)
    assert (Plan.batch, Decoder._run) == before


def test_batches_are_the_same_while_they_are_traced(dataset):
    seen = []
    trace(dm.Loader(dataset, CROP, batch_size=4, device="cpu"), lambda images, _: seen.append(images.clone()), steps=5)
    expected = [images.clone() for images, _ in dm.Loader(dataset, CROP, batch_size=4, device="cpu")]
    assert all(torch.equal(one, other) for one, other in zip(seen, expected, strict=False))
    assert len(seen) == 5


def test_of_any_other_loader_there_are_waiting_and_steps():
    batches = [(torch.zeros(1), torch.zeros(1))] * 2
    assert [event.name for event in trace(batches, lambda *_: None, steps=3)] == ["wait", "step"] * 3


def test_the_file_is_what_chrome_reads(tmp_path):
    """Chrome's Trace Event Format: complete events, in microseconds."""
    events = [Event("plan", "ahead", 5.0, 5.25), Event("step", "MainThread", 5.5, 6.0)]
    save_chrome(events, tmp_path / "trace.json")
    written = json.loads((tmp_path / "trace.json").read_text())
    names = [event for event in written["traceEvents"] if event["ph"] == "M"]
    lasting = [event for event in written["traceEvents"] if event["ph"] == "X"]
    assert [event["args"]["name"] for event in names] == ["ahead", "MainThread"]
    assert [(event["name"], event["ts"], event["dur"]) for event in lasting] == [
        ("plan", 0.0, 250_000.0),
        ("step", 500_000.0, 500_000.0),
    ]
    assert [event["tid"] for event in lasting] == [event["tid"] for event in names]
