"""Tests of read.py. What a test expects is written in plain Python, not with the code it tests."""
import json
from pathlib import Path

import numpy as np
import pytest

from cli import BadInput
from puzzles import read

HERE = Path(__file__).parent
HEADER = "source,question,answer,rating\n"
SUDOKUS = (HERE / "sudoku/small/train.csv").read_text().splitlines()[1:201]
GOOD = SUDOKUS[0]  # a line of the published format
_, QUESTION, ANSWER, _ = GOOD.split(",")
MAZES = (HERE / "maze/small/train.csv").read_text().splitlines()[1:101]
READERS = {"sudoku": read.read_sudoku, "maze": read.read_maze}


def write(folder, files):
    """{name: text, bytes, or what becomes JSON} -> files."""
    for name, content in files.items():
        if not isinstance(content, bytes):
            content = (content if isinstance(content, str) else json.dumps(content)).encode()
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def csv_file(lines):
    return HEADER + "".join(f"{line}\n" for line in lines)


def numbers_of(lines, column, characters=".123456789"):
    """Lines of a csv file -> the numbers of a column's characters, a list a puzzle."""
    texts = [line.split(",")[column] for line in lines]
    return [[characters.index(character) for character in text] for text in texts]


def sizes_of(splits):
    return [len(splits[split][0]) for split in ("train", "valid", "test")]


def test_published_folders_are_read_as_they_are(tmp_path):
    # byte-order mark, a column less, Windows line ends, '0' for blanks, no newline at the end
    plain = [",".join(line.split(",")[1:]).replace(".", "0") for line in SUDOKUS[:100]]
    write(tmp_path, {"train.csv": "\ufeff" + "\r\n".join(["question,answer,rating", *plain]),
                     "valid.csv": csv_file(SUDOKUS[100:110]),
                     "test.csv": csv_file(SUDOKUS[110:130])})
    splits, note = read.read_splits(str(tmp_path), read.read_sudoku)
    lines = {"train": SUDOKUS[:100], "valid": SUDOKUS[100:110], "test": SUDOKUS[110:130]}
    found = {split: [part.tolist() for part in puzzles] for split, puzzles in splits.items()}
    assert note == "" and found == {
        split: [numbers_of(some, 1), numbers_of(some, 2)] for split, some in lines.items()}


@pytest.mark.parametrize("header, row, blank", [
    ("quizzes,solutions\n", "{},{}", "0"), ("x,Puzzle,id,Solution\n", "-,{},7,{}", "*"),
    ('"Question" ,ANSWER\n', '"{}",{}', "_"), ("", "{},{}", ".")])
def test_one_file_with_the_usual_columns_or_without_a_header_is_cut(tmp_path, header, row, blank):
    rows = [row.format(*line.replace(".", blank).split(",")[1:3]) for line in SUDOKUS]
    write(tmp_path, {"all.csv": header + "\n".join(rows) + "\n\n"})
    splits, note = read.read_splits(tmp_path / "all.csv", read.read_sudoku)
    for column, part in enumerate(splits["test"], start=1):
        assert part.tolist() == numbers_of(SUDOKUS[180:], column)
    both = [*splits["train"][0].tolist(), *splits["valid"][0].tolist()]
    assert sorted(both) == sorted(numbers_of(SUDOKUS[:180], 1)) and sizes_of(splits)[1] == 18
    assert note.startswith("of its 200 puzzles the last 20 are the test; 18 of the training puzz")


def test_of_many_puzzles_the_last_1000_are_the_test_and_200_validate(tmp_path):
    write(tmp_path, {"all.csv": csv_file(SUDOKUS * 60)})
    splits, _ = read.read_splits(tmp_path / "all.csv", read.read_sudoku)
    assert sizes_of(splits) == [10_800, 200, 1000]


def test_a_few_puzzles_are_all_the_test(tmp_path):
    write(tmp_path, {"few.csv": csv_file(SUDOKUS[:19])})
    splits, note = read.read_splits(tmp_path / "few.csv", read.read_sudoku)
    assert sizes_of(splits) == [0, 0, 19] and splits["test"][1].tolist() == numbers_of(
        SUDOKUS[:19], 2)
    assert note == "no training puzzles, which evaluate.py does without"


