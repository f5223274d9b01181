"""Tests of data.py and arc.py: symmetries, batches, views, votes. What a test expects is written in
plain Python or with numpy's own functions, not with the code that it tests."""
import json
import math
import re
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch

import data
import evaluate
import train
from cli import BadInput
from arc import Arc, crop, distinct_views
from data import Maze, Sudoku, fingerprint, give_hints, turn
from puzzles import levels, read
from puzzles.make import sudoku as make_sudoku
from puzzles.make.sudoku import fingerprint as unchanged_by_symmetries

HERE = Path(__file__).parent
SUDOKU = Sudoku(HERE / "sudoku/small")
MAZE = Maze(HERE / "maze/small")
ARC = Arc(HERE / "arc", augmentations=6)


def digits(tokens):
    """Tokens of Sudokus -> their digits, 0 for a blank."""
    return (tokens.numpy() - 1).astype(np.uint8)


def squares(tokens):
    """(..., S) tokens -> (N, side, side)."""
    side = math.isqrt(tokens.shape[-1])
    return np.asarray(tokens).reshape(-1, side, side)


# ---- Sudoku and mazes ----------------------------------------------------------------------------


def test_symmetries_of_a_sudoku_reach_all_that_they_may():
    torch.manual_seed(0)
    tokens, cells = SUDOKU.symmetries(12000, "cpu")
    assert (tokens[:, :2] == torch.arange(2)).all()  # pads and blanks stay
    assert all(len(tokens[:, digit].unique()) == 9 for digit in range(2, 11))
    # Two cells of a row come from any row or column: from one box of it, or from any two boxes.
    for other, places in ((1, 2), (3, 6), (9, 2), (27, 6)):
        assert len(cells[:, [0, other]].unique(dim=0)) == 81 * 2 * places


def test_a_batch_of_sudokus_shows_training_puzzles_alone_and_keeps_the_rules():
    torch.manual_seed(0)
    batch, known = SUDOKU.batch(40), digits(SUDOKU.splits["train"]["labels"])
    assert batch["inputs"].shape == (40, 81) and batch["inputs"].dtype == torch.long
    question, answer = digits(batch["inputs"]), digits(batch["labels"])
    assert not read.broken_cells(answer).any() and (answer > 0).all()
    assert ((question == 0) | (question == answer)).all() and (question == 0).any(1).all()
    drawn = {unchanged_by_symmetries(grid) for grid in answer.tolist()}
    assert len(drawn) > 30 and drawn <= {unchanged_by_symmetries(grid) for grid in known.tolist()}
    assert not {row.tobytes() for row in answer} & {row.tobytes() for row in known}


def test_a_batch_of_mazes_shows_training_puzzles_in_all_symmetries_of_the_square():
    torch.manual_seed(0)
    few = Maze(HERE / "maze/small", train_puzzles=3)
    pairs = zip(*(squares(few.splits["train"][name].long()) for name in ("inputs", "labels")))
    expected = {tuple(turn(grid, number).tobytes() for grid in pair)
                for pair in pairs for number in range(8)}
    batch = few.batch(1000)
    seen = [tuple(grid.tobytes() for grid in pair)
            for pair in zip(squares(batch["inputs"]), squares(batch["labels"]))]
    assert len(expected) == 24 and set(seen) == expected
    assert min(map(seen.count, expected)) > 15


def test_hints_are_of_the_solution_and_at_most_so_large_a_share_of_it():
    torch.manual_seed(0)
    puzzles = SUDOKU.batch(1000)
    inputs, labels = puzzles["inputs"].clone(), puzzles["labels"].clone()
    for largest in (0.3, 1.0):
        found = give_hints(puzzles, largest)
        given = found["inputs"] != inputs
        assert (found["inputs"] == labels)[given].all() and found["labels"].equal(labels)
        filled = given.sum(1) / (inputs != labels).sum(1)  # of the cells to be filled in
        assert filled.min() < 0.1 and 0.9 * largest < filled.max() < largest + 0.4
        assert abs(filled.mean() - largest / 2) < 0.05 * largest
    assert puzzles["inputs"].equal(inputs)  # the puzzles are left as they are


