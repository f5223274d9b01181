"""`python -m puzzles.make` writes all sets of bundled puzzles, `python -m puzzles.make NAME ...`
only those named, such as maze/small. The formats are those of the published data sets
(Sudoku-Extreme's csv, ARC's JSON), so that one reader serves both."""
import json
import sys
import zlib
from pathlib import Path

import numpy as np

from puzzles.make import maze, rules, sudoku

PUZZLES = Path(__file__).parent.parent  # the folder in which the sets lie
SIZES = {"train": 1000, "valid": 200, "test": 1000}
EXTREME_SIZES = {"valid": 200, "test": 500}
SMALL_MAZE_SIZES = {"train": 4000, "valid": 200, "test": 1000}


def csv_line(question, answer, rating):
    """A line of the published format. The rating: a solver's guesses (Sudoku), the path's length
    (maze)."""
    question = "".join(map(str, question)).replace("0", ".")
    answer = "".join(map(str, answer))
    return f"made,{question},{answer},{rating}"


def write_csv(folder, puzzle, fingerprint, sizes):
    """Write a csv file for each split in sizes; fail if two puzzles may share their solution up to
    symmetry. puzzle(split, i) makes puzzle i of a split: its question, answer and rating.
    fingerprint(answer) is the same for all answers that symmetries carry into each other."""
    folder.mkdir(parents=True, exist_ok=True)
    seen = set()
    for split, size in sizes.items():
        lines = ["source,question,answer,rating"]
        for i in range(size):
            question, answer, rating = puzzle(split, i)
            lines.append(csv_line(question, answer, rating))
            seen.add(fingerprint(answer))
        (folder / f"{split}.csv").write_bytes(("\n".join(lines) + "\n").encode())
    if len(seen) < sum(sizes.values()):
        raise SystemExit(f"{folder}: two puzzles may share their solution; change the seed")


def arc_task(name, rule):
    """10 demonstrations and 1 or 2 tests of a rule, no input twice, as the official JSON has
    them."""
    # seeded by its name, so that a task is the same whatever stands before it
    random = np.random.RandomState([5, zlib.crc32(name.encode())])
    demonstrations, tests = 10, 1 + (random.randint(4) == 0)
    pairs = {}
    while len(pairs) < demonstrations + tests:
        grids = rule(random)
        pair = {"input": grids[0].tolist(), "output": grids[1].tolist()}
        pairs.setdefault(str(pair["input"]), pair)
    pairs = list(pairs.values())
    return {"train": pairs[:demonstrations], "test": pairs[demonstrations:]}


def write_arc(folder, rules_by_name):
    """Write one JSON file a task."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rule in rules_by_name.items():
        text = json.dumps(arc_task(name, rule)) + "\n"
        (folder / f"{name}.json").write_bytes(text.encode())


SETS = {  # the folder of each set -> the function that writes it, and what this takes
    "sudoku/small": (write_csv, sudoku.small_sudoku, sudoku.fingerprint, SIZES),
    "sudoku/paper": (write_csv, sudoku.hard_sudoku, sudoku.fingerprint, SIZES),
    "sudoku/extreme": (write_csv, sudoku.extreme_sudoku, sudoku.fingerprint, EXTREME_SIZES),
    "maze/small": (write_csv, maze.small_maze, maze.fingerprint, SMALL_MAZE_SIZES),
    "maze/paper": (write_csv, maze.paper_maze, maze.fingerprint, SIZES),
    "arc/training": (write_arc, rules.TRAINING),
    "arc/evaluation": (write_arc, rules.EVALUATION),
}

if __name__ == "__main__":
    for name in sys.argv[1:] or SETS:
        if name not in SETS:
            sys.exit(f"{name}: there is no such set; there are {', '.join(SETS)}")
        print(name)
        write, *arguments = SETS[name]
        write(PUZZLES / name, *arguments)
