"""The command line's manners: flags, one clear line for what goes wrong, Ctrl-C, whole files.

What train.py, evaluate.py and bench.py share and no student need read. No torch here.
"""
import argparse
import os
import signal
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path


class BadInput(Exception):
    """What the user gave cannot be used; the message says what and where, in one line."""


class Failure(Exception):
    """A run cannot go on; the message says why and where, in one line."""


class Parser(argparse.ArgumentParser):
    """argparse's, but what is wrong is raised as BadInput, and no flag may be shortened."""

    def __init__(self, **more):
        super().__init__(allow_abbrev=False, **more)

    def error(self, message):
        raise BadInput(message)

    def add_settings(self, defaults):
        """A flag for each of the settings in FLAGS that `defaults` has; it shows the default."""
        for title, flags in FLAGS.items():
            group = self.add_argument_group(title)
            for name, (kind, about) in flags.items():
                if name in defaults:
                    if defaults[name] not in (None, ""):
                        about += f" ({defaults[name]})"
                    how = "choices" if isinstance(kind, tuple) else "type"
                    how = "action" if kind in ACTIONS else how
                    group.add_argument(f"--{name}", default=defaults[name], help=about,
                                       **{how: kind})


def between(kind, low, high):
    """An argparse type: an int or a float from `low` to `high`."""

    def number(text):
        if not low <= kind(text) <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low} and {high}")
        return kind(text)

    return number


def new_file(path):
    """An argparse type: where a new file can be made. Rather fail at once than after hours."""
    if os.path.lexists(path):
        raise argparse.ArgumentTypeError(f"{path} exists, and is left as it is")
    if not os.path.basename(path) or not os.path.isdir(os.path.dirname(path) or "."):
        raise argparse.ArgumentTypeError(f"{path!r} is not a file in a folder that exists")
    return path


whole, from_0 = between(int, 1, 10**9), between(int, 0, 2**63 - 1)
positive, share = between(float, 0, 10**9), between(float, 0, 1)
ACTIONS = "store_true", argparse.BooleanOptionalAction
FLAGS = {
    "the net": {
        "hidden_size": (whole, "channels"),
        "num_heads": (whole, "attention heads"),
        "layers": (whole, "of the net; HRM has two such nets"),
        "mixer": (("attention", "mlp"), "what connects the cells"),
        "positions": (("rotary", "learned"), "how attention tells the cells apart"),
        "prefix_len": (from_0, "positions before the cells"),
    },
    "the recursion": {
        "T_H": (whole, "updates of the answer in a refinement step"),
        "T_L": (whole, "updates of the latent before each update of the answer"),
        "N_sup": (whole, "refinement steps a puzzle gets, at most"),
        "shallow": (from_0, "so many training steps at the start have an N_sup of 1"),
    },
    "the training": {
        "batch_size": (whole, "puzzles (evaluated: trajectories) at a time, of all processes"),
        "steps": (whole, "a refinement step of the batch and an optimizer step each"),
        "lr": (positive, "AdamW's learning rate"),
        "warmup": (whole, "steps over which the rates rise"),
        "decay": (share, "last share of the steps, over which the rates fall to 0"),
        "weight_decay": (positive, "AdamW's"),
        "ema": (share, "what the weights' moving average keeps in a step"),
        "explore": (share, "share of the halts that must wait for a random step"),
    },
    "ARC": {
        "augmentations": (whole, "views a task, each with an embedding of its own"),
        "canvas": (from_0, "side of what the grids move about in; 0: the largest's, and they stay"),
        "puzzle_lr": (positive, "the embeddings' learning rate (sign-SGD)"),
        "puzzle_decay": (positive, "the embeddings' weight decay"),
    },
    "the run": {
        "data": (str, "a path: published files in place of the bundled puzzles, or a run's"),
        "train_puzzles": (whole, "train on this many of the puzzles, drawn at random"),
        "test_puzzles": (whole, "test on the first so many, else on all"),
        "seed": (from_0, "of all that is random"),
        "device": (str, "cpu, cuda, mps, ..."),
        "compile": (argparse.BooleanOptionalAction, "torch.compile; else where it pays, on CUDA"),
        "out": (str, "the run's folder; else runs/MODEL-TASK-SCALE"),
    },
    "the evaluation": {
        "rollouts": (whole, "trajectories a puzzle, each through another symmetry; the surest "
                            "answers (ARC: the first so many views vote, else all)"),
        "noise": (positive, "those see the puzzle as it is; noise of this size on the carry "
                            "before each step makes them differ"),
        "halt": (share, "be done with a puzzle when this sure of an answer (not with --watch)"),
        "answers": (new_file, "a new file for the answers: csv, for ARC the ARC Prize's JSON"),
        "watch": ("store_true", "show a test puzzle being solved, step by step"),
        "puzzle": (str, "watch your own: 81 digits, 0 or . for a blank; a maze's '#.SG' row by "
                        "row; an ARC task's name"),
        "svg": (str, "a file for what is watched as a moving picture"),
    },
}


def out_of_memory(error):
    words = ("out of memory", "allocate memory", "not enough memory")  # a GPU's, a CPU's, Windows'
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


@contextmanager
def blaming(what, complaint):
    """Inside, any error but too little memory is the fault of `what`, a file or flag: BadInput."""
    try:
        yield
    except BadInput:
        raise
    except OSError as error:
        raise BadInput(f"{what}: {error.strerror or error}") from None
    except Exception as error:  # a damaged file can make a library fail in any way
        if out_of_memory(error):
            raise
        why = (str(error).strip().splitlines() or [""])[-1].strip()
        raise BadInput(f"{what}: {complaint} ({type(error).__name__}: {why[:200]})") from None