def test_puzzles_without_answers_can_only_be_the_test(tmp_path):
    unknown = "\n".join(line.split(",")[1] for line in SUDOKUS[:30])
    write(tmp_path, {"list.txt": unknown, "test.csv": f"question\n{unknown}",
                     "train.csv": csv_file(SUDOKUS)})
    for place, sizes, expected in (
            ("list.txt", [0, 0, 30], "no training puzzles, which evaluate.py does without"),
            (".", [180, 20, 30], "20 of the training puzzles serve for validation")):
        splits, note = read.read_splits(tmp_path / place, read.read_sudoku)
        assert splits["test"][0].tolist() == numbers_of(SUDOKUS[:30], 1)
        assert splits["test"][1] is None and sizes_of(splits) == sizes
        assert note == f"the test has no answers; {expected}"


def save_arrays(folder, puzzles, copies):
    """What a public code's builder stores of some puzzles, with so many copies of each."""
    folder.mkdir()
    rows = len(puzzles[0]) * (1 + copies)
    np.save(folder / "all__puzzle_indices.npy", np.arange(rows + 1))
    np.save(folder / "all__group_indices.npy", np.arange(0, rows + 1, 1 + copies))
    for name, tokens in zip(("inputs", "labels"), puzzles):
        stored = np.repeat(tokens, 1 + copies, axis=0)
        stored[np.arange(rows) % (1 + copies) > 0] = 0  # no copy may be looked at
        np.save(folder / f"all__{name}.npy", stored)


@pytest.mark.parametrize("task, lines, characters, highest", [
    ("sudoku", SUDOKUS[:60], ".123456789", 10), ("maze", MAZES[:60], "?# SGo", 5)])
def test_csv_and_the_public_codes_arrays_hold_the_same(tmp_path, task, lines, characters, highest):
    write(tmp_path, {"all.csv": csv_file(lines)})
    puzzles = READERS[task](tmp_path / "all.csv")
    for column, part in enumerate(puzzles, start=1):
        assert part.tolist() == numbers_of(lines, column, characters) and part.dtype == np.uint8
    tokens = [part + np.uint8(task == "sudoku") for part in puzzles]  # its blank is token 1
    save_arrays(tmp_path / "test", [part[40:] for part in tokens], copies=0)
    save_arrays(tmp_path / "train", [part[:40] for part in tokens], copies=2)
    splits, _ = read.read_splits(tmp_path, READERS[task])
    for number, part in enumerate(puzzles):
        assert (splits["test"][number] == part[40:]).all()
        both = [*splits["train"][number].tolist(), *splits["valid"][number].tolist()]
        assert sorted(both) == sorted(part[:40].tolist())
    save_arrays(tmp_path / "valid", [part[:40] * 6 for part in tokens], copies=0)
    with pytest.raises(BadInput, match=f"valid, puzzle 1: a token is not from 1 to {highest}"):
        read.read_splits(tmp_path, READERS[task])


def test_validation_and_train_puzzles_are_drawn_from_the_training_puzzles_alone(tmp_path):
    write(tmp_path, {"train.csv": csv_file(MAZES[50:]), "test.csv": csv_file(MAZES[:50])})
    drawn = []
    for asked, count in ((None, 45), (30, 30), (30, 30)):
        splits, note = read.read_splits(tmp_path, read.read_maze, train_puzzles=asked)
        assert sizes_of(splits) == [count, 5, 50]
        assert note == "5 of the training puzzles serve for validation"
        drawn.append({split: list(zip(*(map(bytes, part) for part in splits[split])))
                      for split in ("train", "valid")})  # a question and its answer together
    whole, some, again = drawn
    given = list(zip(*(map(bytes, part) for part in read.read_maze(tmp_path / "train.csv"))))
    assert set(whole["train"] + whole["valid"]) == set(given)
    assert whole["valid"] == some["valid"] and again == some
    assert set(some["train"]) < set(whole["train"]) and some["train"] != whole["train"][:30]
    with pytest.raises(BadInput, match=r"--train_puzzles 46: .* has 45 to train on"):
        read.read_splits(tmp_path, read.read_maze, train_puzzles=46)


def test_arcs_folders_and_kaggles_files_hold_the_same_tasks(tmp_path):
    for split in ("training", "evaluation"):
        tasks = {file.stem: json.loads(file.read_text())
                 for file in (HERE / "arc" / split).glob("*.json")}
        outputs = {name: [p.pop("output") for p in task["test"]] for name, task in tasks.items()}
        write(tmp_path, {f"a_{split}_challenges.json": tasks, f"a_{split}_solutions.json": outputs})
    *folder, note = read.read_arc(HERE / "arc")
    *kaggle, _ = read.read_arc(str(tmp_path))
    assert str(folder) == str(kaggle) and note == ""


