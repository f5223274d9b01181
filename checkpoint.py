"""A run's folder and its checkpoint: saved so that nothing is lost, loaded so that nothing in the file is run. Also the
checkpoints that the papers' public codes save."""
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


# The public codes' names for what their checkpoints hold, after "inner." and before it maybe "_orig_mod." and "model.".
PUBLIC_NAMES = (
    ("embed_tokens.embedding_weight", "embed_tokens"), ("puzzle_emb.weights", "puzzles.rows"),
    ("H_init", "z_H_init"), ("L_init", "z_L_init"), ("lm_head.", "output_head."), ("q_head.", "halt_head."),
    ("H_level.layers.", "H_net.blocks."), ("L_level.layers.", "L_net.blocks."), (".self_attn.qkv_proj.", ".attention.qkv."),
    (".self_attn.o_proj.", ".attention.output."), (".mlp_t.", ".mix."), (".gate_up_proj.", ".gate_up."),
    (".down_proj.", ".down."),
)


def published(found, model, task, recipe):
    """What a public code saved, {name: tensor} -> a checkpoint of ours without what training needs. Sizes and mixer are
    read off the weights; heads, T_H, T_L and N_sup, which are not in them, are the recipe's, and so is the prefix where
    the mixer is attention. Raises KeyError, ValueError where it is not what model and task say."""
    weights = {}
    for name, tensor in found.items():
        name = name.split("inner.", 1)[-1]
        for theirs, ours in PUBLIC_NAMES:
            name = name.replace(theirs, ours)
        weights[name.replace("L_net", "net") if model == "trm" else name] = tensor.float()
    if model == "trm":  # its public code keeps HRM's second halting logit, unused
        weights.update({name: weights[name][:1] for name in ("halt_head.weight", "halt_head.bias")})
    net = "net" if model == "trm" else "H_net"
    rows = weights.get("puzzles.rows", [])
    s = {**recipe, "hidden_size": weights["embed_tokens"].shape[1],
         "layers": sum(name.startswith(f"{net}.") and name.endswith("mlp.down.weight") for name in weights)}
    if not s["layers"]:
        raise ValueError(f"no layer of {model}'s in it")
    s["prefix_len"] = {"hrm": 1, "trm": 16}[model] if len(rows) else 0
    if model == "trm":
        mix = weights.get("net.blocks.0.mix.down.weight")
        s["mixer"] = "attention" if mix is None else "mlp"
        if mix is not None:  # its width is that of the whole sequence
            s["prefix_len"] = len(mix) - (81 if task == "sudoku" else 900)
    which = {"model": model, "task": task, "scale": "paper", "data": None, "train_puzzles": None, "seed": 0}
    return {"settings": {**which, **s}, "ema": weights, "rows": len(rows)}


def load(path, recipes, model=None, task=None):
    """A run's folder or its checkpoint -> the checkpoint, on the CPU; or a public code's, which does not say of which
    model and task it is. recipes: train.py's, which say what the settings must hold. Nothing in the file is run. Raises
    BadInput."""
    path = Path(path, "checkpoint.pt") if os.path.isdir(path) else Path(path)
    with expecting(path, "not a checkpoint of train.py, or damaged"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about files that are none of ours
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        if any(str(name).endswith("inner.embed_tokens.embedding_weight") for name in checkpoint):
            if not model or not task:
                raise ValueError("a public code's checkpoint: --model and --task must say of what")
            return published(checkpoint, model, task, recipes[model, task, "paper"])
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
