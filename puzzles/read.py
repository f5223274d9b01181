"""Reads and checks files of puzzles, and makes the text of files with answers. No torch here.
README.md beside this file describes the formats. Read first: read_sudoku, then read_splits.

A split of Sudokus or mazes is (questions, answers): two (N, S) uint8 arrays, one puzzle a row, and
None in place of the answers where they are not known. An ARC grid is a 2-D uint8 array of colours.
A note is a line for the user that says what was not taken as it stood. Every function raises
BadInput where it cannot use what it reads; the message says in one line what is wrong and where.
"""
import csv
import json
from pathlib import Path

import numpy as np

from cli import BadInput

# ---- csv, arrays and splits ----------------------------------------------------------------------

COLUMNS = {"question": "question", "puzzle": "question", "quizzes": "question",
           "answer": "answer", "solution": "answer", "solutions": "answer"}


def read_columns(path):
    """A csv file -> {"question": [text, ...], and maybe "answer": [text, ...]}, and the number of
    each puzzle's line. A list without a header has the questions first, then maybe the answers."""
    try:
        text = path.read_text("utf-8-sig", errors="replace")
        reader = csv.reader(text.rstrip("\n").split("\n"))
        rows = [(reader.line_num, fields) for fields in reader]  # a field may have several lines
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    except csv.Error as error:
        raise BadInput(f"{path}, line {reader.line_num}: {error}") from None
    names = [COLUMNS.get(field.strip().lower()) for field in rows[0][1]]
    if any(names):
        rows = rows[1:]
    else:
        names = ["question", "answer"][: max(len(fields) for _, fields in rows)]
    columns = {name: [fields[place] if place < len(fields) else "" for _, fields in rows]
               for place, name in enumerate(names) if name}
    return columns, [line for line, _ in rows]


def refuse(wrong, path, why):
    """Raise BadInput for the first wrong puzzle of a file, or of a folder. wrong: (N,) bool."""
    if wrong.any():
        number = int(wrong.argmax())
        if not path.is_file():  # a folder, or what can be read only once
            raise BadInput(f"{path}, puzzle {number + 1}: {why}")
        _, lines = read_columns(path)
        raise BadInput(f"{path}, line {lines[number]}: {why}")


def read_csv(path, length, numbers):
    """A csv file or a folder of arrays -> its questions and its answers, two (N, length) uint8
    arrays; the second is None if there are no answers. length: how many characters a puzzle has,
    None: as many as the first. numbers: {ASCII character: its number}, all that may occur."""
    if path.is_dir():
        return read_arrays(path, length, numbers)
    columns, _ = read_columns(path)
    if not columns.get("question"):
        raise BadInput(f"{path}, line 1: no column 'question', 'puzzle' or 'quizzes' with puzzles")
    length = length or len(columns["question"][0])
    known, arrays = set(numbers), {}
    for name, texts in columns.items():
        wrong = [not text or len(text) != length or not known.issuperset(text) for text in texts]
        refuse(np.array(wrong), path, f"the {name} is not {length} of these: '{''.join(numbers)}'")
        arrays[name] = to_numbers(texts, numbers)
    return arrays["question"], arrays.get("answer")


def to_numbers(texts, numbers):
    """N texts of S characters -> (N, S) uint8 array, the number of each character."""
    number_of = np.zeros(128, np.uint8)  # the characters are ASCII
    number_of[[ord(character) for character in numbers]] = list(numbers.values())
    characters = np.frombuffer("".join(texts).encode(), np.uint8)
    return number_of[characters].reshape(len(texts), -1)


