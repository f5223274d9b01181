"""ARC as tensors: grids turned and recoloured, batches, views, votes, puzzle embeddings.

A grid is a 2-D uint8 array of colours 0 to 9, a pair is (input, output). What the net sees of a
grid are tokens on a square canvas. Read `Arc` first. [H] is HRM's paper, arXiv 2506.21734, [J] is
TRM's, arXiv 2510.04871.
"""
import math

import numpy as np
import torch
import torch.distributed as dist

from cli import BadInput
from data import turn
from puzzles import read

END, BLACK = 1, 2  # tokens: 0 pad, 1 end of grid, 2..11 the colours 0..9
UNDOES = 0, 3, 2, 1, 4, 5, 6, 7  # which symmetry of the square undoes each


def crop(tokens):
    """An answer as ARC reads it: the largest rectangle in the top left corner that holds only
    colours. (S,) tokens -> 2-D array of colours, maybe empty."""
    side = math.isqrt(len(tokens))
    grid = np.asarray(tokens).reshape(side, side)
    reach = np.cumprod(grid >= BLACK, axis=1).sum(1)  # how far each row goes on in colours
    wide = np.minimum.accumulate(reach)  # how far all rows down to this one do
    high = (wide * np.arange(1, side + 1)).argmax()
    return grid[: high + 1, : wide[high]] - BLACK


def on_canvas(grid, side, end=END):
    """A grid of colours -> tokens (S,), in the top left corner of a square canvas. Its end is
    marked to the right and below, where the canvas has room."""
    high, wide = grid.shape
    canvas = np.zeros((side, side), np.uint8)
    canvas[:high, :wide] = BLACK + grid
    canvas[high : high + 1, :wide] = end
    canvas[:high, wide : wide + 1] = end
    return canvas.ravel()


def in_all_turns(grids, side):
    """Grids or None -> their tokens in all 8 symmetries of the square (8, N, S), and their sizes
    (8, N, 2). Where there is no grid, all is 0."""
    tokens = np.zeros((8, len(grids), side**2), np.uint8)
    sizes = np.zeros((8, len(grids), 2), np.int64)
    for number, i in np.ndindex(8, len(grids)):
        if grids[i] is not None:
            turned = turn(grids[i], number)
            tokens[number, i], sizes[number, i] = on_canvas(turned, side), turned.shape
    return tokens, sizes


def distinct_views(grids, count, random):
    """Up to `count` views of a task that look different: [(symmetry of the square, (10,) the new
    colours)]. The first is the task as it is; black stays black. A symmetric task, or one of few
    colours, has fewer."""
    turns = np.r_[0, random.randint(8, size=5 * count)]
    colours = np.zeros((len(turns), 10), np.uint8)
    colours[:, 1:] = 1 + random.rand(len(turns), 9).argsort(1)
    colours[0] = range(10)
    turned = [[turn(grid, number) for grid in grids] for number in range(8)]
    shapes = [str([grid.shape for grid in part]) for part in turned]
    cells = [np.concatenate([grid.ravel() for grid in part]) for part in turned]
    found = {}  # what a view looks like -> the first view that looks so
    for number, new in zip(turns.tolist(), colours):
        found.setdefault((shapes[number], new[cells[number]].tobytes()), (number, new))
        if len(found) == count:
            break
    return list(found.values())


