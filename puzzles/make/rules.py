"""The rules of the bundled puzzles: small tasks in the manner of ARC, written for this repository.

Every rule is a function of a `random` (a numpy.random.RandomState) that draws one pair (input,
output): two grids of colours 0 to 9 with sides from 1 to 6, where 0 is the black background. Called
again and again, it gives pairs of one and the same task: the colours that the rule speaks of are
fixed in the function, all the rest varies. A rule that has drawn something unclear (a tie, say)
returns None and is asked again by until_clear, at the end of the file.

TRAINING and EVALUATION hold the rules by name. No rule of one stands in the other, not even turned,
mirrored or in other colours; but grids are small, and some pairs of a rule fit another one, too.
"""

import functools

import numpy as np

BLACK, BLUE, RED, GREEN, YELLOW, GREY, PINK, ORANGE, AZURE, MAROON = range(10)


# Helpers ------------------------------------------------------------------------------------------


def blank(height, width, colour=BLACK):
    """A grid of one colour."""
    return np.full((height, width), colour)


def pick(random, count, without=()):
    """Some different colours: never black, none of those in `without`."""
    return random.permutation([colour for colour in range(1, 10) if colour not in without])[:count]


def scatter(random, height, width, colours, share=0.6):
    """A grid in which a share of the cells has a random one of the colours and the rest is
    black."""
    coloured = random.rand(height, width) < share
    return np.where(coloured, random.choice(colours, (height, width)), BLACK)


def sprinkle(random, height, width, colour, count):
    """A black grid with so many cells of the colour."""
    grid = blank(height, width)
    grid.flat[random.permutation(height * width)[:count]] = colour
    return grid


def free_points(random, height, width, count):
    """Random cells (row, column), no two of them in one row or in one column."""
    return list(zip(random.permutation(height)[:count], random.permutation(width)[:count]))


def far_points(random, height, width, count, gap):
    """Random cells (row, column) that lie at least `gap` rows or `gap` columns from each other."""
    while True:
        points = [(random.randint(height), random.randint(width)) for _ in range(count)]
        if all(max(abs(r - s), abs(c - d)) >= gap
               for i, (r, c) in enumerate(points) for s, d in points[:i]):
            return points


def blob(random, size, colour):
    """A random object of so many connected cells, as the smallest grid that holds it."""
    cells = [(0, 0)]
    while len(cells) < size:
        row, column = cells[random.randint(len(cells))]
        down, right = [(0, 1), (1, 0), (0, -1), (-1, 0)][random.randint(4)]
        if (row + down, column + right) not in cells:
            cells.append((row + down, column + right))
    grid = blank(2 * size, 2 * size)
    for row, column in cells:
        grid[row + size, column + size] = colour
    return crop(grid)


def box(height, width, colour, inside):
    """A rectangle whose rim has one colour and whose inside has another (or is a grid of that
    size)."""
    grid = blank(height, width, colour)
    grid[1:-1, 1:-1] = inside
    return grid


def place(random, grid, piece):
    """Puts the piece where it touches nothing, not even at a corner. Returns whether there was
    room."""
    height, width = piece.shape
    wide = np.pad(grid, 1)
    room = [(r, c) for r in range(grid.shape[0] - height + 1)
            for c in range(grid.shape[1] - width + 1)
            if not wide[r:r + height + 2, c:c + width + 2].any()]
    if room:
        row, column = room[random.randint(len(room))]
        grid[row:row + height, column:column + width] = piece
    return bool(room)


def place_all(random, height, width, pieces):
    """A grid with all the pieces at random places, none touching another. None where there was no
    room."""
    grid = blank(height, width)
    return grid if all(place(random, grid, piece) for piece in pieces) else None


def crop(grid):
    """The smallest part of the grid that holds all that is not black."""
    rows, columns = np.nonzero(grid)
    return grid[rows.min():rows.max() + 1, columns.min():columns.max() + 1]


def objects(grid):
    """The connected objects (by their sides, whatever their colours), each as a mask."""
    masks, left = [], grid != BLACK
    while left.any():
        mask, todo = np.zeros_like(left), [tuple(np.argwhere(left)[0])]
        while todo:
            row, column = todo.pop()
            if 0 <= row < grid.shape[0] and 0 <= column < grid.shape[1] and left[row, column]:
                mask[row, column], left[row, column] = True, False
                todo += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
        masks.append(mask)
    return masks


# Training, easy: each cell of the answer hangs on few cells at fixed places -----------------------


def mirror_left_right(random):
    """The grid is mirrored left to right."""
    grid = scatter(random, 4, 4, pick(random, 4))
    return grid, grid[:, ::-1]


def quarter_turn(random):
    """The grid makes a quarter turn clockwise."""
    grid = scatter(random, 3, 3, pick(random, 4), share=0.8)
    return grid, np.rot90(grid, -1)


