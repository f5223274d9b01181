"""The settings of a training, a line each, the recipes made of them, and train.py's flags. [H] is
HRM's paper, arXiv 2506.21734, [J] is TRM's, arXiv 2510.04871."""
from argparse import SUPPRESS, ArgumentTypeError, BooleanOptionalAction

from cli import BadInput, Parser


def between(kind, low, high):
    """An argparse type: an int or a float from `low` to `high`."""

    def number(text):
        if not low <= kind(text) <= high:
            raise ArgumentTypeError(f"{text} is not between {low} and {high}")
        return kind(text)

    return number


def path(text):
    """An argparse type: a path, and no empty text, which an unset variable of a shell gives."""
    if not text:
        raise ArgumentTypeError("is empty")
    return text


whole, whole_or_0 = between(int, 1, 10**9), between(int, 0, 10**9)
rate, share = between(float, 0, 10**9), between(float, 0, 1)

# The small recipe, minutes on a laptop, the same for both models but for a TRM's weight decay on
# Sudokus: name, value, what is allowed (a type, or the choices), what it is.
SETTINGS = [
    ("hidden_size", 64, whole, "channels of each position"),
    ("num_heads", 4, whole, "heads of attention, which share the channels"),
    ("layers", 1, whole, "layers of a net; HRM has two nets"),
    ("mixer", "mlp", ("attention", "mlp"), "what mixes the positions"),
    ("positions", "learned", ("rotary", "learned"), "how attention tells the positions apart"),
    ("prefix_len", 0, whole_or_0, "positions before the cells"),
    ("T_H", 2, whole, "updates of the answer z_H in a refinement step"),
    ("T_L", 2, whole, "updates of the thoughts z_L before each update of the answer"),
    ("N_sup", 4, whole, "refinement steps that a puzzle gets, at most"),
    ("shallow", 0, whole_or_0, "first training steps, with N_sup 1 (small nets with attention)"),
    ("batch_size", 16, whole, "puzzles in a batch: the slots"),
    ("steps", 3500, whole, "training steps"),
    ("lr", 4e-3, rate, "learning rate of AdamW"),
    ("warmup", 100, whole, "training steps over which the rates rise"),
    ("decay", 0.0, share, "the share of the training, at its end, over which the rates fall to 0"),
    ("weight_decay", 0.1, rate, "weight decay of AdamW"),
    ("ema", 0.999, share, "how much of itself the moving average of the weights keeps, at most"),
    ("explore", 0.5, share, "the share of slots that must not halt before a random step"),
    ("hints", 0.0, share, "the largest share of cells given as hints, at the start (not ARC)"),
    ("hints_end", 0.0, share, "the largest share of cells given as hints, at the end"),
    ("puzzle_lr", 0.1, rate, "learning rate of the puzzle embeddings (ARC)"),
    ("puzzle_decay", 0.1, rate, "weight decay of the puzzle embeddings (ARC)"),
    ("augmentations", 8, whole, "views of a task, each with a puzzle embedding (ARC)"),
    ("canvas", 0, whole_or_0, "side of the square in which grids move about; 0: they stay (ARC)"),
    ("seed", 0, whole_or_0, "the seed of all that is random"),
    ("train_puzzles", None, whole, "how many of the puzzles to train on, drawn at random (all)"),
    ("test_puzzles", None, whole, "how many of the puzzles to test on, the first ones (all)"),
    ("data", None, path, "a path: published files, or yours, in place of the bundled puzzles"),
]
MAY_CHANGE = "steps", "data", "device", "compile"  # in a run that goes on (data: a new path)
# What the small recipes of other tasks have otherwise.
SMALL = {
    # On mazes HRM learns far more slowly at a rate that does not fall.
    "maze": dict(steps=12_000, decay=1.0),
    # On ARC a single refinement step of two calls learned fastest of what was tried.
    "arc": dict(mixer="attention", prefix_len=1, T_H=1, T_L=1, N_sup=1, batch_size=32,
                steps=20_000, decay=1.0, ema=0.98),
}
# The medium recipe: hard Sudokus, an hour on one core. Hints make them easier, at first the most.
MEDIUM = dict(hidden_size=128, T_H=1, T_L=4, N_sup=8, steps=20_000, lr=3e-3, decay=1.0, hints=0.6,
              hints_end=0.1)
