"""A run's folder and its checkpoint: saved so that nothing is lost, loaded so that nothing in the file is run."""
import os
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from data import BadInput


class Failure(Exception):
    """A run cannot go on; the message says why and where, in one line."""


PARTS = ("settings", "step", "seconds", "slots", "sums", "log", "random", "model", "ema", "optimizer")


def out_of_memory(error):
    words = ("out of memory", "allocate memory", "not enough memory")  # a GPU's, a CPU's, Windows'
    return isinstance(error, MemoryError) or isinstance(error, RuntimeError) and any(word in str(error) for word in words)


@contextmanager
def expecting(path, complaint):
    """Inside, any error but too little memory is the fault of the file at `path`: BadInput, in one line."""
    try:
        yield
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from None
    except Exception as error:  # torch has no error of its own for a bad file
        if out_of_memory(error):
            raise
        why = (str(error).strip().splitlines() or [""])[-1].strip()
        raise BadInput(f"{path}: {complaint} ({type(error).__name__}: {why[:200]})") from None


def load(path, recipes):
    """A run's folder or its checkpoint -> the checkpoint, on the CPU. recipes: train.py's, which say what the settings
    must hold. Nothing in the file is run. Raises BadInput."""
    path = Path(path, "checkpoint.pt") if os.path.isdir(path) else Path(path)
    with expecting(path, "not a checkpoint of train.py, or damaged"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about files that are none of ours
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        s = checkpoint["settings"]
        kinds = {"seed": 0, "puzzles": "", **recipes[s["model"], s["task"], s["scale"]]}
        wrong = [k for k in PARTS if k not in checkpoint] + [k for k in kinds if type(s.get(k)) is not type(kinds[k])]
        if wrong:
            raise ValueError(f"no {wrong[0]}")
    return checkpoint


def replace(path, content):
    """Write a file beside `path`, bring it to the disk, and only then let it take the old one's place: whatever
    happens at whatever moment, `path` is the old file or the new one, whole. Raises Failure."""
    beside = path.with_suffix(".tmp")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise Failure(f"{path} could not be written ({error.strerror or error}); "
                      "what was saved there before is whole") from None


def new_folder(out, default):
    """Makes the folder of a new run: `out`, or the first free of `default`, -2, -3, ... Raises BadInput."""
    if out and any(os.path.exists(Path(out, name)) for name in ("checkpoint.pt", "log.csv")):
        raise BadInput(f"--out {out}: holds a run already; --resume goes on with it")
    folder, n = Path(out or default), 1
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=bool(out))
            return folder
        except OSError as error:
            if not folder.is_dir():
                raise BadInput(f"--out {folder}: {error.strerror}") from None
        n += 1
        folder = Path(f"{default}-{n}")
