"""The settings of a training, a line each, the recipes made of them, and the command lines.

Small is minutes on a laptop, medium an hour; paper is the papers' setting. [H] is HRM's paper,
arXiv 2506.21734, [J] is TRM's, arXiv 2510.04871.
"""
import os
from argparse import ArgumentTypeError, BooleanOptionalAction
from pathlib import Path

import cli
import runs
from cli import BadInput

# ---- the recipes ---------------------------------------------------------------------------------

# The small recipe, minutes on a laptop, the same for both models: name, value, what is allowed (the
# choices, or one of KINDS below), what it is.
SETTINGS = [
    ("hidden_size", 64, "whole", "channels of each position"),
    ("num_heads", 4, "whole", "heads of attention, which share the channels"),
    ("layers", 1, "whole", "layers of a net; HRM has two nets"),
    ("mixer", "mlp", ("attention", "mlp"), "what mixes the positions"),
    ("positions", "learned", ("rotary", "learned"), "how attention tells the positions apart"),
    ("prefix_len", 0, "whole_or_0", "positions before the cells"),
    ("T_H", 2, "whole", "updates of the answer z_H in a refinement step"),
    ("T_L", 2, "whole", "updates of the thoughts z_L before each update of the answer"),
    ("N_sup", 4, "whole", "refinement steps that a puzzle gets, at most"),
    ("shallow", 0, "whole_or_0", "an N_sup of 1 for so many training steps at the start"),
    ("batch_size", 16, "whole", "puzzles in a batch: the slots"),
    ("steps", 6000, "whole", "training steps"),
    ("lr", 4e-3, "number", "learning rate of AdamW"),
    ("warmup", 100, "whole", "training steps over which the rates rise"),
    ("decay", 0.0, "share", "the last share of the training, over which the rates fall to 0"),
    ("weight_decay", 0.1, "number", "weight decay of AdamW"),
    ("ema", 0.999, "share", "how much of itself the weights' moving average keeps in a step"),
    ("explore", 0.5, "share", "the share of puzzles that may not halt before a random step"),
    ("hints", 0.0, "share", "the largest share of cells given as hints, at the start (not ARC)"),
    ("hints_end", 0.0, "share", "the largest share of cells given as hints, at the end"),
    ("puzzle_lr", 0.1, "number", "learning rate of the puzzle embeddings (ARC)"),
    ("puzzle_decay", 0.1, "number", "weight decay of the puzzle embeddings (ARC)"),
    ("augmentations", 8, "whole", "views of a task, each with a puzzle embedding (ARC)"),
    ("canvas", 0, "whole_or_0", "side of the square in which grids move about; 0: they stay (ARC)"),
    ("seed", 0, "seed", "the seed of all that is random"),
    ("train_puzzles", None, "whole", "train on so many of the puzzles, drawn at random"),
    ("test_puzzles", None, "whole", "test on the first so many"),
    ("data", None, "text", "published files in place of the bundled puzzles: a path"),
]
# What a run that goes on may have otherwise than before.
MAY_CHANGE = "steps", "lr", "warmup", "decay", "puzzle_lr", "data", "test_puzzles"
# What the small recipes of other tasks have otherwise.
SMALL = {
    # On mazes HRM learns far more slowly at a rate that does not fall.
    "maze": dict(steps=12_000, decay=1.0),
    # On ARC a single refinement step of two calls learned fastest of what was tried.
    "arc": dict(mixer="attention", prefix_len=1, T_H=1, T_L=1, N_sup=1, batch_size=32,
                steps=20_000, decay=1.0, ema=0.98),
}
# The medium recipe, an hour on one core at most, the same for both models: Sudokus that need
# dozens of guesses. Hints make them easier, and there are fewer of them towards the end.
MEDIUM = dict(hidden_size=128, T_H=1, T_L=4, N_sup=8, steps=20_000, lr=3e-3, decay=1.0, hints=0.6,
              hints_end=0.1)
