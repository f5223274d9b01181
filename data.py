"""The three tasks as tensors: encoded, augmented, in batches, in views, and voted on.

A task is an object: how many tokens and cells it has (`vocab_size`, `seq_len`), its `splits`,
`batch` for training, `views` for rollouts, `picture` for people. Token ids are those of the papers'
public codes. Puzzles live on the device as uint8 token ids: a split is a dict of tensors with one
row a puzzle, "inputs" and "labels", (N, seq_len), and maybe "ids" (N,): which puzzle embedding is
whose. Label 0 is not supervised. Files are read in puzzles/read.py, pictures drawn in
puzzles/draw.py. [H] is HRM's paper, arXiv 2506.21734, [J] TRM's, arXiv 2510.04871.
"""
import hashlib
from pathlib import Path

import numpy as np
import torch

from cli import BadInput
from puzzles import draw, read
from puzzles.answers import count_votes, csv_text, prize_json
from puzzles.read import BLACK, END, crop, distinct_views, turn, turn_back

BUNDLED = Path(__file__).parent / "puzzles"


def bundled(task, scale):
    """Where the bundled puzzles of a task lie; ARC's are the same at every scale."""
    return BUNDLED / task / ("" if task == "arc" else scale)


class Task:
    """What the tasks have in common. A model may learn an embedding for each of `num_puzzles` ids;
    `blank` is the token of the cells to be filled in, None where that is every cell."""

    num_puzzles, blank = 0, None
    votes = False  # whether the answers to a puzzle's views are counted as votes

    def fingerprint(self):
        """A short text that tells one set of training puzzles from another: a run goes on with its
        own. Raises BadInput where there are none."""
        train = self.splits["train"]
        if not len(train["inputs"]):
            raise read.missing("answer", self.place)
        digest = hashlib.sha256()
        for name in sorted(train):
            digest.update(train[name].cpu().numpy())
        return digest.hexdigest()[:16]

    def title(self, puzzle):
        """More to say of a puzzle than its number: nothing."""
        return ""


# ---- Sudoku and mazes ----------------------------------------------------------------------------


