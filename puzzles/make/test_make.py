"""Tests that the bundled puzzles are what README.md says they are, and can be made again."""
import numpy as np
import pytest

from data import turn
from puzzles import read
from puzzles.make import __main__ as files
from puzzles.make import maze, rules, sudoku


def read_set(name, read_file):
    splits, _ = read.read_splits(files.PUZZLES / name, read_file)
    return splits


def test_small_sudokus_are_solved_without_a_guess_and_share_no_solution():
    seen = set()
    for split, (questions, answers) in read_set("sudoku/small", read.read_sudoku).items():
        assert len(questions) == files.SIZES[split]
        blanks = (questions == 0).sum(1)
        assert 36 <= blanks.min() and blanks.max() <= 44
        for question, answer in zip(questions.tolist(), answers.tolist()):
            assert list(sudoku.propagate(question)) == [1 << digit for digit in answer]
            seen.add(sudoku.fingerprint(answer))
    assert len(seen) == sum(files.SIZES.values())  # symmetries included


def test_hard_sudokus_have_one_solution_and_no_clue_to_spare():
    for split, (questions, answers) in read_set("sudoku/paper", read.read_sudoku).items():
        lines = (files.PUZZLES / "sudoku/paper" / f"{split}.csv").read_text().splitlines()[1:]
        ratings = [int(line.rsplit(",", 1)[1]) for line in lines]
        assert len(ratings) == len(questions) == files.SIZES[split]
        assert min(ratings) >= 10 and np.mean(ratings) >= 48
        random = np.random.RandomState(0)
        for i in range(0, len(ratings), len(ratings) // 4):
            question, answer = questions[i].tolist(), answers[i].tolist()
            assert sudoku.solutions(sudoku.propagate(question), random, limit=2) == [answer]
        for clue in np.flatnonzero(question):  # of the last one, each is needed
            less = question[:clue] + [0] + question[clue + 1 :]
            assert len(sudoku.solutions(sudoku.propagate(less), random, limit=2)) == 2


def test_extreme_sudokus_and_those_beyond_have_one_solution_and_share_none():
    random, seen, count = np.random.RandomState(0), set(), 0
    for name in ("paper", "extreme", "beyond"):
        for questions, answers in read_set(f"sudoku/{name}", read.read_sudoku).values():
            seen |= {sudoku.fingerprint(answer) for answer in answers.tolist()}
            count += len(answers)
            for question, answer in zip(questions[:2].tolist(), answers[:2].tolist()):
                assert sudoku.solutions(sudoku.propagate(question), random, 2) == [answer]
    assert len(seen) == count == sum(files.SIZES.values()) + sum(files.EXTREME_SIZES.values()) + 200


@pytest.mark.parametrize("name, sizes, shortest", [
    ("maze/small", files.SMALL_MAZE_SIZES, 1), ("maze/paper", files.SIZES, 111)])
def test_mazes_have_one_shortest_path_each_and_share_no_walls(name, sizes, shortest):
    seen = set()
    for split, (_, answers) in read_set(name, read.read_maze).items():
        assert len(answers) == sizes[split]  # each has a shortest path, or reading had refused it
        assert (answers == read.PATH).sum(1).min() == shortest
        characters = np.array(list(read.MAZE))[answers]
        seen |= {maze.fingerprint(answer) for answer in characters}
        side = int(answers.shape[1] ** 0.5)
        for answer in answers.reshape(-1, side, side)[:: len(answers) // 2]:
            marked = np.argwhere(answer == read.PATH)
            copies = np.repeat(answer[None], len(marked), axis=0)
            passable = copies > read.WALL
            passable[np.arange(len(marked)), marked[:, 0], marked[:, 1]] = False  # another in each
            around = read.distances(passable, copies == read.START, copies == read.GOAL)
            assert ((around < 0) | (around > len(marked) + 1)).all()  # no other way is as short
    assert len(seen) == sum(sizes.values())  # symmetries of the square included


@pytest.mark.parametrize("name, some", [
    ("sudoku/small", (999, 7, 0)), ("sudoku/paper", (5, 79, 185)),  # most take seconds, these not
    ("sudoku/extreme", (46,)), ("maze/small", (999, 7, 0)), ("maze/paper", (999, 7, 0))])
def test_csv_puzzles_can_be_made_again(name, some):
    _, puzzle, _, _ = files.SETS[name]
    for split, i in zip(("test", "valid", "train"), some):
        lines = (files.PUZZLES / name / f"{split}.csv").read_bytes().split(b"\n")
        assert files.csv_line(*puzzle(split, i)).encode() == lines[i + 1]


def test_puzzles_that_are_the_same_but_for_a_symmetry_or_their_question_are_made_once(tmp_path):
    grid = np.array(list(maze.small_maze("test", 0)[1])).reshape(8, 8)
    assert len({maze.fingerprint(turn(grid, number).ravel()) for number in range(8)}) == 1
    _, answer, _ = sudoku.small_sudoku("test", 0)
    with pytest.raises(SystemExit, match="may share their solution"):
        files.write_csv(tmp_path, lambda split, i: ([i, *answer[1:]], answer, 0),
                        sudoku.fingerprint, {"test": 2})


def test_arc_tasks_have_a_rule_each_and_can_be_made_again(tmp_path):
    for split, by_name in (("training", rules.TRAINING), ("evaluation", rules.EVALUATION)):
        bundled = (files.PUZZLES / "arc" / split).glob("*.json")
        found = {file.stem: file.read_bytes() for file in bundled}
        files.write_arc(tmp_path / split, by_name)
        assert len(found) >= 40 and set(found) == set(by_name)
        for name, text in found.items():
            assert (tmp_path / split / f"{name}.json").read_bytes() == text
    assert not set(rules.TRAINING) & set(rules.EVALUATION)
