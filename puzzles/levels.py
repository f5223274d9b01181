"""What makes a Sudoku hard: how much trial and error it takes.

Singles are the cells with one digit left, and the digits with one place left in a row, column or
box. Filling them, until there are none, solves an easy puzzle. Elsewhere a round of trial and error
helps: assume each candidate of each open cell in turn, fill singles, and strike the candidate out
if that contradicts itself; then fill singles again. Most hard puzzles need one round, some two or
more. If a round strikes nothing out, the puzzle is beyond one level of trial and error.

`cells` are (81, N) numbers: N grids, side by side. Bit d - 1 is set where digit d is possible.
"""
import numpy as np

from puzzles import read

LEVELS = "singles", "one round", "two rounds and more", "beyond"  # of a puzzle: at [min(rounds, 2)]
OF_CELL = np.nonzero((read.UNITS == np.arange(81)[:, None, None]).any(2))[1].reshape(81, 3)


def once_and_twice(cells):
    """Which digits each unit has in one cell or more, and in two or more: (27, N) each."""
    once = twice = np.zeros((27, cells.shape[1]), np.uint16)
    for places in read.UNITS.T:  # the first cell of each unit, then the second
        twice = twice | once & cells[places]
        once = once | cells[places]
    return once, twice


def in_units_of_cells(digits):
    """Digits of each unit, (27, N) -> of the three units of each cell together, (81, N)."""
    return digits[OF_CELL[:, 0]] | digits[OF_CELL[:, 1]] | digits[OF_CELL[:, 2]]


def fill_singles(cells):
    """Fill singles until nothing moves. A grid that contradicts itself becomes 0 everywhere."""
    cells, moving = cells.copy(), np.arange(cells.shape[1])
    while len(moving):
        old = cells[:, moving]
        placed = np.where(old & (old - 1), 0, old)  # the digits of cells with one digit left
        taken, clash = once_and_twice(placed)
        new = np.where(placed, old, old & ~in_units_of_cells(taken))
        once, twice = once_and_twice(new)
        only_here = new & in_units_of_cells(once & ~twice)
        new = np.where(only_here, only_here, new)
        wrong = clash.any(0) | (once != 511).any(0) | (new == 0).any(0)
        wrong |= (only_here & (only_here - 1)).any(0)  # two digits have no other place than this
        new[:, wrong] = 0
        cells[:, moving] = new
        moving = moving[(new != old).any(0) & ~wrong]
    return cells


def trial_and_error(question):
    """A Sudoku with one solution, (81,) digits, 0 for a blank -> how many rounds solve it, 0 where
    singles do and -1 where it is beyond; and whether one right guess and singles solve it."""
    known = np.asarray(question, np.uint16)[:, None]
    cells = fill_singles(np.where(known, 1 << np.maximum(known, 1) - 1, 511).astype(np.uint16))
    rounds, one_guess = 0, False
    while (is_open := (cells & (cells - 1)) > 0).any():
        cell, digit = np.nonzero(is_open & (cells >> np.arange(9) & 1 > 0))
        trials = np.repeat(cells, len(cell), axis=1)  # (81, candidates)
        trials[cell, np.arange(len(cell))] = 1 << digit
        trials = fill_singles(trials)
        wrong = trials[0] == 0
        if rounds == 0:
            one_guess = bool((~wrong & ~(trials & (trials - 1)).any(0)).any())
        if not wrong.any():
            return -1, one_guess
        np.subtract.at(cells[:, 0], cell[wrong], (1 << digit[wrong]).astype(np.uint16))
        cells, rounds = fill_singles(cells), rounds + 1
    return rounds, one_guess