# The large recipe: the same, wider and deeper, for some minutes on a GPU. It has not been run yet;
# puzzles/trained/trm-sudoku-hard had one much like it (puzzles/README.md).
LARGE = MEDIUM | dict(hidden_size=256, layers=2, T_H=2, batch_size=384, steps=31_000, lr=1e-3)
# The papers' recipes. [H] trains for 20,000 rounds of 1,000 puzzles in batches of 768, [J] for
# 50,000; both for 100,000 rounds of ARC, rounded here. Theirs is AdamATan2, ours AdamW.
PAPER = dict(hidden_size=512, num_heads=8, layers=4, mixer="attention", positions="rotary",
             prefix_len=1, N_sup=16, batch_size=768, steps=26_041, lr=1e-4, warmup=2000,
             weight_decay=1.0, ema=0.0, explore=0.1, puzzle_lr=1e-2, augmentations=1000, canvas=30)
PAPER_TRM = dict(layers=2, prefix_len=16, T_H=3, T_L=4, steps=65_104, ema=0.999)


def recipe(model="trm", task="sudoku", scale="small"):
    """{setting: value}. Raises BadInput."""
    values = {name: value for name, value, *_ in SETTINGS}
    own = {"small": SMALL.get(task, {}), "medium": MEDIUM, "large": LARGE, "paper": PAPER}[scale]
    values |= dict(model=model, task=task, scale=scale) | own
    if scale in ("medium", "large") and task != "sudoku":
        raise BadInput(f"--scale {scale}: there is no such recipe for --task {task}")
    if scale == "small" and model == "trm" and task == "sudoku":
        values["weight_decay"] = 0.2  # steadier; HRM learns more slowly with it
    if scale == "paper" and model == "trm":
        values |= PAPER_TRM
        if task == "sudoku":
            values |= dict(mixer="mlp", T_L=6)
    if scale == "paper" and task == "arc":
        values |= dict(weight_decay=0.1, steps=500_000)
    return values


def parse(argv, tasks):
    """train.py's flags -> the settings of a run, a Namespace: the recipe's, but for what is given;
    and what is given, {name: value}. tasks: the names for --task. Raises BadInput."""
    parser = Parser(prog="train.py", allow_abbrev=False, argument_default=SUPPRESS, add_help=False)
    add = parser.add_argument
    add("--model", choices=["hrm", "trm"], help="(trm)")
    add("--task", choices=list(tasks), help="(sudoku)")
    add("--scale", choices=["small", "medium", "large", "paper"], help="(small)")
    for name, value, allowed, about in SETTINGS:
        kind = {"choices": allowed} if isinstance(allowed, tuple) else {"type": allowed}
        shown = "" if value is None else " (%(default)s)"
        add(f"--{name}", help=about + shown, **kind)
    add("--dtype", choices=["float32", "bfloat16"], help="number type (bfloat16 on a new GPU)")
    add("--compile", action=BooleanOptionalAction, help="use torch.compile (on a GPU that can)")
    add("--device", help="cpu, cuda, mps, ... (what is there)")
    add("--out", metavar="DIR", type=path,
        help="the run's folder (runs/MODEL-TASK-SCALE, or -SEED)")
    add("--resume", metavar="RUN", type=path, help="go on with the run in this folder")
    given = vars(parser.parse_known_args(argv)[0])  # first without defaults: a recipe has them
    fixed = sorted(set(given) - {"resume", *MAY_CHANGE})
    if "resume" in given and fixed:
        raise BadInput(f"--{fixed[0]}: a run goes on as it was, but for {', '.join(MAY_CHANGE)}")
    choice = {name: given[name] for name in ("model", "task", "scale") if name in given}
    parser.set_defaults(dtype=None, compile=None, device=None, out=None, resume=None,
                        **recipe(**choice))
    add("-h", "--help", action="help", help="show this help, with the recipe's values")
    return parser.parse_args(argv), given