def read_arrays(folder, length, numbers):
    """As read_csv, from a folder that a public code's own builder made. Its token ids begin with 1,
    which stands for the lowest of the numbers. The builders store each puzzle as a group: the
    puzzle itself, then augmented copies of it. Only the first of a group is taken."""
    lowest, highest = min(numbers.values()), max(numbers.values())
    try:
        inputs, labels, rows, groups = (
            np.load(folder / f"all__{name}.npy")
            for name in ("inputs", "labels", "puzzle_indices", "group_indices"))
        first = rows[groups[:-1]]  # the row of each group's first puzzle
        found = np.stack((inputs[first], labels[first])) + lowest - 1  # (2, N, S)
        wrong = ((found < lowest) | (found > highest)).any((0, 2))
    except Exception as error:  # a damaged file can make numpy fail in any way
        why = " ".join(str(error).split())
        raise BadInput(f"{folder}: its arrays cannot be read ({why})") from None
    if length and found.shape[2] != length:
        raise BadInput(f"{folder}: its puzzles are not {length} cells")
    refuse(wrong, folder, f"a token is not from 1 to {highest - lowest + 1}")
    return tuple(found.astype(np.uint8))


def read_splits(place, read_file, train_puzzles=None):
    """Where puzzles lie -> {"train": (questions, answers), "valid": ..., "test": ...}, and a note.

    place: a folder with test.csv, maybe train.csv and maybe valid.csv, or with folders of arrays in
    their place; or one csv file, whose last tenth is the test (at most 1,000 puzzles; all of them
    where there are no answers, or fewer than 20 puzzles). read_file: path -> (questions, answers),
    such as read_sudoku. train_puzzles: how many of the training puzzles to keep. Without others, a
    tenth of them serves for validation (at most 200). Both are drawn at random, the same ones in
    every run.
    """
    place, notes = Path(place), []
    splits = read_folder(place, read_file) if place.is_dir() else {"test": read_file(place)}
    questions, answers = splits["test"]
    if answers is None:
        notes.append("the test has no answers")
    elif place.is_file() and len(questions) >= 20:
        count = min(1000, len(questions) // 10)
        splits["train"] = questions[:-count], answers[:-count]
        splits["test"] = questions[-count:], answers[-count:]
        notes.append(f"of its {len(questions):,} puzzles the last {count:,} are the test")
    if "train" not in splits:
        splits = dict.fromkeys(("train", "valid"), (questions[:0], questions[:0])) | splits
        notes.append("no training puzzles, which evaluate.py does without")
    questions, answers = splits["train"]
    order = np.random.RandomState(0).permutation(len(questions))
    if "valid" not in splits:
        count = max(1, min(200, len(order) // 10))
        if len(order) <= count:
            raise BadInput(f"{place}: too few puzzles to train on and to validate with")
        held, order = order[:count], order[count:]
        splits["valid"] = questions[held], answers[held]
        notes.append(f"{count} of the training puzzles serve for validation")
    if train_puzzles and train_puzzles > len(order):
        raise BadInput(f"--train_puzzles {train_puzzles}: {place} has {len(order)} to train on")
    kept = np.sort(order[:train_puzzles])
    splits["train"] = questions[kept], answers[kept]
    return splits, "; ".join(notes)


def read_folder(folder, read_file):
    """A folder -> {split: (questions, answers)}, the splits that it has; it must have a test."""
    splits, ending = {}, "" if (folder / "test").is_dir() else ".csv"
    for split in ("train", "valid", "test"):
        file = folder / f"{split}{ending}"
        if file.exists() or split == "test":
            splits[split] = read_file(file)
            if splits[split][1] is None and split != "test":
                raise BadInput(f"{file}, line 1: no column 'answer', 'solution' or 'solutions'")
    if len({questions.shape[1] for questions, _ in splits.values()}) > 1:
        raise BadInput(f"{folder}: its files have puzzles of different sizes")
    return splits


def csv_text(characters, questions, answers, sure):
    """The text of a csv file, `question,answer,sure`. characters: the character of each token.
    questions, answers: token ids, (N, S). sure: (N,), how sure the model is, from 0 to 1."""
    symbols, rows = np.array(list(characters)), ["question,answer,sure"]
    for question, answer, share in zip(symbols[questions], symbols[answers], sure.tolist()):
        rows.append(f"{''.join(question)},{''.join(answer)},{share:.4f}")
    return "\n".join(rows) + "\n"


# ---- Sudoku: 81 digits, row by row, 0 for a blank ------------------------------------------------

DIGITS = {".": 0, "0": 0, "*": 0, "_": 0, **{str(digit): digit for digit in range(1, 10)}}
CELLS = np.arange(81).reshape(9, 9)
BOXES = CELLS.reshape(3, 3, 3, 3).swapaxes(1, 2).reshape(9, 9)
UNITS = np.concatenate((CELLS, CELLS.T, BOXES))  # (27, 9): the cells of each row, column and box


def broken_cells(digits):
    """(N, 81) uint8 digits -> (N, 81) bool: cells whose digit is twice in a row, column or box."""
    cells = np.ascontiguousarray(digits.T)  # (81, N): all puzzles' digits of a cell lie together
    broken = np.zeros(cells.shape, bool)
    for unit in UNITS:
        same = cells[unit][:, None] == cells[unit]  # (9, 9, N), and a cell is the same as itself
        broken[unit] |= (same.sum(0, dtype=np.uint8) > 1) & (cells[unit] > 0)
    return broken.T


def read_sudoku(path):
    """A csv file or a folder of arrays -> questions and answers, (N, 81) digits, 0 for a blank."""
    questions, answers = read_csv(path, 81, DIGITS)
    refuse(broken_cells(questions).any(1), path, "two givens contradict each other")
    if answers is not None:
        solves = (answers > 0) & ~broken_cells(answers)
        solves &= (questions == 0) | (questions == answers)
        refuse(~solves.all(1), path, "the answer is no solution of the question")
    return questions, answers


# ---- mazes: side * side tokens, row by row -------------------------------------------------------

PAD, WALL, OPEN, START, GOAL, PATH = range(6)
MAZE = "?# SGo"  # the character of each token; no file has a pad
TOKENS = {"#": WALL, " ": OPEN, ".": OPEN, "S": START, "G": GOAL, "o": PATH}


def distances(passable, start, goal):
    """Steps from start to goal over passable cells, for N mazes at once: (N, side, side) bool each
    -> (N,), -1 where there is no way."""
    found, reached, step = np.full(len(start), -1), start, 0
    while True:
        found[(found < 0) & (reached & goal).any((1, 2))] = step
        wider = reached.copy()
        wider[:, 1:] |= reached[:, :-1]
        wider[:, :-1] |= reached[:, 1:]
        wider[:, :, 1:] |= reached[:, :, :-1]
        wider[:, :, :-1] |= reached[:, :, 1:]
        wider &= reached | passable | goal
        if (wider == reached).all():
            return found
        reached, step = wider, step + 1


def is_shortest(answer):
    """(N, side, side) tokens -> (N,) bool: the marked cells are a shortest path from S to G."""
    start, goal, path = answer == START, answer == GOAL, answer == PATH
    length = path.sum((1, 2)) + 1
    shortest = distances(answer > WALL, start, goal)
    return (distances(path, start, goal) == length) & (shortest == length)


def read_maze(path):
    """A csv file or a folder of arrays -> questions and answers, (N, side * side) tokens."""
    questions, answers = read_csv(path, None, TOKENS)
    side = round(questions.shape[1] ** 0.5)
    if side * side != questions.shape[1]:
        raise BadInput(f"{path}: the {questions.shape[1]} cells of a maze make no square")
    for token, count in ((START, 1), (GOAL, 1), (PATH, 0)):
        wrong = (questions == token).sum(1) != count
        refuse(wrong, path, f"the question has not {count} of the character {MAZE[token]}")
    if answers is not None:
        same = (np.where(answers == PATH, OPEN, answers) == questions).all(1)
        solved = same & is_shortest(answers.reshape(-1, side, side))
        refuse(~solved, path, "the answer is not the question with a shortest path from S to G")
    return questions, answers


# ---- ARC: JSON -----------------------------------------------------------------------------------

def read_arc(path):
    """ARC's tasks -> (training, evaluation, note). The first two are {task's name: (demonstrations,
    tests)}, sorted by name, both lists of (input, output); a test's output may be None: not known.
    path: a folder with training/ and evaluation/, maybe inside data/, or with Kaggle's files. Left
    out are the pairs of training tasks that ask what a test of an evaluation task asks."""
    path = Path(path)
    if (path / "data" / "training").is_dir():
        path = path / "data"
    training, evaluation = read_tasks(path, "training"), read_tasks(path, "evaluation")
    asked = {str(question.tolist()) for _, tests in evaluation.values() for question, _ in tests}
    kept, left_out = {}, 0
    for name, task in training.items():
        demonstrations, tests = ([pair for pair in pairs if str(pair[0].tolist()) not in asked]
                                 for pairs in task)
        left_out += len(task[0]) + len(task[1]) - len(demonstrations) - len(tests)
        if demonstrations:  # without any, nothing of the task is kept
            kept[name] = demonstrations, tests
    note = f"{left_out} pairs of training tasks ask what an evaluation task's test asks: left out"
    return kept, evaluation, note if left_out else ""


def read_tasks(path, split):
    """The "training" or "evaluation" tasks -> {name: (demonstrations, tests)}, sorted by name."""
    found, solutions, tasks = {}, {}, {}  # the JSON of tasks, and of their tests' outputs, by name
    try:
        for file in (path / split).rglob("*.json"):
            name = file.relative_to(path / split).with_suffix("").as_posix()
            if "/." not in f"/{name}":  # macOS makes ._name.json, and Jupyter .ipynb_checkpoints/
                found[name] = json.loads(file.read_bytes())
        for file in path.glob(f"[!.]*_{split}_challenges.json"):  # Kaggle's
            found |= json.loads(file.read_bytes())
        for file in path.glob(f"[!.]*_{split}_solutions.json"):
            solutions |= json.loads(file.read_bytes())
    except (TypeError, ValueError) as error:
        raise BadInput(f"{file}: no JSON object: {error}") from None
    if not found:
        raise BadInput(f"{path}: no tasks in a folder '{split}' or in *_{split}_challenges.json")
    for name, task in sorted(found.items()):
        try:
            for pair, output in zip(task["test"], solutions.get(name, [])):
                pair["output"] = output
            demonstrations = [(grid_of(pair["input"]), grid_of(pair["output"]))
                              for pair in task["train"]]
            tests = [(grid_of(pair["input"]), pair.get("output")) for pair in task["test"]]
            tests = [(question, None if answer is None else grid_of(answer))
                     for question, answer in tests]
            if not demonstrations or not tests:
                raise ValueError
            tasks[name] = demonstrations, tests
        except (AttributeError, KeyError, TypeError, ValueError):
            raise BadInput(f"{path}, {split} task {name}: its 'train' and 'test' are no pairs of "
                           "'input' and 'output', grids of colours from 0 to 9") from None
    return tasks


def grid_of(value):
    """A JSON grid -> 2-D uint8 array of colours."""
    grid = np.array(value)  # raises ValueError if its rows are not equally long
    if grid.ndim != 2 or grid.dtype.kind != "i" or grid.min() < 0 or grid.max() > 9:
        raise ValueError
    return grid.astype(np.uint8)


def prize_json(names, guesses):
    """The text of a file in the ARC Prize's form, {task: [{"attempt_1": grid, "attempt_2": grid},
    ...]}, one entry a test. names: the task of each test, a task's tests in order. guesses: for
    each test one or two 2-D arrays of colours, the best first; a single one is given twice."""
    tasks = {}
    for name, grids in zip(names, guesses):
        attempts = [grid.tolist() if grid.size else [[0]] for grid in grids]  # none may be empty
        tasks.setdefault(name, []).append({"attempt_1": attempts[0], "attempt_2": attempts[-1]})
    return json.dumps(tasks)
