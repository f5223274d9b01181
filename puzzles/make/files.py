"""The sets of bundled puzzles: which puzzles each one holds, and how its files are written.

The formats are those of the published data sets (Sudoku-Extreme's csv, ARC's JSON), so that one
reader serves both.
"""
import json

from puzzles.make import arc, maze, rules, sudoku

SIZES = {"train": 1000, "valid": 200, "test": 1000}
EXTREME_SIZES = {"test": 500}
SMALL_MAZE_SIZES = {"train": 4000, "valid": 200, "test": 1000}


def csv_line(question, answer, rating):
    """A line of the published format. The rating: a solver's guesses (Sudoku), the path's length
    (maze)."""
    question = "".join(map(str, question)).replace("0", ".")
    answer = "".join(map(str, answer))
    return f"made,{question},{answer},{rating}"


def write_csv(folder, puzzle, fingerprint, sizes):
    """Write a csv file for each split in sizes; fail if two puzzles may share their solution up to
    symmetry.

    puzzle(split, i) makes puzzle i of a split: its question, answer and rating. fingerprint(answer)
    is the same for all answers that symmetries carry into each other. sizes: {split: how many}.
    """
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


def write_arc(folder, rules_by_name):
    """Write one JSON file a task."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rule in rules_by_name.items():
        text = json.dumps(arc.arc_task(name, rule)) + "\n"
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
