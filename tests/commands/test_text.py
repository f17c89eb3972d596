from dali_mixup.commands.text import draw_table, plural, printable


def test_tables_align_and_counts_have_their_plural():
    assert draw_table([("class", "files"), ("a", "1,000")]) == "class  files\na      1,000"
    assert [plural(1, "class"), plural(2, "class"), plural(1200, "file")] == ["1 class", "2 classes", "1,200 files"]
    assert printable("a\tb é") == "a\\tb é"
