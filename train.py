"""Train HRM or TRM, evaluate it, watch it solve: `python train.py --model trm --task sudoku`.

Read `train_step` first: it is the N_sup loop, which the papers' public codes hide. `evaluate` is the same loop
without the learning; the rest is recipes, saving and the command line.
[H] arXiv 2506.21734 (HRM), [J] arXiv 2510.04871 (TRM); the names are the talk's, the README has a table of them.
"""
import argparse
import copy
import csv
import os
import pickle
import shutil
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

import data
from data import BadInput
from hrm import HRM
from trm import TRM

MODELS = {"hrm": HRM, "trm": TRM}

# Every default that differs between models, tasks and scales. Sizes and recursion, then training. The learning rate
# rises over `warmup` steps and falls to zero over the last `decay` share of `steps`; `ema` 0 means no moving average.
RECIPES = {
    ("trm", "sudoku", "small"): dict(
        hidden_size=64, num_heads=4, layers=1, mixer="mlp", T_H=2, T_L=2, N_sup=16,
        batch_size=16, steps=6000, lr=2e-3, warmup=100, decay=1.0, weight_decay=0.1, ema=0.98),
    ("hrm", "sudoku", "small"): dict(
        hidden_size=64, num_heads=4, layers=4, T_H=2, T_L=2, N_sup=16,
        batch_size=16, steps=6000, lr=1e-3, warmup=100, decay=1.0, weight_decay=0.1, ema=0.0),
}
ROWS = {"lr": 1e-2, "weight_decay": 0.1}  # the puzzle rows' sign-SGD on ARC, in both papers; Sudoku has no rows


# ---- the N_sup loop -----------------------------------------------------------------------------------------


def answer_loss(logits, labels):
    """Stablemax cross-entropy, (B,): the mean over a puzzle's supervised cells (label 0 is not supervised).

    Stablemax has s(x) = x + 1 for x >= 0 and 1 / (1 - x) below where softmax has exp(x) ([H], [J]). Its logarithm is
    sign(x) log(1 + |x|), so that this is softmax's cross-entropy of a squeezed logit. The public codes need float64
    for it; written so, float32 agrees to rounding (and Apple's GPUs have no float64).
    """
    squeezed = logits.float().sign() * logits.float().abs().log1p()  # (B, S, V)
    cells = F.cross_entropy(squeezed.transpose(1, 2), labels, ignore_index=0, reduction="none")  # (B, S)
    return cells.sum(1) / (labels != 0).sum(1)


def all_right(logits, labels):
    """Which answers are right in every supervised cell: (B,) bool."""
    return ((logits.argmax(-1) == labels) | (labels == 0)).all(1)


def first_carry(model, inputs):
    """The initial carry for a batch; its dtype is the one that the nets compute in: bfloat16 on CUDA."""
    return model.initial_carry(len(inputs), torch.bfloat16 if inputs.is_cuda else torch.float32)


def begin(model, puzzles):
    """Slots as puzzles enter them: {"inputs", "labels", maybe "ids"} and the first carry, no step made, none going."""
    z_H, z_L = first_carry(model, puzzles["inputs"])
    steps = torch.zeros_like(puzzles["inputs"][:, 0])
    return {**puzzles, "z_H": z_H, "z_L": z_L, "steps": steps, "halted": steps == 0}


# The N_sup loop as the talk writes it: the same batch again and again, each time from where its memory got to.
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
# a fresh carry, while the others go on. Where nothing halts early the two compute the same (a test shows it).


def train_step(model, optimizer, slots, fresh, N_sup, rows=ROWS):
    """One refinement step of every slot, one optimizer step. Returns the slots, the loss, which are right (B,)."""
    # refill: where a puzzle has halted, a fresh one comes in; no `if`, so a GPU need not wait for the CPU
    halted = slots["halted"]
    slots = {k: torch.where(halted.view(-1, *[1] * (new.ndim - 1)), new, slots[k]) for k, new in fresh.items()}
    inputs, labels, ids = slots["inputs"], slots["labels"], slots.get("ids")
    # forward
    carry, logits, halt_logits = model((slots["z_H"], slots["z_L"]), inputs, ids)
    steps = slots["steps"] + 1
    last = steps >= N_sup
    # loss
    right = all_right(logits, labels)
    halting_loss = model.halting_loss(halt_logits, right, last, carry, inputs, ids)
    loss = (answer_loss(logits, labels) + halting_loss).mean()
    # backward
    loss.backward()
    # step
    optimizer.step()
    optimizer.zero_grad()
    if model.puzzles is not None:
        model.puzzles.sign_sgd(**rows)
    # carry: on to the next call; one halt in ten has to wait for a random step, so that going on is explored too
    wait = torch.randint_like(steps, 2, max(N_sup, 2) + 1) * (torch.rand(len(steps), device=steps.device) < 0.1)
    slots.update(z_H=carry[0], z_L=carry[1], steps=steps, halted=last | model.halts(halt_logits) & (steps >= wait))
    return slots, loss.detach(), right