# The papers' recipes. [H] trains for 20,000 rounds of 1,000 puzzles in batches of 768, [J] for
# 50,000; both for 100,000 rounds of ARC, rounded here.
PAPER = dict(hidden_size=512, num_heads=8, layers=4, mixer="attention", positions="rotary",
             prefix_len=1, N_sup=16, batch_size=768, steps=26_041, lr=1e-4, warmup=2000,
             weight_decay=1.0, ema=0.0, explore=0.1, puzzle_lr=1e-2, augmentations=1000, canvas=30)
PAPER_TRM = dict(layers=2, prefix_len=16, T_H=3, T_L=4, steps=65_104, ema=0.999)


def recipe(model, task, scale):
    """{setting: value}"""
    values = {name: value for name, value, *_ in SETTINGS}
    if scale == "small":
        return values | SMALL.get(task, {})
    if scale == "medium":
        return values | MEDIUM
    values |= PAPER
    if model == "trm":
        values |= PAPER_TRM
        if task == "sudoku":
            values |= dict(mixer="mlp", T_L=6)
    if task == "arc":
        values |= dict(weight_decay=0.1, steps=500_000)
    return values


# ---- what a flag may be --------------------------------------------------------------------------


def between(kind, low, high):
    """An argparse type: an int or a float from `low` to `high`."""

    def number(text):
        if not low <= kind(text) <= high:
            raise ArgumentTypeError(f"{text} is not between {low} and {high}")
        return kind(text)

    return number


KINDS = {"whole": between(int, 1, 10**9), "whole_or_0": between(int, 0, 10**6),
         "seed": between(int, 0, 2**63 - 1), "number": between(float, 0, 10**9),
         "share": between(float, 0, 1), "text": str}


def new_file(path):
    """An argparse type: where a new file can be made. Rather fail at once than after hours."""
    if os.path.lexists(path):
        raise ArgumentTypeError(f"{path} exists, and is left as it is")
    if not os.path.basename(path) or not os.path.isdir(os.path.dirname(path) or "."):
        raise ArgumentTypeError(f"{path!r} is not a file in a folder that exists")
    return path


# ---- the command lines ---------------------------------------------------------------------------


def parse(argv):
    """The settings, the run's folder and the checkpoint to go on from. Raises BadInput."""
    choice = cli.Parser(add_help=False)
    choice.add_argument("--model", choices=["hrm", "trm"], default="trm", help="(trm)")
    choice.add_argument("--task", choices=list(runs.TASKS), default="sudoku", help="(sudoku)")
    choice.add_argument("--scale", choices=["small", "medium", "paper"], default="small",
                        help="(small)")
    choice.add_argument("--resume", metavar="RUN", help="go on with the run in this folder")
    first, _ = choice.parse_known_args(argv)
    if first.scale == "medium" and first.task != "sudoku":
        raise BadInput(f"--scale medium: there is no such recipe for --task {first.task}")
    checkpoint = runs.load_checkpoint(first.resume) if first.resume else None
    values = recipe(first.model, first.task, first.scale)
    if checkpoint:
        values |= checkpoint["settings"]
        choice.set_defaults(**{name: values[name] for name in ("model", "task", "scale")})
    parser = cli.Parser(prog="train.py", description="Train HRM or TRM.", parents=[choice])
    for name, _, allowed, about in SETTINGS:
        kind = {"choices": allowed} if isinstance(allowed, tuple) else {"type": KINDS[allowed]}
        default = "" if values[name] is None else f" ({values[name]})"
        about = f"{about}{default}".replace("%", "%%")  # argparse would read a path's % as a code
        parser.add_argument(f"--{name}", default=values[name], help=about, **kind)
    add = parser.add_argument
    add("--device", default=runs.default_device(), help="cpu, cuda, mps, ... (what is there)")
    add("--dtype", choices=["float32", "bfloat16"], default=values.get("dtype"),
        help="what the nets compute in (bfloat16 on a GPU that has it, else float32)")
    add("--compile", action=BooleanOptionalAction, default=values.get("compile"),
        help="use torch.compile (on a GPU that can)")
    add("--out", metavar="DIR", help="the run's folder (runs/MODEL-TASK-SCALE)")
    s = parser.parse_args(argv)
    if s.task == "arc" and (s.hints or s.hints_end):
        raise BadInput("--hints: an ARC answer is a grid of its own, of which nothing is given")
    folder = Path(s.resume or s.out or f"runs/{s.model}-{s.task}-{s.scale}")
    if checkpoint:
        check_resume(s, values, folder, checkpoint)
    elif (folder / "checkpoint.pt").exists():
        raise BadInput(f"{folder}: holds a run: --resume goes on with it (with more --steps, if "
                       "it has ended), --out makes another")
    del s.resume, s.out
    return s, folder, checkpoint


