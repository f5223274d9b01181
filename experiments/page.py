"""A page in which trained nets think: `python -m experiments.page RUN [RUN ...] --out FILE.html`.

The file is page.html, which stands beside this one, with the weights of the runs and some Sudokus
put into it. A browser opens it from the disk; it needs no server and fetches nothing.
"""
import base64
import json
import os
import sys
from pathlib import Path

import cli
import data
import evaluate

# What the page calls the Sudokus of each of the bundled sets.
SETS = {"small": "easy: without trial and error",
        "paper": "hard: mostly one round of trial and error",
        "extreme": "extreme: two or three rounds of trial and error",
        "beyond": "beyond: one level of trial and error is not enough"}


def packed(path):
    """A run's folder -> what the page needs of it, a dict for JSON. Its weights are one float16
    text, in which `parts` says whose numbers follow whose. Raises BadInput."""
    model, _, _, s = evaluate.open_run(path)
    if s.task != "sudoku" or s.mixer != "mlp" or s.prefix_len:
        raise cli.BadInput(f"{path}: the page computes nets with the MLP, without a prefix, that "
                           "solve Sudokus")
    weights = model.state_dict()
    numbers = b"".join(part.half().numpy().astype("<f2").tobytes() for part in weights.values())
    size = sum(part.numel() for part in model.parameters())
    return {"name": s.model, "title": f"{s.model.upper()}, {s.scale} ({size:,} weights)",
            "T_H": s.T_H, "T_L": s.T_L, "weights": base64.b64encode(numbers).decode(),
            "parts": [[name, part.numel()] for name, part in weights.items()]}


def some_puzzles(count=8):
    """The first test puzzles of each set, dicts of "level", "question" and "solution"."""
    puzzles = []
    for name, level in SETS.items():
        split = data.Sudoku(data.BUNDLED / "sudoku" / name).splits["test"]
        for pair in zip(split["inputs"][:count], split["labels"][:count]):
            question, solution = ("".join(data.Sudoku.characters[token] for token in cells)
                                  for cells in pair)
            puzzles.append({"level": level, "question": question, "solution": solution})
    return puzzles


def page(paths):
    """The text of the page with these runs. Raises BadInput."""
    source = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    empty = '{"runs": [], "puzzles": []}'
    content = {"runs": [packed(path) for path in paths], "puzzles": some_puzzles()}
    return source.replace(empty, json.dumps(content))


def main(argv=None):
    parser = cli.Parser(prog="python -m experiments.page", description=__doc__.split("\n")[0])
    parser.add_argument("runs", metavar="RUN", nargs="+", help="a run on Sudokus, with the MLP")
    parser.add_argument("--out", metavar="FILE", required=True, help="the page, a new file")
    args = parser.parse_args(argv)
    if os.path.lexists(args.out) or not os.path.isdir(os.path.dirname(args.out) or "."):
        raise cli.BadInput(f"{args.out}: exists already, or its folder does not")
    cli.write_atomically(args.out, page(args.runs).encode())
    print(f"{args.out}: a browser opens it")
    return 0


if __name__ == "__main__":
    sys.exit(cli.in_one_line(main))
