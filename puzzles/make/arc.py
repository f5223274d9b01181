"""Makes tasks in the manner of ARC. The rules that they follow are in rules.py."""
import zlib

import numpy as np


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