class Arc:
    """Tasks of a few pairs of grids. Tokens: 0 pad, 1 end of grid, 2..11 the colours 0..9.

    A *view* of a task is a symmetry of the square and a permutation of the colours. Every task is
    seen through up to `augmentations` fixed views. Each view of each task has an *id*, and so a
    puzzle embedding of its own, which its demonstrations and its tests share: that is how the net
    learns which task it is, turned how and in which colours ([H], [J]). Id 0 is blank.
    A *batch* draws a task for each of its puzzles, then one of its views and one of its pairs.

    For example, the 88 bundled tasks with 8 views each and grids up to 6x6: the ids are 0 to 704,
    and the third task has 17 to 24. Its pairs are kept once, in all 8 symmetries and with colours
    of their own: `inputs` and `labels` are (8, pairs, 36). A batch takes a pair in the symmetry of
    its view, and then gives it the colours of its view.

    The net learns from the demonstrations of all tasks, of the evaluation tasks too, and from the
    tests of the training tasks. The tests of every fourth training task are kept for validation.
    canvas: the side of the square in which training moves the grids about, as in the papers. With
    0 it is as large as the largest grid, and all grids stay in the corner, where tests are asked.
    Raises BadInput.
    """

    vocab_size, blank, votes = 12, None, True
    any_answer = "any answer so far"
    characters, symbols, box, separate = "  .123456789", ("",) * 12, 0, True  # for pictures
    fills = (None, None, "#000000", "#0074d9", "#ff4136", "#2ecc40", "#ffdc00", "#aaaaaa",
             "#f012be", "#ff851b", "#7fdbff", "#870c25")  # the colours as ARC's own pages show them

    def __init__(self, path, device="cpu", augmentations=1000, canvas=0):
        training, evaluation, note = read.read_arc(path)
        self.note = f"{path}: {note}" if note else ""  # what was not taken as it stands there
        self.names = [*training, *evaluation]
        views = [(0, np.arange(10))]  # of each id
        pairs, first_id, first_pair = [], [1], [0]  # the first of each task, and then the end
        valid, asked = [], []  # (the task's place in names, the test's in the task, its pair)
        for number, (demonstrations, tests) in enumerate(
                [*training.values(), *evaluation.values()]):
            grids = [grid for pair in demonstrations for grid in pair]
            grids += [question for question, _ in tests]
            views += distinct_views(grids, augmentations, np.random.RandomState([0, number]))
            pairs += demonstrations
            tests = [(number, k, pair) for k, pair in enumerate(tests)]
            known = [test for test in tests if test[2][1] is not None]
            if number >= len(training):
                asked += tests
            elif number % 4 == 0:
                valid += known
            else:
                pairs += [pair for _, _, pair in known]
            first_id.append(len(views))
            first_pair.append(len(pairs))
        if not valid:
            raise BadInput(f"{path}: no test of a training task comes with its output, which "
                           "validation needs")
        self.tests = valid + asked
        self.num_puzzles, self.first_test = len(views), len(pairs)  # the tests follow the pairs
        self.first_id = torch.tensor(first_id, device=device)
        self.id_count = self.first_id.diff()
        self.first_pair = torch.tensor(first_pair, device=device)
        self.pair_count = self.first_pair.diff()
        self.most_views = self.id_count.max().item()
        self.to_tensors(views, pairs + [pair for _, _, pair in self.tests], canvas, device)
        self.test_task = torch.tensor([number for number, _, _ in self.tests], device=device)
        order = torch.arange(len(self.tests), device=device)
        self.splits = {"train": {"inputs": self.inputs[0, : self.first_test],
                                 "labels": self.labels[0, : self.first_test]},
                       "valid": self.through_view(order[: len(valid)], 0),
                       "test": self.through_view(order[len(valid) :], 0)}

    def to_tensors(self, views, pairs, canvas, device):
        """The views, and the grids of pairs, [(input, output or None)], as tensors."""
        sides = [max(grid.shape) for pair in pairs for grid in pair if grid is not None]
        self.side, self.moves = max(canvas, *sides), canvas > 0
        self.seq_len = self.side**2
        inputs, input_sizes = in_all_turns([question for question, _ in pairs], self.side)
        labels, label_sizes = in_all_turns([answer for _, answer in pairs], self.side)
        self.inputs, self.labels = (torch.from_numpy(part).to(device) for part in (inputs, labels))
        # (8, pairs, 2): the rows and columns that both grids of a pair need
        self.sizes = torch.from_numpy(np.maximum(input_sizes, label_sizes)).to(device)
        # of each id: its symmetry of the square, and what each token becomes
        self.turns = torch.tensor([number for number, _ in views], device=device)
        new_tokens = [[0, END, *(BLACK + new)] for _, new in views]
        self.colours = torch.from_numpy(np.array(new_tokens, np.uint8)).to(device)

    def show(self, pair, ids, offset):
        """Pairs (B,) in the symmetry and the colours of their ids (B,), moved down and to the right
        by offset (B, 2): {"inputs", "labels" (B, S), "ids"}, int64."""
        line = torch.arange(self.side, device=ids.device)
        row = line[:, None] - offset[:, :1, None]  # (B, side, 1): from which row each row comes
        column = line - offset[:, 1:, None]  # (B, 1, side)
        inside = ((row >= 0) & (column >= 0)).flatten(1)
        cells = (self.side * row + column).clamp(0).flatten(1)  # (B, S)
        shown = {"ids": ids}
        for name, grids in (("inputs", self.inputs), ("labels", self.labels)):
            tokens = grids[self.turns[ids], pair].gather(1, cells).long()
            shown[name] = torch.where(inside, self.colours[ids].gather(1, tokens), 0).long()
        return shown

    def batch(self, size):
        """`size` training pairs: {"inputs", "labels"} (B, S), {"ids"} (B,), int64.

        The public codes fill a batch of 768 with all pairs of some 170 views. So a batch of 16
        would have four tasks in it, and learn much more slowly.
        """
        device = self.colours.device
        task = torch.randint(len(self.names), (size,), device=device)
        view = (torch.rand(size, device=device) * self.id_count[task]).long()
        number = (torch.rand(size, device=device) * self.pair_count[task]).long()
        ids, pair = self.first_id[task] + view, self.first_pair[task] + number
        room = self.side - self.sizes[self.turns[ids], pair]  # (B, 2): how far the pair may move
        offset = (torch.rand(size, 2, device=device) * (room + 1)).long()
        stays = ids % self.pair_count[task] == number  # of each view one pair, as in the papers
        return self.show(pair, ids, torch.where(stays[:, None], 0, offset) * self.moves)

    def new_embeddings(self, hidden_size, weight_decay):
        return PuzzleEmbeddings(self.num_puzzles, hidden_size, weight_decay).to(self.turns.device)

    def through_view(self, test, k):
        """The tests (N,), places in self.tests, through view k of their tasks. A task with fewer
        views shows an earlier one again."""
        task = self.test_task[test]
        ids = self.first_id[task] + k % self.id_count[task]
        offset = torch.zeros_like(ids)[:, None].expand(-1, 2)
        return {**self.show(self.first_test + test, ids, offset), "test": test}

    def view(self, puzzles, k):
        """View k of tests. Returns it, and the function that turns answers to it back: tokens
        (N, S) to what ARC reads of them, as tokens in the test's own orientation and colours."""
        view = self.through_view(puzzles["test"], k)
        turns = self.turns[view["ids"]].tolist()
        colours = self.colours[view["ids"], BLACK:].cpu().numpy() - BLACK

        def turn_back(answers):
            own = []
            for answer, number, new_colours in zip(answers.cpu().numpy(), turns, colours):
                own_colours = new_colours.argsort().astype(np.uint8)  # a permutation's inverse
                grid = turn(own_colours[crop(answer)], UNDOES[number])
                own.append(on_canvas(grid, self.side, end=0))
            return torch.from_numpy(np.stack(own)).to(answers)

        return view, turn_back

    def validation(self, count):
        """About so many validation puzzles: tests of training tasks, through several views."""
        tests = self.splits["valid"]["test"]
        views = [self.through_view(tests, k) for k in range(max(1, count // len(tests)))]
        return {name: torch.cat([view[name] for view in views]) for name in views[0]}

    def typed(self, name):
        """An evaluation task's name -> its first test, as a split of its own. Raises BadInput."""
        test = self.splits["test"]
        names = [self.names[self.tests[place][0]] for place in test["test"].tolist()]
        if name not in names:
            raise BadInput(f"--puzzle {name}: no evaluation task has this name; {names[0]} is one")
        first = names.index(name)
        return {part: values[first : first + 1] for part, values in test.items()}

    def title(self, puzzle):
        number, k, _ = self.tests[puzzle["test"].item()]
        return f": task {self.names[number]}, test {k + 1}"

    def guesses(self, found):
        """Of each test the two answers with most votes, as grids: equal answers count as votes, and
        of equally many those of which the net is surer. found: "test" (N,), the "answers" of all
        views, tokens (N, views, S), and how "sure" the net is of them, (N, views)."""
        best = []
        for test, answers, sure in zip(found["test"].tolist(), found["answers"], found["sure"]):
            own = torch.arange(len(sure)) < self.id_count[self.test_task[test]].item()
            asked = own & (sure > 0)  # the task's own views, those of them that were asked
            votes = {}  # an answer -> how sure the net is in each view that gives it
            for tokens, how_sure in zip(answers[asked].tolist(), sure[asked].tolist()):
                votes.setdefault(tuple(tokens), []).append(how_sure)
            ranked = sorted(votes.items(), key=lambda vote: (len(vote[1]), np.mean(vote[1])),
                            reverse=True)
            best.append([crop(answer) for answer, _ in ranked[:2]])
        return best

    def summary(self, found):
        """What ARC counts, as text: is one of the first two guesses right? A task counts as the
        share of its tests solved. found: as for `guesses`."""
        solved = {}  # task -> of each test: is the first guess right, is one of two?
        for test, guesses in zip(found["test"].tolist(), self.guesses(found)):
            number, _, (_, output) = self.tests[test]
            if output is not None:
                right = [np.array_equal(guess, output) for guess in guesses]
                solved.setdefault(number, []).append([right[0], any(right)])
        shares = [np.mean(tests, axis=0) for tests in solved.values()]  # of a task's tests
        one, two = np.sum(shares, axis=0) if shares else (0, 0)
        return (f"the vote of the views: of {len(solved)} tasks {one:g} solved with one guess "
                f"(pass@1), {two:g} with two (pass@2)\n")

    def answers_file(self, found):
        """The text of a file for the answers: the ARC Prize's JSON."""
        names = [self.names[self.tests[test][0]] for test in found["test"].tolist()]
        return read.prize_json(names, self.guesses(found))

    @staticmethod
    def tidy(tokens):
        return on_canvas(crop(tokens), math.isqrt(len(tokens)), end=0)

    @classmethod
    def wrong(cls, inputs, answer, labels=None):
        """Which cells are wrong, (S,) bool; a cell missing or too many is too. None where no one
        knows a solution."""
        if labels is None or not np.any(labels):
            return None
        return cls.tidy(answer) != cls.tidy(labels)


class PuzzleEmbeddings(torch.nn.Module):
    """A learned row for each id of a puzzle, (ids, D), 0 at the start. There may be a million, of
    which a batch has some hundred: so no AdamW, but sign-SGD on these alone ([H], [J])."""

    def __init__(self, count, hidden_size, weight_decay):
        super().__init__()
        self.table = torch.nn.Buffer(torch.zeros(count, hidden_size))
        self.weight_decay = weight_decay

    def rows(self, ids):
        """(B,) -> (B, D), which take a gradient."""
        return self.table[ids].requires_grad_()

    @torch.no_grad()
    def step(self, ids, gradient, lr):
        """Of each row in the batch: row * (1 - lr * weight_decay) - lr * sign(summed gradient)."""
        ids, gradient = gather(ids), gather(gradient)  # DistributedDataParallel knows no table
        share_a_row = (ids[:, None] == ids).to(gradient.dtype)  # (B, B): 1 or 0
        summed = share_a_row @ gradient  # (B, D): those that share a row have the same sum
        self.table[ids] = self.table[ids] * (1 - lr * self.weight_decay) - lr * summed.sign()


def gather(tensor):
    """The tensors of all processes, joined along the first axis."""
    if not (dist.is_available() and dist.is_initialized()):
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)
