"""`python -m puzzles.make` writes all sets of bundled puzzles, `python -m puzzles.make NAME ...`
only those named, such as maze/small."""
import sys
from pathlib import Path

from puzzles.make.files import SETS

PUZZLES = Path(__file__).parent.parent  # the folder in which the sets lie

if __name__ == "__main__":
    for name in sys.argv[1:] or SETS:
        if name not in SETS:
            sys.exit(f"{name}: there is no such set; there are {', '.join(SETS)}")
        print(name)
        write, *arguments = SETS[name]
        write(PUZZLES / name, *arguments)
