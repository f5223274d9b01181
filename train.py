"""Train HRM or TRM, evaluate it, watch it solve: `python train.py --model trm --task sudoku`.

Read `train_step` first: it is the N_sup loop, which the papers' public codes hide. `evaluate` is the same loop
without the learning; the rest is recipes, tables, the training around the loop and the command line.
[H] arXiv 2506.21734 (HRM), [J] arXiv 2510.04871 (TRM); the names are the talk's, the README has a table of them.
"""
import argparse
import copy
import csv
import hashlib
import importlib.util
import io
import os
import shlex
import signal
import sys
import time
import warnings
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.benchmark import Timer

import data
from checkpoint import Failure, expecting, load, new_folder, out_of_memory, replace
from data import BadInput
from hrm import HRM
from speed import kept, limit, operations
from trm import TRM

MODELS = {"hrm": HRM, "trm": TRM}
# torchrun starts WORLD processes, one a GPU, and tells each its RANK. All of them draw the same whole batch at random and
# each trains on its own part, so that a run does not depend on how many there are (but for rounding).
WORLD = int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1
RANK = int(os.environ["RANK"]) if WORLD > 1 else 0

# Every default that differs between models, tasks and scales: sizes, recursion, training.
# `steps`: training steps, on which the learning rate depends: it rises over `warmup` of them, and falls to zero over the
# last `decay` share. `ema`: what the moving average of the weights keeps in a step, 0 for none. `row_lr`: the puzzle rows'
# learning rate (in minutes a row is drawn some dozens of times, so its steps are larger than the papers' in ROWS).
# `explore`: how likely a halt must wait, 0.1 in the papers. A small model, trained for minutes, then tends to lose what it
# has solved: puzzles that halt at once leave at once, and keeping an answer is seldom practised. 0.5 helps.
SMALL = dict(hidden_size=64, num_heads=4, T_H=2, T_L=2, prefix_len=0, batch_size=16, warmup=100, decay=1.0, weight_decay=0.1,
             explore=0.5)
SMALL_HRM = dict(SMALL, layers=4, lr=1e-3, ema=0.0)
SMALL_TRM = dict(SMALL, layers=1, lr=4e-3, ema=0.98, mixer="mlp")
SMALL_ARC = dict(N_sup=2, prefix_len=1, augmentations=8, row_lr=0.1)
# The papers' setting. [H] trains for 20,000 rounds of 1,000 Sudokus or mazes in batches of 768, [J] for 50,000, both for
# 100,000 rounds of all ARC tasks (rounded here). Other than there: TRM has 1 layer as in the talk (`--layers 2` is the
# paper's); AdamW for AdamATan2; no prefix on Sudoku and mazes (`--prefix-len 16` is TRM's); mazes are seen through their
# symmetries; each slot draws an ARC task of its own; the tests of every fourth ARC training task serve for validation.
PAPER = dict(hidden_size=512, num_heads=8, N_sup=16, prefix_len=0, batch_size=768, lr=1e-4, warmup=2000, decay=0.0,
             weight_decay=1.0, explore=0.1)
PAPER_HRM = dict(PAPER, layers=4, T_H=2, T_L=2, ema=0.0, steps=26_041)
PAPER_TRM = dict(PAPER, layers=1, T_H=3, T_L=4, ema=0.999, mixer="attention", steps=65_104)
PAPER_ARC = dict(weight_decay=0.1, augmentations=1000, canvas=30, steps=500_000)
RECIPES = {
    ("hrm", "sudoku", "small"): dict(SMALL_HRM, N_sup=16, steps=2400),
    ("trm", "sudoku", "small"): dict(SMALL_TRM, N_sup=16, steps=6000),
    ("hrm", "maze", "small"): dict(SMALL_HRM, N_sup=4, steps=2000),
    ("trm", "maze", "small"): dict(SMALL_TRM, N_sup=4, steps=14000),
    ("hrm", "arc", "small"): {**SMALL_HRM, **SMALL_ARC, "steps": 2000},
    ("trm", "arc", "small"): {**SMALL_TRM, **SMALL_ARC, "mixer": "attention", "batch_size": 32, "steps": 4000},
    ("hrm", "sudoku", "paper"): PAPER_HRM,
    ("trm", "sudoku", "paper"): {**PAPER_TRM, "T_L": 6, "mixer": "mlp"},
    ("hrm", "maze", "paper"): PAPER_HRM,
    ("trm", "maze", "paper"): PAPER_TRM,
    ("hrm", "arc", "paper"): {**PAPER_HRM, **PAPER_ARC, "prefix_len": 1},
    ("trm", "arc", "paper"): {**PAPER_TRM, **PAPER_ARC, "prefix_len": 16},
}
ROWS = {"lr": 1e-2, "weight_decay": 0.1}  # the puzzle rows' sign-SGD on ARC, in both papers; Sudoku has no rows


# ---- the N_sup loop -----------------------------------------------------------------------------------------


def answer_loss(logits, labels):
    """Stablemax cross-entropy, (B,): the mean over a puzzle's supervised cells (label 0 is not supervised).

    Stablemax has s(x) = x + 1 for x >= 0 and 1 / (1 - x) below where softmax has exp(x) ([H], [J]). Its logarithm is
    sign(x) log(1 + |x|), so that this is softmax's cross-entropy of a squeezed logit. The public codes use float64
    for it; written so, float32 agrees to rounding (and Apple's GPUs have no float64).
    """
    x = logits.float()  # (B, S, V)
    squeezed = x.clamp(min=0).log1p() - F.relu(-x).log1p()  # in two terms, so that the slope at 0 is 1 as well
    cells = F.cross_entropy(squeezed.transpose(1, 2), labels, ignore_index=0, reduction="none")  # (B, S)
    return cells.sum(1) / (labels != 0).sum(1)


