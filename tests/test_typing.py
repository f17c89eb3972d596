"""What type checkers and editors know of the package, as pyright tells them."""

import json
import os
import subprocess
import sys
import typing
from importlib.util import find_spec
from pathlib import Path

import jedi
import pytest

import dali_mixup as dm
from dali_mixup.options import LoaderKeywords, SharedKeywords

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
pytestmark = pytest.mark.skipif(find_spec("pyright") is None, reason="pyright isn't installed")
TYPED = """\
import dali_mixup as dm
from torch.utils.data import DataLoader
def swap(loader: DataLoader, folder: dm.ImageFolder, pipeline: dm.ImagePipeline) -> None:
    dm.from_dataloader(loader, )
    dm.Loader(folder, pipeline, )
"""


def test_every_public_name_has_a_type():
    command = [BIN / "pyright", "--verifytypes", "dali_mixup", "--ignoreexternal"]
    # pyright asks the first python for its packages, ours among them
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert f'Package directory: "{ROOT / "dali_mixup"}"' in done.stdout, done.stdout + done.stderr
    assert "Type completeness score: 100%" in done.stdout, done.stdout[done.stdout.index("Symbols used") :]


class Editor:
    """As an editor speaks with pyright about one text, in JSON with a header of its length."""

    def __init__(self, text):
        self.server = subprocess.Popen(
            [BIN / "pyright-langserver", "--stdio"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.lines, self.uri = text.splitlines(), (ROOT / "unsaved.py").as_uri()
        folders = [{"uri": ROOT.as_uri(), "name": "root"}]
        able = {"workspace": {"configuration": True}}
        self.ask("initialize", processId=None, rootUri=ROOT.as_uri(), workspaceFolders=folders, capabilities=able)
        self.send({"method": "initialized", "params": {}})
        document = {"uri": self.uri, "languageId": "python", "version": 1, "text": text}
        self.send({"method": "textDocument/didOpen", "params": {"textDocument": document}})

    def send(self, message):
        data = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.server.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(data), data))
        self.server.stdin.flush()

    def receive(self):
        size = 0
        while line := self.server.stdout.readline().strip():
            name, _, value = line.partition(b": ")
            size = int(value) if name.lower() == b"content-length" else size
        return json.loads(self.server.stdout.read(size))

    def ask(self, method, **params):
        """The answer to a request; what the server asks meanwhile is answered."""
        self.send({"id": method, "method": method, "params": params})
        while True:
            message = self.receive()
            if message.get("method") == "workspace/configuration":
                settings = {"python": {"pythonPath": sys.executable}}
                wanted = [settings.get(item.get("section"), {}) for item in message["params"]["items"]]
                self.send({"id": message["id"], "result": wanted})
            elif "method" in message and "id" in message:
                self.send({"id": message["id"], "result": None})
            elif message.get("id") == method:
                return message["result"]

    def complete(self, before):
        """Names of keywords that are offered behind a piece of the text."""
        (line,) = [number for number, line in enumerate(self.lines) if before in line]
        place = {"line": line, "character": self.lines[line].index(before) + len(before)}
        found = self.ask("textDocument/completion", textDocument={"uri": self.uri}, position=place)
        return {item["label"].removesuffix("=") for item in found["items"] if item["label"].endswith("=")}

    def close(self):
        self.server.stdin.close()
        self.server.kill()
        self.server.wait()
        self.server.stdout.close()


@pytest.fixture(scope="module")
def editor():
    made = Editor(TYPED)
    yield made
    made.close()


def test_an_editor_completes_the_keywords_of_a_loader(editor):
    assert editor.complete("dm.Loader(folder, pipeline, ") >= set(typing.get_type_hints(LoaderKeywords))


def test_an_editor_completes_the_keywords_of_from_dataloader(editor):
    own = {"mixup", "files", "targets", "transform", "after", "strict", "seed"}
    assert editor.complete("dm.from_dataloader(loader, ") - {"loader"} == own | set(
        typing.get_type_hints(SharedKeywords)
    )


def test_a_notebook_completes_the_keywords_of_from_dataloader():
    """By jedi, as IPython does, which looks at the function itself."""
    text = "dm.from_dataloader(loader, "
    found = jedi.Interpreter(text, [{"dm": dm, "loader": []}]).complete(1, len(text))
    named = {each.name.removesuffix("=") for each in found if each.name.endswith("=")}
    assert named >= {"mixup", *typing.get_type_hints(SharedKeywords)}
