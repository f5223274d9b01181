"""Makes the bundled puzzles: `python puzzles/make.py` writes the same bytes wherever and whenever it runs.

Puzzle i of a split comes from a random state of its own, seeded by (task, split, i), so that any single puzzle can
be made again without the others. numpy's RandomState is used because its streams are frozen for good.
Formats: those of the published datasets (Sudoku-Extreme's csv), so that the same reader serves both.
"""
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SPLITS = {"train": 1000, "valid": 200, "test": 1000}

# ---- Sudoku: a grid is a list of 81 digits, row by row, 0 for a blank; candidates are bits, 1 << digit ---------

ROWS = [[9 * r + c for c in range(9)] for r in range(9)]
COLUMNS = [[9 * r + c for r in range(9)] for c in range(9)]
BOXES = [[9 * (b // 3 * 3 + i // 3) + b % 3 * 3 + i % 3 for i in range(9)] for b in range(9)]
UNITS = ROWS + COLUMNS + BOXES
PEERS = [sorted({p for unit in UNITS if cell in unit for p in unit} - {cell}) for cell in range(81)]
ANY_DIGIT = 0b1111111110


def place(candidates, cell, bit):
    """Put a digit into a cell and take it from the cell's peers; False if a peer has nothing left.

    A peer that has one candidate left (a naked single) is placed in its turn.
    """
    todo = [(cell, bit)]
    while todo:
        cell, bit = todo.pop()
        if not candidates[cell] & bit:
            return False
        candidates[cell] = bit
        for peer in PEERS[cell]:
            if candidates[peer] & bit:
                candidates[peer] ^= bit
                if candidates[peer] == 0:
                    return False
                if candidates[peer].bit_count() == 1:
                    todo.append((peer, candidates[peer]))
    return True


def hidden_singles(candidates):
    """Place every digit that has one place left in a unit, until there is none; False at a contradiction."""
    found = True
    while found:
        found = False
        for unit in UNITS:
            once = twice = 0
            for cell in unit:
                twice |= once & candidates[cell]
                once |= candidates[cell]
            if once != ANY_DIGIT:
                return False
            for cell in unit:
                bit = candidates[cell] & once & ~twice
                if bit and candidates[cell] != bit:
                    if bit.bit_count() > 1 or not place(candidates, cell, bit):
                        return False
                    found = True
    return True


def propagate(grid):
    """The candidates of each cell after naked and hidden singles, or None where the grid contradicts itself."""
    candidates = [ANY_DIGIT] * 81
    for cell, digit in enumerate(grid):
        if digit and not place(candidates, cell, 1 << digit):
            return None
    return candidates if hidden_singles(candidates) else None


def solutions(candidates, random, limit):
    """Up to `limit` solutions: branch on the cell with fewest candidates, in random value order, and propagate."""
    open_cells = [cell for cell in range(81) if candidates[cell].bit_count() > 1]
    if not open_cells:
        return [[c.bit_length() - 1 for c in candidates]]
    cell = min(open_cells, key=lambda cell: candidates[cell].bit_count())
    found = []
    for digit in 1 + random.permutation(9):
        if candidates[cell] >> digit & 1 and len(found) < limit:
            branch = candidates.copy()
            if place(branch, cell, 1 << int(digit)) and hidden_singles(branch):
                found += solutions(branch, random, limit - len(found))
    return found


def fingerprint(solution):
    """The same for all grids that Sudoku's symmetries carry into each other; another for (almost) all others.

    Two rows, read as a permutation from the one's digits to the other's, have a cycle type that renaming digits
    and moving columns leave alone; rows of one band and rows of two bands are kept apart; so for the columns, and
    transposition swaps the two. Equal fingerprints may belong to different grids: then we err on the safe side.
    """

    def cycle_type(a, b):
        follow, lengths = dict(zip(a, b)), []
        while follow:
            digit, length = next(iter(follow)), 0
            while digit in follow:
                digit, length = follow.pop(digit), length + 1
            lengths.append(length)
        return tuple(sorted(lengths))

    def one_side(lines):
        types = {pair: cycle_type(lines[pair[0]], lines[pair[1]]) for pair in combinations(range(9), 2)}
        bands = {}
        for (a, b), kind in types.items():
            bands.setdefault((a // 3, b // 3), []).append(kind)
        same = sorted(tuple(sorted(kinds)) for (a, b), kinds in bands.items() if a == b)
        other = sorted(tuple(sorted(kinds)) for (a, b), kinds in bands.items() if a != b)
        return tuple(same), tuple(other)

    lines = [[solution[cell] for cell in unit] for unit in ROWS + COLUMNS]
    return tuple(sorted((one_side(lines[:9]), one_side(lines[9:]))))


def small_sudoku(split, i):
    """Question and answer: 36 to 44 blanks, all of which naked and hidden singles fill (so there is one answer)."""
    random = np.random.RandomState([1, list(SPLITS).index(split), i])
    (solution,) = solutions([ANY_DIGIT] * 81, random, limit=1)
    while True:
        blanks = random.permutation(81)[: random.randint(36, 45)]
        question = [0 if cell in blanks else digit for cell, digit in enumerate(solution)]
        if all(c.bit_count() == 1 for c in propagate(question)):
            return question, solution


def write_sudoku(folder, make):
    """Write train.csv, valid.csv and test.csv; fail if two puzzles may share their solution up to symmetry."""
    folder.mkdir(parents=True, exist_ok=True)
    seen = Counter()
    for split, count in SPLITS.items():
        lines = ["source,question,answer,rating"]
        for i in range(count):
            question, answer = make(split, i)
            seen[fingerprint(answer)] += 1
            lines.append(sudoku_line(question, answer))
        (folder / f"{split}.csv").write_bytes(("\n".join(lines) + "\n").encode())
    if max(seen.values()) > 1:
        raise SystemExit(f"{folder}: two puzzles share a fingerprint; change the seed")


def sudoku_line(question, answer, rating=0):
    """A line of the published format; the rating counts a solver's guesses, 0 where singles are enough."""
    return f"made,{''.join(map(str, question)).replace('0', '.')},{''.join(map(str, answer))},{rating}"


if __name__ == "__main__":
    write_sudoku(HERE / "sudoku" / "small", small_sudoku)
