"""The options of a Loader stand in one dataclass; what editors and `help` show of them is the same."""

import inspect
import pydoc
import typing
from dataclasses import fields

import pytest

import dali_mixup as dm
from dali_mixup.options import LoaderKeywords, LoaderOptions, SharedKeywords


def test_the_keywords_are_the_options_with_their_types():
    assert typing.get_type_hints(LoaderKeywords) == typing.get_type_hints(LoaderOptions)


def test_options_are_frozen():
    with pytest.raises(AttributeError):
        LoaderOptions(batch_size=2).seed = 3


def shown(function):
    return inspect.signature(function).parameters


def test_the_loaders_signature_spells_its_options_out():
    parameters = shown(dm.Loader)
    assert list(parameters)[:2] == ["dataset", "pipeline"]
    assert {name: parameters[name].default for name in list(parameters)[2:]} == {
        field.name: field.default for field in fields(LoaderOptions)
    }


def test_the_signature_of_from_dataloader_spells_out_what_it_passes_on():
    passed_on = set(typing.get_type_hints(SharedKeywords))
    assert set(shown(dm.from_dataloader)) == {
        *("loader", "mixup", "files", "targets", "transform", "after", "strict", "seed"),
        *passed_on,
    }
    assert shown(dm.from_dataloader)["prefetch"].default == LoaderOptions(batch_size=1).prefetch


@pytest.mark.parametrize("name", ["Loader", "from_dataloader"])
def test_help_has_a_line_per_option_and_short_names_of_types(name):
    text = pydoc.render_doc(getattr(dm, name), renderer=pydoc.plaintext)
    start = text.index(f"{name}(\n")
    lines = [
        line.strip(" |") for line in text[start : text.index("\n", text.index(")", text.index("views: ")))].splitlines()
    ]
    parameters = shown(getattr(dm, name))
    assert [line.split(":")[0] for line in lines[1:-1] if line != "*,"] == list(parameters)
    assert lines[-1] == (") -> Loader" if name == "from_dataloader" else ")")
    assert "drop_last: bool = False," in lines or name == "from_dataloader"
    assert "shard: tuple[int, int] | Sharing | None = None," in lines
    assert max(map(len, lines)) <= 120
    assert "dali_mixup." not in "".join(lines)
