"""How hard a Sudoku is: the guesses that a simple solver needs for it.

The solver fills in singles: a cell that has one candidate left, and a digit that has one place left
in a row, column or box. Where there are none it guesses. It takes a cell with the fewest candidates
and tries them in random order, each with all that follows from it, until it has the solution. So
the right candidate comes after half of the wrong ones, on average, and each of those costs all the
guesses that refute it. What `count_guesses` returns is that average: no guess is left to chance.
"""
import numpy as np

ROW, COLUMN = np.divmod(np.arange(81), 9)
BOX = ROW // 3 * 3 + COLUMN // 3
# (27, 81): which cells a row, a column or a box has, as 0 and 1
UNITS = np.concatenate([np.arange(9)[:, None] == line for line in (ROW, COLUMN, BOX)])
UNITS = UNITS.astype(np.float32)
PEERS = (UNITS.T @ UNITS > 0).astype(np.float32) - np.eye(81, dtype=np.float32)  # (81, 81)


def fill_singles(boards):
    """Boards as candidates, (M, 9, 81) bool: may this digit stand in this cell? Returns what is
    left of them after all singles, without the boards that contradict themselves, and which of
    the boards, (M,) bool, these are."""
    alive = np.ones(len(boards), bool)
    changing = np.arange(len(boards))
    while len(changing):
        before = boards[changing]
        only_one = before & (before.sum(1, keepdims=True) == 1)  # the cell has no other candidate
        after = before & (only_one.astype(np.float32) @ PEERS == 0)
        places = after.astype(np.float32) @ UNITS.T  # (m, 9, 27): places for a digit in a unit
        only_place = after & ((places == 1).astype(np.float32) @ UNITS > 0)
        fixed = only_place.sum(1, keepdims=True)  # how many digits must be in this cell
        after &= only_place | (fixed == 0)
        boards[changing] = after
        possible = (fixed < 2).all((1, 2)) & (places > 0).all((1, 2)) & after.any(1).all(1)
        alive[changing] = possible
        changing = changing[possible & (after != before).any((1, 2))]
    return boards[alive], alive


def count_guesses(questions, most=1000):
    """How many guesses each Sudoku is expected to need: (N, 81) digits, 0 for a blank -> (N,)
    floats. Counting ends, for a puzzle, when it is sure that there are more than `most`; the
    number is then infinity. So it is for a puzzle with no solution."""
    return np.concatenate([count_some(part, most) for part in
                           np.array_split(questions, len(questions) // 100 + 1)])


def count_some(questions, most):
    """`count_guesses`, level by level of the search tree: all boards after one guess, after two."""
    digits = np.arange(1, 10)[:, None]
    boards = (questions[:, None] == digits) | (questions[:, None] == 0)  # (N, 9, 81)
    owner = np.arange(len(questions))  # which puzzle each board belongs to
    guesses = np.zeros(len(questions))  # in the whole tree
    solved_after = np.full(len(questions), np.inf)  # guesses that lead straight to the solution
    level = 0
    while len(boards):
        boards, alive = fill_singles(boards)
        owner = owner[alive]
        candidates = boards.sum(1)  # (M, 81), of each cell
        solved = (candidates == 1).all(1)
        solved_after[owner[solved]] = level
        to_do = ~solved & (guesses[owner] <= 2 * most)
        boards, owner, candidates = boards[to_do], owner[to_do], candidates[to_do]
        cell = np.where(candidates > 1, candidates, 10).argmin(1)  # of each board, where to guess
        parent, digit = boards[np.arange(len(boards)), :, cell].nonzero()
        boards, owner, cell = boards[parent], owner[parent], cell[parent]
        each = np.arange(len(boards))
        boards[each, :, cell] = False
        boards[each, digit, cell] = True
        guesses += np.bincount(owner, minlength=len(guesses))
        level += 1
    expected = (guesses + solved_after) / 2
    return np.where(expected <= most, expected, np.inf)