def in_one_line(main, argv=None):
    """main(argv)'s exit code, or that of what went wrong, told in one line: 2 for bad input, 1 for
    a failure while running, 130 for Ctrl-C. A fault of ours keeps its traceback."""
    try:
        return main(argv)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # whoever read the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (BadInput, OSError) as error:  # an OSError: a path that is no path
        code, why = 2, error
    except Failure as error:
        code, why = 1, error
    except (MemoryError, RuntimeError) as error:
        if out_of_memory(error):
            code, why = 1, "out of memory; a lower --batch_size needs less"
        elif type(error).__module__.startswith("torch._dynamo"):  # such as: no C compiler
            first = str(error).strip().splitlines()[0]
            code, why = 1, f"torch.compile failed ({first}); --no-compile does without"
        else:
            raise
    if code == 1 or os.environ.get("RANK", "0") == "0":  # bad input is the same in all processes
        print(f"{Path(sys.argv[0]).name}: {why}", file=sys.stderr)
    return code


def noted_signals():
    """From now on Ctrl-C and SIGTERM only add their number to the list that is returned, so that a
    loop can end after its step. A second one ends the program at once."""
    noted = []

    def note(number, frame):
        noted.append(number)
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    return noted


def signals_as_usual():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


class Live:
    """The line on a terminal that says, once a second, how far a training is."""

    def __init__(self, step, steps, batch_size):
        self.first, self.steps, self.batch_size = step, steps, batch_size
        self.begun = self.told = time.time()

    def tell(self, step, loss, right):
        """loss: a tensor; right: (B,). Reading them makes a GPU wait: only where they are shown."""
        now = time.time()
        if now - self.told < 1 or not sys.stdout.isatty():
            return
        speed, self.told = (step - self.first) / (now - self.begun), now
        left = timedelta(seconds=int((self.steps - step) / speed))
        line = (f"{step:6d} {loss:16.3f} | {100 * right.float().mean():.0f}% of the slots right; "
                f"{speed * self.batch_size:.0f} puzzle steps/s; {left} left")
        print("\r" + line.ljust(78), end="", flush=True)


def progress(found, parts, start):
    """On a terminal, a line that says how far a long evaluation is. found: what is known of each
    part of the puzzles, of so many parts, since `start`; "right" (n, K, N_sup): which are after
    each step; "labels" (n, S), all 0 where the solution is not known."""
    if sys.stdout.isatty() and parts > 1:
        done = len(found)
        last = (part["right"][(part["labels"] != 0).any(1)][..., -1] for part in found)
        right = [value for part in last for value in part.flatten().tolist()]
        exact = f"{100 * sum(right) / len(right):.1f}% exact" if right else "no solution known"
        left = timedelta(seconds=int((time.time() - start) / done * (parts - done)))
        line = f"{100 * done / parts:.0f}% done, {exact}; {left} left"
        print("\r" + line.ljust(78), end="\n" * (done == parts), flush=True)


class Log:
    """What is known of a training at each evaluation: a lasting line, and a row of log.csv."""

    def __init__(self, path, shown_steps, step):
        """step: a run that goes on from there has no use for later rows."""
        names = [f"exact_{n}" for n in shown_steps]
        self.path, self.lines = path, [",".join(["step", "seconds", "loss", *names, "blanks"])]
        if step and path.exists():
            self.lines += [line for line in path.read_text().splitlines()[1:]
                           if line.split(",")[0].isdigit() and int(line.split(",")[0]) <= step]
        steps, over = "".join(f"{n:8d}" for n in shown_steps), "exact after refinement steps"
        self.wide = max(len(steps), len(over))
        print(f"                        | {over.ljust(self.wide)} | blanks\n"
              f"  step    time     loss | {steps.ljust(self.wide)} |  right")

    def add(self, step, seconds, loss, exact, blanks):
        """exact: after each of the shown steps. exact and blanks: shares, on validation puzzles."""
        shares = "".join(f"{100 * share:7.1f}%" for share in exact).ljust(self.wide)
        line = (f"{step:6d} {timedelta(seconds=int(seconds))} {loss:8.3f} | {shares} | "
                f"{100 * blanks:5.1f}%")
        print("\r" * sys.stdout.isatty() + line.ljust(78 * sys.stdout.isatty()), flush=True)
        figures = [f"{figure:.4f}" for figure in (loss, *exact, blanks)]
        self.lines.append(",".join([str(step), f"{seconds:.1f}", *figures]))
        text = "\n".join([*self.lines, ""]).encode()
        write_atomically(self.path, lambda file: file.write(text))


def save_answers(path, text, count):
    """Write so many answers to a file of theirs, and say so. Raises Failure."""
    write_atomically(Path(path), lambda file: file.write(text.encode()))
    print(f"\n{count:,} answers written to {path}")


def write_atomically(path, write):
    """write(file) fills a file beside `path`, which is brought to the disk and only then takes the
    place of the old one: whatever happens, `path` is the old file or the new one, whole. Raises
    Failure."""
    beside = path.with_name(f"{path.name}.tmp")
    if path.exists() and not path.is_file():
        raise Failure(f"{path} could not be written (not a file)")
    try:
        with open(beside, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except (OSError, RuntimeError) as error:  # torch.save wraps a full disk in a RuntimeError
        beside.unlink(missing_ok=True)
        raise Failure(f"{path} could not be written ({getattr(error, 'strerror', None) or error}); "
                      "what was saved there before is whole") from None
