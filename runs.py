"""Runs on the disk, and what training and evaluation both need: a model built from its settings, a
checkpoint opened (the papers' public codes' too), the device and the number type.
"""
import copy
import os
import warnings
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.parallel import DistributedDataParallel

import cli
from arc import Arc
from cli import BadInput, Failure, blaming
from data import Maze, Sudoku
from hrm import HRM
from trm import TRM

TASKS = {"sudoku": Sudoku, "maze": Maze, "arc": Arc}
BUNDLED = Path(__file__).parent / "puzzles"


class Run:
    """All that changes while a model is trained, and so what a checkpoint holds. settings: a
    Namespace. embeddings: PuzzleEmbeddings, or None."""

    def __init__(self, settings, model, optimizer, slots, embeddings=None):
        self.settings, self.model, self.optimizer = settings, model, optimizer
        self.ema = copy.deepcopy(model).requires_grad_(False)  # the moving average of the weights
        self.slots, self.embeddings = slots, embeddings
        self.device, self.step, self.seconds = slots["steps"].device, 0, 0.0

    def generators(self):
        """The modules whose random numbers training draws, by name."""
        modules = [torch]
        if self.device.type != "cpu":
            modules.append(torch.get_device_module(self.device))
        return {module.__name__: module for module in modules}

    def save(self, path):
        """Raises Failure, also where the weights are no longer finite."""
        if not all(part.isfinite().all() for part in self.model.parameters()):
            raise Failure(f"step {self.step}: the weights are no longer finite (a lower --lr may "
                          f"help, also with --resume); what {path} holds is from before")
        state = {"settings": vars(self.settings), "step": self.step, "seconds": self.seconds,
                 "slots": self.slots, "model": self.model.state_dict(),
                 "ema": self.ema.state_dict(), "optimizer": self.optimizer.state_dict(),
                 "puzzle_embeddings": self.embeddings.table if self.embeddings else None,
                 "random": {name: module.get_rng_state()
                            for name, module in self.generators().items()}}
        cli.write_atomically(path, lambda file: torch.save(state, file))

    def restore(self, checkpoint, path):
        """Go on from a checkpoint, with its slots, if as many are wanted as it has. Raises
        BadInput, which names the path."""
        with blaming(path, "does not fit this model and these puzzles"):
            for name in ("model", "ema", "optimizer"):
                getattr(self, name).load_state_dict(checkpoint[name])
            if self.embeddings:
                self.embeddings.table.copy_(checkpoint["puzzle_embeddings"])
            if len(checkpoint["slots"]["steps"]) == len(self.slots["steps"]):
                self.slots = {name: checkpoint["slots"][name].to(part).view(part.shape)
                              for name, part in self.slots.items()}  # view refuses another shape
            self.step, self.seconds = int(checkpoint["step"]), float(checkpoint["seconds"])
            for name, module in self.generators().items():
                if name in checkpoint["random"]:
                    module.set_rng_state(checkpoint["random"][name])


# Names of weights in the public codes (after "inner."), and in earlier runs, and what they are now.
NAMES = {
    "embed_tokens.embedding_weight": "embedding.tokens", "embed_tokens": "embedding.tokens",
    "embed_pos.embedding_weight": "embedding.positions", "embed_positions": "embedding.positions",
    "lm_head.": "output_head.", "q_head.": "halt_head.", "H_level.layers.": "H_net.blocks.",
    "L_level.layers.": "L_net.blocks.", ".self_attn.qkv_proj.": ".attention.qkv.",
    ".self_attn.o_proj.": ".attention.output.", ".mlp_t.": ".mix.", ".gate_up_proj.": ".gate_up.",
    ".down_proj.": ".down."}


def renamed(weights):
    """{name: tensor} as NAMES has it; ours stay as they are."""
    found = {}
    for name, tensor in weights.items():
        name = name.split("inner.")[-1]
        if name in ("H_init", "L_init"):
            name = f"z_{name}"
        for before, now in NAMES.items():
            name = name.replace(before, now)
        found[name] = tensor
    return found