class CsvTask(Task):
    """What Sudoku and maze share: puzzles in csv files or arrays, see read.read_splits.

    train_puzzles: how many of the training puzzles to keep. shared_puzzle: all puzzles have the one
    id 0, and so one learned embedding, as in the public codes. Raises BadInput.
    """

    def __init__(self, path, device="cpu", train_puzzles=None, shared_puzzle=False):
        puzzles, self.note = read.read_splits(path, self.read_file, train_puzzles)
        self.place, self.splits = path, {}
        for split, (question, answer) in puzzles.items():
            inputs = self.encode(question, device)
            labels = torch.zeros_like(inputs) if answer is None else self.encode(answer, device)
            self.splits[split] = {"inputs": inputs, "labels": labels}
        self.seq_len = self.splits["train"]["inputs"].shape[1]
        self.num_puzzles = int(shared_puzzle)
        if shared_puzzle:
            for part in self.splits.values():
                part["ids"] = torch.zeros(len(part["inputs"]), dtype=torch.long, device=device)

    def parse(self, text, device="cpu"):
        """A user's own puzzle, as text -> {"inputs": (1, S), maybe "ids"}. Raises BadInput."""
        puzzle = {"inputs": self.encode(self.read_one(text), device)}
        if self.num_puzzles:
            puzzle["ids"] = torch.zeros(1, dtype=torch.long, device=device)
        return puzzle

    def written(self, puzzles, answers, sure):
        """Answers (N, S) to puzzles, with how sure the model is of each, as the text of a file."""
        return csv_text(self.characters, puzzles["inputs"], answers, sure)

    def summary(self, puzzles, answers, sure):
        """Of puzzles whose solution is not known, how many answers keep the rules, as text."""
        unknown = (puzzles["labels"] == 0).all(1)
        if not unknown.any():
            return ""
        pairs = zip(puzzles["inputs"][unknown], answers[unknown])
        kept = sum(not self.wrong(*pair).any() for pair in pairs)
        return (f"{unknown.sum():,} puzzles without a known solution: {kept:,} of the answers "
                "break no rule\n")

    def batch(self, size):
        """`size` training puzzles, each through a symmetry, at random: int64, (B, S)."""
        train = self.splits["train"]
        device = train["inputs"].device  # all of it happens there: a GPU never waits for data
        pick = torch.randint(len(train["inputs"]), (size,), device=device)
        return self.augment({name: part[pick] for name, part in train.items()})

    @classmethod
    def augment(cls, puzzles):
        """Each puzzle through a symmetry drawn at random; inputs and labels come out as int64."""
        size, length = puzzles["inputs"].shape
        return cls.seen(puzzles, *cls.symmetries(size, length, puzzles["inputs"].device))

    @staticmethod
    def seen(puzzles, tokens, cells):
        """Puzzles through a symmetry each: tokens (B, V), what a token becomes; cells (B, S), which
        cell comes to stand here."""
        puzzles = dict(puzzles)
        for name in {"inputs", "labels"} & set(puzzles):
            moved = puzzles[name].long().gather(1, cells)
            puzzles[name] = tokens.gather(1, moved)
        return puzzles

    @classmethod
    def views(cls, puzzles, K):
        """K views in a row of each puzzle, the first as it is, the others through symmetries drawn
        at random. Returns them, uint8 (N * K, S), and a function that turns answers to them back,
        int64 (N * K, S) -> the same."""
        puzzles = {name: part.repeat_interleave(K, 0) for name, part in puzzles.items()}
        size, length = puzzles["inputs"].shape
        tokens, cells = cls.distinct(K, size, length, puzzles["inputs"].device)
        own_tokens = tokens.argsort(1)  # the inverse of a permutation

        def back(answers):
            return torch.zeros_like(answers).scatter(1, cells, own_tokens.gather(1, answers))

        seen = cls.seen(puzzles, tokens, cells)
        return {name: part.to(puzzles[name].dtype) for name, part in seen.items()}, back

    @classmethod
    def distinct(cls, K, size, length, device):
        """Symmetries for K views in a row of each puzzle, `size` in all: the first changes nothing,
        no two of the others are likely to be the same."""
        tokens, cells = cls.symmetries(size, length, device)
        tokens[::K] = torch.arange(cls.vocab_size, device=device)
        cells[::K] = torch.arange(length, device=device)
        return tokens, cells


class Sudoku(CsvTask):
    """81 cells; tokens: 0 pad, 1 blank, 2..10 the digits 1..9."""

    vocab_size, seq_len, blank, characters = 11, 81, 1, "..123456789"
    read_file = staticmethod(read.read_sudoku)
    wrong = staticmethod(draw.sudoku_wrong)
    picture = staticmethod(draw.sudoku_picture)

    @staticmethod
    def encode(digits, device="cpu"):
        return torch.from_numpy(digits + 1).to(device)

    def read_one(self, text):
        return read.parse_sudoku(text)

    @staticmethod
    def symmetries(size, length, device):
        """Rename the digits; permute bands and rows inside a band, stacks and columns inside a
        stack; transpose: `size` times at random, as (B, 11) tokens and (B, 81) cells."""

        def shuffle(*shape):  # random permutations of the last axis
            return torch.rand(size, *shape, device=device).argsort(-1)

        def lines():  # (B, 9): three lines of one band (stack), then of another
            return (3 * shuffle(3)[:, :, None] + shuffle(3, 3)).flatten(1)

        pad_and_blank = torch.arange(2, device=device).expand(size, 2)
        tokens = torch.cat((pad_and_blank, 2 + shuffle(9)), dim=1)
        cells = 9 * lines()[:, :, None] + lines()[:, None, :]  # (B, 9, 9)
        flip = torch.rand(size, 1, 1, device=device) < 0.5
        return tokens, torch.where(flip, cells.transpose(1, 2), cells).flatten(1)