def all_right(logits, labels):
    """Which answers are right in every supervised cell: (B,) bool."""
    return ((logits.argmax(-1) == labels) | (labels == 0)).all(1)


def first_carry(model, inputs):
    """The initial carry for a batch; its dtype is the one that the nets compute in: bfloat16 on CUDA."""
    return model.initial_carry(len(inputs), torch.bfloat16 if inputs.is_cuda else torch.float32)


def begin(model, puzzles):
    """What enters the slots of a batch: puzzles ({"inputs", "labels", maybe "ids"}) with the first carry and no step
    made. They are marked halted, that is, to be replaced, so that the first call of train_step fills every slot."""
    z_H, z_L = first_carry(model, puzzles["inputs"])
    steps = torch.zeros_like(puzzles["inputs"][:, 0])
    return {**puzzles, "z_H": z_H, "z_L": z_L, "steps": steps, "halted": steps == 0}


# The N_sup loop as the talk writes it: the same batch again and again, from the carry of the step before.
#
#     for x, y in batches:
#         carry = model.initial_carry(len(x))
#         for _ in range(N_sup):
#             carry, logits, halt_logits = model(carry, x)
#             loss = answer_loss(logits, y).mean()
#             loss.backward()
#             optimizer.step()
#             optimizer.zero_grad()
#
# The papers' codes, and train_step, make one turn of the inner loop a call. The carry lives across calls, and each
# slot of the batch is at a refinement step of its own: a puzzle that has halted leaves its slot to a fresh one, with
# a fresh carry, while the others go on. With halting off (no early halt, no halting loss) both compute the same, which
# is tested.


def train_step(model, optimizer, slots, fresh, N_sup, wait=0, rows=ROWS, forward=None):
    """One refinement step of every slot, one optimizer step. wait: (B,), the refinement step before which a slot must not
    halt, from `exploration`. forward: what to call in the model's place where several processes train it. Returns the
    slots, the loss, which are right (B,)."""
    # refill: where a puzzle has halted, a fresh one comes in; no `if`, so a GPU need not wait for the CPU
    halted = slots["halted"]
    slots = {k: torch.where(halted.view(-1, *[1] * (new.ndim - 1)), new, slots[k]) for k, new in fresh.items()}
    inputs, labels, ids = slots["inputs"], slots["labels"], slots.get("ids")
    carry, logits, halt_logits = (forward or model)((slots["z_H"], slots["z_L"]), inputs, ids)
    steps = slots["steps"] + 1
    last = steps >= N_sup
    right = all_right(logits, labels)
    halting_loss = model.halting_loss(halt_logits, right, last, carry, inputs, ids)
    loss = (answer_loss(logits, labels) + halting_loss).mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if model.puzzles is not None:
        model.puzzles.sign_sgd(**rows, gather=gather)
    # carry: on to the next call
    slots.update(z_H=carry[0], z_L=carry[1], steps=steps, halted=last | (model.halts(halt_logits) & (steps >= wait)))
    return slots, loss.detach(), right


def exploration(size, N_sup, explore, device="cpu"):
    """For each of a batch's slots, drawn anew at every training step, the refinement step before which it must not halt,
    (size,): with probability `explore` one of 2..N_sup, else none, 0 ([H] section 2)."""
    step = torch.randint(2, max(N_sup, 2) + 1, (size,), device=device)
    return step * (torch.rand(size, device=device) < explore)


@torch.no_grad()
def refine(model, puzzles, N_sup, noise=0.0):
    """The N_sup loop without learning: yields logits (B, S, V) and halting logits after each refinement step. noise: the
    standard deviation of what is added to the carry before each."""
    carry = first_carry(model, puzzles["inputs"])
    for _ in range(N_sup):
        carry, logits, halt_logits = model(shaken(carry, noise), puzzles["inputs"].long(), puzzles.get("ids"))
        yield logits, halt_logits


def shaken(carry, noise):
    return tuple(z + noise * torch.randn_like(z) for z in carry) if noise else carry