def check_resume(s, values, folder, checkpoint):
    """Raise BadInput if the run in the folder cannot go on, or not with the settings s. values:
    {setting: value} of the run."""
    if "slots" not in checkpoint or folder.is_file():
        raise BadInput(f"{folder}: not the folder of a run that can go on")
    if s.out:
        raise BadInput(f"--out {s.out}: a run goes on in its own folder, {folder}")
    for name in ("model", "task", "scale", *(name for name, *_ in SETTINGS)):
        if name not in MAY_CHANGE and vars(s)[name] != values[name]:
            raise BadInput(f"--{name} {vars(s)[name]}: the run has {values[name]}")
    if s.steps <= checkpoint["step"]:
        raise BadInput(f"--steps {s.steps}: the run has made {checkpoint['step']} training steps; "
                       "to go on it needs more")
    runs.refuse_lost_puzzles(s, checkpoint, folder)


def changes(s, checkpoint):
    """What a run that goes on has otherwise than before: a list of texts."""
    before = checkpoint["settings"]
    return [f"{name} {vars(s)[name]} (it was {before[name]})" for name in MAY_CHANGE
            if name in before and vars(s)[name] != before[name]]


def parse_evaluation(argv):
    """The flags of evaluate.py. Raises BadInput."""
    parser = cli.Parser(prog="evaluate.py", description="Evaluate a run, or watch it think.")
    add, whole = parser.add_argument, KINDS["whole"]
    add("run", metavar="RUN", help="a run's folder or checkpoint; a public code's checkpoint")
    add("--N_sup", type=whole, help="refinement steps for each puzzle (16; on ARC the run's)")
    add("--T_H", type=whole, help="updates of the answer in a refinement step (the run's)")
    add("--T_L", type=whole, help="updates of the thoughts before each (the run's)")
    add("--views", type=whole, help="look at each puzzle through so many symmetries, and keep "
        "the surest answer (1; on ARC all views are asked, and vote)")
    add("--halt", type=KINDS["share"], default=1.0, metavar="P",
        help="a puzzle whose answer is surer than P, from 0 to 1, gets no further view (1)")
    add("--data", help="other puzzles: a folder, or a file")
    add("--test_puzzles", type=whole, help="only the first so many test puzzles")
    add("--answers", type=new_file, metavar="FILE", help="write the answers to a new file: "
        "csv, for ARC the JSON of the ARC Prize")
    add("--watch", action="store_true", help="show one test puzzle, drawn at random, being solved")
    add("--puzzle", metavar="TEXT", help="watch your own: 81 digits, 0 or . for a blank; a maze's "
        "'#.SG' row by row; the name of an ARC task")
    add("--svg", type=new_file, metavar="FILE", help="draw what is watched as a moving "
        "picture, too, in a new file")
    add("--seed", type=KINDS["seed"],
        help="of the random views, and of the puzzle that is watched")
    add("--batch_size", type=whole, default=500, help="puzzles at a time (500)")
    add("--device", default=runs.default_device(), help="cpu, cuda, mps, ... (what is there)")
    add("--dtype", choices=["float32", "bfloat16"], help="what the nets compute in (bfloat16 on a "
        "GPU that has it, else float32)")
    args = parser.parse_args(argv)
    if args.answers and (args.watch or args.puzzle is not None):
        raise BadInput("--answers: of all test puzzles, not of the one to --watch or --puzzle")
    if args.answers and args.answers == args.svg:
        raise BadInput(f"--svg {args.svg}: the same file as --answers")
    return args