class Maze(CsvTask):
    """side * side cells; tokens: 0 pad, 1 '#', 2 ' ', 3 'S', 4 'G', 5 'o', the path from S to G."""

    vocab_size, blank, characters = 6, read.OPEN, read.MAZE
    read_file = staticmethod(read.read_maze)
    wrong = staticmethod(draw.maze_wrong)
    picture = staticmethod(draw.maze_picture)

    @staticmethod
    def encode(tokens, device="cpu"):
        return torch.from_numpy(tokens).to(device)

    def read_one(self, text):
        return read.parse_maze(text, self.seq_len)

    @staticmethod
    def turns(length, device):
        """(8, S): which cell comes to stand here, in each symmetry of the square; in the first, the
        cell itself."""
        grid = torch.arange(length, device=device).view(int(length**0.5), -1)
        ways = [side.rot90(turns) for side in (grid, grid.T) for turns in range(4)]
        return torch.stack(ways).flatten(1)

    @classmethod
    def symmetries(cls, size, length, device):
        """One of the 8 symmetries of the square each; the tokens stay."""
        tokens = torch.arange(cls.vocab_size, device=device).repeat(size, 1)
        return tokens, cls.turns(length, device)[torch.randint(8, (size,), device=device)]

    @classmethod
    def distinct(cls, K, size, length, device):
        """As CsvTask's, but no two views of a maze are the same."""
        if K > 8:
            raise BadInput(f"--rollouts {K}: a maze has 8 views; "
                           "--noise makes more trajectories differ")
        tokens, _ = cls.symmetries(size, length, device)
        others = 1 + torch.rand(size // K, 7, device=device).argsort(1)  # (N, 7), in random order
        which = torch.cat((torch.zeros_like(others[:, :1]), others), dim=1)[:, :K]
        return tokens, cls.turns(length, device)[which.flatten()]


# ---- ARC -----------------------------------------------------------------------------------------


def starts(lengths):
    """Where each of some stretches begins that lie one after the other."""
    return np.cumsum(lengths) - lengths


class Arc(Task):
    """A canvas of side `canvas`, in which training moves the grids about; 0: the largest grid's,
    and they stay in the corner, where tests are asked. Tokens: 0 pad, 1 end of grid, 2..11 the
    colours 0..9.

    Every task is seen through up to `augmentations` views, and each (task, view) has an id, so an
    embedding of its own, shared by its demonstrations and its tests: that is how the net learns
    which task, orientation and colours it has before it ([J], [H]). Id 0 is blank. Trained on are
    the demonstrations of all tasks, of the evaluation tasks too, and the tests of the training
    tasks; the tests of every fourth training task are kept back for validation.
    splits["valid"] and ["test"]: first every test input as it is, then through the next view, and
    so on; "test" says which test, as a place in self.tests. A test without output is predicted and
    not scored: its labels are all 0. Raises BadInput.
    """

    vocab_size, votes = 12, True
    wrong = staticmethod(draw.arc_wrong)
    picture = staticmethod(draw.arc_picture)

    def __init__(self, path, device="cpu", augmentations=1000, canvas=0, train_puzzles=None):
        if train_puzzles:
            raise BadInput("--train_puzzles: ARC trains on all of its tasks")
        self.names = []  # of the tasks: first the training tasks, then the evaluation tasks
        self.tests = {"valid": [], "test": []}  # (task's place in names, number in the task, pair)
        pairs, pair_count, views = [], [], []
        *found, self.note = read.read_arc(path)
        for split, tasks in zip(("valid", "test"), found):
            for i, (name, (demonstrations, tests)) in enumerate(tasks.items()):
                number = len(self.names)
                trained = list(demonstrations)
                if split == "valid" and i % 4:
                    trained += [pair for pair in tests if pair[1] is not None]
                else:
                    self.tests[split] += [(number, k, pair) for k, pair in enumerate(tests)
                                          if split == "test" or pair[1] is not None]
                grids = [grid for pair in demonstrations for grid in pair]
                grids += [question for question, _ in tests]
                random = np.random.RandomState([0, number])
                views.append(distinct_views(grids, augmentations, random))
                self.names.append(name)
                pairs += trained
                pair_count.append(len(trained))
        if not self.tests["valid"]:
            raise BadInput(f"{path}: no test of a training task comes with its output, "
                           f"which validation needs{'; ' * bool(self.note)}{self.note}")
        everything = pairs + [pair for tests in self.tests.values() for _, _, pair in tests]
        sides = [max(grid.shape) for pair in everything for grid in pair if grid is not None]
        self.side, self.moves = max(canvas, *sides), canvas > 0
        self.seq_len = self.side**2

        def put(array):
            return torch.from_numpy(array).to(device)

        # of each id: its symmetry of the square, what its tokens become, which pair stays in place
        id_count = np.array([len(of_task) for of_task in views])
        self.num_puzzles = 1 + id_count.sum().item()
        turns = np.array([0] + [number for of_task in views for number, _ in of_task])
        colours = np.zeros((self.num_puzzles, 12), np.uint8)
        colours[:, END] = END
        colours[1:, BLACK:] = BLACK + np.stack([new for of_task in views for _, new in of_task])
        in_place = np.random.RandomState(0).rand(self.num_puzzles).astype(np.float32)
        self.turns, self.colours, self.in_place = put(turns), put(colours), put(in_place)
        # of each task: its ids and its training pairs
        self.first_id, self.id_count = put(1 + starts(id_count)), put(id_count)
        self.first_pair, self.pair_count = put(starts(pair_count)), put(np.array(pair_count))
        self.grids, self.sizes = map(put, read.stack(pairs, self.side))
        self.splits = {split: self.expand(tests, device) for split, tests in self.tests.items()}
        self.splits["train"] = {"inputs": self.grids[0, 0], "labels": self.grids[1, 0]}

    def place(self, tokens, ids, offset):
        """Turned grids in the colours of their ids, moved down and to the right: tokens (B, S), ids
        (B,), offset (B, 2) -> (B, S) int64."""
        line = torch.arange(self.side, device=tokens.device)
        r, c = line[:, None] - offset[:, :1, None], line - offset[:, 1:, None]
        cells = (self.side * r + c).clamp(0).flatten(1)  # which cell comes to stand here
        inside = ((r >= 0) & (c >= 0)).flatten(1)
        seen = self.colours[ids].gather(1, tokens.gather(1, cells).long())
        return torch.where(inside, seen, 0).long()

    def batch(self, size):
        """`size` training pairs: {"inputs", "labels"} (B, S), {"ids"} (B,), int64. For each a task
        is drawn, a view of it and a pair, which may be moved about in the canvas. (The public codes
        fill a batch of 768 with all pairs of some 170 views. A batch of 16 would have four tasks in
        it, and learn much more slowly.)"""
        device = self.colours.device

        def draw_one(count):  # of so many, for each of the batch
            return (torch.rand(size, device=device) * count).long()

        task = torch.randint(len(self.names), (size,), device=device)
        ids = self.first_id[task] + draw_one(self.id_count[task])
        number = draw_one(self.pair_count[task])
        pair, turned = self.first_pair[task] + number, self.turns[ids]
        room = self.side - self.sizes[:, turned, pair].amax(0)  # (B, 2)
        offset = (torch.rand(size, 2, device=device) * (room + 1)).long()
        # one pair of each view is never moved: tests are asked in the corner
        still = (self.in_place[ids] * self.pair_count[task]).long() == number
        offset = torch.where(still[:, None], 0, offset) * self.moves
        inputs, labels = (self.place(grids[turned, pair], ids, offset) for grids in self.grids)
        return {"inputs": inputs, "labels": labels, "ids": ids}

    def expand(self, tests, device):
        """Test pairs through every view of their task: every pair through the first, then through
        the second, ..."""
        both, _ = read.stack([pair for _, _, pair in tests], self.side)  # inputs and labels
        both = torch.from_numpy(both).to(device)
        task = torch.tensor([number for number, _, _ in tests], device=device)
        parts = []
        for view in range(int(self.id_count.max())):
            test = (self.id_count[task] > view).nonzero()[:, 0]  # those that have such a view
            ids = self.first_id[task[test]] + view
            corner = torch.zeros(len(test), 2, dtype=torch.long, device=device)
            inputs, labels = (self.place(tokens[self.turns[ids], test], ids, corner).to(torch.uint8)
                              for tokens in both)
            parts.append({"inputs": inputs, "labels": labels, "ids": ids, "test": test})
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def views(self, puzzles, K):
        """Those of the puzzles that show a test through one of the first K views of its task (one
        puzzle alone stays): the training's views, each with its id. `summary` turns them back."""
        task = torch.tensor([number for number, _, _ in self.tests["test"]],
                            device=self.first_id.device)
        early = puzzles["ids"] - self.first_id[task[puzzles["test"]]] < K
        early |= len(early) == 1
        return {name: part[early] for name, part in puzzles.items()}, lambda answers: answers

    def title(self, puzzle):
        """Where a puzzle of the test split comes from, as text."""
        number, k, _ = self.tests["test"][puzzle["test"]]
        view = (puzzle["ids"] - self.first_id[number]).item()
        return (f": task {self.names[number]}, test {k + 1}, "
                f"view {view + 1} of {self.id_count[number]}")

    def parse(self, text, device="cpu"):
        """An evaluation task's name -> its first test input as it is, {"inputs": (1, S), ...}.
        Raises BadInput."""
        for i, (number, _, _) in enumerate(self.tests["test"]):
            if self.names[number] == text:  # the first view of all tests comes first
                return {name: part[i : i + 1] for name, part in self.splits["test"].items()}
        raise BadInput(f"--puzzle {text}: no evaluation task has this name")

    def vote(self, puzzles, answers, sure):
        """Each answer is cropped, turned back and given its task's own colours again. Returns what
        answers.count_votes makes of them, {test: [grid, ...]}."""
        turns = self.turns.tolist()
        own_colours = (self.colours[:, BLACK:].cpu() - BLACK).argsort(1).numpy()  # (ids, 10)
        grids = [own_colours[i][turn_back(crop(answer), turns[i])].astype(np.uint8)
                 for i, answer in zip(puzzles["ids"].tolist(), answers)]
        return count_votes(puzzles["test"].tolist(), grids, sure.tolist())

    def written(self, puzzles, answers, sure):
        """The two answers with most votes to each test, as the text of a file."""
        names = [self.names[number] for number, _, _ in self.tests["test"]]
        return prize_json(names, self.vote(puzzles, answers, sure))

    def summary(self, puzzles, answers, sure):
        """What ARC counts, as text: the two answers to a test with most votes are the guesses; a
        task counts as the share of its tests solved. answers (N, S) tokens, sure (N,) how sure the
        model is of each."""
        solved = {}  # task -> of each test: is the first guess, one of two, any answer right?
        for test, ranked in self.vote(puzzles, answers, sure).items():
            number, _, (_, output) = self.tests["test"][test]
            if output is not None:
                right = [np.array_equal(grid, output) for grid in ranked]
                among = [any(right[:1]), any(right[:2]), any(right)]
                solved.setdefault(number, []).append(among)
        one, two, _ = sum((np.mean(tests, axis=0) for tests in solved.values()), np.zeros(3))
        every_test = [among for tests in solved.values() for among in tests]
        hits = sum(found for _, _, found in every_test)
        return (f"the vote of all views: of {len(solved)} tasks {one:g} solved with one guess "
                f"(pass@1), {two:g} with two (pass@2); an oracle finds the output of {hits} of "
                f"{len(every_test)} tests among the answers\n")


TASKS = {"sudoku": Sudoku, "maze": Maze, "arc": Arc}
