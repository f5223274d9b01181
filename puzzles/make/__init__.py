"""The generators of the bundled puzzles. To train and to evaluate, none of this is needed. They
write the same bytes wherever and whenever they run. rules.py holds the rules of the ARC tasks.
Puzzle i of a split comes from a random state of its own, seeded by (task, split, i), so that any
single puzzle can be made again without the others. numpy's RandomState is used because its streams
are frozen for good.
"""
SPLITS = ("train", "valid", "test")  # the place of a split's name is part of the seed
