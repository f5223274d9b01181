"""Sudoku and mazes as tensors: their tokens, symmetries, batches and views. ARC is in arc.py.

A task has `splits` ("train", "valid", "test"), `batch` for training and `view`, which shows puzzles
through a symmetry. Puzzles are a dict of tensors with a row a puzzle: "inputs" and "labels" (N, S),
token ids, and on ARC "ids" (N,), which puzzle embedding each has. Label 0 is not supervised.
Token ids are those of the papers' public codes. puzzles/read.py reads the files.
"""
import hashlib
import math
import tempfile
from pathlib import Path

import numpy as np
import torch

from cli import BadInput
from puzzles import draw, levels, read

BUNDLED = Path(__file__).parent / "puzzles"


def give_hints(puzzles, largest_share):
    """A batch in which cells are filled in from the solution, as hints: of each puzzle a share that
    is drawn for it, from 0 to the largest. So a net sees puzzles of every difficulty."""
    if not largest_share:
        return puzzles
    inputs, labels = puzzles["inputs"], puzzles["labels"]
    share = largest_share * torch.rand(len(inputs), 1, device=inputs.device)
    given = (torch.rand(inputs.shape, device=inputs.device) < share) & (labels != 0)
    return {**puzzles, "inputs": torch.where(given, labels, inputs)}


def turn(grid, number):
    """A 2-D array through a symmetry of the square, numbered as in the public codes: 0 as it is, 1
    to 3 turned by 90, 180, 270 degrees, 4 mirrored left to right, 5 top to bottom, 6 along the
    diagonal, 7 along the other diagonal."""
    if number < 4:
        return np.rot90(grid, number)
    return (np.fliplr(grid), np.flipud(grid), grid.T, np.rot90(grid.T, 2))[number - 4]