@pytest.mark.parametrize("task", [SUDOKU, MAZE])
def test_the_views_of_a_puzzle_differ_and_answers_to_them_are_turned_back(task):
    torch.manual_seed(0)
    few = {name: part[:20].long() for name, part in task.splits["test"].items()}
    labels = []
    for k in range(task.most_views or 8):
        view, turn_back = task.view(few, k)
        assert all(turn_back(view[name]).equal(few[name]) for name in few)
        labels.append(view["labels"])
    assert labels[0].equal(few["labels"]) and len(labels) == 8
    assert all(len(views.unique(dim=0)) == 8 for views in torch.stack(labels, dim=1))


@pytest.mark.parametrize("task, wrong", [
    (SUDOKU, ["1" + 79 * ".", "11" + 79 * ".", "x" + 80 * "."]),
    (MAZE, ["S G", "S G" + 6 * " ", "G" + 63 * " ", "SGo" + 61 * " "])])
def test_a_typed_puzzle_has_the_tokens_of_the_files_and_no_known_solution(task, wrong):
    inputs = task.splits["test"]["inputs"][:1]
    text = "".join(task.characters[token] for token in inputs[0])
    for own in (text, text.replace(" ", "."), text[:30] + "\n" + text[30:]):
        typed = task.typed(own)
        assert typed["inputs"].equal(inputs) and not typed["labels"].any()
    for own in wrong:
        with pytest.raises(BadInput, match="^--puzzle: "):
            task.typed(own)


def test_the_summary_counts_the_answers_that_differ_from_the_files_and_break_no_rule():
    solutions = SUDOKU.splits["test"]["labels"][:4]
    blank, others = torch.ones_like(solutions), solutions.roll(1, 0)
    others[2:, 0] = others[2:, 1]  # a digit stands twice
    two = "2 answers break no rule, and are not the file's\n"
    for labels, answers, text in ((solutions, solutions, ""), (solutions, blank, ""),
                                  (solutions, others, two), (0 * solutions, others, two)):
        summary = SUDOKU.summary({"inputs": blank, "labels": labels, "answers": answers})
        assert summary.endswith(text) and summary.count("answers") == text.count("answers")
        assert ("level" in summary) == labels.any()  # only where it is known what is solved


@pytest.mark.parametrize("name, rounds, guessed", [
    ("small", {0}, 0), ("paper", {1, 2}, 11), ("extreme", {2}, 0), ("beyond", {-1}, 0)])
def test_levels_are_those_of_trial_and_error_cell_by_cell(name, rounds, guessed):
    questions, _ = read.read_sudoku(HERE / "sudoku" / name / "test.csv")
    found = [levels.trial_and_error(question) for question in questions[:12]]
    assert {count for count, _ in found} == rounds
    assert sum(one_guess for _, one_guess in found) == guessed
    for both, question in zip(found[:3], questions.tolist()):
        _, count, guesses = make_sudoku.trial_and_error(question)
        assert both == (count, guesses > 0)


@pytest.mark.parametrize("given", [
    {0: 5, 1: 5},  # the 5 twice in a row
    {36: 1, 37: 2, 38: 3, 4: 4, 13: 5, 22: 6, 48: 7, 50: 8, 32: 9},  # no digit is left for cell 40
    {28: 1, 37: 2, 56: 1, 65: 2, 12: 1, 13: 2, 24: 1, 25: 2}])  # 1 and 2 both need cell 0
def test_a_grid_that_contradicts_itself_has_no_candidates(given):
    cells = np.full((81, 2), 511, np.uint16)  # two grids, and the second is empty
    for cell, digit in given.items():
        cells[cell, 0] = 1 << digit - 1
    assert (levels.fill_singles(cells) == [0, 511]).all()


