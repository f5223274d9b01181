"""Train HRM or TRM, evaluate it, watch it solve: `python train.py --model trm --task sudoku`.

Read `train_step` first: it is the N_sup loop, which the papers' public codes hide. `evaluate` is the same loop
without the learning; the rest is recipes, saving and the command line.
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
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

import data
from checkpoint import Failure, expecting, load, new_folder, out_of_memory, replace
from data import BadInput
from hrm import HRM
from trm import TRM

MODELS = {"hrm": HRM, "trm": TRM}

# Every default that differs between models, tasks and scales: sizes, recursion, training.
# `steps`: training steps, on which the learning rate depends: it rises over `warmup` of them, and falls to zero over the
# last `decay` share. `ema`: what the moving average of the weights keeps in a step, 0 for none. `row_lr`: the puzzle rows'
# learning rate (in minutes a row is drawn some dozens of times, so its steps are larger than the papers' in ROWS).
# `explore`: how likely a halt must wait, 0.1 in the papers. A small model, trained for minutes, then tends to lose what it
# has solved: puzzles that halt at once leave at once, and keeping an answer is seldom practised. 0.5 helps.
SMALL = dict(hidden_size=64, num_heads=4, T_H=2, T_L=2, batch_size=16, warmup=100, decay=1.0, weight_decay=0.1, explore=0.5)
SMALL_HRM = dict(SMALL, layers=4, lr=1e-3, ema=0.0)
SMALL_TRM = dict(SMALL, layers=1, lr=4e-3, ema=0.98, mixer="mlp")
ARC = dict(N_sup=2, prefix_len=1, augmentations=8, row_lr=0.1)
RECIPES = {
    ("hrm", "sudoku", "small"): dict(SMALL_HRM, N_sup=16, steps=2400),
    ("trm", "sudoku", "small"): dict(SMALL_TRM, N_sup=16, steps=6000),
    ("hrm", "maze", "small"): dict(SMALL_HRM, N_sup=4, steps=2000),
    ("trm", "maze", "small"): dict(SMALL_TRM, N_sup=4, steps=14000),
    ("hrm", "arc", "small"): dict(SMALL_HRM, **ARC, steps=2000),
    ("trm", "arc", "small"): {**SMALL_TRM, **ARC, "mixer": "attention", "batch_size": 32, "steps": 4000},
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


def train_step(model, optimizer, slots, fresh, N_sup, explore=0.1, rows=ROWS):
    """One refinement step of every slot, one optimizer step. Returns the slots, the loss, which are right (B,)."""
    # refill: where a puzzle has halted, a fresh one comes in; no `if`, so a GPU need not wait for the CPU
    halted = slots["halted"]
    slots = {k: torch.where(halted.view(-1, *[1] * (new.ndim - 1)), new, slots[k]) for k, new in fresh.items()}
    inputs, labels, ids = slots["inputs"], slots["labels"], slots.get("ids")
    carry, logits, halt_logits = model((slots["z_H"], slots["z_L"]), inputs, ids)
    steps = slots["steps"] + 1
    last = steps >= N_sup
    right = all_right(logits, labels)
    halting_loss = model.halting_loss(halt_logits, right, last, carry, inputs, ids)
    loss = (answer_loss(logits, labels) + halting_loss).mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if model.puzzles is not None:
        model.puzzles.sign_sgd(**rows)
    # carry: on to the next call. Exploration: some of the halts must wait for a random step from 2..N_sup
    wait = torch.randint_like(steps, 2, max(N_sup, 2) + 1) * (torch.rand(len(steps), device=steps.device) < explore)
    slots.update(z_H=carry[0], z_L=carry[1], steps=steps, halted=last | (model.halts(halt_logits) & (steps >= wait)))
    return slots, loss.detach(), right


@torch.no_grad()
def refine(model, puzzles, N_sup):
    """The N_sup loop without learning: yields logits (B, S, V) and halting logits after each refinement step."""
    carry = first_carry(model, puzzles["inputs"])
    for _ in range(N_sup):
        carry, logits, halt_logits = model(carry, puzzles["inputs"].long(), puzzles.get("ids"))
        yield logits, halt_logits


def evaluate(model, puzzles, N_sup, batch_size):
    """Which puzzles are right, and which the model would stop at, after each refinement step, both (N, N_sup) bool;
    the last answers, (N, S) tokens; how sure the model is of them, (N,), the halting logits as probabilities."""
    found = []
    for start in range(0, len(puzzles["inputs"]), batch_size):
        batch, right, halts = {k: v[start : start + batch_size] for k, v in puzzles.items()}, [], []
        for logits, halt_logits in refine(model, batch, N_sup):
            right.append(all_right(logits, batch["labels"]))
            halts.append(model.halts(halt_logits))
        found.append((torch.stack(right, 1), torch.stack(halts, 1), logits.argmax(-1), halt_logits[:, 0].sigmoid()))
    return [torch.cat(part).cpu() for part in zip(*found)]


# ---- figures and pictures -----------------------------------------------------------------------------------


def shown_steps(N_sup):
    """The refinement steps that tables show: the powers of two, and the last."""
    return sorted({2**i for i in range(N_sup.bit_length())} | {N_sup})


def exact(right):
    """(N, N_sup) bool -> exact accuracy in percent after each shown step, as text."""
    return " ".join(f"{100 * right[:, n - 1].float().mean():6.1f}%" for n in shown_steps(right.shape[1]))


def report(model, task, puzzles, s):
    """Print exact accuracy by refinement steps, and with learned halting. Returns what was right, (N, N_sup)."""
    start = time.time()
    right, halts, answers, sure = evaluate(model, puzzles, s["N_sup"], s["batch_size"])
    halts[:, -1] = True  # the N_sup-th step always halts
    stop = halts.int().argmax(1, keepdim=True)  # (N, 1): the first step at which the model would stop
    known = (puzzles["labels"] != 0).any(1).cpu()  # an ARC test may come without its output: predicted, not scored
    halted = 100 * right.gather(1, stop)[known].float().mean()
    print(f"\n{known.sum():,} test puzzles; exact: every cell right ({time.time() - start:.1f} s)")
    print("  after refinement steps " + " ".join(f"{n:7d}" for n in shown_steps(s["N_sup"])))
    print("  exact accuracy         " + exact(right[known]))
    print(f"  with learned halting   {halted:6.1f}%  after {stop[known].float().mean() + 1:.1f} steps on average")
    print(task.summary(puzzles, answers.numpy(), sure), end="")
    return right & known[:, None]


def watch(model, task, puzzle, s, title):
    """Print one puzzle ({"inputs": (1, S), maybe "labels"}) and the answer after each step that changed it."""
    inputs = puzzle["inputs"][0].cpu()
    labels = puzzle["labels"][0].cpu() if "labels" in puzzle else None
    frames, before, changes, colour = [("the puzzle", task.picture(inputs, inputs))], inputs, 0, data.colours_work()
    for step, (logits, halt_logits) in enumerate(refine(model, puzzle, s["N_sup"]), start=1):
        answer = logits[0].argmax(-1).cpu()
        if step == 1 or (answer != before).any():
            sure = 100 * halt_logits[0, 0].sigmoid()  # of being right: what the halting head says
            frames.append((f"step {step}: {sure:.0f}% sure", task.picture(inputs, answer, before, labels, colour)))
            changes = step
        before = answer
    meaning = "" if labels is not None else " (blank, against the rules, or a given overwritten)"
    print(f"\n{title}\n{data.LEGEND[colour]}{meaning}\n\n{data.side_by_side(frames)}")
    wrong = task.wrong(inputs, before, labels)
    verdict = "no solution known" if wrong is None else "not solved" if wrong.any() else "solved"
    print(f"{verdict}; no cell changed after step {changes} of {s['N_sup']}")


# ---- a run: its folder, its checkpoint ----------------------------------------------------------------------


def build(s, task, device):
    """The model that the settings describe. Raises BadInput where sizes do not fit together."""
    sizes = {k: s[k] for k in ("hidden_size", "num_heads", "layers", "T_H", "T_L", "mixer", "prefix_len") if k in s}
    try:
        return MODELS[s["model"]](task.vocab_size, task.seq_len, num_puzzles=task.num_puzzles, **sizes).to(device)
    except ValueError as error:
        raise BadInput(error) from None


def fingerprint(task):
    """A short text that tells one set of puzzles from another: a run goes on with its own puzzles alone."""
    digest = hashlib.sha256()
    for part in task.splits.values():
        for name in sorted(part):
            digest.update(part[name].cpu().numpy())
    return digest.hexdigest()[:16]


def operations(model, s, task):
    """Floating-point operations of one puzzle's refinement step in training, counted on tensors without storage."""
    ghost = copy.deepcopy(model).to("meta")
    cells = torch.zeros(1, task.seq_len, dtype=torch.long, device="meta")
    slots = begin(ghost, {"inputs": cells, "labels": cells, "ids": cells[:, 0]})
    with FlopCounterMode(display=False) as counter:
        train_step(ghost, torch.optim.SGD(ghost.parameters()), slots, slots, s["N_sup"])
    return counter.get_total_flops()


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


