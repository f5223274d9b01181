"""The command line's manners, which no student need read: errors in one line, Ctrl-C, the line that
a terminal overwrites, log.csv, whole files, memory. No torch here.
"""
import argparse
import ctypes
import os
import re
import shutil
import signal
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path


class BadInput(Exception):
    """What the user gave cannot be used; the message says what and where, in one line."""


class Failure(Exception):
    """A run cannot go on; the message says why and where, in one line. code: the exit code."""

    def __init__(self, message, code=1):
        super().__init__(message)
        self.code = code


class Parser(argparse.ArgumentParser):
    """argparse's, but what is wrong is raised as BadInput."""

    def error(self, message):
        raise BadInput(message)


def out_of_memory(error):
    """Whether an error of torch, on a GPU or on a CPU, or of numpy says so."""
    return re.search("out of memory|can't allocate|MemoryError", in_short(error))


def in_short(error):
    """The kind of an error and the start of its message, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


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
        raise BadInput(f"{what}: {complaint} ({in_short(error)})") from None


def keep_freed_memory():
    """What a training step frees, the next one needs again. glibc, the C library of most Linuxes,
    gives it back to the system, and fetching it again takes time: so it is to keep a GiB."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD: only what is free beyond 1 GiB goes back
        mallopt(-3, 1 << 25)  # M_MMAP_THRESHOLD: but pieces of 32 MiB and more always do


def in_one_line(main, argv=None):
    """main(argv)'s exit code, or that of what went wrong, told in one line: 2 for bad input, 1 for
    a failure while running, 130 for Ctrl-C, 143 for SIGTERM. Our faults keep their traceback."""
    keep_freed_memory()
    try:
        return main(argv)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except (BadInput, Failure, OSError) as error:  # an OSError: a path that is no path
        code, why = getattr(error, "code", 2), error
    except Exception as error:
        if not out_of_memory(error):
            raise
        code, why = 1, ("out of memory; a lower --batch_size needs less, and torchrun splits a "
                        "batch over several GPUs")
    print(f"{Path(sys.argv[0]).name}: {why}", file=sys.stderr)
    return code


@contextmanager
def noted_signals(wanted):
    """Inside, if wanted, Ctrl-C and SIGTERM only add their number to the list that is given, so
    that a loop can end after its step; a second one ends the program at once. An error that
    comes after one of them ends the loop, too."""
    noted = []

    def note(number, frame):
        noted.append(number)
        signal.signal(number, signal.SIG_DFL)

    numbers = (signal.SIGINT, signal.SIGTERM) if wanted else ()
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield noted
    except Exception:  # Ctrl-C also ends a C++ compiler that torch.compile waits for
        if not noted:
            raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def overwrite(line):
    """On a terminal, write a line in the place of the one before."""
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 1  # a longer line would leave a copy behind
        print("\r" + line[:width].ljust(width), end="\r", flush=True)


class Log:
    """A line on the terminal that changes; at each evaluation one that stays, and log.csv's row."""

    def __init__(self, path, shown_steps, step, steps, blank):
        """step: where the run goes on, which has no use for later rows; steps: where it ends.
        blank: the token of a blank, or None: then all cells count in the place of the blanks."""
        self.path, self.first, self.steps = path, step + 1, steps
        cells, names = "cells" if blank is None else "blanks", [f"exact_{n}" for n in shown_steps]
        self.lines = [",".join(["step", "seconds", "loss", *names, cells])]
        if step and path.exists():
            with blaming(path, "not the log of this run; if you delete it, the run goes on"):
                self.lines += [line for line in path.read_text().splitlines()[1:]
                               if int(line.split(",")[0]) <= step]
        print(f"                        | exact after refinement steps             | {cells:>6s}\n"
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
        write_or_say(self.path, "\n".join([*self.lines, ""]).encode())


def write_atomically(path, content):
    """Bytes into a file beside `path`, which only then takes the place of the old one: whatever
    happens, `path` is the old file or the new one, whole. Raises Failure."""
    beside = Path(f"{path}.{os.getpid()}.tmp")  # of this process alone
    try:
        beside.write_bytes(content)
        try:
            os.replace(beside, path)
        except PermissionError:  # on Windows, while another program reads it: a moment later
            time.sleep(3)
            os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise Failure(f"{path} could not be written ({error.strerror or error}); what was saved "
                      "there before is whole") from None


def write_or_say(path, content):
    """As write_atomically, of a file that is soon written anew: where it fails, a line says so."""
    try:
        write_atomically(path, content)
    except Failure as why:
        print(why)


def claim(folder):
    """Make a folder for a new run, in which none has begun. Raises BadInput."""
    if Path(folder, "checkpoint.pt").exists():
        raise BadInput(f"{folder}: holds a run; train.py --resume goes on with it, "
                       "or name another folder")
    os.makedirs(folder, exist_ok=True)