def test_the_summary_tells_the_levels_apart():
    questions, answers = (torch.from_numpy(np.concatenate(parts)) + 1 for parts in zip(*(
        [part[:4] for part in read.read_sudoku(HERE / "sudoku" / name / "test.csv")]
        for name in ("small", "extreme", "beyond"))))
    wrong = answers.clone()
    wrong[[0, 4, 5, 8], 80] += 1
    found = {"inputs": questions, "labels": answers, "answers": wrong}
    found = {name: part.repeat(10, 1) for name, part in found.items()}
    assert SUDOKU.summary(found) == (
        "solved, by level of trial and error: singles 75.0% of 40; "
        "two rounds and more 50.0% of 40; beyond 75.0% of 40\n")


def test_a_wrong_puzzle_of_what_can_be_read_only_once_is_told_by_its_number():
    with pytest.raises(BadInput, match="a-pipe, puzzle 2: it is wrong"):
        read.refuse(np.array([False, True]), Path("a-pipe"), "it is wrong")


# ---- a task of one's own, as README.md has it ----------------------------------------------------


def test_a_class_and_an_entry_in_tasks_make_a_task(tmp_path, monkeypatch, capsys):
    (text,) = re.findall(r"```python\n(class .*?)```", (HERE / "README.md").read_text(), re.DOTALL)
    names = dict(vars(data))  # as if the class stood in data.py
    exec(text, names)
    monkeypatch.setitem(data.TASKS, "sudoku4", names["Sudoku4"])
    lines = ["question,answer"]
    for new in permutations("1234"):  # one solution, its digits renamed in all ways
        answer = "1234341221434321".translate(str.maketrans("1234", "".join(new)))
        lines.append(f"..{answer[2:8]}..{answer[10:]},{answer}")
    (tmp_path / "train.csv").write_text("\n".join(lines[:21]))
    (tmp_path / "test.csv").write_text("\n".join(lines[:1] + lines[21:]))
    run, picture = str(tmp_path / "run"), tmp_path / "a.svg"
    sizes = "--hidden_size 8 --num_heads 1 --batch_size 4 --N_sup 2 --steps 2".split()
    assert train.main(["--task", "sudoku4", "--data", str(tmp_path), "--out", run, *sizes]) == 0
    assert "4 test puzzles" in capsys.readouterr().out
    own = names["Sudoku4"](tmp_path)
    assert own.typed(lines[-1][:16])["inputs"].equal(own.splits["test"]["inputs"][-1:])
    assert evaluate.main([run, "--puzzle", lines[-1][:16], "--svg", str(picture)]) == 0
    assert "step 1: " in capsys.readouterr().out and picture.read_text().startswith("<svg")
    # answers that replace the question, which hints would overwrite; tokens that count from 0
    monkeypatch.setattr(names["Sudoku4"], "blank", None)
    with pytest.raises(BadInput, match="--hints: .* do not keep what the question gives"):
        train.main(["--task", "sudoku4", "--data", str(tmp_path), "--hints", "0.5"])
    from_0 = {".": 1, "1": 0, "2": 1, "3": 2, "4": 3}
    monkeypatch.setattr(names["Sudoku4"], "read_file",
                        staticmethod(lambda path: read.read_csv(path, 16, from_0)))
    with pytest.raises(BadInput, match="token 0 in an answer has no loss; count from 1"):
        names["Sudoku4"](tmp_path)
    monkeypatch.setattr(names["Sudoku4"], "read_file",
                        staticmethod(lambda path: read.read_csv(path, 16, {c: 6 for c in ".1234"})))
    with pytest.raises(BadInput, match="a token is not below 6, the number of characters"):
        names["Sudoku4"](tmp_path)
    monkeypatch.delitem(data.TASKS, "sudoku4")
    with pytest.raises(BadInput, match="--task sudoku4: it has no entry in TASKS"):
        evaluate.main([run])