def red_to_blue(random):
    """Every red cell becomes blue; the other cells stay."""
    grid = scatter(random, 4, 4, [RED, RED, *pick(random, 2, without=[RED, BLUE])], share=0.8)
    return grid, np.where(grid == RED, BLUE, grid)


def double_size(random):
    """Every cell becomes a block of two by two cells."""
    grid = scatter(random, 3, 3, pick(random, 3))
    return grid, grid.repeat(2, axis=0).repeat(2, axis=1)


def four_copies(random):
    """The output is four copies of the input, two above two."""
    grid = scatter(random, 3, 3, pick(random, 2))
    return grid, np.tile(grid, (2, 2))


def in_both_halves(random):
    """Left and right of the grey line: a cell coloured in both halves becomes red, every other one
    black."""
    left, right = scatter(random, 6, 2, [AZURE]), scatter(random, 6, 2, [ORANGE])
    both = (left > 0) & (right > 0)
    return np.hstack([left, blank(6, 1, GREY), right]), np.where(both, RED, BLACK)


def left_over_right(random):
    """The left half is laid over the right half: where the left one is black, the right one
    shows."""
    left, right = scatter(random, 6, 2, [PINK], share=0.5), scatter(random, 6, 2, [GREEN])
    if not (left * right).any():
        return None
    return np.hstack([left, blank(6, 1, YELLOW), right]), np.where(left > 0, left, right)


def paint_the_border(random):
    """The cells along the border of the grid become green."""
    grid = scatter(random, 5, 5, pick(random, 3, without=[GREEN]))
    return grid, box(5, 5, GREEN, grid[1:-1, 1:-1])


def keep_the_left_half(random):
    """Only the left half of the grid is kept."""
    grid = scatter(random, 4, 6, pick(random, 4), share=0.8)
    return grid, grid[:, :3]


def one_step_right(random):
    """Everything moves one cell to the right; what leaves the grid is lost."""
    grid = scatter(random, 5, 5, pick(random, 3), share=0.5)
    return (grid, np.pad(grid, ((0, 0), (1, 0)))[:, :5]) if grid[:, 4].any() else None


def mirror_the_half(random):
    """The empty right half becomes the mirror image of the left half."""
    half = random.choice(pick(random, 3), (5, 3))
    return np.hstack([half, blank(5, 3)]), np.hstack([half, half[:, ::-1]])


def cut_to_chequers(random):
    """Every second cell becomes black, as on a chess board; the corners stay."""
    grid = random.choice(pick(random, 3), (5, 5))
    return grid, np.where(np.add.outer(range(5), range(5)) % 2 == 0, grid, BLACK)


def row_to_diagonal(random):
    """The cells of the row go to the diagonal of a square, from the top left to the bottom
    right."""
    row = random.choice(pick(random, 4), 5)
    return row[None], np.diag(row)


def row_to_rings(random):
    """The colours of the row become the rings of a square, the first outermost and the last in the
    centre."""
    row = random.choice(pick(random, 6), 3)
    return row[None], box(5, 5, row[0], box(3, 3, row[1], row[2]))


def colour_by_side(random):
    """Grey cells become azure in the left half and maroon in the right half."""
    grid = scatter(random, 4, 6, [GREY], share=0.5)
    return grid, np.where(grid == GREY, [AZURE] * 3 + [MAROON] * 3, grid)


def cast_a_shadow(random):
    """Every yellow cell casts a grey shadow on the cell below and to the right of it."""
    grid = sprinkle(random, 5, 5, YELLOW, random.randint(3, 6))
    shadow = np.pad(grid, ((1, 0), (1, 0)))[:5, :5]
    return (grid, np.where(shadow > 0, GREY, grid)) if not (shadow * grid).any() else None


# Training, medium: objects, lines and patterns ----------------------------------------------------


def fall_down(random):
    """All coloured cells fall down in their columns until they lie on the floor or on each
    other."""
    grid = scatter(random, 5, 5, pick(random, 3), share=0.4)
    order = np.argsort(grid > 0, axis=0, kind="stable")
    return grid, np.take_along_axis(grid, order, axis=0)


def lines_down(random):
    """Every point draws a line of its colour straight down to the floor."""
    grid = blank(6, 6)
    out, count = grid.copy(), random.randint(2, 4)
    for (row, column), colour in zip(free_points(random, 6, 6, count), pick(random, count)):
        grid[row, column] = out[row:, column] = colour
    return grid, out


def cross_through_points(random):
    """A yellow line runs along the row and the column of every red point; the points stay red."""
    grid = blank(*random.randint(4, 7, 2))
    out = grid.copy()
    for row, column in free_points(random, *grid.shape, random.randint(1, 3)):
        grid[row, column] = RED
        out[row] = out[:, column] = YELLOW
    return grid, np.where(grid > 0, grid, out)


def ring_around_points(random):
    """All eight cells around a blue point become orange."""
    grid, out = blank(6, 6), blank(6, 6)
    for row, column in far_points(random, 6, 6, 2, gap=3):
        grid[row, column] = BLUE
        out[max(row - 1, 0):row + 2, max(column - 1, 0):column + 2] = ORANGE
    return grid, np.where(grid > 0, grid, out)