def load_checkpoint(path):
    """A run's folder or file, or a public code's -> a dict, loaded without executing anything:
    "settings", "ema" (the weights), "puzzle_embeddings". Raises BadInput."""
    path = Path(path, "checkpoint.pt") if os.path.isdir(path) else Path(path)
    with blaming(path, "not a checkpoint of train.py, or damaged"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about files that are none of ours
        found = torch.load(path, map_location="cpu", weights_only=True)
        if "settings" not in found:
            return from_public(found.get("state_dict", found), path)
        before = {"positions": "rotary", "shallow": 0}  # in runs from before there were these
        found["settings"] = before | found["settings"]
        for name in ("N_sup", "batch_size", "seed", "prefix_len"):
            if type(found["settings"][name]) is not int:
                raise ValueError(f"{name} is no whole number")
        for name in {"model", "ema"} & set(found):
            found[name] = renamed(found[name])
        return found


def from_public(weights, path):
    """A public code's weights for Sudoku or mazes -> a checkpoint of ours. Sizes are read off the
    weights. Heads, T_H, T_L and N_sup are not in them: here stand the papers' and, for learned
    positions, those of the one recipe that has them, HRM's for all Sudokus. Raises BadInput."""
    weights = {name: part.float() for name, part in renamed(weights).items()}
    table = weights.pop("puzzle_emb.weights", None)  # a single row, which all puzzles share
    for name in ("embedding.tokens", "output_head.weight", "halt_head.weight", "z_H_init"):
        if name not in weights:
            raise BadInput(f"{path}: neither a checkpoint of train.py (it has no 'settings') nor a "
                           f"public code's weights (no {name}); it holds {list(weights)[:4]}")
    vocab_size, hidden_size = weights["embedding.tokens"].shape
    if vocab_size not in (11, 6):
        raise BadInput(f"{path}: a public code's checkpoint for {vocab_size} tokens: only those "
                       "for Sudoku (11) and mazes (6) can be used")
    task, cells = ("sudoku", 81) if vocab_size == 11 else ("maze", 900)
    # In TRM's public code its one net is called L_net, too.
    layers = [name for name in weights if "L_net" in name and "mlp.down" in name]
    s = dict(task=task, scale="paper", data=None, train_puzzles=None, seed=0, num_heads=8,
             hidden_size=hidden_size, mixer="attention", positions="rotary", N_sup=16,
             batch_size=768, layers=len(layers))
    if any(name.startswith("H_net") for name in weights):
        s |= dict(model="hrm", T_H=2, T_L=2, prefix_len=1)
    else:
        s |= dict(model="trm", T_H=3, T_L=6 if task == "sudoku" else 4, prefix_len=16)
        weights = {name.replace("L_net", "net"): part for name, part in weights.items()}
        for name in ("halt_head.weight", "halt_head.bias"):  # it keeps HRM's second logit, unused
            weights[name] = weights[name][:1]
    if "embedding.positions" in weights:
        s |= dict(positions="learned", T_L=8, N_sup=8)
    if "net.blocks.0.mix.down.weight" in weights:  # as wide as prefix and cells together
        width = len(weights["net.blocks.0.mix.down.weight"])
        s |= dict(mixer="mlp", prefix_len=width - cells)
    return {"settings": s, "ema": weights, "puzzle_embeddings": table}


def build_model(s, task, device):
    """The model that settings describe. Raises BadInput where sizes do not fit together."""
    if task.num_puzzles and not s.prefix_len:
        raise BadInput("--prefix_len 0: the puzzle's embedding needs a position before the cells")
    try:
        return {"hrm": HRM, "trm": TRM}[s.model](
            task.vocab_size, task.seq_len, hidden_size=s.hidden_size, num_heads=s.num_heads,
            layers=s.layers, T_H=s.T_H, T_L=s.T_L, mixer=s.mixer, positions=s.positions,
            prefix_len=s.prefix_len).to(device)
    except ValueError as error:
        raise BadInput(error) from None


def load_task(s, device):
    """The task that settings describe, with its puzzles on the device. Raises BadInput."""
    folder = "small" if s.scale == "small" else "paper"  # medium trains on the paper's kind, too
    bundled = BUNDLED / s.task / folder
    path = s.data or (bundled if bundled.exists() else BUNDLED / s.task)
    if s.task == "arc":
        if s.train_puzzles:
            raise BadInput("--train_puzzles: ARC trains on all of its tasks")
        task = Arc(path, device, s.augmentations, s.canvas)
    else:
        task = TASKS[s.task](path, device, s.train_puzzles)
    task.path = path
    return task


def tell_note(task):
    """Print what was not taken as it stands in the task's files."""
    if task.note:
        print(f"{task.path}: {task.note}")


def refuse_lost_puzzles(s, checkpoint, run):
    """Raise BadInput if the puzzles are no longer where the run has found them."""
    path = checkpoint["settings"]["data"]
    if path and s.data == path and not os.path.exists(path):
        raise BadInput(f"{path}: is not there; {run} was trained on it, and --data says where it "
                       "is now")


def cells_trained_on(weights, prefix_len):
    """How many cells the puzzles had, or None: attention with rotary positions takes any."""
    for name, tensor in weights.items():
        if name.endswith(".mix.down.weight") or name == "embedding.positions":
            return len(tensor) - prefix_len


def restore(checkpoint, path, s, device):
    """The model of a checkpoint, with the moving average of its weights, and its task, for the
    settings s. `task.table` are the puzzle embeddings, or None. Raises BadInput."""
    refuse_lost_puzzles(s, checkpoint, path)
    with blaming(path, "does not fit this model and these puzzles"):
        task = load_task(s, device)
        cells = cells_trained_on(checkpoint["ema"], s.prefix_len) or task.seq_len
        if cells != task.seq_len:
            raise BadInput(f"{task.path}: its puzzles have {task.seq_len} cells, and {path} was "
                           f"trained on puzzles of {cells}")
        model = build_model(s, task, device).requires_grad_(False)
        model.load_state_dict(checkpoint["ema"])
        if task.votes and s.puzzles != task.fingerprint():
            raise ValueError("trained on other tasks, or other demonstrations of them")
        table = checkpoint["puzzle_embeddings"]
        task.table = None if table is None or not len(table) else table.to(device)
        if task.table is not None and table.shape != (max(1, task.num_puzzles), s.hidden_size):
            raise ValueError(f"{len(table)} puzzle embeddings where {task.num_puzzles} should be")
    tell_note(task)
    return model, task


def open_run(path, device="cpu"):
    """The model and the task of a run (its folder, or a checkpoint's file). Raises BadInput."""
    checkpoint = load_checkpoint(path)
    return restore(checkpoint, path, Namespace(**checkpoint["settings"]), torch.device(device))


class Parallel(DistributedDataParallel):
    """The model in one of several processes. It has the methods of the model inside."""

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)


