"""In a real kernel: pictures inline, tables of Loaders, pipelines and data sets, bars as widgets, no warnings."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
CELLS = (
    "import warnings\nwarnings.simplefilter('error')",
    "import dali_mixup as dm\nfrom dali_mixup.pipelines import imagenet",
    "dataset = dm.ImageFolder({folder!r}, cache=False); dataset",
    "pipeline = imagenet.train(32); pipeline",
    "loader = dm.Loader(dataset, pipeline, batch_size=8, shuffle=True, mixup=dm.MixUp(), device='cpu'); loader",
    "loader.show_batch(6)",
    "images, targets = next(iter(loader)); dm.show(images, targets, dataset.classes)",
    "from dali_mixup.bars import progress_bar\nfor _ in progress_bar(iterable=range(3)): pass",
)


@pytest.fixture(scope="module")
def outputs(folder, tmp_path_factory):
    """By cell, what it shows: data by their types."""
    home = tmp_path_factory.mktemp("kernel")
    cells = [nbformat.v4.new_code_cell(cell.format(folder=str(folder))) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    kernel = home / "kernels" / "here"
    kernel.mkdir(parents=True)
    spec = f'{{"argv": ["{sys.executable}", "-m", "ipykernel_launcher", "-f", "{{connection_file}}"], '
    (kernel / "kernel.json").write_text(spec + '"display_name": "here", "language": "python"}')
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JUPYTER_PATH": str(home), "IPYTHONDIR": str(home)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        NotebookClient(notebook, timeout=120, kernel_name="here").execute()
    return [cell.outputs for cell in notebook.cells]


def shown(cell):
    return {kind: content for output in cell for kind, content in output.get("data", {}).items()}


@pytest.mark.filterwarnings("ignore")  # of the client's own packages
def test_each_cell_shows_what_it_should(outputs):
    assert outputs[0] == outputs[1] == []
    for number, words in ((2, ("23 samples", "classes", "40 to 106 pixels")), (3, ("RandomResizedCrop", "flip"))):
        text = shown(outputs[number])["text/html"]
        assert all(word.replace("23 samples", ">23<") in text for word in words)
    assert "data:image/png;base64," in shown(outputs[2])["text/html"]
    loader = shown(outputs[4])["text/html"]
    assert "MixUp(" in loader
    assert "data:image/png;base64," in loader
    for number in (5, 6):
        assert "image/png" in shown(outputs[number])
    assert "application/vnd.jupyter.widget-view+json" in shown(outputs[7])
    assert not [output for cell in outputs for output in cell if output.get("name") == "stderr"]