def connect_equal_points(random):
    """Two points of one colour, in one row or in one column, are connected by a line of their
    colour."""
    grid, out = blank(6, 6), blank(6, 6)
    for row, colour in zip(random.permutation(6)[:2], pick(random, 2)):
        start = random.randint(4)
        end = random.randint(start + 2, 6)
        grid[row, [start, end]] = out[row, start:end + 1] = colour
    return (grid, out) if random.rand() < 0.5 else (grid.T, out.T)


def drop_single_cells(random):
    """Cells that stand alone vanish; the blocks stay."""
    colour = pick(random, 1)[0]
    out = place_all(random, 6, 6, [blank(*random.randint(2, 4, 2), colour) for _ in range(2)])
    if out is None:
        return None
    grid = out.copy()
    return (grid, out) if all(place(random, grid, blank(1, 1, colour)) for _ in range(2)) else None


def repeat_the_stripes(random):
    """The stripes at the left are repeated, in their order, up to the right border."""
    count = random.randint(2, 4)
    out = np.tile(np.resize(pick(random, count), 6), (random.randint(2, 7), 1))
    return np.where(np.arange(6) < count, out, BLACK), out


def repair_the_tiling(random):
    """A small tile is repeated over the whole grid; the black hole in it is repaired."""
    side = random.randint(2, 4)
    tile = random.choice(pick(random, 3), (side, side))
    out = np.tile(tile, (3, 3))[:6, :6]
    grid, (row, column) = out.copy(), random.randint(0, 4, 2)
    grid[row:row + 3, column:column + 3] = BLACK
    return (grid, out) if len(np.unique(tile)) > 1 else None


def corners_of_the_block(random):
    """The four corners of the green block become pink."""
    block = blank(*random.randint(3, 6, 2), GREEN)
    block[[0, 0, -1, -1], [0, -1, 0, -1]] = PINK
    out = place_all(random, 6, 6, [block])
    return np.where(out > 0, GREEN, BLACK), out


def colour_of_the_column(random):
    """Every grey cell takes the colour at the top of its column."""
    grid = np.vstack([pick(random, 5, without=[GREY]), scatter(random, 4, 5, [GREY], share=0.4)])
    return grid, np.where(grid == GREY, grid[0], grid)


def ends_meet_halfway(random):
    """A row with coloured ends is filled, each half in the colour of its end."""
    grid, out = blank(5, 6), blank(5, 6)
    for row in random.permutation(5)[:random.randint(2, 4)]:
        grid[row, [0, 5]] = pick(random, 2)
        out[row] = grid[row, [0, 0, 0, 5, 5, 5]]
    return grid, out


def complete_the_square(random):
    """Every grey corner of three cells gets the cell that it lacks to a square, in yellow."""
    squares = blank(2, 2, GREY), blank(2, 2, GREY), blank(2, 2, GREY)
    for square in squares:
        square.flat[random.randint(4)] = YELLOW
    out = place_all(random, 6, 6, squares)
    return None if out is None else (np.where(out == YELLOW, BLACK, out), out)


def paint_empty_lines(random):
    """The rows and the columns without any grey cell are painted pink."""
    grid = sprinkle(random, 6, 6, GREY, random.randint(3, 6))
    rows, columns = ~grid.any(axis=1), ~grid.any(axis=0)
    if not rows.any() or not columns.any():
        return None
    return grid, np.where(rows[:, None] | columns, PINK, grid)


def mark_the_middle(random):
    """The cell in the middle between the two orange points becomes blue."""
    height, width, half = random.randint(2, 7), random.randint(5, 7), random.randint(1, 3)
    grid = blank(height, width)
    row, start = random.randint(height), random.randint(width - 2 * half)
    grid[row, [start, start + 2 * half]] = ORANGE
    out = grid.copy()
    out[row, start + half] = BLUE
    return (grid, out) if random.rand() < 0.5 else (grid.T, out.T)


# Training, hard: counting, comparing, looking at whole objects ------------------------------------


def fill_closed_rings(random):
    """Of the four pink rings of 3x3 cells, one a quarter, those without a gap get an azure
    inside."""
    rings = [box(3, 3, PINK, inside) for inside in random.choice([AZURE, BLACK], 4)]
    for ring in rings:
        if ring[1, 1] == BLACK:
            ring.flat[random.choice([1, 3, 5, 7])] = BLACK  # in the middle of a side
    out = np.block([rings[:2], rings[2:]])
    return np.where(out == AZURE, BLACK, out), out


def largest_becomes_red(random):
    """The largest blue object becomes red."""
    sizes = [random.randint(1, 3), random.randint(1, 3), random.randint(4, 7)]
    out = place_all(random, 6, 6, [blob(random, size, RED if size > 3 else BLUE) for size in sizes])
    return None if out is None else (np.where(out > 0, BLUE, BLACK), out)