def spread(task, puzzles, s):
    """K = `rollouts` rows for each puzzle, in a row: K symmetries of it (on ARC: the views it was trained with) or, with
    `noise`, K copies. Returns (N * K, ...) puzzles, K, and what turns their answers to the puzzle's own orientation."""
    K = s["rollouts"] or 1
    if s["noise"] or s["rollouts"] is None:
        return {name: part.repeat_interleave(K, 0) for name, part in puzzles.items()}, K, lambda answers: answers
    seen, back = task.views(puzzles, K)
    return seen, max(1, len(seen["inputs"]) // len(puzzles["inputs"])), back  # on ARC each view stands for itself


@torch.no_grad()
def evaluate(model, puzzles, N_sup, batch_size, K=1, noise=0.0, halt=None):
    """The same loop for many puzzles, `batch_size` trajectories at a time, K in a row of each puzzle: (N * K, ...).

    noise: the standard deviation of what is added to the carry before each step. halt: a puzzle leaves, and makes room for
    the next, when one of its trajectories is as sure as this that its answer is right, 0 to 1. Returns a dict of
    - after each step, (N, K, N_sup): "right", which answers are; "halts", where the model would stop; "sure", the halting
      logit; "change", |state - state before| / |state|. What has left stays as it was.
    - "made" (N, K): how many steps, 0 where a puzzle had left already; "answers" (N, K, S): the last ones.
    """
    N, device, at_most = len(puzzles["inputs"]) // K, puzzles["inputs"].device, max(1, batch_size // WORLD)
    mine = torch.arange(-(-N // WORLD) * WORLD, device=device)[RANK::WORLD] % N  # as many puzzles for each process
    waiting = (K * mine[:, None] + torch.arange(K, device=device)).flatten()  # trajectories, numbered from 0 to N * K
    found = {name: torch.zeros(N * K, N_sup, dtype=dtype, device=device) for name, dtype in
             (("right", torch.bool), ("halts", torch.bool), ("sure", torch.float32), ("change", torch.float32))}
    made = torch.zeros(N * K, dtype=torch.long, device=device)
    answers = torch.zeros_like(puzzles["inputs"], dtype=torch.uint8)
    surest = torch.full((N,), -1.0, device=device)  # how sure the surest of a puzzle's trajectories has been
    inside = waiting[:0]  # the trajectories in the batch, each at a step of its own
    z_H, z_L = first_carry(model, puzzles["inputs"][inside])
    while True:
        while len(waiting) and len(inside) < at_most:
            entering, waiting = waiting.tensor_split([at_most - len(inside)])
            if halt is not None:
                entering = entering[surest[entering // K] < halt]
            inside = torch.cat((inside, entering))
            z_H, z_L = (torch.cat(z) for z in zip((z_H, z_L), first_carry(model, puzzles["inputs"][entering])))
        if not len(inside):
            break
        batch = {name: part[inside] for name, part in puzzles.items()}
        carry, logits, halt_logits = model(shaken((z_H, z_L), noise), batch["inputs"].long(), batch.get("ids"))
        step = made[inside]
        found["right"][inside, step] = all_right(logits, batch["labels"])
        found["halts"][inside, step] = model.halts(halt_logits)
        found["sure"][inside, step] = halt_logits[:, 0]
        moved, size = (sum(part.float().square().sum((1, 2)) for part in parts)
                       for parts in ((carry[0] - z_H, carry[1] - z_L), carry))
        found["change"][inside, step] = (moved / size).sqrt()
        answers[inside], made[inside] = logits.argmax(-1).to(torch.uint8), step + 1
        stays = step + 1 < N_sup
        if halt is not None:
            surest.scatter_reduce_(0, inside // K, halt_logits[:, 0].sigmoid(), "amax")
            stays &= surest[inside // K] < halt
        inside, z_H, z_L = inside[stays], carry[0][stays], carry[1][stays]
    last = torch.minimum(torch.arange(N_sup, device=device), (made[:, None] - 1).clamp(0))  # the last step until this one
    found = {name: table.gather(1, last) for name, table in found.items()} | {"made": made, "answers": answers}
    return {name: gather(table.unflatten(0, (N, K))[mine]).unflatten(0, (WORLD, -1)).transpose(0, 1).flatten(0, 1)[:N].cpu()
            for name, table in found.items()}


def gather(tensor):
    """The tensors of all processes, joined along the first axis."""
    if WORLD == 1:
        return tensor
    parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(WORLD)]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


# ---- figures and pictures -----------------------------------------------------------------------------------


def shown_steps(N_sup):
    """The refinement steps that tables show: the powers of two, and the last."""
    return sorted({2**i for i in range(N_sup.bit_length())} | {N_sup})


def exact(right):
    """(N, N_sup) bool -> exact accuracy in percent after each shown step, as text."""
    return " ".join(f"{100 * right[:, n - 1].float().mean():6.1f}%" for n in shown_steps(right.shape[1]))


def report(model, task, puzzles, s):
    """Print exact accuracy by refinement steps; with rollouts also what choosing among K trajectories gains, and what it
    misses. Returns what was right in the first trajectory, (N, N_sup)."""
    start, N_sup = time.time(), s["N_sup"]
    seen, K, _ = spread(task, puzzles, s)
    found = evaluate(model, seen, N_sup, s["batch_size"], K, s["noise"], s["halt"])
    known = (seen["labels"][::K] != 0).any(1).cpu()  # an ARC test may come without its output: predicted, not scored
    right, halts, sure, change, made = (found[name][known] for name in ("right", "halts", "sure", "change", "made"))
    begun = made > 0  # with --halt a puzzle may be done before all of its trajectories have begun
    print(f"\n{len(right):,} test puzzles; exact: every cell right ({time.time() - start:.1f} s)")
    print("  after refinement steps " + " ".join(f"{n:7d}" for n in shown_steps(N_sup)))

    def row(name, figure, form="6.1f", unit="%"):  # nan, the mean of nothing, is only a dash
        figures = [figure(n).item() for n in shown_steps(N_sup)]
        print(f"  {name:22s} " + " ".join(f"{f:{form}}{unit}" if f == f else f"{'-':>7}" for f in figures))

    def where_highest(right, figure, of):  # (N, K, n), of: (N, K) bool -> the share of puzzles that are right there
        highest = figure.masked_fill(~of[:, :, None], -torch.inf).flatten(1).argmax(1, keepdim=True)
        return 100 * right.flatten(1).gather(1, highest).float().mean()

    row("exact accuracy" if K == 1 else "one trajectory, mean", lambda n: 100 * right[:, :, n - 1][begun].float().mean())
    if K > 1:
        row("the surest", lambda n: where_highest(right[:, :, :n], sure[:, :, :n], begun))  # of all their steps so far
        row("the stillest", lambda n: where_highest(  # over the last four steps
            right[:, :, n - 1 : n], -change[:, :, max(0, n - 4) : n].mean(2, keepdim=True), begun))
        row("an oracle (pass@K)", lambda n: 100 * right[:, :, n - 1].any(1).float().mean())
    for name, which in (("solved", right), ("unsolved", ~right)):
        row(f"state moves, {name}", lambda n: change[:, :, n - 1][which[:, :, n - 1] & begun].mean(), "7.4f", "")
    if s["halt"] is not None:
        print(f"  left when {s['halt']:g} sure: {made.sum(1).float().mean():.1f} of {K * N_sup} steps made a puzzle")
    elif K == 1:
        halts[:, :, -1] = True  # the N_sup-th step always halts
        stop = halts.int().argmax(2, keepdim=True)  # (N, 1, 1): the first step at which the model would stop
        print(f"  with learned halting   {100 * right.gather(2, stop).float().mean():6.1f}%"
              f"  after {stop.float().mean() + 1:.1f} steps on average")
    voters = (found["made"] > 0).flatten()
    print(task.summary({name: part[voters.to(part.device)] for name, part in seen.items()},
                       found["answers"].flatten(0, 1)[voters].numpy(), found["sure"][:, :, -1].flatten()[voters].sigmoid()), end="")
    return (found["right"] & known[:, None, None])[:, 0]


def watch(model, task, puzzle, s, title):
    """Print one puzzle ({"inputs": (1, S), maybe "labels"}) and the answer after each step that changed it; with rollouts
    that of the trajectory that was surest, up to the step where it was."""
    inputs = puzzle["inputs"][0].cpu()
    labels = puzzle["labels"][0].cpu() if "labels" in puzzle else None
    seen, K, back = spread(task, puzzle, s)
    steps = [(back(logits.argmax(-1)).cpu(), halt_logits[:, 0].cpu()) for logits, halt_logits in
             refine(model, seen, s["N_sup"], s["noise"])]
    k, end = divmod(torch.stack([sure for _, sure in steps], 1).argmax().item(), s["N_sup"]) if K > 1 else (0, s["N_sup"] - 1)
    frames, before, changes, colour = [("the puzzle", task.picture(inputs, inputs))], inputs, 0, data.colours_work()
    for step, (answers, sure) in enumerate(steps[: end + 1], start=1):
        answer = answers[k]
        if step == 1 or (answer != before).any():  # sure: of being right, as the halting head says
            frames.append((f"step {step}: {100 * sure[k].sigmoid():.0f}% sure", task.picture(inputs, answer, before, labels, colour)))
            changes = step
        before = answer
    meaning = "" if labels is not None else " (blank, against the rules, or a given overwritten)"
    which = f"; trajectory {k + 1} of {K}, the surest" if K > 1 else ""
    print(f"\n{title}{which}\n{data.LEGEND[colour]}{meaning}\n\n{data.side_by_side(frames)}")
    wrong = task.wrong(inputs, before, labels)
    verdict = "no solution known" if wrong is None else "not solved" if wrong.any() else "solved"
    print(f"{verdict}; no cell changed after step {changes} of {s['N_sup']}" if K == 1 else
          f"{verdict}; taken at step {end + 1} of {s['N_sup']}, where it was surest")


# ---- a run: its folder, its checkpoint ----------------------------------------------------------------------


def build(s, task, device):
    """The model that the settings describe. Raises BadInput where sizes do not fit together."""
    sizes = {k: s[k] for k in ("hidden_size", "num_heads", "layers", "T_H", "T_L", "mixer", "prefix_len") if k in s}
    try:
        return MODELS[s["model"]](task.vocab_size, task.seq_len, num_puzzles=task.num_puzzles, **sizes).to(device)
    except ValueError as error:
        raise BadInput(error) from None


def place_of(s):
    return s.get("data") or data.bundled(s["task"], s["scale"])


def puzzles_of(s, device):
    """The task that the settings describe, with its puzzles on the device. Raises BadInput."""
    options = {k: s[k] for k in ("train_puzzles", "augmentations", "canvas", "shared_row", "identifiers") if s.get(k)}
    return data.TASKS[s["task"]](place_of(s), device, **options)


def compile_where_it_pays(device, wish, *models):
    """torch.compile, in place, if `wish` says so or, where it says nothing (None), on CUDA."""
    on_cuda = device.type == "cuda" and importlib.util.find_spec("triton")  # Windows' torch comes without triton
    if on_cuda if wish is None else wish:
        for model in models:
            model.compile()


def fingerprint(task):
    """A short text that tells one set of puzzles from another: a run goes on with its own puzzles alone."""
    digest = hashlib.sha256()
    for part in task.splits.values():
        for name in sorted(part):
            digest.update(part[name].cpu().numpy())
    return digest.hexdigest()[:16]


# ---- training -----------------------------------------------------------------------------------------------

SAVE_EVERY = 120  # seconds, and at every evaluation


def say(line, stay=True):
    """Print a line that stays or, on a terminal only, one that the next line overwrites."""
    if sys.stdout.isatty():
        print("\r" + line.ljust(78), end="\n" if stay else "", flush=True)
    elif stay:
        print(line, flush=True)


def schedule(step, s):
    """What the learning rate is multiplied by: a linear warm-up, and a linear fall to 0 over the last `decay` of steps."""
    return min(1, (step + 1) / s["warmup"], (1 - step / s["steps"]) / max(s["decay"], 1e-9))


@contextmanager
def noted_signals():
    """Inside, Ctrl-C, SIGTERM and a closed terminal are only noted, for the loop to end after its step; a second one acts
    at once."""
    noted = []

    def note(number, frame):
        noted.append(number)
        signal.signal(number, signal.default_int_handler)

    numbers = {getattr(signal, name, signal.SIGINT) for name in ("SIGINT", "SIGTERM", "SIGHUP")}  # Windows has no SIGHUP
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def adamw(model, s):
    return torch.optim.AdamW(model.parameters(), lr=s["lr"], betas=(0.9, 0.95), weight_decay=s["weight_decay"], fused=True)


def train(model, ema, task, s, folder, checkpoint=None, minutes=None, valid_puzzles=100):
    """Train `model` until `steps`, `minutes` or a signal, with `ema` as its moving average; save in `folder`. Returns
    the number of the signal that ended it, or 0."""
    optimizer = adamw(model, s)
    parts = {"model": model, "ema": ema, "optimizer": optimizer}
    weights, averages, average = list(model.parameters()), list(ema.parameters()), get_ema_multi_avg_fn(s["ema"])
    size, device = s["batch_size"], model.z_H_init.device
    mine = slice(RANK * size // WORLD, (RANK + 1) * size // WORLD)
    warnings.filterwarnings("ignore", ".*broadcast_buffers", FutureWarning)  # its new name is unknown to torch 2.6
    forward = model if WORLD == 1 else DistributedDataParallel(model, broadcast_buffers=False)
    validation = {k: v[:valid_puzzles] for k, v in task.splits["valid"].items()}  # a glance, not the final figure

    def fresh():
        return begin(model, {name: part[mine] for name, part in task.batch(size).items()})

    def check():  # what is not finite spreads and stays: better stop than save it
        if not all(part.isfinite().all() for part in (sums, *model.parameters())):
            raise Failure(f"step {step}: the loss is no longer finite (a lower --lr may help); "
                          f"the last good checkpoint, of step {saved}, is {folder / 'checkpoint.pt'}")

    def save():
        nonlocal saved, saved_at
        check()
        whole, content, text = {k: gather(v) for k, v in slots.items()}, io.BytesIO(), io.StringIO(newline="")
        random = [torch.get_rng_state()] + ([] if device.type == "cpu" else [torch.get_device_module(device).get_rng_state()])
        total = gather(sums[None]).mean(0)
        if RANK == 0:
            torch.save({"settings": s, "step": step, "seconds": time.time() - start, "slots": whole, "sums": total,
                        "log": log, "random": random, **{name: part.state_dict() for name, part in parts.items()}}, content)
            replace(folder / "checkpoint.pt", content.getbuffer())
            csv.writer(text).writerows(log)
            replace(folder / "log.csv", text.getvalue().encode())
        saved, saved_at = step, time.time()

    step, seconds, slots = 0, 0.0, fresh()
    sums = torch.zeros(3, device=device)  # steps since the last evaluation, of loss, of share right
    log = [["step", "seconds", "loss", "train_exact"] + [f"valid_exact_{n}" for n in shown_steps(s["N_sup"])]]
    if checkpoint:
        with expecting(folder / "checkpoint.pt", "does not fit this model and these puzzles"):
            for name, part in parts.items():
                part.load_state_dict(checkpoint[name])
            step, seconds = int(checkpoint["step"]), float(checkpoint["seconds"])
            log = [list(row) for row in checkpoint["log"]]
            sums.copy_(checkpoint["sums"])
            slots = {k: checkpoint["slots"][k][mine].to(v).view(v.shape) for k, v in slots.items()}
            torch.set_rng_state(checkpoint["random"][0])
            if device.type != "cpu" and len(checkpoint["random"]) > 1:
                torch.get_device_module(device).set_rng_state(checkpoint["random"][1])

    now = time.time()
    start, told, told_step = now - seconds, now, step  # `start` counts the time before a resume too
    first, first_step = now, step
    saved = saved_at = stop = late = due = 0
    try:
        save()
    except Failure as error:  # rather now than after minutes of training
        raise BadInput(f"--out {folder}: {error}") from None
    deadline = now + 60 * minutes if minutes else float("inf")
    say("                       exact in | exact on validation puzzles after refinement steps\n"
        "  step    time    loss training | " + " ".join(f"{n:7d}" for n in shown_steps(s["N_sup"])))
    with noted_signals() as signals:
        while step < s["steps"] and not stop and not late:
            rate = schedule(step, s)
            for group in optimizer.param_groups:
                group["lr"] = rate * s["lr"]
            new, wait = fresh(), exploration(size, s["N_sup"], s["explore"], device)[mine]
            slots, loss, right = train_step(model, optimizer, slots, new, s["N_sup"], wait,
                                            {**ROWS, "lr": rate * s.get("row_lr", ROWS["lr"])}, forward)
            average(averages, weights, None)
            step += 1
            sums += torch.stack((torch.ones_like(loss), loss, right.float().mean()))

            now = time.time()
            if now - told > 1:  # reading the figures makes a GPU wait for them: once a second
                check()
                speed = (step - told_step) / (now - told)
                left = timedelta(seconds=int(max(0, min((s["steps"] - step) / speed, deadline - now))))
                say(f"{step:6d} {timedelta(seconds=int(now - start))} {loss:7.3f} {100 * right.float().mean():7.1f}% | "
                    f"{speed * s['batch_size']:.0f} puzzle steps/s, {left} left", stay=False)
                told, told_step = now, step
            if step % max(1, s["steps"] // 10) == 0 or step == s["steps"]:
                check()
                total = gather(sums[None]).mean(0)
                loss, right = (total[1:] / total[0]).tolist()
                sums.zero_()
                valid = evaluate(ema, validation, s["N_sup"], s["batch_size"])["right"][:, 0]
                seconds = time.time() - start
                log.append([step, round(seconds, 1), round(loss, 4), round(right, 4)]
                           + [round(valid[:, n - 1].float().mean().item(), 4) for n in shown_steps(s["N_sup"])])
                say(f"{step:6d} {timedelta(seconds=int(seconds))} {loss:7.3f} {100 * right:7.1f}% | {exact(valid)}")
                save()
                told, told_step = time.time(), step
            if WORLD == 1 or step % 10 == 0:
                stop, late, due = sum(signals[:1]), time.time() > deadline, time.time() - saved_at > SAVE_EVERY
                if WORLD > 1:  # signals and clocks differ: every ten steps the processes agree to do what one of them would
                    stop, late, due = gather(torch.tensor([[stop, late, due]], device=device)).amax(0).tolist()
            if due:
                save()
        if saved < step:
            save()
    if step > first_step:
        speed = (step - first_step) * size / (time.time() - first)
        used = speed * operations(model)
        say(f"\n{speed:.1f} puzzle steps/s, evaluations included; {used / 1e9:.1f} GFLOP/s")
        if device.type == "cuda":
            peak, meaning = limit(device)
            say(f"{100 * used / WORLD / peak:.1f}% of {meaning}; {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB at most")
    return stop


def bench(args, device):
    """Time training steps of HRM and TRM at a recipe's sizes, with the flags' changes, and print a line each."""
    if WORLD > 1:
        raise BadInput("--bench: takes one process")
    lines = []
    if args.model == "hrm" or not args.model and args.mixer != "mlp":
        lines += [("hrm", args.mixer if args.model else None, args.layers or 4)]
    if args.model != "hrm":
        lines += [("trm", mixer, n) for mixer in ([args.mixer] if args.mixer else ["attention", "mlp"])
                  for n in ([args.layers] if args.layers else [1, 2])]
    header = False
    for model, mixer, layers in lines:
        flags = {**vars(args), "model": model, "task": args.task or "sudoku", "mixer": mixer, "layers": layers}
        s = settings_of(argparse.Namespace(**flags), None, ())
        task = puzzles_of(s, device)
        if not header:
            header, (peak, meaning) = True, limit(device)
            print(f"{device.type}, {torch.get_num_threads()} threads; the limit: {meaning}; kept for the gradient: MiB a puzzle "
                  "if it runs through\n                                            GFLOP       ms  puzzles     of the    peak |"
                  "     2      the last  all of\nmodel            layers  parameters batch a puzzle   a step a second      limit"
                  "  memory | calls recursion the step")
        torch.manual_seed(s["seed"])
        net, keep, size = build(s, task, device), get_ema_multi_avg_fn(s["ema"]), s["batch_size"]
        optimizer, weights, averages = adamw(net, s), list(net.parameters()), [p.detach().clone() for p in net.parameters()]
        few = [task.batch(count) for count in (1, 2)]  # two sizes: what does not grow with the batch is left out
        through = [(kept(net, first_carry(net, few[1]["inputs"]), few[1], calls)
                    - kept(net, first_carry(net, few[0]["inputs"]), few[0], calls)) / 2**20
                   for calls in (2, net.T_L + 1, net.T_H * (net.T_L + 1))]
        compile_where_it_pays(device, args.compile, net)
        slots = begin(net, task.batch(size))

        def step():
            nonlocal slots
            wait = exploration(size, s["N_sup"], s["explore"], device)
            slots, *_ = train_step(net, optimizer, slots, begin(net, task.batch(size)), s["N_sup"], wait)
            keep(averages, weights, None)

        for _ in range(3):  # the first steps compile, and find their memory
            step()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        timer = Timer("step()", globals={"step": step}, num_threads=torch.get_num_threads())
        seconds = timer.blocked_autorange(min_run_time=5).median
        memory = f"{torch.cuda.max_memory_allocated() / 2**30:5.1f} G" if device.type == "cuda" else "      -"
        print(f"{model} {mixer or 'attention':12s} {layers:6d} {sum(p.numel() for p in weights):11,d} {size:5d} "
              f"{operations(net) / 1e9:8.2f} {1000 * seconds:8.1f} {size / seconds:8.1f} "
              f"{100 * operations(net) * size / seconds / peak:9.1f}% {memory} | "
              "{:5.1f} {:9.1f} {:8.1f}".format(*through), flush=True)
    return 0


# ---- the command line ---------------------------------------------------------------------------------------


def between(kind, low, high):
    """An argparse type: an int or a float from `low` to `high`."""

    def convert(text):
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low:g} and {high:g}")
        return value

    convert.__name__ = kind.__name__  # what argparse calls the type when the text is no number
    return convert


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise BadInput(message)


def parse(argv):
    parser = Parser(prog="train.py", description="Train, evaluate or watch HRM and TRM.", allow_abbrev=False)
    add = parser.add_argument
    add("--model", choices=sorted(MODELS))
    add("--task", choices=sorted(data.TASKS))
    add("--scale", choices=sorted({scale for _, _, scale in RECIPES}))
    add("--data", metavar="PATH", help="the published files in place of the bundled puzzles: a folder with train.csv and "
                                       "test.csv, or ARC's folder or JSON")
    whole, positive = between(int, 1, 10**9), between(float, 1e-9, 1e9)
    add("--layers", type=whole, help="of the net; HRM has two such nets")
    add("--hidden-size", type=whole)
    add("--heads", dest="num_heads", type=whole)
    add("--mixer", choices=["attention", "mlp"], help="TRM only: what connects the cells")
    add("--T_H", type=whole, help="updates of the answer in a refinement step")
    add("--T_L", type=whole, help="updates of the latent before each update of the answer")
    add("--N_sup", type=whole, help="refinement steps that a puzzle gets, at most")
    add("--prefix-len", type=between(int, 0, 10**9),
        help="positions before the cells; on ARC the first holds the puzzle's row")
    add("--batch-size", type=whole)
    add("--lr", type=positive)
    add("--weight-decay", type=between(float, 0, 1e9))
    add("--ema", type=between(float, 0, 0.9999999),
        help="share of the moving average that each step keeps, 0 for no average")
    add("--steps", type=whole, help="training steps (a refinement step of the batch and an optimizer step each)")
    add("--minutes", type=positive, help="stop earlier, after so many minutes")
    add("--train-puzzles", type=whole, metavar="N", help="train on N of the training puzzles, drawn at random")
    add("--test-puzzles", type=whole, metavar="N",
        help="how many puzzles an evaluation takes at most (default: all, and 100 while training)")
    add("--seed", type=between(int, 0, 2**63 - 1))
    add("--device", default="auto", help="auto (default), cuda, mps, cpu, ...")
    add("--compile", action=argparse.BooleanOptionalAction, help="torch.compile (default: on for CUDA)")
    add("--out", metavar="DIR", help="the run's folder (default: runs/MODEL-TASK-SCALE, then -2, -3, ...)")
    add("--rollouts", type=whole, metavar="K", help="at evaluation: K trajectories a puzzle, which is seen through K symmetries "
                                                    "(default 1; ARC: all views that a task was trained with)")
    add("--noise", type=between(float, 0, 1e9), default=0.0, metavar="S",
        help="with --rollouts: K times the same view, but noise of this size on the carry before each refinement step")
    add("--halt", type=between(float, 0, 1), metavar="P",
        help="with --eval: be done with a puzzle when the model is this sure of one of its answers")
    mode = parser.add_mutually_exclusive_group().add_argument
    mode("--resume", action="store_true", help="go on with the run in --out, or in runs/MODEL-TASK-SCALE")
    mode("--eval", metavar="RUN", help="evaluate a run on the test puzzles")
    mode("--bench", action="store_true", help="time training steps of HRM and TRM, at the sizes of --task and --scale")
    mode("--watch", metavar="RUN", help="show a run solving a test puzzle (--seed picks another), step by step")
    add("--puzzle", metavar="TEXT", help="with --watch: a puzzle of your own: 81 digits, 0 or . for a blank; "
                                           "64 of '#.SG'; an ARC task's name")
    return parser.parse_args(argv)


def settings_of(args, checkpoint, free):
    """What the run is: the recipe and the flags; or what the checkpoint says, which flags may not contradict, those
    in `free` excepted. Raises BadInput."""
    recipe = (args.model, args.task, args.scale or "small")
    s = checkpoint["settings"] if checkpoint else {
        **dict(zip(("model", "task", "scale"), recipe)), "data": None, "train_puzzles": None, "seed": 0, **RECIPES[recipe]}
    if args.mixer and "mixer" not in s:
        raise BadInput(f"--mixer: {s['model']} has no choice of mixer, only trm has")
    for name in s:
        value = getattr(args, name, None)
        if value is not None and value != s[name]:
            if checkpoint and name not in free:
                flag = name if name[1] == "_" else name.replace("num_", "").replace("_", "-")
                raise BadInput(f"--{flag} {value}: the checkpoint's run has {s[name]}")
            s[name] = value
    return s


def pick_device(name):
    """The torch device. Raises BadInput where there is none of the name."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if WORLD > 1 and name == "cuda":
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        probe = torch.zeros(1, device=name)
        probe.cpu()  # fails for what is no real device, such as meta
        if probe.is_cuda:
            torch.cuda.set_device(probe.device)  # timers and memory counters look at the current one
        return probe.device
    except torch.OutOfMemoryError:
        raise
    except Exception:  # each kind of device has errors of its own
        raise BadInput(f"--device {name}: torch finds no such device here") from None


def run(args):
    look = args.watch if args.eval is None else args.eval
    if args.puzzle is not None and args.watch is None:
        raise BadInput("--puzzle goes with --watch")
    if args.halt is not None and args.eval is None:
        raise BadInput("--halt goes with --eval")
    if args.bench:
        return bench(args, pick_device(args.device))
    if look is None and not (args.resume and args.out):
        for flag in ("model", "task"):
            if not getattr(args, flag):
                raise BadInput(f"--{flag} is needed")
    device = pick_device(args.device)
    if WORLD > 1:  # meet the other processes
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    default = f"runs/{args.model}-{args.task}-{args.scale or 'small'}"
    source = args.out or default if look is None else look
    checkpoint = load(source, RECIPES, args.model, args.task) if look is not None or args.resume else None
    theirs = checkpoint is not None and "rows" in checkpoint  # a public code's
    if theirs and args.resume:
        raise BadInput(f"{source}: a public code's checkpoint, which holds no state of training to go on from")
    free = {"steps", "data"} if look is None else {"N_sup", "batch_size", "data", "seed"}
    s = settings_of(args, checkpoint, free | ({"num_heads", "T_H", "T_L", "prefix_len"} if theirs else set()))
    if theirs and s["task"] == "arc":
        s["identifiers"] = next(filter(os.path.exists, (Path(folder, "identifiers.json") for folder in
                                                        (Path(source).parent, place_of(s)))), None)
        if s["identifiers"] is None:
            raise BadInput(f"{source}: a public code's ARC checkpoint needs the identifiers.json of its data, beside it or in "
                           "the folder of --data")
    elif theirs:
        s["shared_row"] = checkpoint["rows"] == 1
    if s["batch_size"] % WORLD:
        raise BadInput(f"--batch-size {s['batch_size']}: {WORLD} processes cannot share it equally")
    task = puzzles_of(s, device)
    own = task.parse(args.puzzle, device) if args.puzzle is not None else None
    if own and s.get("shared_row"):
        own["ids"] = torch.zeros(1, dtype=torch.long, device=device)
    puzzles = fingerprint(task)
    if checkpoint and puzzles != s.get("puzzles", puzzles) and (args.resume or task.num_puzzles):
        raise BadInput(f"--data {place_of(s)}: other puzzles than those that the checkpoint's run was trained on")
    s["puzzles"] = puzzles
    torch.manual_seed(s["seed"])
    model = build(s, task, device)
    ema = copy.deepcopy(model).requires_grad_(False)  # the moving average of the weights: what is evaluated
    ema.puzzles = model.puzzles  # the puzzle rows are not averaged
    test = {k: v[: args.test_puzzles] for k, v in task.splits["test"].items()}
    spent = {**s, "rollouts": args.rollouts, "noise": args.noise, "halt": args.halt}  # at evaluation
    if args.rollouts:
        spread(task, {k: v[:1] for k, v in test.items()}, spent)  # too many are refused now, not after the training

    def watch_test(index, why=""):
        puzzle = {k: v[index : index + 1] for k, v in test.items()}
        watch(ema, task, puzzle, spent, f"test puzzle {index + 1}{task.title(puzzle)}{why}")

    print(f"{s['model'].upper()} on {s['task']}, {s['scale']}: hidden size {s['hidden_size']}, layers {s['layers']}, "
          f"{s.get('mixer', 'attention')}, T_H {s['T_H']}, T_L {s['T_L']}, N_sup {s['N_sup']}\n"
          f"{sum(p.numel() for p in model.parameters()):,} parameters; {operations(model) / 1e9:.2f} GFLOP to "
          f"train one puzzle by one refinement step; {device.type}, {torch.get_num_threads()} threads")
    compile_where_it_pays(device, args.compile if args.watch is None else False, model, ema)
    if look is not None:
        with expecting(look, "does not fit this model and these puzzles"):
            if s.get("identifiers"):
                checkpoint["ema"]["puzzles.rows"] = checkpoint["ema"]["puzzles.rows"][task.their_ids]
            ema.load_state_dict(checkpoint["ema"])
        if own:
            watch(ema, task, own, spent, f"your puzzle{task.title(own)}")
        elif args.watch is not None:
            watch_test(torch.randint(len(test["inputs"]), ()).item())
        else:
            report(ema, task, test, spent)
        return 0
    if args.resume:
        folder = Path(source if os.path.isdir(source) else Path(source).parent)
    else:
        folder = new_folder(args.out, default) if RANK == 0 else None
        if WORLD > 1:
            told = [folder]
            dist.broadcast_object_list(told)
            folder = told[0]
    print(f"{len(task.splits['train']['inputs']):,} training puzzles; the run's folder is {folder}")
    stop = train(model, ema, task, s, folder, checkpoint, args.minutes, min(100, args.test_puzzles or 100))
    print(f"saved in {folder}; to go on: python train.py --resume --out {shlex.quote(str(folder))}")
    if stop:
        return 128 + stop
    right = report(ema, task, test, spent)
    last_wrong = (~right * torch.arange(1, s["N_sup"] + 1)).amax(1)  # the step after which it was wrong for the last time
    index = (last_wrong * right[:, -1] + right[:, -1]).argmax().item()
    watch_test(index, ": of those solved, the one that took longest" if right[index, -1] else "")
    return 0


def main(argv=None):
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a name that the terminal cannot show must not end a run
    if RANK:
        sys.stdout = open(os.devnull, "w")  # one process speaks for all
    try:
        return run(parse(argv))
    except KeyboardInterrupt:
        return 130
    except BadInput as error:
        code, why = 2, error
    except Failure as error:
        code, why = 1, error
    except BrokenPipeError:  # whoever read the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a path that is no path
        code, why = 2, error
    except (MemoryError, RuntimeError) as error:
        if out_of_memory(error):
            code, why = 1, "out of memory; a lower --batch-size, --hidden-size or --rollouts needs less"
        elif type(error).__module__.startswith("torch._dynamo"):  # such as: there is no C compiler
            code, why = 1, f"torch.compile failed ({str(error).strip().splitlines()[0]}); --no-compile does without"
        elif WORLD > 1:
            code, why = 1, f"process {RANK}: {str(error).splitlines()[0]}"  # such as: another process has gone
        else:
            raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    if not RANK or code == 1 or os.environ.get("LOCAL_RANK") == "0":
        print(f"train.py: {why}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