# ---- ARC -----------------------------------------------------------------------------------------


def plain_canvas(grid, side, corner=(0, 0), end=1):
    """Tokens of a grid in a canvas, (S,), with its end marked to the right and below."""
    (high, wide), (r, c) = np.shape(grid), corner
    canvas = np.zeros((side + 1, side + 1), np.int64)
    canvas[r : r + high + 1, c : c + wide] = canvas[r : r + high, c : c + wide + 1] = end
    canvas[r : r + high, c : c + wide] = np.add(grid, 2)
    return canvas[:side, :side].ravel()


def bundled_tasks(count=None):
    """The first so many of each: {"training": {name: JSON}, "evaluation": ...}."""
    return {split: {file.stem: json.loads(file.read_text())
                    for file in sorted((HERE / "arc" / split).glob("*.json"))[:count]}
            for split in ("training", "evaluation")}


def write_tasks(folder, tasks):
    for split, some in tasks.items():
        (folder / split).mkdir()
        for name, task in some.items():
            (folder / split / f"{name}.json").write_text(json.dumps(task))
    return folder


def test_turn_has_the_numbers_of_the_public_codes():
    grid = np.arange(6).reshape(2, 3)
    expected = [[[0, 1, 2], [3, 4, 5]], [[2, 5], [1, 4], [0, 3]], [[5, 4, 3], [2, 1, 0]],
                [[3, 0], [4, 1], [5, 2]], [[2, 1, 0], [5, 4, 3]], [[3, 4, 5], [0, 1, 2]],
                [[0, 3], [1, 4], [2, 5]], [[5, 2], [4, 1], [3, 0]]]
    assert [turn(grid, number).tolist() for number in range(8)] == expected


def test_crop_finds_the_largest_rectangle_in_the_corner():
    random = np.random.RandomState(0)
    for _ in range(300):
        grid = random.choice(12, (5, 5), p=[0.07, 0.08] + [0.085] * 10)
        areas = [h * w for h in range(1, 6) for w in range(1, 6) if (grid[:h, :w] >= 2).all()]
        kept = crop(grid.ravel())
        assert kept.size == max(areas, default=0)
        assert (kept == grid[: kept.shape[0], : kept.shape[1]] - 2).all()


def test_a_cell_of_an_arc_answer_is_wrong_where_the_cropped_grids_differ():
    label = plain_canvas([[1, 2], [3, 4]], 3)
    wider = plain_canvas([[1, 2, 0], [3, 5, 0]], 3)
    assert np.flatnonzero(Arc.wrong(None, wider, label)).tolist() == [2, 4, 5]
    assert Arc.wrong(None, label, 0 * label) is None and Arc.wrong(None, label) is None


def test_views_look_different_and_begin_with_the_task_as_it_is():
    random = np.random.RandomState(0)
    grids = [random.randint(10, size=(3, 4)), random.randint(10, size=(2, 2))]
    found = distinct_views(grids, 50, random)
    assert found[0][0] == 0 and found[0][1].tolist() == list(range(10))
    assert all(new[0] == 0 and sorted(new) == list(range(10)) for _, new in found)
    assert {number for number, _ in found} == set(range(8))
    shown = {str([new[turn(grid, i)].tolist() for grid in grids]) for i, new in found}
    assert len(shown) == len(found) == 50
    # a square of one colour looks the same in all symmetries, and has nine colours to take
    assert len(distinct_views([np.full((2, 2), 3)], 50, random)) == 9


def seen_as(task, i, grid, corner=(0, 0)):
    """A grid in the view that has this id -> tokens (S,)."""
    new = task.colours[i, 2:].numpy() - 2
    return plain_canvas(new[turn(np.array(grid), task.turns[i].item())], task.side, corner)


