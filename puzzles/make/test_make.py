"""Tests that the bundled puzzles are what README.md says they are, and can be made again."""
import numpy as np
import pytest

from puzzles import read
from puzzles.make import __main__ as files
from puzzles.make import maze, rules, sudoku


def read_set(name, read_file):
    splits, note = read.read_splits(files.PUZZLES / name, read_file)
    assert not note
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
    seen = set()
    for split, (questions, answers) in read_set("sudoku/paper", read.read_sudoku).items():
        lines = (files.PUZZLES / "sudoku/paper" / f"{split}.csv").read_text().splitlines()[1:]
        ratings = [int(line.rsplit(",", 1)[1]) for line in lines]
        assert len(ratings) == len(questions) == files.SIZES[split]
        assert min(ratings) >= 10 and np.mean(ratings) >= 48
        seen |= {sudoku.fingerprint(answer) for answer in answers.tolist()}
        random = np.random.RandomState(0)
        for i in range(0, len(ratings), len(ratings) // 4):
            question, answer = questions[i].tolist(), answers[i].tolist()
            assert sudoku.solutions(sudoku.propagate(question), random, limit=2) == [answer]
        for clue in np.flatnonzero(question):  # of the last one, each is needed
            less = question[:clue] + [0] + question[clue + 1 :]
            assert len(sudoku.solutions(sudoku.propagate(less), random, limit=2)) == 2
    assert len(seen) == sum(files.SIZES.values())


def test_extreme_sudokus_have_one_solution_and_need_hundreds_of_guesses():
    file = files.PUZZLES / "sudoku/extreme/test.csv"
    questions, answers = read.read_sudoku(file)
    ratings = [int(line.rsplit(",", 1)[1]) for line in file.read_text().splitlines()[1:]]
    assert len(questions) == 500 and 200 <= min(ratings) and max(ratings) <= 1000
    assert len({sudoku.fingerprint(answer) for answer in answers.tolist()}) == 500
    question, answer = questions[0].tolist(), answers[0].tolist()
    assert sudoku.solutions(sudoku.propagate(question), np.random.RandomState(0), 2) == [answer]
    assert sudoku.rate(question) == ratings[0]


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
    ("sudoku/small", (0, 7, 999)), ("sudoku/paper", (185, 79, 5)),  # most take seconds, these not
    ("maze/small", (0, 7, 999)), ("maze/paper", (0, 7, 999))])
def test_csv_puzzles_can_be_made_again(name, some):
    _, puzzle, _, _ = files.SETS[name]
    for split, i in zip(("train", "valid", "test"), some):
        lines = (files.PUZZLES / name / f"{split}.csv").read_bytes().split(b"\n")
        assert files.csv_line(*puzzle(split, i)).encode() == lines[i + 1]


def test_arc_tasks_have_a_rule_each_and_can_be_made_again(tmp_path):
    for split, by_name in (("training", rules.TRAINING), ("evaluation", rules.EVALUATION)):
        bundled = (files.PUZZLES / "arc" / split).glob("*.json")
        found = {file.stem: file.read_bytes() for file in bundled}
        files.write_arc(tmp_path / split, by_name)
        assert len(found) >= 40 and set(found) == set(by_name)
        for name, text in found.items():
            assert (tmp_path / split / f"{name}.json").read_bytes() == text
    assert not set(rules.TRAINING) & set(rules.EVALUATION)
