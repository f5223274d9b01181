"""Adds a task as README.md beside this file does, Sudokus of 4x4 cells, and trains a net on it."""
from inspect import getsource
from itertools import permutations
from pathlib import Path

import numpy as np
import torch

import evaluate
import runs
import train
from data import CsvTask
from puzzles import read


class Sudoku4(CsvTask):
    """16 cells; tokens: 0 pad, 1 blank, 2..5 the digits 1..4."""

    vocab_size, blank, characters, box = 6, 1, "..1234", 2

    @staticmethod
    def read_file(path):
        return read.read_csv(path, 16, {".": 1, "1": 2, "2": 3, "3": 4, "4": 5})

    def symmetries(self, size, device):
        tokens, cells = super().symmetries(size, device)  # these change nothing
        tokens[:, 2:] = 2 + torch.rand(size, 4, device=device).argsort(1)  # rename the digits
        return tokens, cells

    @staticmethod
    def wrong(inputs, answer, labels=None):
        if labels is not None:
            return answer != labels
        row, column = np.divmod(np.arange(16), 4)
        wrong = (answer < 2) | (inputs > 1) & (answer != inputs)
        for unit in (row, column, row // 2 * 2 + column // 2):
            same = (unit == unit[:, None]) & (answer == answer[:, None])
            wrong |= same.sum(1) > 1  # the digit stands twice in the row, column or box
        return wrong


def write_puzzles(folder):
    """24 Sudokus: one solution, its digits renamed in all ways, with four blanks."""
    lines = []
    for digits in permutations("1234"):
        answer = "1234341221434321".translate(str.maketrans("1234", "".join(digits)))
        lines.append(f"..{answer[2:8]}..{answer[10:]},{answer}")
    for name, some in (("train", lines[:20]), ("test", lines[20:])):
        (folder / f"{name}.csv").write_text("\n".join(["question,answer", *some]))


def test_a_class_and_an_entry_in_tasks_make_a_task(tmp_path, monkeypatch, capsys):
    write_puzzles(tmp_path)
    monkeypatch.setitem(runs.TASKS, "sudoku4", Sudoku4)
    run, picture = str(tmp_path / "run"), tmp_path / "a.svg"
    sizes = ["--hidden_size", "8", "--num_heads", "1", "--batch_size", "4", "--N_sup", "2"]
    flags = ["--task", "sudoku4", "--data", str(tmp_path), "--steps", "2", *sizes]
    assert train.main([*flags, "--out", run, "--device", "cpu"]) == 0
    assert "4 test puzzles" in capsys.readouterr().out
    assert evaluate.main([run, "--watch", "--svg", str(picture)]) == 0
    assert "step 1: " in capsys.readouterr().out and picture.read_text().startswith("<svg")
    assert evaluate.main([run, "--views", "2"]) == 0
    assert "the surest view" in capsys.readouterr().out


def test_a_typed_puzzle_of_the_new_task_has_the_tokens_of_its_files(tmp_path):
    write_puzzles(tmp_path)
    task = Sudoku4(tmp_path)
    question = (tmp_path / "test.csv").read_text().splitlines()[1].split(",")[0]
    assert task.typed(question)["inputs"].equal(task.splits["test"]["inputs"][:1])


def test_the_readme_shows_the_class_as_it_is_here():
    assert getsource(Sudoku4) in (Path(__file__).parent / "README.md").read_text()
