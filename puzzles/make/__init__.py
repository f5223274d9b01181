"""The generators of the bundled puzzles. To train and to evaluate, none of this is needed.

`python -m puzzles.make` writes the same bytes wherever and whenever it runs, and `python -m
puzzles.make maze/small arc/training` writes only those two sets. sudoku.py, maze.py and arc.py make
the puzzles, rules.py holds the rules of the ARC tasks, and files.py writes the files.

Puzzle i of a split comes from a random state of its own, seeded by (task, split, i), so that any
single puzzle can be made again without the others. numpy's RandomState is used because its streams
are frozen for good.
"""
SPLITS = ("train", "valid", "test")  # the place of a split's name is part of the seed