@torch.no_grad()
def refine(model, puzzles, N_sup):
    """The N_sup loop without learning: yields logits (B, S, V) and halting logits after each refinement step."""
    carry = first_carry(model, puzzles["inputs"])
    for _ in range(N_sup):
        carry, logits, halt_logits = model(carry, puzzles["inputs"].long(), puzzles.get("ids"))
        yield logits, halt_logits


def evaluate(model, puzzles, N_sup, batch_size):
    """Which puzzles are right, and which the model would stop at, after each refinement step: two (N, N_sup) bool."""
    right, halts = [], []
    for start in range(0, len(puzzles["inputs"]), batch_size):
        batch = {k: v[start : start + batch_size] for k, v in puzzles.items()}
        steps = [(all_right(logits, batch["labels"]), model.halts(halt_logits))
                 for logits, halt_logits in refine(model, batch, N_sup)]
        right.append(torch.stack([r for r, _ in steps], dim=1))
        halts.append(torch.stack([h for _, h in steps], dim=1))
    return torch.cat(right).cpu(), torch.cat(halts).cpu()


# ---- figures and pictures -----------------------------------------------------------------------------------


def shown_steps(N_sup):
    """The refinement steps that tables show: the powers of two, and the last."""
    return sorted({2**i for i in range(N_sup.bit_length())} | {N_sup})


def exact(right):
    """(N, N_sup) bool -> exact accuracy in percent after each shown step, as text."""
    return " ".join(f"{100 * right[:, n - 1].float().mean():6.1f}%" for n in shown_steps(right.shape[1]))


def report(model, puzzles, s):
    """Print exact accuracy by refinement steps, and with learned halting. Returns what was right, (N, N_sup)."""
    start = time.time()
    right, halts = evaluate(model, puzzles, s["N_sup"], s["batch_size"])
    halts[:, -1] = True  # the N_sup-th step always halts
    stop = halts.int().argmax(1, keepdim=True)  # (N, 1): the first step at which the model would stop
    halted = 100 * right.gather(1, stop).float().mean()
    print(f"\n{len(right):,} test puzzles, every cell right ({time.time() - start:.1f} s)")
    print("  after refinement steps " + " ".join(f"{n:7d}" for n in shown_steps(s["N_sup"])))
    print("  exact accuracy         " + exact(right))
    print(f"  with learned halting   {halted:6.1f}%  after {stop.float().mean() + 1:.1f} steps on average")
    return right


