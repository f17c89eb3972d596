import pytest

from dali_mixup.commands.text import draw_table, plural, printable


def test_the_first_column_of_a_table_is_flush_left_and_all_others_flush_right():
    assert draw_table([("class", "files"), ("a", "1,000")]) == "class  files\na      1,000"
    assert draw_table([("", "b"), ("long name", "")]) == "           b\nlong name"


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [(0, "file", "0 files"), (1, "class", "1 class"), (2, "class", "2 classes"), (1200, "file", "1,200 files")],
)
def test_counts_have_their_plural(count, noun, text):
    assert plural(count, noun) == text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\tb é", "a\\tb é"),
        ("a\nb", "a\\nb"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\udcff.jpg", "\\udcff.jpg"),
        ("日本", "日本"),
    ],
)
def test_a_name_is_shown_without_line_breaks_control_characters_and_lone_bytes(name, shown):
    assert printable(name) == shown
    assert printable(name).isprintable()
