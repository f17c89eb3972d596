"""`bench.questions`: its second kind of loss, its rows, and that settings reach the trainings."""

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax

import dali_mixup as dm
from bench import questions
from bench.report import read_json
from examples import tables_mix


@pytest.fixture(autouse=True)
def _one_thread():
    """Such small networks are slower with more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_two_softmaxes_are_two_cross_entropies_weighted_per_sample():
    torch.manual_seed(0)
    logits, labels, partners = torch.randn(7, 10), torch.randint(5, (7,)), torch.randint(5, (7,))
    lam = torch.rand(7)
    expected = 0.0
    for row, own, other, share in zip(logits, labels, partners, lam, strict=True):
        expected -= share * log_softmax(row[:5], 0)[own] + (1 - share) * log_softmax(row[5:], 0)[other]
    found = questions.TwoSoftmaxes()(logits, dm.stack_targets(labels, partners, lam))
    assert found.item() == pytest.approx(expected.item() / 7, rel=1e-5)


def test_two_softmaxes_of_labels_are_the_first_one():
    logits, labels = torch.randn(4, 6), torch.randint(3, (4,))
    expected = torch.nn.functional.cross_entropy(logits[:, :3], labels)
    assert questions.TwoSoftmaxes()(logits, labels) == expected


def test_categories_are_quantiles_of_the_kept_rows_and_each_column_has_its_own():
    columns = np.array([[1.0, 40.0], [2.0, 30.0], [3.0, 20.0], [4.0, 10.0], [99.0, -5.0]])
    numbers, embed, width = tables_mix.prepare(columns, np.arange(4), bins=2)
    assert numbers.tolist() == [[0, 3], [0, 3], [1, 2], [1, 2], [1, 2]]
    assert embed(numbers).shape == (5, width)


@pytest.mark.parametrize("row", questions.list_rows(), ids=lambda row: " ".join(row[:3]))
def test_each_row_changes_what_is_reached(row):
    """Settings that reached nothing would make two rows of the table the same."""
    _, data, _, both, mixed = row
    if not both and not mixed:
        return
    train = questions.build_trainings()[data]

    def reached(**settings):
        return [train(dm.MixUp(), seed, **{"epochs": 1} | settings) for seed in range(4)]  # accuracies are coarse

    assert reached() != reached(**both | mixed)


def test_the_command_pairs_seeds_and_keeps_all_of_them(tmp_path, capsys):
    file = tmp_path / "questions.json"
    arguments = ["--seeds", "2", "--epochs", "1", "--only", "wine", "--json", str(file)]
    assert questions.main(arguments) == 0
    shown = capsys.readouterr().out
    rows = [questions.Row(**row) for row in read_json(file).derived["rows"]]
    assert [row.question for row in rows] == ["plain", "categories", "two softmaxes"]
    assert all(len(row.without) == len(row.mixed) == 2 for row in rows)
    assert rows[0].without == rows[2].without
    assert f"{rows[0].gains.mean():.2f} ± {rows[0].gains.std(ddof=1):.2f}" in shown