def train(model, ema, task, s, folder, checkpoint=None, minutes=None):
    """Train `model` until `steps`, `minutes` or a signal, with `ema` as its moving average; save in `folder`. Returns
    the signals noted."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=s["lr"], betas=(0.9, 0.95), weight_decay=s["weight_decay"],
                                  fused=True)
    parts = {"model": model, "ema": ema, "optimizer": optimizer}
    validation = {k: v[:100] for k, v in task.splits["valid"].items()}  # a glance, not the final figure

    def fresh():
        return begin(model, task.batch(s["batch_size"]))

    def check():  # what is not finite spreads and stays: better stop than save it
        if not all(part.isfinite().all() for part in (sums, *model.parameters())):
            raise Failure(f"step {step}: the loss is no longer finite (a lower --lr may help); "
                          f"the last good checkpoint, of step {saved}, is {folder / 'checkpoint.pt'}")

    def save():
        nonlocal saved, saved_at
        check()
        content, text = io.BytesIO(), io.StringIO(newline="")
        torch.save({"settings": s, "step": step, "seconds": time.time() - start, "slots": slots, "sums": sums, "log": log,
                    "random": [torch.get_rng_state(), *torch.cuda.get_rng_state_all()],
                    **{name: part.state_dict() for name, part in parts.items()}}, content)
        replace(folder / "checkpoint.pt", content.getbuffer())
        csv.writer(text).writerows(log)
        replace(folder / "log.csv", text.getvalue().encode())
        saved, saved_at = step, time.time()

    step, seconds, slots = 0, 0.0, fresh()
    sums = torch.zeros(3, device=slots["inputs"].device)  # steps since the last evaluation, of loss, of share right
    log = [["step", "seconds", "loss", "train_exact"] + [f"valid_exact_{n}" for n in shown_steps(s["N_sup"])]]
    if checkpoint:
        with expecting(folder / "checkpoint.pt", "does not fit this model and these puzzles"):
            for name, part in parts.items():
                part.load_state_dict(checkpoint[name])
            step, seconds = int(checkpoint["step"]), float(checkpoint["seconds"])
            log = [list(row) for row in checkpoint["log"]]
            sums.copy_(checkpoint["sums"])
            slots = {k: checkpoint["slots"][k].to(v).view(v.shape) for k, v in slots.items()}
            torch.set_rng_state(checkpoint["random"][0])
            if torch.cuda.device_count() == len(checkpoint["random"]) - 1:
                torch.cuda.set_rng_state_all(checkpoint["random"][1:])

    now = time.time()
    start, told, told_step = now - seconds, now, step  # `start` counts the time before a resume too
    saved = saved_at = 0
    try:
        save()
    except Failure as error:  # rather now than after minutes of training
        raise BadInput(f"--out {folder}: {error}") from None
    deadline = now + 60 * minutes if minutes else float("inf")
    say("                       exact in | exact on validation puzzles after refinement steps\n"
        "  step    time    loss training | " + " ".join(f"{n:7d}" for n in shown_steps(s["N_sup"])))
    with noted_signals() as signals:
        while step < s["steps"] and not signals and time.time() < deadline:
            rate = schedule(step, s)
            for group in optimizer.param_groups:
                group["lr"] = rate * s["lr"]
            slots, loss, right = train_step(model, optimizer, slots, fresh(), s["N_sup"], s["explore"],
                                            {**ROWS, "lr": rate * s.get("row_lr", ROWS["lr"])})
            for average, weight in zip(ema.parameters(), model.parameters()):
                average.lerp_(weight.detach(), 1 - s["ema"])
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
                loss, right = (sums[1:] / sums[0]).tolist()
                sums.zero_()
                valid, *_ = evaluate(ema, validation, s["N_sup"], s["batch_size"])
                seconds = time.time() - start
                log.append([step, round(seconds, 1), round(loss, 4), round(right, 4)]
                           + [round(valid[:, n - 1].float().mean().item(), 4) for n in shown_steps(s["N_sup"])])
                say(f"{step:6d} {timedelta(seconds=int(seconds))} {loss:7.3f} {100 * right:7.1f}% | {exact(valid)}")
                save()
                told, told_step = time.time(), step
            elif now - saved_at > SAVE_EVERY:
                save()
        if saved < step:
            save()
    return signals


# ---- the command line ---------------------------------------------------------------------------------------


def number(kind, low, high):
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
    whole, positive = number(int, 1, 10**9), number(float, 1e-9, 1e9)
    add("--layers", type=whole, help="of the net; HRM has two such nets")
    add("--hidden-size", type=whole)
    add("--heads", dest="num_heads", type=whole)
    add("--mixer", choices=["attention", "mlp"], help="TRM only: what connects the cells")
    add("--T_H", type=whole, help="updates of the answer in a refinement step")
    add("--T_L", type=whole, help="updates of the latent before each update of the answer")
    add("--N_sup", type=whole, help="refinement steps that a puzzle gets, at most")
    add("--batch-size", type=whole)
    add("--lr", type=positive)
    add("--weight-decay", type=number(float, 0, 1e9))
    add("--ema", type=number(float, 0, 0.9999999),
        help="share of the moving average that each step keeps, 0 for no average")
    add("--steps", type=whole, help="training steps (a refinement step of the batch and an optimizer step each)")
    add("--minutes", type=positive, help="stop earlier, after so many minutes")
    add("--train-puzzles", type=whole, metavar="N", help="train on N of the training puzzles, drawn at random")
    add("--test-puzzles", type=whole, metavar="N", help="how many puzzles the final evaluation takes (default: all)")
    add("--seed", type=number(int, 0, 2**63 - 1))
    add("--device", default="auto", help="auto (default), cuda, mps, cpu, ...")
    add("--compile", action=argparse.BooleanOptionalAction, help="torch.compile (default: on for CUDA)")
    add("--out", metavar="DIR", help="the run's folder (default: runs/MODEL-TASK-SCALE, then -2, -3, ...)")
    mode = parser.add_mutually_exclusive_group().add_argument
    mode("--resume", action="store_true", help="go on with the run in --out, or in runs/MODEL-TASK-SCALE")
    mode("--eval", metavar="RUN", help="evaluate a run on the test puzzles")
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
    try:
        probe = torch.zeros(1, device=name)
        probe.cpu()  # fails for what is no real device, such as meta
        return probe.device
    except torch.OutOfMemoryError:
        raise
    except Exception:  # each kind of device has errors of its own
        raise BadInput(f"--device {name}: torch finds no such device here") from None


def run(args):
    look = args.watch if args.eval is None else args.eval
    if args.puzzle is not None and args.watch is None:
        raise BadInput("--puzzle goes with --watch")
    if look is None and not (args.resume and args.out):
        for flag in ("model", "task"):
            if not getattr(args, flag):
                raise BadInput(f"--{flag} is needed")
    device = pick_device(args.device)
    default = f"runs/{args.model}-{args.task}-{args.scale or 'small'}"
    source = args.out or default if look is None else look
    checkpoint = load(source, RECIPES) if look is not None or args.resume else None
    s = settings_of(args, checkpoint, {"steps", "data"} if look is None else {"N_sup", "batch_size", "data", "seed"})
    options = {k: s[k] for k in ("train_puzzles", "augmentations") if s.get(k)}
    place = s.get("data") or data.bundled(s["task"], s["scale"])
    task = data.TASKS[s["task"]](place, device, **options)
    own = task.parse(args.puzzle, device) if args.puzzle is not None else None
    puzzles = fingerprint(task)
    if checkpoint and puzzles != s["puzzles"] and (args.resume or task.num_puzzles):
        raise BadInput(f"--data {place}: other puzzles than those that the checkpoint's run was trained on")
    s["puzzles"] = puzzles
    torch.manual_seed(s["seed"])
    model = build(s, task, device)
    ema = copy.deepcopy(model).requires_grad_(False)  # the moving average of the weights: what is evaluated
    ema.puzzles = model.puzzles  # the puzzle rows are not averaged
    test = {k: v[: args.test_puzzles] for k, v in task.splits["test"].items()}

    def watch_test(index, why=""):
        puzzle = {k: v[index : index + 1] for k, v in test.items()}
        watch(ema, task, puzzle, s, f"test puzzle {index + 1}{task.title(puzzle)}{why}")

    print(f"{s['model'].upper()} on {s['task']}, {s['scale']}: hidden size {s['hidden_size']}, layers {s['layers']}, "
          f"{s.get('mixer', 'attention')}, T_H {s['T_H']}, T_L {s['T_L']}, N_sup {s['N_sup']}\n"
          f"{sum(p.numel() for p in model.parameters()):,} parameters; {operations(model, s, task) / 1e9:.2f} GFLOP to "
          f"train one puzzle by one refinement step; {device.type}, {torch.get_num_threads()} threads")
    on_cuda = device.type == "cuda" and importlib.util.find_spec("triton")  # Windows' torch comes without triton
    if on_cuda if args.compile is None else args.compile:
        model.compile()
        ema.compile()
    if look is not None:
        with expecting(look, "does not fit this model and these puzzles"):
            ema.load_state_dict(checkpoint["ema"])
        if own:
            watch(ema, task, own, s, f"your puzzle{task.title(own)}")
        elif args.watch is not None:
            watch_test(torch.randint(len(test["inputs"]), ()).item())
        else:
            report(ema, task, test, s)
        return 0
    folder = Path(source if os.path.isdir(source) else Path(source).parent) if args.resume else new_folder(args.out, default)
    print(f"{len(task.splits['train']['inputs']):,} training puzzles; the run's folder is {folder}")
    signals = train(model, ema, task, s, folder, checkpoint, args.minutes)
    print(f"\nsaved in {folder}; to go on: python train.py --resume --out {shlex.quote(str(folder))}")
    if signals:
        return 128 + signals[0]
    right = report(ema, task, test, s)
    last_wrong = (~right * torch.arange(1, s["N_sup"] + 1)).amax(1)  # the step after which it was wrong for the last time
    index = (last_wrong * right[:, -1] + right[:, -1]).argmax().item()
    watch_test(index, ": of those solved, the one that took longest" if right[index, -1] else "")
    return 0


def main(argv=None):
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a name that the terminal cannot show must not end a run
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
        if not out_of_memory(error):
            raise
        code, why = 1, "out of memory; a lower --batch-size needs less, and so does a lower --hidden-size"
    print(f"train.py: {why}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
