"""The command line's manners, which no student need read: flags, errors in one line, Ctrl-C, the
line that a terminal overwrites, log.csv, whole files. No torch here.
"""
import argparse
import os
import shutil
import signal
import sys
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path


class BadInput(Exception):
    """What the user gave cannot be used; the message says what and where, in one line."""


class Failure(Exception):
    """A run cannot go on; the message says why and where, in one line."""


# ---- flags ---------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """argparse's, but what is wrong is raised as BadInput, and no flag may be shortened."""

    def __init__(self, **more):
        super().__init__(allow_abbrev=False, **more)

    def error(self, message):
        raise BadInput(message)


# ---- errors in one line --------------------------------------------------------------------------


def lines_of(error):
    """The lines of an error's text, at least one."""
    return str(error).strip().splitlines() or [""]


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
        why = lines_of(error)[-1].strip()
        raise BadInput(f"{what}: {complaint} ({type(error).__name__}: {why[:200]})") from None


def in_one_line(main, argv=None):
    """main(argv)'s exit code, or that of what went wrong, told in one line: 2 for bad input, 1 for
    a failure while running, 130 for Ctrl-C. A fault of ours keeps its traceback."""
    for stream in (sys.stdout, sys.stderr):  # what their encoding lacks is escaped
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main(argv)
        sys.stdout.flush()  # here, where it is noticed if whoever read the output has gone
        return code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (BadInput, OSError) as error:  # an OSError: a path that is no path
        code, why = 2, error
    except Failure as error:
        code, why = 1, error
    except (MemoryError, RuntimeError) as error:
        if out_of_memory(error):
            code, why = 1, "out of memory; a lower --batch_size needs less"
        elif type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            code, why = 1, f"torch.compile failed ({lines_of(error)[0]}); --no-compile does without"
        else:
            raise
    print(f"{Path(sys.argv[0]).name}: {why}", file=sys.stderr)
    return code


@contextmanager
def noted_signals():
    """Inside, Ctrl-C and SIGTERM only add their number to the list that is given, so that a loop
    can end after its step; a second one ends the program at once. Afterwards all is as it was.
    Outside the main thread, which alone gets signals, nothing changes."""
    noted, before = [], {}

    def note(number, frame):
        noted.append(number)
        signal.signal(number, signal.SIG_DFL)

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---- the terminal, and log.csv -------------------------------------------------------------------


def overwrite(line, last=False):
    """On a terminal, write a line in place of the one before; the last one stays."""
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 1  # a longer line would leave a copy behind
        print("\r" + line[:width].ljust(width), end="\n" if last else "\r", flush=True)


def show_progress(done, total, start):
    """How far a long evaluation is, begun at `start`, in seconds as time.time() has them."""
    left = timedelta(seconds=int((time.time() - start) / done * (total - done)))
    overwrite(f"{done:,} of {total:,} puzzles; {left} left", last=done == total)


class Log:
    """A line on the terminal that changes; at each evaluation one that stays, and log.csv's row."""

    def __init__(self, path, shown_steps, step, steps):
        """step: where the run goes on, which has no use for later rows; steps: where it ends."""
        self.path, self.first, self.steps = path, step + 1, steps
        names = [f"exact_{n}" for n in shown_steps]
        self.lines = [",".join(["step", "seconds", "loss", *names, "blanks"])]
        if step and path.exists():
            self.lines += [line for line in path.read_text().splitlines()[1:]
                           if line.split(",")[0].isdigit() and int(line.split(",")[0]) <= step]
        print("                        | exact after refinement steps             | blanks\n"
              f"  step    time     loss | {''.join(f'{n:8d}' for n in shown_steps)} |  right")

    def live(self, step, loss, right, batch_size):
        """loss: a tensor; right: (B,). Reading them makes a GPU wait: only where they are shown."""
        now = time.time()
        if step == self.first:  # this step may have compiled for minutes: the speed leaves it out
            self.begun = self.told = now
        elif now - self.told > 1 and sys.stdout.isatty():
            speed, self.told = (step - self.first) / (now - self.begun), now
            left = timedelta(seconds=int((self.steps - step) / speed))
            overwrite(f"{step:6d} loss {loss:.3f} | {100 * right.float().mean():.0f}% of the slots "
                      f"right | {speed * batch_size:.0f} puzzle steps/s | {left} left")

    def add(self, step, seconds, loss, exact, blanks):
        """exact: after each of the shown steps. exact and blanks: shares, on validation puzzles."""
        shares = "".join(f"{100 * share:7.1f}%" for share in exact)
        overwrite("")  # the live line makes room
        print(f"{step:6d} {timedelta(seconds=int(seconds))} {loss:8.3f} | {shares} | "
              f"{100 * blanks:5.1f}%", flush=True)
        figures = [f"{figure:.4f}" for figure in (loss, *exact, blanks)]
        self.lines.append(",".join([str(step), f"{seconds:.1f}", *figures]))
        write_atomically(self.path, "\n".join([*self.lines, ""]).encode())


def write_atomically(path, content):
    """content: bytes, or a function that fills an open file. It goes to a file beside `path`, is
    brought to the disk and only then takes the place of the old one: whatever happens, `path` is
    the old file or the new one, whole. Raises Failure."""
    path = Path(path)
    beside = path.with_name(f"{path.name}.tmp")
    if path.exists() and not path.is_file():
        raise Failure(f"{path} could not be written (not a file)")
    try:
        with open(beside, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except (OSError, RuntimeError) as error:  # torch.save wraps a full disk in a RuntimeError
        beside.unlink(missing_ok=True)
        raise Failure(f"{path} could not be written ({getattr(error, 'strerror', None) or error}); "
                      "what was saved there before is whole") from None
