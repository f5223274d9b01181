"""The puzzles: read, check, encode, augment, draw.

A task is an object: how many tokens and cells it has (`vocab_size`, `seq_len`), its `splits`, `batch` for training,
`picture` for people. The loop in train.py knows nothing else of it.
Token ids and file formats are those of the papers' public codes. Puzzles live on the device as uint8 token ids:
a split is a dict of tensors with one row a puzzle, "inputs" and "labels", each (N, seq_len).
"""
import csv
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import torch

BUNDLED = Path(__file__).parent / "puzzles"


class BadInput(Exception):
    """What the user gave cannot be used; the message says what and where, in one line."""


def read_text(path):
    """A UTF-8 file's text, with or without byte-order mark. Raises BadInput, naming file and line."""
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise BadInput(f"{path}, line {line}: not UTF-8") from None


def read_csv(path, length):
    """The published `source,question,answer,rating` files: (N, length) uint8 arrays of characters, one row a line.

    Returns questions and answers. Raises BadInput, naming file and line, for all that is not as it should be.
    """
    reader = csv.reader(read_text(path).splitlines())
    try:
        header, *rows = list(reader) or [[]]
    except csv.Error as error:
        raise BadInput(f"{path}, line {reader.line_num}: {error}") from None
    for name in ("question", "answer"):
        if name not in header:
            raise BadInput(f"{path}, line 1: the header has no column '{name}'")
    question, answer = header.index("question"), header.index("answer")
    table = []
    for number, fields in enumerate(rows, start=2):
        if len(fields) != len(header):
            raise BadInput(f"{path}, line {number}: {len(fields)} fields where the header has {len(header)}")
        for name, text in (("question", fields[question]), ("answer", fields[answer])):
            if len(text) != length or not text.isascii():
                raise BadInput(f"{path}, line {number}: the {name} is not {length} ASCII characters")
        table.append(fields[question] + fields[answer])
    if not table:
        raise BadInput(f"{path}: no puzzle in it")
    characters = np.frombuffer("".join(table).encode(), np.uint8).reshape(len(table), 2, length)
    return characters[:, 0], characters[:, 1]


def refuse(wrong, path, why):
    """Raise BadInput for the first puzzle of which `wrong` (N,) is true; puzzle 0 stands in line 2."""
    if wrong.any():
        raise BadInput(f"{path}, line {wrong.argmax() + 2}: {why}")


# ---- Sudoku -------------------------------------------------------------------------------------------------

CELL = np.arange(81)
ROW, COLUMN, BOX = CELL // 9, CELL % 9, CELL // 27 * 3 + CELL % 9 // 3
UNITS = np.stack([np.argsort(kind, kind="stable").reshape(9, 9) for kind in (ROW, COLUMN, BOX)]).reshape(27, 9)


def broken_cells(digits):
    """(N, 81) digits, 0 for a blank -> (N, 81) bool: the cells whose digit stands twice in a row, column or box."""
    broken = np.zeros(digits.shape, bool)
    for unit in UNITS:
        d = digits[:, unit]  # (N, 9)
        twice = (d[:, :, None] == d[:, None, :]).sum(-1) > 1
        broken[:, unit] |= twice & (d > 0)
    return broken