class CsvTask:
    """A question and an answer of S characters each, in the files that puzzles/read.py describes.

    A new task needs characters (what stands for each token in a file) and read_file (path ->
    questions and answers, (N, S) uint8 tokens, the answers maybe None); it may have symmetries and
    wrong. puzzles/README.md adds one. train_puzzles: how many of the training puzzles to keep.
    Raises BadInput.
    """

    blank = None  # the token of the cells to be filled in; None: every cell is
    num_puzzles = 0  # how many puzzle embeddings there are to learn: ARC alone has some
    most_views = None  # how many views a puzzle has; None: more than anyone wants
    votes = False  # whether all views are asked, and equal answers count as votes: ARC alone
    any_answer = "any answer so far"  # the table's row for the best choice among all views' answers
    box, separate = 0, False  # for pictures, see puzzles/draw.py
    fills = [None] * 256  # a picture's colour behind each token, which is a byte

    def __init__(self, path, device="cpu", train_puzzles=None):
        found, note = read.read_splits(path, self.read_file, train_puzzles)
        self.note = f"{path}: {note}" if note else ""  # what was not taken as it stands there
        self.vocab_size = len(self.characters)
        self.seq_len = found["test"][0].shape[1]
        if math.isqrt(self.seq_len) ** 2 != self.seq_len:
            raise BadInput(f"{path}: puzzles of {self.seq_len} cells, which make no square")
        self.splits = {}
        for split, (question, answer) in found.items():
            if answer is None:
                answer = np.zeros_like(question)
            elif not answer.all():
                raise BadInput(f"{path}: token 0 in an answer has no loss; count from 1")
            if (np.maximum(question, answer) >= self.vocab_size).any():
                raise BadInput(f"{path}: a token is not below {self.vocab_size}, the number of "
                               "characters")
            puzzles = {"inputs": torch.from_numpy(question), "labels": torch.from_numpy(answer)}
            self.splits[split] = {name: part.to(device) for name, part in puzzles.items()}

    @property
    def symbols(self):
        """What a cell of a picture shows of each token; puzzles/draw.py has more about pictures."""
        return [character.strip(" .") for character in self.characters]

    @staticmethod
    def tidy(tokens):
        return tokens

    @staticmethod
    def wrong(inputs, answer, labels=None):
        """Which cells of an answer are wrong, (S,) bool, by the rules where no solution is known;
        None where no one can know."""
        return None if labels is None else answer != labels

    def title(self, puzzle):
        """What there is to say of a test puzzle beside its number."""
        return ""

    def typed(self, text):
        """A puzzle that a user typed, maybe a line a row -> a split of its own, read as a file of
        this one puzzle would be. Raises BadInput."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "puzzle.csv")
            file.write_text("".join(text.splitlines()), "utf-8", "replace")
            try:
                question, _ = self.read_file(file)
            except BadInput as error:  # the user knows of no file
                message = str(error).replace(", line 1", "").replace(str(file), "--puzzle")
                raise BadInput(message) from None
        if question.shape[1] != self.seq_len:
            raise BadInput(f"--puzzle: {question.shape[1]} cells in place of {self.seq_len}")
        inputs = torch.from_numpy(question).to(self.splits["test"]["inputs"].device)
        return {"inputs": inputs, "labels": torch.zeros_like(inputs)}

    def batch(self, size):
        """`size` training puzzles, each through a symmetry, at random: int64, (B, S)."""
        train = self.splits["train"]
        device = train["inputs"].device  # all of it happens there: a GPU never waits for data
        pick = torch.randint(len(train["inputs"]), (size,), device=device)
        puzzles = {name: part[pick].long() for name, part in train.items()}
        return self.through(puzzles, *self.symmetries(size, device))

    def symmetries(self, size, device):
        """`size` symmetries at random: tokens (size, V), what each token becomes; cells (size, S),
        from which cell each cell takes its token. A task without symmetries has the identity."""
        tokens = torch.arange(self.vocab_size, device=device).repeat(size, 1)
        cells = torch.arange(self.seq_len, device=device).repeat(size, 1)
        return tokens, cells

    def view_symmetries(self, k, size, device):
        """The symmetries of view k: drawn at random, where a task does not number them."""
        return self.symmetries(size, device)

    @staticmethod
    def through(puzzles, tokens, cells):
        """Puzzles, int64, each through its symmetry."""
        return {name: tokens.gather(1, part.gather(1, cells)) for name, part in puzzles.items()}

    def view(self, puzzles, k):
        """View k of the puzzles: view 0 is the puzzle as it is, another shows each through a
        symmetry. Returns the view, int64, and the function that turns answers to it back, (N, S)
        tokens to the same."""
        puzzles = {name: part.long() for name, part in puzzles.items()}
        if k == 0:
            return puzzles, lambda answers: answers
        inputs = puzzles["inputs"]
        tokens, cells = self.view_symmetries(k, len(inputs), inputs.device)
        own_tokens = tokens.argsort(1)  # the inverse of a permutation

        def turn_back(answers):
            return torch.zeros_like(answers).scatter(1, cells, own_tokens.gather(1, answers))

        return self.through(puzzles, tokens, cells), turn_back

    def validation(self, count):
        """About so many validation puzzles, for the figures shown during training."""
        return {name: part[:count] for name, part in self.splits["valid"].items()}

    def summary(self, found):
        """How many answers break no rule and yet are not the file's (it may have none): a line of
        text, or "" for 0. found: the "inputs", "labels" and "answers", (N, S) each."""
        other = (found["answers"] != found["labels"]).any(1)
        questions, answers = (found[name][other].numpy() for name in ("inputs", "answers"))
        wrong = [self.wrong(*puzzle) for puzzle in zip(questions, answers)]
        kept = sum(cells is not None and not cells.any() for cells in wrong)
        return f"{kept:,} answers break no rule, and are not the file's\n" if kept else ""

    def answers_file(self, found):
        """The text of a file for the answers: csv. found: as for `summary`, and how "sure"."""
        return read.csv_text(self.characters, found["inputs"], found["answers"], found["sure"])


class Sudoku(CsvTask):
    """81 cells; tokens: 0 pad, 1 blank, 2..10 the digits 1..9."""

    blank, characters, box = 1, "..123456789", 3
    any_answer = "chosen by the rules"  # an answer that breaks no rule is the solution

    @staticmethod
    def read_file(path):
        question, answer = read.read_sudoku(path)
        return question + 1, None if answer is None else answer + 1

    @staticmethod
    def wrong(inputs, answer, labels=None):
        """As CsvTask.wrong. By the rules a cell is wrong if its digit stands twice in a row, column
        or box, if it is blank, or if it overwrites a given digit."""
        if labels is not None:
            return answer != labels
        digits = np.maximum(answer, 1).astype(np.uint8) - 1  # 0 for a blank, and for a pad
        overwritten = (inputs > 1) & (answer != inputs)
        return read.broken_cells(digits[None])[0] | (digits == 0) | overwritten

    def summary(self, found):
        """As CsvTask.summary. Before it: of the first 1,000 puzzles, which share of each level of
        puzzles/levels.py is solved."""
        known = (found["labels"] != 0).any(1)
        questions, labels, answers = (found[name][known][:1000].numpy()
                                      for name in ("inputs", "labels", "answers"))
        solved = {}  # level -> of each of its puzzles, is it solved?
        for question, right in zip(questions - 1, (answers == labels).all(1)):
            rounds, _ = levels.trial_and_error(question)
            solved.setdefault(levels.LEVELS[min(rounds, 2)], []).append(right)
        shares = [f"{level} {100 * np.mean(solved[level]):.1f}% of {len(solved[level]):,}"
                  for level in levels.LEVELS if level in solved]
        text = f"solved, by level of trial and error: {'; '.join(shares)}\n" if shares else ""
        return text + super().summary(found)

    def symmetries(self, size, device):
        """Rename the digits; permute bands and the rows in each, stacks and the columns in each;
        transpose or not."""

        def shuffle(*shape):  # random permutations of the last axis
            return torch.rand(size, *shape, device=device).argsort(-1)

        def lines():  # (size, 9): the three lines of one band (or stack), then of another
            return (3 * shuffle(3)[:, :, None] + shuffle(3, 3)).flatten(1)

        pad_and_blank = torch.arange(2, device=device).expand(size, 2)
        tokens = torch.cat((pad_and_blank, 2 + shuffle(9)), dim=1)
        cells = 9 * lines()[:, :, None] + lines()[:, None, :]  # (size, 9, 9)
        flip = torch.rand(size, 1, 1, device=device) < 0.5
        return tokens, torch.where(flip, cells.transpose(1, 2), cells).flatten(1)


class Maze(CsvTask):
    """side * side cells; tokens: 0 pad, 1 '#', 2 ' ', 3 'S', 4 'G', 5 'o', the path from S to G."""

    blank, characters, most_views = read.OPEN, read.MAZE, 8
    symbols, fills = ("?", "", "", "S", "G", "\u25cf"), (None, draw.INK, None, None, None, None)
    read_file = staticmethod(read.read_maze)

    def __init__(self, path, device="cpu", train_puzzles=None):
        super().__init__(path, device, train_puzzles)
        side = math.isqrt(self.seq_len)
        grid = np.arange(self.seq_len).reshape(side, side)
        ways = [turn(grid, number).ravel() for number in (0, 1, 2, 3, 6, 5, 7, 4)]
        # (8, S): from which cell each takes its token in each symmetry; the first changes nothing
        self.turns = torch.from_numpy(np.stack(ways)).to(device)

    @staticmethod
    def wrong(inputs, answer, labels=None):
        """As CsvTask.wrong. By the rules a cell is wrong that overwrites the maze; so are the start
        and the path if that is no shortest path."""
        if labels is not None:
            return answer != labels
        side = math.isqrt(len(answer))
        solved = read.is_shortest(answer.reshape(1, side, side))[0]
        overwritten = np.where(answer == read.PATH, read.OPEN, answer) != inputs
        return overwritten | (np.isin(answer, [read.START, read.PATH]) & ~solved)

    def symmetries(self, size, device):
        tokens, _ = super().symmetries(size, device)
        return tokens, self.turns[torch.randint(8, (size,), device=device)]

    def view_symmetries(self, k, size, device):
        tokens, _ = super().symmetries(size, device)
        return tokens, self.turns[k].repeat(size, 1)


# ---- the task of a run ---------------------------------------------------------------------------

TASKS = {"sudoku": Sudoku, "maze": Maze}  # and ARC


def load_task(s, device):
    """The task that settings describe, with its puzzles on the device. Raises BadInput."""
    folder = "small" if s.scale == "small" else "paper"  # medium trains on the paper's kind, too
    bundled = BUNDLED / s.task / folder
    path = s.data or (bundled if bundled.exists() else BUNDLED / s.task)
    if s.task in TASKS:
        task = TASKS[s.task](path, device, s.train_puzzles)
        inputs, labels = task.splits["train"]["inputs"], task.splits["train"]["labels"]
        if (s.hints or s.hints_end) and ((inputs != labels) & (inputs != task.blank)).any():
            raise BadInput(f"--hints: {path} has answers that do not keep what the question gives")
        return task
    if s.task != "arc":
        raise BadInput(f"--task {s.task}: it has no entry in TASKS of data.py")
    if s.train_puzzles or s.hints or s.hints_end:
        raise BadInput("--train_puzzles, --hints: not for ARC, which trains on all of its tasks")
    from arc import Arc  # only here: the rest does without it
    return Arc(path, device, s.augmentations, s.canvas)


def fingerprint(task):
    """A short text that tells one set of training puzzles, or of ARC's views, from another."""
    train, digest = task.splits["train"], hashlib.sha256()
    views = [task.turns, task.colours] if task.num_puzzles else []
    for part in (train["inputs"], train["labels"], *views):
        digest.update(part.cpu().contiguous().numpy())
    return digest.hexdigest()[:16]
