"""Makes Sudokus: small ones, which need no guess, and hard ones, which have no clue to spare.

A grid is a list of 81 digits, row by row, 0 for a blank. The candidates of a grid are a list of 81
numbers, one a cell, whose bit `1 << digit` is set where the digit is still possible. Compiled
functions take either of them as a `table`, see below.
"""
from itertools import combinations

import numpy as np

from puzzles import levels, read
from puzzles.make import SPLITS

try:  # with numba the hard Sudokus take minutes, without it hours; they are the same
    from numba import njit

    table = np.array  # what compiled functions read fast
except ImportError:
    table = list  # what plain Python reads fast

    def njit(function):
        return function


UNITS = read.UNITS.tolist()  # rows, then columns, then boxes
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

    lines = [[solution[cell] for cell in unit] for unit in UNITS[:18]]
    return tuple(sorted((one_side(lines[:9]), one_side(lines[9:]))))


def small_sudoku(split, i):
    """36 to 44 blanks, all of which naked and hidden singles fill, so that there is one answer and
    the rating is 0."""
    random = np.random.RandomState([1, SPLITS.index(split), i])
    (solution,) = solutions(propagate([0] * 81), random, limit=1)
    while True:
        blanks = random.permutation(81)[: random.randint(36, 45)]
        question = [0 if cell in blanks else digit for cell, digit in enumerate(solution)]
        if narrowest(propagate(question)) < 0:  # nothing left open
            return question, solution, 0


# ---- hard Sudokus --------------------------------------------------------------------------------

# The climb to a hard puzzle stops
ENOUGH_EFFORT = 100  # when its `effort`, twice the guesses that are expected, is as high as this,
MOST_STEPS = 500  # or after so many steps;
LOWEST_RATING = 10  # but not while its rating is lower than this.
PATIENCE = 400  # An extreme climb begins anew after so many steps that did not gain.
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


def climb(random, answer, question, best, measure=None):
    """One step towards a harder puzzle: take one or two clues out, repair the puzzle, and keep what
    comes of it unless it is easier. best: how hard the question is, by measure(grid, answer) or by
    its effort. Returns the new two."""
    clues = random.permutation([cell for cell in range(81) if question[cell]]).tolist()
    out = clues[: random.randint(1, 3)]
    trial = table([0 if cell in out else digit for cell, digit in enumerate(question)])
    hard = repair(trial, table(answer), table(random.permutation(81).tolist()))
    if measure:
        hard = measure(trial, table(answer))
    return ([int(digit) for digit in trial], hard) if hard >= best else (question, best)


def hard_sudoku(split, i):
    """Question, answer and rating of a minimal puzzle, made hard by climbing.

    Random minimal puzzles take two or three guesses. A few hundred steps lead to dozens.
    """
    random = np.random.RandomState([3, SPLITS.index(split), i])
    (answer,) = solutions(propagate([0] * 81), random, limit=1)
    question, best, rating, tried = [0] * 81, -1, 0, 0
    while rating < LOWEST_RATING:
        question, best = climb(random, answer, question, best)
        tried += 1
        if best >= ENOUGH_EFFORT or tried >= MOST_STEPS:
            rating = rate(question)  # where all ten runs are lucky, it climbs on
    return question, answer, rating


@njit
def trial_and_error(grid):
    """How far trial and error must go (puzzles/levels.py): the candidates that are tried in all
    rounds together; the rounds, or -1 where they do not solve it; how many right guesses would."""
    candidates = OPEN.copy()
    enter(grid, candidates)
    tried = rounds = guesses = 0
    while narrowest(candidates) >= 0:
        left = candidates.copy()
        for cell in range(81):
            for digit in range(1, 10):
                bit = 1 << digit
                if candidates[cell] & bit and candidates[cell] != bit:
                    tried += 1
                    branch = candidates.copy()
                    if not place(branch, cell, bit) or not hidden_singles(branch):
                        left[cell] ^= bit
                    elif rounds == 0 and narrowest(branch) < 0:
                        guesses += 1
        rounds += 1
        struck_out = False
        for cell in range(81):
            bits = left[cell] & candidates[cell]
            if bits != candidates[cell]:
                struck_out = True
                candidates[cell] = bits
                if COUNT[bits] == 1:
                    place(candidates, cell, bits)
        if not struck_out:
            return tried, -1, guesses
        hidden_singles(candidates)
    return tried, rounds, guesses


def depth(grid, answer):
    """How deep trial and error must go: what the climb to an extreme puzzle raises."""
    tried, _, guesses = trial_and_error(grid)
    return tried - 4 * guesses


def extreme_sudoku(split, i):
    """Question, answer and rating of a minimal puzzle that takes two rounds of trial and error, or
    more, and that no single right guess solves. About every second climb gets there."""
    random = np.random.RandomState([4, SPLITS.index(split), i])
    while True:
        (answer,) = solutions(propagate([0] * 81), random, limit=1)
        question, best, waited = [0] * 81, -999, 0
        while waited < PATIENCE:
            before = best
            question, best = climb(random, answer, question, best, depth)
            waited = waited + 1 if best == before else 0
            _, rounds, guesses = trial_and_error(table(question))
            if rounds >= 2 and guesses == 0:
                # It is counted once more: where a cell has two digits left that both have no other
                # place, hidden_singles sees no contradiction.
                rounds, one_guess = levels.trial_and_error(question)
                if rounds >= 2 and not one_guess:
                    return question, answer, rate(question)