def default_device():
    found = torch.accelerator.is_available()
    return torch.accelerator.current_accelerator().type if found else "cpu"


def pick_device(name):
    """The torch device. Of several processes each takes a GPU of its own. Raises BadInput."""
    with blaming(f"--device {name}", "torch finds no such device here"):
        device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if name == "cuda" else name)
        torch.zeros(1, device=device).cpu()  # fails for what is no real device, such as meta
        if device.type == "cuda":
            torch.cuda.set_device(device)
        return device


def compile_if_asked(asked, model, device):
    """torch.compile. asked: None decides by where it pays, on a GPU that triton can use (Windows
    has no triton, and triton no GPU before capability 7.0)."""
    cuda = device.type == "cuda"
    if asked is None:
        asked = cuda and find_spec("triton") and torch.cuda.get_device_capability(device) >= (7, 0)
    if asked and compiler_works(device):
        print("compiling: the first step takes a minute or two", flush=True)
        if cuda:
            torch.set_float32_matmul_precision("high")
        # 81 cells and a prefix of 16 are 97 positions. A GPU's fast matmuls need rows of a multiple
        # of 8 numbers, and torch does not always find that padding them pays.
        model.compile(options={"force_shape_pad": cuda})


def compiler_works(device):
    """Try torch.compile with something small. Where it fails, for want of a C++ compiler or of
    triton, a line says so."""
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.ones(64, device=device))
        return True
    except Exception as error:  # of many kinds, also from the compiler itself
        why = cli.lines_of(error)[0][:200]
        print(f"torch.compile does not work here, and training goes on without ({why})")
        return False


def kept_for_backward(s, task, size, dtype):
    """The bytes that autograd keeps of `size` puzzles for a backward pass. Nothing is computed for
    it. torch.compile keeps less, and computes the rest again: on a GPU three quarters or more."""
    with torch.device("meta"):
        model, kept = build_model(s, task, "meta"), {}

    def note(tensor):
        storage = tensor.untyped_storage()  # what several tensors share is kept once
        kept[storage._cdata] = storage
        return tensor

    # Fake tensors have no values. A CPU's stand for a GPU's here: with both, and unlike on meta,
    # attention does not keep its scores.
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.to_empty(device="cpu")
        cells = torch.zeros(size, task.seq_len, dtype=torch.long)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model(model.initial_carry(size, dtype), cells)
    return sum(storage.nbytes() for storage in kept.values())


def memory_warning(needed, free):
    """needed: what the backward pass keeps, at most; free: what the GPU has, both in bytes. A line
    where that is too little, else None."""
    if needed <= free:
        return None
    return (f"the backward pass needs up to {needed / 2**30:.0f} GiB, and the GPU has "
            f"{free / 2**30:.0f} GiB free: a lower --batch_size needs less, and torchrun splits "
            "the batch over several GPUs")


def warn_of_memory(s, task, size, dtype, device):
    """Print a line where `size` puzzles at a time may be too many for the GPU."""
    free, _ = torch.cuda.mem_get_info(device)
    warning = memory_warning(kept_for_backward(s, task, size, dtype), free)
    if warning:
        print(warning, flush=True)


def pick_dtype(name, device):
    """The torch number type that the nets compute in. name None: bfloat16 on a GPU with units for
    it (not by emulation, as before NVIDIA's Ampere), else float32."""
    if name is None:
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        name = "bfloat16" if fast else "float32"
    return getattr(torch, name)
