"""Makes the bundled puzzles: `python -m puzzles.make` writes the same bytes wherever and whenever
it runs (`python -m puzzles.make maze/small arc/training` only those).

Puzzle i of a split comes from a random state of its own, seeded by (task, split, i), so that any
single puzzle can be made again without the others. numpy's RandomState is used because its streams
are frozen for good. Formats: those of the published datasets (Sudoku-Extreme's csv), so that the
same reader serves both.
"""
import json
import math
import sys
import zlib
from itertools import combinations
from pathlib import Path

import numpy as np

from puzzles import rules

try:  # with numba the hard Sudokus take minutes, without it hours; they are the same
    from numba import njit

    table = np.array  # what compiled functions read fast
except ImportError:
    table = list  # what plain Python reads fast

    def njit(function):
        return function


HERE = Path(__file__).parent
SPLITS = {"train": 1000, "valid": 200, "test": 1000}
SMALL_MAZES = {**SPLITS, "train": 4000}

# ---- Sudoku --------------------------------------------------------------------------------------
# A grid is a list of 81 digits, row by row, 0 for a blank; candidates are bits, 1 << digit.
# (Compiled functions take the `table` of a grid.)

ROWS = [[9 * r + c for c in range(9)] for r in range(9)]
COLUMNS = [[9 * r + c for r in range(9)] for c in range(9)]
BOXES = [[9 * (b // 3 * 3 + i // 3) + b % 3 * 3 + i % 3 for i in range(9)] for b in range(9)]
UNITS = ROWS + COLUMNS + BOXES
PEERS = [sorted({p for unit in UNITS if cell in unit for p in unit} - {cell}) for cell in range(81)]
UNITS, PEERS = table(UNITS), table(PEERS)
COUNT = table([bits.bit_count() for bits in range(1024)])  # numba does not know int.bit_count
ANY_DIGIT = 0b1111111110


@njit
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
                if COUNT[candidates[peer]] == 1:
                    todo.append((peer, candidates[peer]))
    return True


@njit
def hidden_singles(candidates):
    """Place every digit that has one place left in a unit, until there is none; False at a
    contradiction."""
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
                    if COUNT[bit] > 1 or not place(candidates, cell, bit):
                        return False
                    found = True
    return True


@njit
def enter(grid, candidates):
    """Put a grid's digits into open candidates, then naked and hidden singles; False if the grid
    contradicts itself."""
    for cell in range(81):
        if grid[cell] and not place(candidates, cell, 1 << grid[cell]):
            return False
    return hidden_singles(candidates)


def propagate(grid):
    """The candidates of each cell after naked and hidden singles, or None where the grid
    contradicts itself."""
    candidates = table([ANY_DIGIT] * 81)
    return candidates if enter(table(grid), candidates) else None


@njit
def narrowest(candidates):
    """The open cell with fewest candidates, the first of several; -1 where no cell is open."""
    best, fewest = -1, 10
    for cell in range(81):
        count = COUNT[candidates[cell]]
        if 1 < count < fewest:
            best, fewest = cell, count
    return best


def solutions(candidates, random, limit, guesses=None):
    """Up to `limit` solutions: branch on the cell with fewest candidates, in random value order,
    and propagate.

    Every digit tried is added to the list `guesses`, if there is one.
    """
    cell = narrowest(candidates)
    if cell < 0:
        return [[int(c).bit_length() - 1 for c in candidates]]
    found = []
    for digit in (1 + random.permutation(9)).tolist():
        if candidates[cell] >> digit & 1 and len(found) < limit:
            branch = candidates.copy()
            if guesses is not None:
                guesses.append(digit)
            if place(branch, cell, 1 << digit) and hidden_singles(branch):
                found += solutions(branch, random, limit - len(found), guesses)
    return found


def fingerprint(solution):
    """The same for all grids that Sudoku's symmetries carry into each other; another for (almost)
    all others.

    Two rows, read as a permutation from the one's digits to the other's, have a cycle type that
    renaming digits and moving columns leave alone; rows of one band and rows of two bands are kept
    apart; so for the columns, and transposition swaps the two. Equal fingerprints may belong to
    different grids: then we err on the safe side.
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
        types = {pair: cycle_type(lines[pair[0]], lines[pair[1]])
                 for pair in combinations(range(9), 2)}
        bands = {}
        for (a, b), kind in types.items():
            bands.setdefault((a // 3, b // 3), []).append(kind)
        same = sorted(tuple(sorted(kinds)) for (a, b), kinds in bands.items() if a == b)
        other = sorted(tuple(sorted(kinds)) for (a, b), kinds in bands.items() if a != b)
        return tuple(same), tuple(other)

    lines = [[solution[cell] for cell in unit] for unit in ROWS + COLUMNS]
    return tuple(sorted((one_side(lines[:9]), one_side(lines[9:]))))


def small_sudoku(split, i):
    """36 to 44 blanks, all of which naked and hidden singles fill, so that there is one answer and
    the rating is 0."""
    random = np.random.RandomState([1, list(SPLITS).index(split), i])
    (solution,) = solutions(propagate([0] * 81), random, limit=1)
    while True:
        blanks = random.permutation(81)[: random.randint(36, 45)]
        question = [0 if cell in blanks else digit for cell, digit in enumerate(solution)]
        if narrowest(propagate(question)) < 0:  # nothing left open
            return question, solution, 0


# ---- hard Sudokus --------------------------------------------------------------------------------

ENOUGH = 100  # the climb stops at twice the guesses that are expected
PATIENCE = 500  # or after so many steps
EASIEST = 10  # but not at a lower rating than this
OPEN = table([ANY_DIGIT] * 81)


@njit
def refute(candidates, cell, spare):
    """Try every candidate of a cell but `spare`: the guesses of a full search; -1 if there is a
    solution.

    The solution is then left in the candidates.
    """
    guesses = 0
    for digit in range(1, 10):
        bit = 1 << digit
        if candidates[cell] & bit and bit != spare:
            guesses += 1
            branch = candidates.copy()
            if place(branch, cell, bit) and hidden_singles(branch):
                below, more = narrowest(branch), -1
                if below >= 0:
                    more = refute(branch, below, 0)
                if more < 0:
                    candidates[:] = branch
                    return -1
                guesses += more
    return guesses


@njit
def effort(grid, answer, candidates):
    """Twice the guesses that `solutions` is expected to make until it finds the answer; -1 if
    another is possible.

    The candidates, whatever they were, are then the other solution. No sampling is needed for the
    expectation: on the way to the answer the right value is guessed once, and each wrong one comes
    before it, with all the guesses that refute it, in half of the orders. Doubled it is a whole
    number, so that every machine compares alike.
    """
    candidates[:] = OPEN
    enter(grid, candidates)
    doubled = 0
    cell = narrowest(candidates)
    while cell >= 0:
        right = 1 << answer[cell]
        wrong = refute(candidates, cell, right)
        if wrong < 0:
            return -1
        doubled += 2 + wrong
        place(candidates, cell, right)
        hidden_singles(candidates)
        cell = narrowest(candidates)
    return doubled


@njit
def repair(grid, answer, order):
    """Give and take clues, in the order of cells, until the grid is a minimal puzzle with this
    answer; its effort."""
    candidates = OPEN.copy()
    while effort(grid, answer, candidates) < 0:
        for cell in order:
            if candidates[cell] != 1 << answer[cell]:  # a clue here excludes the other solution
                grid[cell] = answer[cell]
                break
    for cell in order:
        if grid[cell]:
            grid[cell] = 0
            candidates[:] = OPEN
            enter(grid, candidates)
            if refute(candidates, cell, 1 << answer[cell]) < 0:  # another digit fits: keep the clue
                grid[cell] = answer[cell]
    return effort(grid, answer, candidates)


def rate(question):
    """The guesses until the first solution, a mean of ten runs; 0 where singles are enough."""
    random, guesses = np.random.RandomState(0), []
    for _ in range(10):
        solutions(propagate(question), random, 1, guesses)
    return (len(guesses) + 5) // 10


def hard_sudoku(split, i):
    """Question, answer and rating of a minimal puzzle, made hard by climbing.

    Random minimal puzzles take two or three guesses. So take one or two clues out, repair the
    puzzle, and keep what comes of it unless it is easier; a few hundred such steps lead to dozens
    of guesses.
    """
    random = np.random.RandomState([3, list(SPLITS).index(split), i])
    (answer,) = solutions(propagate([0] * 81), random, limit=1)
    question, best, rating, tried = [0] * 81, -1, 0, 0
    while rating < EASIEST:
        clues = random.permutation([cell for cell in range(81) if question[cell]]).tolist()
        out = clues[: random.randint(1, 3)]
        trial = table([0 if cell in out else digit for cell, digit in enumerate(question)])
        guesses = repair(trial, table(answer), table(random.permutation(81).tolist()))
        if guesses >= best:
            question, best = [int(digit) for digit in trial], guesses
        tried += 1
        if best >= ENOUGH or tried >= PATIENCE:
            rating = rate(question)  # where all ten runs are lucky, it climbs on
    return question, answer, rating


# ---- mazes ---------------------------------------------------------------------------------------
# A grid is a list of side * side characters, row by row: "#" wall, " " open, S start, G goal, and
# o path.


def neighbours(cell, side):
    """The cells above, below, left and right of a cell, where the grid has them."""
    row, column = divmod(cell, side)
    return ([cell - side] * (row > 0) + [cell + side] * (row < side - 1)
            + [cell - 1] * (column > 0) + [cell + 1] * (column < side - 1))


def carve(random, side, winding, loops):
    """The open cells of a maze: a tree that grows through the grid, and then `loops` walls between
    two of its cells opened, where there are so many.

    With probability `winding` the tree grows on where it grew last (long corridors), else from a
    cell at random (short side branches). A wall may be opened when it has a single open neighbour:
    that closes no loop.
    """
    growing = [random.randint(side * side)]
    open_cells = set(growing)

    def walls_with(count, cells):
        return [cell for cell in cells if cell not in open_cells
                and sum(n in open_cells for n in neighbours(cell, side)) == count]

    while growing:
        i = len(growing) - 1 if random.rand() < winding else random.randint(len(growing))
        ways = walls_with(1, neighbours(growing[i], side))
        if ways:
            growing.append(ways[random.randint(len(ways))])
            open_cells.add(growing[-1])
        else:
            growing.pop(i)
    for _ in range(loops):
        walls = walls_with(2, range(side * side))
        if walls:
            open_cells.add(walls[random.randint(len(walls))])
    return open_cells


def shortest_paths(open_cells, start, side):
    """Breadth first: for every cell within reach its distance from `start`, how many shortest paths
    lead there, and the cell before it on one of them."""
    distance, count, before, layer = {start: 0}, {start: 1}, {}, [start]
    while layer:
        following = []
        for cell in layer:
            for n in neighbours(cell, side):
                if n in open_cells and n not in distance:
                    distance[n], count[n], before[n] = distance[cell] + 1, 0, cell
                    following.append(n)
                if n in open_cells and distance[n] == distance[cell] + 1:
                    count[n] += count[cell]
        layer = following
    return distance, count, before


def maze(random, side, lengths, winding, loops):
    """Question, answer and the path's length. The shortest path is unique; its length (how many
    cells are marked o) is drawn from those in `lengths` that the maze has, so that long and short
    ones are equally frequent as far as mazes allow."""
    while True:
        open_cells = carve(random, side, winding, random.randint(loops + 1))
        start = sorted(open_cells)[random.randint(len(open_cells))]
        distance, count, before = shortest_paths(open_cells, start, side)
        goals = [cell for cell in sorted(distance)
                 if count[cell] == 1 and distance[cell] - 1 in lengths]
        if not goals:
            continue
        choices = sorted({distance[cell] for cell in goals})
        wanted = choices[random.randint(len(choices))]
        goals = [cell for cell in goals if distance[cell] == wanted]
        goal = goals[random.randint(len(goals))]
        question = [" " if cell in open_cells else "#" for cell in range(side * side)]
        question[start], question[goal] = "S", "G"
        answer, cell = question.copy(), before[goal]
        while cell != start:
            answer[cell] = "o"
            cell = before[cell]
        return question, answer, wanted - 1


def walls(answer):
    """The same for two mazes whose walls the symmetries of the square carry into each other, and
    only for those."""
    side = math.isqrt(len(answer))
    grid = (np.array(answer) == "#").reshape(side, side)
    return min(np.rot90(view, turns).tobytes() for view in (grid, grid.T) for turns in range(4))


def small_maze(split, i):
    random = np.random.RandomState([2, list(SPLITS).index(split), i])
    return maze(random, 8, range(1, 13), winding=0.3, loops=8)


def paper_maze(split, i):
    random = np.random.RandomState([4, list(SPLITS).index(split), i])
    return maze(random, 30, range(111, 900), winding=0.9, loops=20)


# ---- ARC: the rules are in rules.py --------------------------------------------------------------


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


# ---- the files -----------------------------------------------------------------------------------


def csv_line(question, answer, rating):
    """A line of the published format. The rating: a solver's guesses (Sudoku), the path's length
    (maze)."""
    question = "".join(map(str, question)).replace("0", ".")
    return f"made,{question},{''.join(map(str, answer))},{rating}"


def write_csv(folder, puzzle, key, splits):
    """Write train.csv, valid.csv and test.csv; fail if two puzzles may share their solution up to
    symmetry."""
    folder.mkdir(parents=True, exist_ok=True)
    seen = set()
    for split, count in splits.items():
        lines = ["source,question,answer,rating"]
        for i in range(count):
            question, answer, rating = puzzle(split, i)
            lines.append(csv_line(question, answer, rating))
            seen.add(key(answer))
        (folder / f"{split}.csv").write_bytes(("\n".join(lines) + "\n").encode())
    if len(seen) < sum(splits.values()):
        raise SystemExit(f"{folder}: two puzzles may share their solution; change the seed")


def write_arc(folder, rules):
    """Write one JSON file a task."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rule in rules.items():
        (folder / f"{name}.json").write_bytes((json.dumps(arc_task(name, rule)) + "\n").encode())


SETS = {
    "sudoku/small": lambda folder: write_csv(folder, small_sudoku, fingerprint, SPLITS),
    "sudoku/paper": lambda folder: write_csv(folder, hard_sudoku, fingerprint, SPLITS),
    "maze/small": lambda folder: write_csv(folder, small_maze, walls, SMALL_MAZES),
    "maze/paper": lambda folder: write_csv(folder, paper_maze, walls, SPLITS),
    "arc/training": lambda folder: write_arc(folder, rules.TRAINING),
    "arc/evaluation": lambda folder: write_arc(folder, rules.EVALUATION),
}

if __name__ == "__main__":
    for name in sys.argv[1:] or SETS:
        print(name)
        SETS[name](HERE / name)
