"""Makes mazes, each of which has exactly one shortest path.

A grid is a list of side * side characters, row by row, as in the files: see read.MAZE.
"""
import math

import numpy as np

from puzzles.make import SPLITS


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


def draw_maze(random, side, lengths, winding, loops):
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


def fingerprint(answer):
    """The same for two mazes whose walls the symmetries of the square carry into each other, and
    only for those."""
    side = math.isqrt(len(answer))
    grid = (np.array(answer) == "#").reshape(side, side)
    return min(np.rot90(view, turns).tobytes() for view in (grid, grid.T) for turns in range(4))


def small_maze(split, i):
    """Question, answer and path length of an 8x8 maze whose path has 1 to 12 cells."""
    random = np.random.RandomState([2, SPLITS.index(split), i])
    return draw_maze(random, 8, range(1, 13), winding=0.3, loops=8)


def paper_maze(split, i):
    """Question, answer and path length of a 30x30 maze whose path has 111 cells or more."""
    random = np.random.RandomState([4, SPLITS.index(split), i])
    return draw_maze(random, 30, range(111, 900), winding=0.9, loops=20)