def test_arc_as_people_have_it(tmp_path):
    asked, one, two = ({"input": [[i, i]], "output": [[i]]} for i in (4, 5, 6))
    write(tmp_path, {"data/training/one.json": {"train": [two], "test": [asked, one]},
                     "data/training/concept/two.json": {"train": [one], "test": [two]},
                     "data/training/none.json": {"train": [asked], "test": [two]},
                     "data/training/._one.json": b"\0macOS",
                     "data/training/.ipynb_checkpoints/one-checkpoint.json": b"\0Jupyter",
                     "data/evaluation/one.json": {"train": [one], "test": [asked]}})
    *found, note = read.read_arc(tmp_path)
    in_json = [{name: [[{"input": question.tolist(), "output": answer.tolist()}
                        for question, answer in pairs] for pairs in task]
                for name, task in tasks.items()} for tasks in found]
    # what the evaluation asks is in no pair to train on
    expected = [{"concept/two": [[one], [two]], "one": [[two], [one]]}, {"one": [[one], [asked]]}]
    assert str(in_json) == str(expected)  # the names are sorted, too
    assert note == "2 pairs of training tasks ask what an evaluation task's test asks: left out"


PAIR = {"input": [[1, 2]], "output": [[2], [1]]}
TASK = {"train": [PAIR], "test": [PAIR]}
BAD_TASKS = [[], {"train": [PAIR]}, {**TASK, "train": []}, {**TASK, "train": [{"input": [[1]]}]},
             *({**TASK, "test": [{"input": grid}]} for grid in ([1], [[1, 2], [3]], [[10]], [[]]))]


@pytest.mark.parametrize("task, files, complaint", [
    *(("sudoku", {"train.csv": text}, f"train.csv, {why}") for text, why in [
        ("", "line 1: no column 'question'"),
        (f"question,rating\n{QUESTION},0", "line 1: no column 'answer'"),
        (f"{HEADER}{GOOD}\nm,{QUESTION}", "line 3: the answer is not 81 of these"),
        (f"{QUESTION}\n{QUESTION},{ANSWER}", "line 1: the answer is not 81 of these"),
        (f"{HEADER}m,{'1' * 81},{ANSWER},0", "line 2: two givens contradict each other"),
        (f'{HEADER}"two\nlines",{QUESTION},{ANSWER},0\nm,{"1" * 81},{ANSWER},0', "line 4: two giv"),
        (f"{HEADER}m,{'.' * 81},{'1' * 81},0", "line 2: the answer is no solution"),
        (f"{HEADER}m,{QUESTION},{ANSWER[::-1]},0", "line 2: the answer is no solution")]),
    *(("maze", {"train.csv": f"question,answer\n{line}"}, f"train.csv, line 2: the {why}")
      for line, why in [
        ("S G?# #  ,SoG # #  ", "question is not 9 of these: '# .SGo'"),
        ("S   # #  ,So  # #  ", "question has not 1 of the character G"),
        ("S G # #  ,SoG   #  ", "answer is not the question"),  # without a wall
        ("S G # #  ,S G # #  ", "answer is not the question with a shortest path"),  # without any
        ("S G #    ,S Go#oooo", "answer is not the question with a shortest path")]),
    ("sudoku", {"train.csv": csv_file([GOOD])}, "test.csv: No such file"),
    ("sudoku", {"train.csv": csv_file([GOOD]), "test.csv": csv_file([GOOD])}, "too few puzzles"),
    ("maze", {"test.csv": "S G,SoG"}, "the 3 cells of a maze make no square"),
    ("maze", {"train.csv": "S G # #  ,SoG # #  ", "test.csv": "SG  ,SG  "}, "different sizes"),
    ("sudoku", {"test/all__inputs.npy": b"PK"}, "test: its arrays cannot be read"),
    ("arc", {"training/a.json": "{\n'train'"}, "a.json: no JSON object: Expecting property name"),
    *(("arc", {"training/a.json": TASK, "evaluation/b.json": task}, "evaluation task b: its")
      for task in BAD_TASKS),
    ("arc", {"training/a.json": TASK}, "in a folder 'evaluation' or in *_evaluation_challenges")])
def test_bad_files_are_refused_in_one_line_that_says_where(tmp_path, task, files, complaint):
    write(tmp_path, files)
    with pytest.raises(BadInput) as error:
        read.read_arc(tmp_path) if task == "arc" else read.read_splits(tmp_path, READERS[task])
    message = str(error.value)
    assert message.startswith(str(tmp_path)) and complaint in message and "\n" not in message