class Sudoku:
    """81 cells; tokens: 0 pad, 1 blank, 2..10 the digits 1..9."""

    vocab_size, seq_len, num_puzzles = 11, 81, 0

    def __init__(self, folder, device="cpu"):
        """Reads train.csv, test.csv and valid.csv of a folder; without valid.csv the last tenth of train (at most
        200 puzzles) serves in its place and is not trained on. Raises BadInput."""
        folder = Path(folder)
        read = {split: self.read(folder / f"{split}.csv") for split in ("train", "test")}
        if (folder / "valid.csv").exists():
            read["valid"] = self.read(folder / "valid.csv")
        else:
            held = min(200, len(read["train"][0]) // 10)
            if not held:
                raise BadInput(f"{folder / 'train.csv'}: without valid.csv beside it, 10 puzzles are the least")
            read["valid"] = [part[-held:] for part in read["train"]]
            read["train"] = [part[:-held] for part in read["train"]]
        self.splits = {
            split: {"inputs": self.encode(question, device), "labels": self.encode(answer, device)}
            for split, (question, answer) in read.items()
        }

    @staticmethod
    def encode(digits, device="cpu"):
        return torch.from_numpy(digits + 1).to(device)

    @staticmethod
    def read(path):
        """A csv file -> questions and answers, (N, 81) uint8 digits, 0 for a blank. Raises BadInput."""
        question, answer = read_csv(path, 81)
        question = np.where(question == ord("."), ord("0"), question)
        question, answer = question - np.uint8(ord("0")), answer - np.uint8(ord("0"))
        refuse((question > 9).any(1), path, "the question has a character that is neither a digit nor '.'")
        refuse(((answer < 1) | (answer > 9)).any(1), path, "the answer has a character that is not a digit 1 to 9")
        refuse(broken_cells(question).any(1), path, "two givens of the question contradict each other")
        refuse(broken_cells(answer).any(1), path, "the answer breaks the rules: a digit twice in a row, column or box")
        refuse(((question > 0) & (question != answer)).any(1), path, "the answer does not extend the question")
        return question, answer

    def batch(self, size):
        """`size` training puzzles at random, each seen through a random symmetry: {"inputs", "labels"}, (B, 81)."""
        train = self.splits["train"]
        device = train["inputs"].device  # all of it happens there, so that a GPU never waits for data
        pick = torch.randint(len(train["inputs"]), (size,), device=device)
        return self.augment({name: part[pick] for name, part in train.items()})

    @staticmethod
    def augment(batch):
        """Rename the digits; permute bands and rows inside a band, stacks and columns inside a stack; transpose."""
        size, device = len(batch["inputs"]), batch["inputs"].device

        def shuffle(*shape):  # random permutations of the last axis
            return torch.rand(size, *shape, device=device).argsort(-1)

        def lines():  # (B, 9): three lines of one band (stack), then of another
            return (3 * shuffle(3)[:, :, None] + shuffle(3, 3)).flatten(1)

        digit = torch.cat((torch.tensor([[0, 1]], device=device).expand(size, 2), 2 + shuffle(9)), dim=1)  # (B, 11)
        cell = 9 * lines()[:, :, None] + lines()[:, None, :]  # (B, 9, 9): which cell comes to stand here
        flip = torch.rand(size, 1, 1, device=device) < 0.5
        cell = torch.where(flip, cell.transpose(1, 2), cell).flatten(1)  # (B, 81)
        return {name: digit.gather(1, part.long().gather(1, cell)) for name, part in batch.items()}

    @classmethod
    def parse(cls, text, device="cpu"):
        """A user's own puzzle, 81 characters, '.' or '0' for a blank -> {"inputs": (1, 81)}. Raises BadInput."""
        text = text.strip().replace(".", "0")
        if len(text) != 81 or not (text.isascii() and text.isdigit()):
            raise BadInput(f"--puzzle: not 81 digits, with 0 or . for a blank ({len(text)} characters)")
        digits = np.array([[int(c) for c in text]], np.uint8)
        if broken_cells(digits).any():
            raise BadInput("--puzzle: two of the givens contradict each other")
        return {"inputs": cls.encode(digits, device)}

    @staticmethod
    def wrong(inputs, answer, labels=None):
        """Which cells are wrong, (81,) bool; where there is no solution to compare with (labels None), those that
        break the rules, are blank, or overwrite a given."""
        inputs, answer = np.asarray(inputs), np.asarray(answer)
        if labels is not None:
            return answer != np.asarray(labels)
        digits = np.where(answer > 1, answer, 1).astype(int) - 1
        return broken_cells(digits[None])[0] | (digits == 0) | (inputs > 1) & (answer != inputs)

    @classmethod
    def picture(cls, inputs, answer, before=None, labels=None, colour=False):
        """The grid as lines of text of one width; tokens (81,). Without `before`, the answer one step ago, nothing
        is marked; with it, the cells that changed since and the cells that are wrong."""
        inputs, answer = np.asarray(inputs), np.asarray(answer)
        nothing = np.zeros(81, bool)
        changed = nothing if before is None else answer != np.asarray(before)
        wrong = nothing if before is None else cls.wrong(inputs, answer, labels)
        cells = [mark(".123456789"[max(token - 1, 0)], *flags, colour)
                 for token, *flags in zip(answer.tolist(), inputs > 1, changed, wrong)]
        lines = ["|".join("".join(cells[9 * r + s : 9 * r + s + 3]) for s in (0, 3, 6)) for r in range(9)]
        rule = "------+------+------"
        return lines[:3] + [rule] + lines[3:6] + [rule] + lines[6:]


# ---- pictures -----------------------------------------------------------------------------------------------

LEGEND = {
    False: "+ new in this step, x wrong, * new and wrong",
    True: "bold: given; green: new in this step; red: wrong; red background: new and wrong",
}


def colours_work():
    """Whether standard output is a terminal that shows colours (https://no-color.org is respected)."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and (os.name != "nt" or "WT_SESSION" in os.environ)


def mark(text, given, changed, wrong, colour):
    """One cell, two characters wide: with a colour, or with a mark behind it where there are no colours."""
    if not colour:
        return text + " +x*"[changed + 2 * wrong]
    style = ("1" if given else "0", "32", "31", "30;41")[changed + 2 * wrong]
    return f"\033[{style}m{text}\033[0m "


def side_by_side(frames):
    """[(name, picture)], as many in a row as the terminal is wide; the first picture has no colours."""
    width = len(frames[0][1][0])
    a_row = max(1, shutil.get_terminal_size((100, 24)).columns // (width + 3))
    text = []
    for i in range(0, len(frames), a_row):
        names, pictures = zip(*frames[i : i + a_row])
        rows = [[name.ljust(width) for name in names], *zip(*pictures)]
        text.append("\n".join("   ".join(row).rstrip() for row in rows) + "\n")
    return "\n".join(text)


TASKS = {"sudoku": Sudoku}