@pytest.mark.parametrize("canvas", [0, 9])
def test_arc_batches_show_all_views_of_all_pairs_to_learn_and_move_all_but_one(tmp_path, canvas):
    torch.manual_seed(0)
    tasks = bundled_tasks(12)
    task = Arc(write_tasks(tmp_path, tasks), augmentations=2, canvas=canvas)
    assert (task.side, task.num_puzzles) == (canvas or 6, 1 + 2 * 24)  # id 0 is blank
    places = {}  # what may be seen -> which pair in which view, and its corner
    contents = [*tasks["training"].values(), *tasks["evaluation"].values()]
    for i, number in zip(range(1, 49), np.arange(24).repeat(2)):  # two views of each task
        tests = contents[number]["test"] if number < 12 and number % 4 else []
        for n, pair in enumerate(contents[number]["train"] + tests):
            shapes = [turn(np.array(grid), task.turns[i].item()).shape for grid in pair.values()]
            room = task.side - np.max(shapes, axis=0) if canvas else (0, 0)
            for corner in np.ndindex(room[0] + 1, room[1] + 1):
                tokens = (seen_as(task, i, pair[part], corner) for part in ("input", "output"))
                places[(i, *(part.tobytes() for part in tokens))] = (i, n), corner
    seen, drawn, batch = {}, [], task.batch(8000)
    for i, *tokens in zip(*(batch[name].numpy() for name in ("ids", "inputs", "labels"))):
        pair, corner = places[(int(i), *(part.tobytes() for part in tokens))]
        seen.setdefault(pair, set()).add(corner)
        drawn.append(pair[1])
    assert set(seen) == {pair for pair, _ in places.values()}
    assert set().union(*seen.values()) == {corner for _, corner in places.values()}
    assert drawn.count(0) == pytest.approx(drawn.count(1), rel=0.1)  # equally often
    still = sorted(pair for pair, corners in seen.items() if corners == {(0, 0)})  # as in tests
    assert [i for i, _ in still] == (list(range(1, 49)) if canvas else sorted(i for i, _ in seen))
    assert len({n for _, n in still}) > 2  # not the same pair in every view