def colour_by_size(random):
    """Grey objects of one cell become orange, those of two cells yellow, those of three cells
    green."""
    sizes = [1, 2, 3, random.randint(1, 4)]
    blobs = [blob(random, size, [ORANGE, YELLOW, GREEN][size - 1]) for size in sizes]
    out = place_all(random, 6, 6, blobs)
    return None if out is None else (np.where(out > 0, GREY, BLACK), out)


def count_to_bar(random):
    """The output is a row of five cells; as many of them, from the left, are azure as the input has
    azure cells."""
    count = random.randint(1, 6)
    return sprinkle(random, 5, 5, AZURE, count), np.where(np.arange(5)[None] < count, AZURE, BLACK)


def most_frequent_colour(random):
    """The output is one cell: the colour that the input has most often."""
    grid = random.choice(pick(random, 3), (4, 4))
    colours, counts = np.unique(grid, return_counts=True)
    ranked = np.sort(counts)
    clear = len(ranked) > 1 and ranked[-1] > ranked[-2] + 1
    return (grid, blank(1, 1, colours[counts.argmax()])) if clear else None


def sort_the_bars(random):
    """The bars are sorted by their height, the lowest at the left; each keeps its colour."""
    heights, colours = random.permutation(6)[:5] + 1, pick(random, 5)
    grid = np.where(np.arange(6, 0, -1)[:, None] <= heights, colours, BLACK)
    return grid, grid[:, heights.argsort()]


def cut_out_the_object(random):
    """The output is the coloured object alone, without the empty space around it."""
    piece = scatter(random, *random.randint(2, 5, 2), pick(random, 2), share=0.8)
    if not piece.any() or crop(piece).shape != piece.shape or len(objects(piece)) > 1:
        return None
    return place_all(random, 6, 6, [piece]), piece


def fullest_third(random):
    """Three pieces stand side by side; the one with the most coloured cells is kept."""
    pieces = [scatter(random, 4, 2, [colour], random.rand()) for colour in pick(random, 3)]
    counts = [np.count_nonzero(piece) for piece in pieces]
    ranked = sorted(counts)
    if ranked[0] < 2 or ranked[2] < ranked[1] + 2:
        return None
    return np.hstack(pieces), pieces[int(np.argmax(counts))]


def slide_to_the_wall(random):
    """The azure object moves straight to the grey wall until it touches it."""
    piece, grid = blob(random, random.randint(3, 6), AZURE), blank(6, 6)
    height, width = piece.shape
    if width > 4:
        return None
    grid[:, 5] = GREY
    out, row, column = grid.copy(), random.randint(7 - height), random.randint(5 - width)
    grid[row:row + height, column:column + width] = out[row:row + height, 5 - width:5] = piece
    turns = random.randint(4)
    return np.rot90(grid, turns), np.rot90(out, turns)


def solid_or_hollow(random):
    """A solid grey box becomes green, a hollow one orange."""
    kind = [(GREEN, GREEN), (ORANGE, BLACK)][random.randint(2)]
    out = place_all(random, 6, 6, [box(*random.randint(3, 6, 2), *kind)])
    return np.where(out > 0, GREY, BLACK), out


def drop_what_touches_the_border(random):
    """Objects that touch the border of the grid vanish; the others stay."""
    blobs = [blob(random, random.randint(1, 5), colour) for colour in pick(random, 3)]
    grid = place_all(random, 6, 6, blobs)
    if grid is None:
        return None
    out, inside = grid.copy(), box(6, 6, 0, 1) > 0
    for mask in objects(grid):
        if (mask & ~inside).any():
            out[mask] = BLACK
    return (grid, out) if out.any() else None


def red_moves_to_blue(random):
    """The red cell moves straight towards the blue cell until they touch."""
    (height, width), turns = random.randint(4, 7, 2), random.randint(4)
    grid, out = blank(height, width), blank(height, width)
    row, start = random.randint(height), random.randint(width - 2)
    end = random.randint(start + 2, width)
    grid[row, [start, end]] = out[row, [end - 1, end]] = RED, BLUE
    return np.rot90(grid, turns), np.rot90(out, turns)


def merge_equal_rows(random):
    """Equal rows that follow each other become one row."""
    count = random.randint(2, 5)
    out = random.choice(pick(random, 3), (count, 4))
    times = random.randint(1, 4, count)
    clear = len(np.unique(out, axis=0)) == count and times.sum() < 7
    return (out.repeat(times, axis=0), out) if clear else None


def full_rows_vanish(random):
    """Rows without a black cell vanish, and the rows above them come down."""
    colours = pick(random, 2)
    grid = np.vstack([blank(2, 5), scatter(random, 4, 5, colours)])
    grid[random.randint(3, 6)] = random.choice(colours, 5)
    full = grid.all(axis=1)
    clear = grid[2:].any(axis=1).all()
    return (grid, np.vstack([blank(full.sum(), 5), grid[~full]])) if clear else None