def watch(model, task, puzzle, s, title):
    """Print one puzzle ({"inputs": (1, S), maybe "labels"}) and the answer after each step that changed it."""
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ and (os.name != "nt" or "WT_SESSION" in os.environ)
    inputs = puzzle["inputs"][0].cpu()
    labels = puzzle["labels"][0].cpu() if "labels" in puzzle else None
    frames, before, changes = [("the puzzle", task.picture(inputs, inputs))], inputs, 0
    for step, (logits, halt_logits) in enumerate(refine(model, puzzle, s["N_sup"]), start=1):
        answer = logits[0].argmax(-1).cpu()
        if step == 1 or (answer != before).any():
            sure = f"step {step}: {100 * halt_logits[0, 0].sigmoid():.0f}% sure"
            frames.append((sure, task.picture(inputs, answer, before, labels, colour)))
            changes = step
        before = answer
    print(f"\n{title}\n{data.COLOUR_LEGEND if colour else data.LEGEND}\n")
    width = len(frames[0][1][0])  # of the picture without colours: colour codes take no room on a terminal
    a_row = max(1, shutil.get_terminal_size((100, 24)).columns // (width + 3))
    for i in range(0, len(frames), a_row):
        row = frames[i : i + a_row]
        print("   ".join(name.ljust(width) for name, _ in row))
        print("\n".join("   ".join(lines) for lines in zip(*(picture for _, picture in row))) + "\n")
    solved = not task.wrong(inputs, before, labels).any()
    print(f"{'solved' if solved else 'not solved'}; no cell changed after step {changes} of {s['N_sup']}")


# ---- a run: its folder, its checkpoint ----------------------------------------------------------------------


def build(s, task, device):
    """The model that the settings describe. Raises BadInput where sizes do not fit together."""
    sizes = {k: s[k] for k in ("hidden_size", "num_heads", "layers", "T_H", "T_L", "mixer") if k in s}
    try:
        return MODELS[s["model"]](task.vocab_size, task.seq_len, num_puzzles=task.num_puzzles, **sizes).to(device)
    except ValueError as error:
        raise BadInput(error) from None


def save(folder, checkpoint, log):
    """checkpoint.pt and log.csv; the old checkpoint stays until the new one is complete."""
    torch.save(checkpoint, folder / "checkpoint.tmp")
    os.replace(folder / "checkpoint.tmp", folder / "checkpoint.pt")
    with open(folder / "log.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(log)


def load(path, device):
    """A run's folder or its checkpoint -> the checkpoint. Raises BadInput."""
    path = Path(path)
    path = path / "checkpoint.pt" if path.is_dir() else path
    try:
        checkpoint = torch.load(path, map_location=device, weights_only=True)
        checkpoint["settings"]["model"]
    except FileNotFoundError:
        raise BadInput(f"{path}: no such checkpoint") from None
    except (OSError, RuntimeError, EOFError, LookupError, TypeError, ValueError, pickle.UnpicklingError):
        raise BadInput(f"{path}: not a checkpoint of train.py") from None
    return checkpoint


def find_folder(args):
    """The run's folder: --out, or runs/MODEL-TASK-SCALE, then -2, -3, ...: the next one, or with --resume the latest.
    Raises BadInput."""
    default = f"runs/{args.model}-{args.task}-{args.scale or 'small'}"
    if args.resume:
        latest = max(Path().glob(f"{default}*/checkpoint.pt"), key=os.path.getmtime, default=None)
        if not args.out and not latest:
            raise BadInput(f"--resume: no run in {default}; --out DIR says where it is")
        return Path(args.out or latest.parent)
    if args.out and Path(args.out, "checkpoint.pt").exists():
        raise BadInput(f"--out {args.out}: holds a run already; --resume goes on with it")
    folder, n = Path(args.out or default), 1
    while not args.out and folder.exists():
        n += 1
        folder = Path(f"{default}-{n}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"--out {folder}: {error.strerror}") from None
    return folder


def operations(model, s, task):
    """Floating-point operations of one puzzle's refinement step in training, counted on tensors without storage."""
    ghost = copy.deepcopy(model).to("meta")
    cells = torch.zeros(1, task.seq_len, dtype=torch.long, device="meta")
    slots = begin(ghost, {"inputs": cells, "labels": cells})
    with FlopCounterMode(display=False) as counter:
        train_step(ghost, torch.optim.SGD(ghost.parameters()), slots, slots, s["N_sup"])
    return counter.get_total_flops()


# ---- training -----------------------------------------------------------------------------------------------


def say(line, stay=True):
    """Print a line that stays or, on a terminal only, one that the next line overwrites."""
    if sys.stdout.isatty():
        print("\r" + line.ljust(78), end="\n" if stay else "", flush=True)
    elif stay:
        print(line, flush=True)


def clock(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


@contextmanager
def noted_signals():
    """Inside, Ctrl-C and SIGTERM are only noted, for the loop to end after its step; a second one acts at once."""
    noted = []

    def note(number, frame):
        if noted:
            raise KeyboardInterrupt
        noted.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(model, task, s, folder, checkpoint=None, minutes=None):
    """Train until `steps`, `minutes` or a signal, and save. Returns the averaged model and the signals noted."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=s["lr"], betas=(0.9, 0.95), weight_decay=s["weight_decay"],
                                  fused=True)
    ema = copy.deepcopy(model).requires_grad_(False)  # the moving average of the weights: what is evaluated
    ema.puzzles = model.puzzles  # the puzzle rows are not averaged
    parts = {"model": model, "ema": ema, "optimizer": optimizer}

    def fresh():
        return begin(model, task.batch(s["batch_size"]))

    validation = {k: v[:200] for k, v in task.splits["valid"].items()}  # a glance, not the final figure
    step, seconds, slots = 0, 0.0, fresh()
    log = [["step", "seconds", "loss", "train_exact"] + [f"valid_exact_{n}" for n in shown_steps(s["N_sup"])]]
    if checkpoint:
        for name, part in parts.items():
            part.load_state_dict(checkpoint[name])
        step, seconds, slots, log = (checkpoint[name] for name in ("step", "seconds", "slots", "log"))
        torch.set_rng_state(checkpoint["random"].cpu())

    def keep():
        state = {name: part.state_dict() for name, part in parts.items()}
        save(folder, {"settings": s, "step": step, "seconds": time.time() - start, "slots": slots, "log": log,
                      "random": torch.get_rng_state(), **state}, log)

    now = time.time()
    start, told, told_step = now - seconds, now, step  # `start` counts the time before a resume too
    deadline = now + 60 * minutes if minutes else float("inf")
    seen = []  # (loss, right) of the steps since the last evaluation, still on the device
    say("  step    time    loss  right | right of the validation puzzles after refinement steps\n"
        "                      training | " + " ".join(f"{n:7d}" for n in shown_steps(s["N_sup"])))
    with noted_signals() as signals:
        while step < s["steps"] and not signals and time.time() < deadline:
            rate = min(1, (step + 1) / s["warmup"], (1 - step / s["steps"]) / max(s["decay"], 1e-9))
            for group in optimizer.param_groups:
                group["lr"] = rate * s["lr"]
            slots, loss, right = train_step(model, optimizer, slots, fresh(), s["N_sup"],
                                            {**ROWS, "lr": rate * ROWS["lr"]})
            for average, weight in zip(ema.parameters(), model.parameters()):
                average.lerp_(weight.detach(), 1 - s["ema"])
            step += 1
            seen.append((loss, right.float().mean()))

            now = time.time()
            if now - told > 1:  # reading the figures makes a GPU wait for them: once a second
                speed = (step - told_step) / (now - told)
                left = min((s["steps"] - step) / speed, deadline - now)
                say(f"{step:6d} {clock(now - start):>7} {seen[-1][0]:7.3f} {100 * seen[-1][1]:5.1f}% | "
                    f"{speed * s['batch_size']:.0f} puzzles/s, {clock(left)} left", stay=False)
                told, told_step = now, step
            if step % max(1, s["steps"] // 10) == 0 or step == s["steps"]:
                loss, right = torch.tensor(seen).mean(0).tolist()
                seen = []
                valid, _ = evaluate(ema, validation, s["N_sup"], s["batch_size"])
                seconds = time.time() - start
                log.append([step, round(seconds, 1), round(loss, 4), round(right, 4)]
                           + [round(valid[:, n - 1].float().mean().item(), 4) for n in shown_steps(s["N_sup"])])
                say(f"{step:6d} {clock(seconds):>7} {loss:7.3f} {100 * right:5.1f}% | {exact(valid)}")
                keep()
                told, told_step = time.time(), step
        keep()
    return ema, signals


# ---- the command line ---------------------------------------------------------------------------------------


def number(kind, low, high=float("inf"), above=False):
    """An argparse type: an int or a float from `low` (or above it) to `high`."""

    def convert(text):
        value = kind(text)
        if not low <= value <= high or (above and value == low):
            raise argparse.ArgumentTypeError(f"{text} is out of range ({'above' if above else 'at least'} {low}"
                                             + (f", at most {high})" if high < float("inf") else ")"))
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
    add("--data", metavar="PATH", help="a folder with the published train.csv and test.csv, not the bundled puzzles")
    whole, positive = number(int, 1), number(float, 0, above=True)
    add("--layers", type=whole, help="of the net; HRM has two such nets")
    add("--hidden-size", type=whole)
    add("--heads", dest="num_heads", type=whole)
    add("--mixer", choices=["attention", "mlp"], help="TRM only: what connects the cells")
    add("--T_H", type=whole, help="updates of the answer in a refinement step")
    add("--T_L", type=whole, help="updates of the latent before each update of the answer")
    add("--N_sup", type=whole, help="refinement steps")
    add("--batch-size", type=whole)
    add("--lr", type=positive)
    add("--weight-decay", type=number(float, 0))
    add("--ema", type=number(float, 0, 1), help="of the weights, 0 for none")
    add("--steps", type=whole, help="refinement steps to train; the schedule of the learning rate depends on it alone")
    add("--minutes", type=positive, help="stop earlier, after so many minutes")
    add("--test-puzzles", type=whole, metavar="N", help="how many puzzles the final evaluation takes (default: all)")
    add("--seed", type=number(int, 0))
    add("--device", default="auto", help="auto (default), cuda, mps, cpu, ...")
    add("--compile", action=argparse.BooleanOptionalAction, help="torch.compile (default: on for CUDA)")
    add("--out", metavar="DIR", help="the run's folder (default: runs/MODEL-TASK-SCALE, then -2, -3, ...)")
    add("--resume", action="store_true", help="go on with the run in --out, or with the latest")
    add("--eval", metavar="RUN", help="evaluate a run on the test puzzles")
    add("--watch", metavar="RUN", help="show a run solving a test puzzle (--seed picks another), step by step")
    add("--puzzle", metavar="TEXT", help="with --watch: a puzzle of your own (Sudoku: 81 digits, 0 or . for a blank)")
    return parser.parse_args(argv)


def settings_of(args, checkpoint, free):
    """What the run is: the recipe and the flags; or what the checkpoint says, which flags may not contradict, those
    in `free` excepted. Raises BadInput."""
    if checkpoint:
        s = dict(checkpoint["settings"])
    else:
        args.scale = args.scale or "small"
        for flag in ("model", "task"):
            if not getattr(args, flag):
                raise BadInput(f"--{flag} is needed")
        s = {"model": args.model, "task": args.task, "scale": args.scale, "data": None, "seed": 0,
             **RECIPES[args.model, args.task, args.scale]}
    if args.mixer and "mixer" not in s:
        raise BadInput(f"--mixer: {s['model']} has no choice of mixer, only trm has")
    for name in s:
        value = getattr(args, name, None)
        if value is not None and value != s[name]:
            if checkpoint and name not in free:
                raise BadInput(f"--{name.replace('_', '-')} {value}: the checkpoint's run has {s[name]}")
            s[name] = value
    return s


def pick_device(name):
    """The torch device. Raises BadInput where there is none of the name."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError):
        raise BadInput(f"--device {name}: torch finds no such device here") from None


def run(args):
    device, look = pick_device(args.device), args.eval or args.watch
    if args.puzzle and not args.watch:
        raise BadInput("--puzzle goes with --watch")
    checkpoint = load(look or find_folder(args), device) if look or args.resume else None
    s = settings_of(args, checkpoint, {"N_sup", "batch_size", "data", "seed"} if look else {"steps", "data"})
    task = data.TASKS[s["task"]](s["data"] or data.BUNDLED / s["task"] / s["scale"], device)
    own = task.parse(args.puzzle, device) if args.puzzle else None
    torch.manual_seed(s["seed"])
    model = build(s, task, device)
    test = {k: v[: args.test_puzzles] for k, v in task.splits["test"].items()}

    def test_puzzle(index, why=""):
        watch(model, task, {k: v[index : index + 1] for k, v in test.items()}, s, f"test puzzle {index + 1}{why}")

    print(f"{s['model'].upper()} on {s['task']}, {s['scale']}: hidden size {s['hidden_size']}, layers {s['layers']}, "
          f"{s.get('mixer', 'attention')}, T_H {s['T_H']}, T_L {s['T_L']}, N_sup {s['N_sup']}\n"
          f"{sum(p.numel() for p in model.parameters()):,} parameters; {operations(model, s, task) / 1e9:.2f} GFLOP to "
          f"train one puzzle by one refinement step; {device.type}, {torch.get_num_threads()} threads")
    if args.compile or (args.compile is None and device.type == "cuda"):
        model.compile()
    if look:
        model.load_state_dict(checkpoint["ema"])
        if own:
            watch(model, task, own, s, "your puzzle")
        elif args.watch:
            test_puzzle(torch.randint(len(test["inputs"]), (1,)).item())
        else:
            report(model, test, s)
        return 0
    folder = find_folder(args)
    print(f"{len(task.splits['train']['inputs']):,} training puzzles; the run's folder is {folder}")
    model, signals = train(model, task, s, folder, checkpoint, args.minutes)
    print(f"\nsaved in {folder}; to go on: python train.py --resume --out {folder}")
    if signals:
        return 128 + signals[0]
    right = report(model, test, s)
    steps = (~right).int().cumprod(1).sum(1) * right[:, -1]  # how many steps each solved puzzle took
    test_puzzle(steps.argmax().item(), ": of those solved, the one that took longest" if right[:, -1].any() else "")
    return 0


def main(argv=None):
    try:
        return run(parse(argv))
    except BadInput as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