def test_the_tests_of_every_fourth_training_task_validate_and_those_of_evaluation_test():
    assert not ARC.turns[1::6].any() and (ARC.colours[1::6] == torch.arange(12)).all()
    tasks = bundled_tasks()
    fourth = list(tasks["training"].items())[::4]
    for split, some in (("valid", fourth), ("test", tasks["evaluation"].items())):
        expected = [(name, n, pair) for name, task in some for n, pair in enumerate(task["test"])]
        own = [plain_canvas(pair["output"], ARC.side, end=0) for _, _, pair in expected]
        for k in range(ARC.most_views):
            view, turn_back = ARC.view(ARC.splits[split], k)
            assert len(view["ids"]) == len(expected) > 10
            for row, (name, n, pair) in enumerate(expected):
                i = 1 + 6 * ARC.names.index(name) + k
                assert view["ids"][row] == i
                assert (view["inputs"][row].numpy() == seen_as(ARC, i, pair["input"])).all()
                assert (view["labels"][row].numpy() == seen_as(ARC, i, pair["output"])).all()
                assert ARC.title({"test": view["test"][row]}) == f": task {name}, test {n + 1}"
            assert (turn_back(view["labels"]).numpy() == own).all()  # without the ends of grids
    assert ARC.title(ARC.typed("half_turn")) == ": task half_turn, test 1"
    held = ARC.splits["valid"]["test"].tolist()
    assert ARC.validation(100)["test"].tolist() == held * (100 // len(held))


def votes_of(task, *answers, sure=(0.5,) * 6):
    """What evaluate.py has found. answers: of each view what it answers to the tests, (N, S)."""
    sure = torch.tensor(sure[: len(answers)]).expand(len(answers[0]), -1)
    return {**task.splits["test"], "answers": torch.stack(answers, dim=1).byte(), "sure": sure}


def solved(task, *answers, **more):
    """How many tasks there are, and how many one guess and two solve, as `summary` says."""
    form = r"of (\d+) tasks (\S+) solved with one guess \(pass@1\), (\S+) with two \(pass@2\)\n"
    text = task.summary(votes_of(task, *answers, **more))
    return [float(figure) for figure in re.search(form, text).groups()]


def right_and_wrong(task):
    """Answers to the tests, (N, S): right ones, and two kinds of wrong ones."""
    test, without_ends = task.view(task.splits["test"], 0)
    right = without_ends(test["labels"])
    return right, torch.full_like(right, 10), torch.full_like(right, 11)  # colours 8 and 9


def test_a_task_is_solved_by_the_answer_with_most_votes_or_by_one_of_two():
    R, W, T = right_and_wrong(ARC)
    n = len(bundled_tasks()["evaluation"])
    assert solved(ARC, R, R, R, R, R, R) == [n, n, n]
    assert solved(ARC, W, W, R, W, W, R, sure=(0.1, 0.1, 0.9) * 2) == [n, 0, n]  # four to two
    assert solved(ARC, W, W, T, T, T, R) == [n, 0, 0]
    assert solved(ARC, W, R, W, R, W, R, sure=(0.9, 0.5) * 3) == [n, 0, n]  # three each
    assert solved(ARC, W, R, W, R, W, R, sure=(0.9, 0.5, 0.1, 0.6, 0.1, 0.5)) == [n, n, n]  # mean
    assert solved(ARC, W, R, R, T, T, T, sure=(0.5,) * 3 + (0.0,) * 3) == [n, n, n]  # not asked
    second = torch.tensor([ARC.tests[place][1] == 1 for place in ARC.splits["test"]["test"]])
    half = n - second.sum().item() / 2  # of two tests one is solved
    assert half < n and solved(ARC, *[torch.where(second[:, None], W, R)] * 6) == [n, half, half]


def test_a_task_with_fewer_views_than_others_has_fewer_votes(tmp_path):
    def task(*colours):
        pairs = [{"input": [[colour]], "output": [[colour] * 2] * 2} for colour in colours]
        return {"train": pairs[:1], "test": pairs[1:]}

    # what is black looks the same in every view
    few = Arc(write_tasks(tmp_path, {"training": {"other": task(5, 6)}, "evaluation": {
        "black": task(0, 0), "coloured": task(1, 2)}}), augmentations=6)
    assert few.id_count.tolist() == [6, 1, 6] and few.most_views == 6
    assert few.view(few.splits["test"], 5)[0]["ids"].tolist() == [7, 13]  # their first: 7, 8
    R, W, _ = right_and_wrong(few)
    assert solved(few, R, W, W, W, W, W) == [2, 1, 2]


def test_arc_tests_without_output_are_answered_and_not_scored(tmp_path):
    tasks, outputs = bundled_tasks(), {}
    for name, task in tasks["evaluation"].items():
        outputs[name] = [pair.pop("output") for pair in task["test"]]
        task["test"][-1]["output"] = None  # as some files have it
    blind = Arc(write_tasks(tmp_path, tasks), augmentations=6)
    assert blind.splits["test"]["inputs"].equal(ARC.splits["test"]["inputs"])
    assert not blind.splits["test"]["labels"].any()
    assert fingerprint(blind) == fingerprint(ARC)  # trained on the same
    R, W, _ = right_and_wrong(ARC)
    assert solved(blind, R, R) == [0, 0, 0]
    # what is written: the two answers with most votes, or one of them twice
    for answers, other in (((R, R), None), ((R, W, R), [[8] * 6] * 6), ((R, R, 0 * R), [[0]])):
        assert json.loads(blind.answers_file(votes_of(blind, *answers))) == {
            name: [{"attempt_1": grid, "attempt_2": other or grid} for grid in grids]
            for name, grids in outputs.items()}