# Evaluation, easy ---------------------------------------------------------------------------------


def half_turn(random):
    """The grid makes a half turn."""
    grid = scatter(random, 4, 4, pick(random, 4))
    return grid, np.rot90(grid, 2)


def flip_over_diagonal(random):
    """The grid is mirrored over its diagonal: the rows become the columns."""
    grid = scatter(random, 4, 4, pick(random, 4), share=0.8)
    return grid, grid.T


def swap_two_colours(random):
    """Green cells become pink and pink cells become green; the other cells stay."""
    grid = scatter(random, 4, 4, [GREEN, PINK, *pick(random, 1, without=[GREEN, PINK])], share=0.8)
    if not (grid == GREEN).any() or not (grid == PINK).any():
        return None
    return grid, np.where(grid == GREEN, PINK, np.where(grid == PINK, GREEN, grid))


def half_size(random):
    """Every block of two by two cells becomes one cell."""
    out = scatter(random, 3, 3, pick(random, 3), share=0.8)
    return out.repeat(2, axis=0).repeat(2, axis=1), out


def spread_apart(random):
    """The cells are moved apart: a black row or column comes between every two neighbours."""
    grid, out = scatter(random, 3, 3, pick(random, 3), share=0.8), blank(5, 5)
    out[::2, ::2] = grid
    return grid, out


def kaleidoscope(random):
    """The input stands at the top left; its mirror images are beside it, below it and across from
    it."""
    grid = scatter(random, 3, 3, pick(random, 3), share=0.8)
    top = np.hstack([grid, grid[:, ::-1]])
    return grid, np.vstack([top, top[::-1]])


def in_one_half_only(random):
    """Above and below the blue line: a cell coloured in just one half becomes green, every other
    one black."""
    top = scatter(random, 2, 6, [YELLOW], share=0.5)
    bottom = scatter(random, 2, 6, [MAROON], share=0.5)
    one = (top > 0) != (bottom > 0)
    return np.vstack([top, blank(1, 6, BLUE), bottom]), np.where(one, GREEN, BLACK)


def in_neither_half(random):
    """Left and right of the red line: a cell black in both halves becomes azure, every other one
    black."""
    left, right = scatter(random, 6, 2, [GREY], share=0.5), scatter(random, 6, 2, [PINK], share=0.5)
    return np.hstack([left, blank(6, 1, RED), right]), np.where(left + right == 0, AZURE, BLACK)


def peel_the_border(random):
    """The outermost ring of cells is taken away."""
    grid = scatter(random, 5, 5, pick(random, 4), share=0.8)
    return grid, grid[1:-1, 1:-1]


def thicken_the_border(random):
    """The grid grows by one cell on every side; the new cells copy the nearest old ones."""
    grid = random.choice(pick(random, 4), (3, 3))
    return grid, np.pad(grid, 1, mode="edge")


def copy_the_half(random):
    """The empty lower half becomes a copy of the upper half."""
    half = random.choice(pick(random, 3), (3, 5))
    return np.vstack([half, blank(3, 5)]), np.vstack([half, half])


def shear_the_rows(random):
    """The first row stays, the second moves one cell to the right, the third two, and so on; what
    leaves comes back."""
    grid = random.choice(pick(random, 4), (4, 4))
    return grid, np.stack([np.roll(row, steps) for steps, row in enumerate(grid)])


def paint_the_middle_cross(random):
    """The middle row and the middle column of the grid become orange."""
    grid = scatter(random, 5, 5, pick(random, 3, without=[ORANGE]))
    out = grid.copy()
    out[2] = out[:, 2] = ORANGE
    return grid, out


def colour_by_ring(random):
    """Grey cells become blue along the border, yellow in the ring next to it and red in the
    middle."""
    grid, depth = scatter(random, 6, 6, [GREY], share=0.5), np.array([0, 1, 2, 2, 1, 0])
    rings = np.array([BLUE, YELLOW, RED])[np.minimum.outer(depth, depth)]
    out = np.where(grid == GREY, rings, grid)
    return (grid, out) if (out == RED).any() else None


def reverse_every_second_row(random):
    """The second and the fourth row are reversed; the first and the third stay."""
    grid = random.choice(pick(random, 4), (4, 4))
    out = grid.copy()
    out[1::2] = grid[1::2, ::-1]
    return grid, out


# Evaluation, medium -------------------------------------------------------------------------------


def drift_apart(random):
    """In every row the maroon cells slide to the left border and the green cells to the right
    border."""
    grid, out = blank(5, 6), blank(5, 6)
    for row in range(5):
        count = random.randint(1, 4)
        # maroon stands left, so that none must pass
        colours = np.sort(random.choice([MAROON, GREEN], count))[::-1]
        grid[row, np.sort(random.permutation(6)[:count])] = colours
        out[row, np.arange(count) + np.where(colours == GREEN, 6 - count, 0)] = colours
    return (grid, out) if (grid == MAROON).any() and (grid == GREEN).any() else None


def diagonal_lines(random):
    """Every point draws a line of its colour diagonally, down and to the right, up to the
    border."""
    grid, out = blank(6, 6), blank(6, 6)
    points = free_points(random, 5, 5, 2)
    for (row, column), colour in zip(points, pick(random, 2)):
        steps = np.arange(6 - max(row, column))
        grid[row, column] = out[row + steps, column + steps] = colour
    return (grid, out) if len({column - row for row, column in points}) == 2 else None


def rows_and_columns(random):
    """An orange point fills its row, a blue point its column; where they cross, the blue line is on
    top."""
    grid, out = blank(6, 6), blank(6, 6)
    points = free_points(random, 6, 6, random.randint(2, 4))
    colours = [BLUE] + [ORANGE] * (len(points) - 1)
    for point, colour in zip(points, colours):
        grid[point] = colour
    out[(grid == ORANGE).any(axis=1)] = ORANGE
    out[:, (grid == BLUE).any(axis=0)] = BLUE
    return grid, out


def diagonal_neighbours(random):
    """The four cells that touch a maroon point at its corners become yellow."""
    grid, wide = blank(6, 6), blank(8, 8)
    for row, column in far_points(random, 6, 6, random.randint(2, 4), gap=3):
        grid[row, column] = MAROON
        wide[row:row + 3:2, column:column + 3:2] = YELLOW
    return grid, np.where(grid > 0, grid, wide[1:-1, 1:-1])


def elbow(random):
    """From red, an azure line runs along the row to the column of green, then along this column to
    green."""
    grid, out = blank(6, 6), blank(6, 6)
    (row, column), (other_row, other_column) = free_points(random, 6, 6, 2)
    out[row, min(column, other_column):max(column, other_column) + 1] = AZURE
    out[min(row, other_row):max(row, other_row) + 1, other_column] = AZURE
    grid[row, column], grid[other_row, other_column] = RED, GREEN
    return grid, np.where(grid > 0, grid, out)


def clean_the_rows(random):
    """Every row gets one colour: the one that most of its cells have."""
    colours = pick(random, 3)
    out = np.tile(random.choice(colours, (5, 1)), (1, 6))
    noise = random.rand(5, 6) < 0.2
    grid = np.where(noise, random.choice(colours, (5, 6)), out)
    return (grid, out) if noise.sum(axis=1).max() <= 2 and len(np.unique(out)) > 1 else None


def repeat_the_diagonals(random):
    """The coloured diagonal stripes are repeated, in their order, over the whole grid."""
    count, diagonal = random.randint(2, 4), np.add.outer(range(6), range(6))
    start = random.randint(2, 7)
    out = pick(random, count)[diagonal % count]
    return np.where((diagonal >= start) & (diagonal < start + count), out, BLACK), out


def repair_the_mirror(random):
    """The grid is its own mirror image over the diagonal from the top left; the black hole is
    repaired."""
    half = random.choice(pick(random, 4), (6, 6))
    out = np.triu(half) + np.triu(half, 1).T
    grid, (row, column) = out.copy(), random.randint(0, 4, 2)
    grid[row:row + 2, column:column + 3] = BLACK
    seen = np.maximum(grid, grid.T).all()  # the mirror image of the hole is to be seen
    return (grid, out) if seen else None


def mark_the_crossings(random):
    """Where a row line and a column line of azure cross, the cell becomes pink."""
    grid = blank(*random.randint(5, 7, 2))
    rows, columns = (
        random.permutation(np.arange(random.randint(2), side, 2))[:random.randint(1, 4)]
                     for side in grid.shape)
    grid[rows], grid[:, columns] = AZURE, AZURE
    out = grid.copy()
    out[np.ix_(rows, columns)] = PINK
    return grid, out


def hollow_the_block(random):
    """The inside of the block becomes black; only its rim stays."""
    colour = pick(random, 1)[0]
    drawn = place_all(random, 6, 6, [box(*random.randint(3, 7, 2), colour, -colour)])
    return np.abs(drawn), np.maximum(drawn, BLACK)


def fill_between_corners(random):
    """Two grey points are opposite corners of a rectangle, which is filled with orange; the points
    stay."""
    grid = blank(*random.randint(4, 7, 2))
    (top, column), (bottom, other) = sorted(free_points(random, *grid.shape, 2))
    grid[top, column] = grid[bottom, other] = GREY
    out = np.zeros_like(grid)
    out[top:bottom + 1, min(column, other):max(column, other) + 1] = ORANGE
    return grid, np.where(grid > 0, grid, out)


def crossing_table(random):
    """A cell becomes red if the first cell of its row and the top cell of its column are both
    yellow."""
    grid = blank(6, 6)
    grid[0, 1:], grid[1:, 0] = scatter(random, 2, 5, [YELLOW], share=0.5)
    return grid, np.where(np.outer(grid[:, 0], grid[0]) > 0, RED, grid)


def fill_the_room(random):
    """A room between the grey walls that has a coloured point is filled with this colour."""
    grid = blank(5, 5)
    grid[2], grid[:, 2] = GREY, GREY
    out, count = grid.copy(), random.randint(1, 5)
    for room, colour in zip(random.permutation(4)[:count], pick(random, count, without=[GREY])):
        row, column = room // 2 * 3, room % 2 * 3
        out[row:row + 2, column:column + 2] = colour
        grid[row + random.randint(2), column + random.randint(2)] = colour
    return grid, out


def pinwheel(random):
    """The square at the top left is turned clockwise into the other corners, a quarter turn from
    each to the next."""
    square = random.choice(pick(random, 3), (3, 3))
    grid = np.pad(square, ((0, 3), (0, 3)))
    return grid, np.block([[square, np.rot90(square, -1)],
                           [np.rot90(square, 1), np.rot90(square, 2)]])


def lying_or_standing(random):
    """Grey bars that lie become pink, those that stand become green."""
    bars = [blank(1, random.randint(2, 5), PINK), blank(random.randint(2, 5), 1, GREEN)]
    either = [blank(1, random.randint(2, 5), PINK), blank(random.randint(2, 5), 1, GREEN)]
    bars.append(either[random.randint(2)])
    out = place_all(random, 6, 6, bars)
    return None if out is None else (np.where(out > 0, GREY, BLACK), out)


# Evaluation, hard ---------------------------------------------------------------------------------


def shoot_the_arrow(random):
    """A pink cell with a green cell behind it is an arrow: a pink line runs from it, away from
    green, to the border."""
    (height, width), turns = random.randint(4, 7, 2), random.randint(4)
    grid, row, head = blank(height, width), random.randint(height), random.randint(1, width - 1)
    grid[row, [head - 1, head]] = GREEN, PINK
    out = grid.copy()
    out[row, head:] = PINK
    return np.rot90(grid, turns), np.rot90(out, turns)


def drop_the_smallest(random):
    """The smallest object vanishes."""
    sizes = [random.randint(1, 3), random.randint(4, 7), random.randint(4, 7)]
    out = place_all(random, 6, 6, [blob(random, size, colour if size > 3 else -colour)
                                   for size, colour in zip(sizes, pick(random, 3))])
    return None if out is None else (np.abs(out), np.maximum(out, BLACK))


def rank_the_colours(random):
    """The output is a column of the three colours, from the most frequent one down to the
    rarest."""
    grid = random.choice(pick(random, 3), (4, 4), p=[0.5, 0.3, 0.2])
    colours, counts = np.unique(grid, return_counts=True)
    if len(counts) < 3 or np.diff(np.sort(counts)).min() < 2:
        return None
    return grid, colours[np.argsort(-counts)][:, None]


def look_into_the_frame(random):
    """The output is what the green frame surrounds."""
    colours, (height, width) = pick(random, 2, without=[GREEN]), random.randint(3, 6, 2)
    grid = scatter(random, 6, 6, colours, share=0.4)
    row, column = random.randint(7 - height), random.randint(7 - width)
    inside = scatter(random, height - 2, width - 2, colours)
    grid[row:row + height, column:column + width] = box(height, width, GREEN, inside)
    return (grid, inside) if inside.any() else None


def odd_shape_out(random):
    """Three pieces stand side by side; two show the same shape, and the one with another shape is
    kept."""
    shape, other = random.rand(2, 4, 2) < 0.5
    if (shape != other).sum() < 3 or not shape.any() or not other.any():
        return None
    odd = random.randint(3)
    pieces = [np.where(other if i == odd else shape, colour, BLACK)
              for i, colour in enumerate(pick(random, 3))]
    return np.hstack(pieces), pieces[odd]


def colour_that_occurs_once(random):
    """The output is one cell: the only colour that occurs just once in the input."""
    rare, *colours = pick(random, 4)
    grid = random.choice(colours, (4, 4))
    grid[random.randint(4), random.randint(4)] = rare
    clear = np.sort(np.unique(grid, return_counts=True)[1])[1] > 2
    return (grid, blank(1, 1, rare)) if clear else None


def seed_spreads(random):
    """A grey object with one orange cell becomes orange as a whole; the other objects stay grey."""
    grid = place_all(random, 6, 6, [blob(random, random.randint(2, 5), GREY) for _ in range(3)])
    if grid is None:
        return None
    out, masks = grid.copy(), objects(grid)
    for i in random.permutation(3)[:random.randint(1, 3)]:
        cells = np.argwhere(masks[i])
        grid[tuple(cells[random.randint(len(cells))])] = ORANGE
        out[masks[i]] = ORANGE
    return grid, out


def stamp_the_pattern(random):
    """The square pattern at the top left is copied onto every grey point, with its top left cell on
    the point."""
    grid = blank(6, 6)
    grid[:2, :2] = random.choice(pick(random, 3, without=[GREY]), (2, 2))
    out = grid.copy()
    for row, column in far_points(random, 5, 5, random.randint(1, 4), gap=2):
        if max(row, column) < 2:
            return None
        grid[row, column] = GREY
        out[row:row + 2, column:column + 2] = grid[:2, :2]
    return grid, out


def read_left_to_right(random):
    """The output is a row of the four coloured cells in their order from left to right."""
    points, colours = free_points(random, 5, 6, 4), pick(random, 4)
    grid = blank(5, 6)
    for point, colour in zip(points, colours):
        grid[point] = colour
    return grid, grid.max(axis=0)[grid.any(axis=0)][None]


def wider_side(random):
    """The grey line parts the grid; the wider side is kept."""
    grid = scatter(random, 4, 6, pick(random, 3, without=[GREY]), share=0.8)
    line = random.randint(1, 5)
    grid[:, line] = GREY
    return grid, grid[:, :line] if line > 2 else grid[:, line + 1:]


def rain_water(random):
    """Blue water fills the dips: all black cells with maroon ground somewhere left and right in
    their row."""
    ground = np.arange(6, 0, -1)[:, None] <= random.randint(0, 6, 6)
    left = np.maximum.accumulate(ground, axis=1)
    right = np.maximum.accumulate(ground[:, ::-1], axis=1)[:, ::-1]
    grid, water = np.where(ground, MAROON, BLACK), left & right & ~ground
    return (grid, np.where(water, BLUE, grid)) if water.sum() > 2 else None


def paint_the_fullest_row(random):
    """The row with the most azure cells is painted red from end to end."""
    grid = scatter(random, 5, 6, [AZURE], share=0.4)
    counts = np.count_nonzero(grid, axis=1)
    if np.sort(counts)[-1] < np.sort(counts)[-2] + 2:
        return None
    return grid, np.where((counts == counts.max())[:, None], RED, grid)


def follow_the_legend(random):
    """The two cells at the top left are a legend: below, cells of its left colour take its right
    colour."""
    old, new, other = pick(random, 3)
    grid = np.vstack([blank(2, 5), scatter(random, 4, 5, [old, other])])
    grid[0, :2] = old, new
    out = np.where(grid == old, new, grid)
    out[0, 0] = old
    return grid, out


def turn_at_the_stone(random):
    """A yellow line runs from the point to the right up to the grey stone, turns there and runs
    down to the floor."""
    height, width = random.randint(4, 7, 2)
    grid, row, start = blank(height, width), random.randint(height - 1), random.randint(width - 2)
    stone = random.randint(start + 2, width)
    grid[row, [start, stone]] = YELLOW, GREY
    out = grid.copy()
    out[row, start:stone] = out[row:, stone - 1] = YELLOW
    return grid, out


# The two sets -------------------------------------------------------------------------------------


def until_clear(rule):
    """The rule, drawing again until there is a clear pair in which something changes."""
    @functools.wraps(rule)
    def draw(random):
        while True:
            pair = rule(random)
            if pair is not None and not np.array_equal(*pair):
                return pair[0].copy(), pair[1].copy()
    return draw


TRAINING = {rule.__name__: until_clear(rule) for rule in (
    mirror_left_right, quarter_turn, red_to_blue, double_size, four_copies, in_both_halves,
    left_over_right, paint_the_border, keep_the_left_half, one_step_right, mirror_the_half,
    cut_to_chequers, row_to_diagonal, row_to_rings, colour_by_side, cast_a_shadow, fall_down,
    lines_down, cross_through_points, ring_around_points, connect_equal_points, drop_single_cells,
    repeat_the_stripes, repair_the_tiling, corners_of_the_block, colour_of_the_column,
    ends_meet_halfway, complete_the_square, paint_empty_lines, mark_the_middle, fill_closed_rings,
    largest_becomes_red, colour_by_size, count_to_bar, most_frequent_colour, sort_the_bars,
    cut_out_the_object, fullest_third, slide_to_the_wall, solid_or_hollow,
    drop_what_touches_the_border, red_moves_to_blue, merge_equal_rows, full_rows_vanish)}
EVALUATION = {rule.__name__: until_clear(rule) for rule in (
    half_turn, flip_over_diagonal, swap_two_colours, half_size, spread_apart, kaleidoscope,
    in_one_half_only, in_neither_half, peel_the_border, thicken_the_border, copy_the_half,
    shear_the_rows, paint_the_middle_cross, colour_by_ring, reverse_every_second_row, drift_apart,
    diagonal_lines, rows_and_columns, diagonal_neighbours, elbow, clean_the_rows,
    repeat_the_diagonals, repair_the_mirror, mark_the_crossings, hollow_the_block,
    fill_between_corners, crossing_table, fill_the_room, pinwheel, lying_or_standing,
    shoot_the_arrow, drop_the_smallest, rank_the_colours, look_into_the_frame, odd_shape_out,
    colour_that_occurs_once, seed_spreads, stamp_the_pattern, read_left_to_right, wider_side,
    rain_water, paint_the_fullest_row, follow_the_legend, turn_at_the_stone)}
