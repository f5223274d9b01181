"""Train HRM or TRM: `python train.py --model trm --task sudoku`.

Read `train_step` first: one turn of the N_sup loop, which the papers' codes hide. `train` calls it.
[H] arXiv 2506.21734 (HRM), [J] arXiv 2510.04871 (TRM); the names are the talk's.
"""
import copy
import os
import shlex
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.flop_counter import FlopCounterMode

import evaluate
from evaluate import all_right, build, first_carry, shown_steps
from cli import (BadInput, Failure, Live, Log, Parser, blaming, in_one_line,
                 noted_signals, signals_as_usual, write_atomically)
# torchrun starts WORLD processes, one a GPU: all draw the same batch, each trains on its part.
RANK, WORLD = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))

# ---- the N_sup loop ------------------------------------------------------------------------------
# As the talk writes it: the same batch again and again, from the carry of the step before.
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
# train_step, like both papers' codes, makes one turn of the inner loop a call. The batch has slots.
# A slot keeps its puzzle and that puzzle's carry, detached by forward, from call to call, until the
# puzzle halts or has had N_sup steps; then a fresh puzzle with a fresh carry takes the slot, while
# the others go on. Where nothing halts early, both compute the same.


def train_step(model, optimizer, slots, fresh, N_sup, min_steps=0, forward=None,
               table=None, puzzle_lr=0.0, puzzle_decay=0.0):
    """One refinement step of every slot, then one optimizer step.
    slots: as the last call returned them. fresh: a new batch, from `fresh_slots`, whose puzzles
    enter where a slot has halted. min_steps: (B,), from `exploration`. forward: the model as called
    by several processes. table: the puzzle embeddings. Returns slots, loss, which are right (B,).
    """
    halted = slots["halted"]
    for name, new in fresh.items():  # refill: a halted puzzle leaves its slot to a fresh one
        mask = halted.view(-1, *[1] * (new.ndim - 1))  # (B, 1, ...)
        slots[name] = torch.where(mask, new, slots[name])  # not `if`: a GPU would have to wait
    inputs, labels, carry = slots["inputs"], slots["labels"], (slots["z_H"], slots["z_L"])
    puzzle_embedding = table[slots["ids"]].requires_grad_() if "ids" in slots else None  # (B, D)
    carry, logits, halt_logits = (forward or model)(carry, inputs, puzzle_embedding)
    steps = slots["steps"] + 1
    last = steps >= N_sup  # the talk's range(N_sup)
    right = all_right(logits.argmax(-1), labels)
    halting_loss = model.halting_loss(halt_logits, right, last, carry, inputs, puzzle_embedding)
    loss = (answer_loss(logits, labels) + halting_loss).mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if "ids" in slots:
        sign_sgd(table, slots["ids"], puzzle_embedding.grad, puzzle_lr, puzzle_decay)
    halted = last | (model.halts(halt_logits) & (steps >= min_steps))
    slots.update(z_H=carry[0], z_L=carry[1], steps=steps, halted=halted)  # on to the next call
    return slots, loss.detach(), right


def train(s, task, device, folder, checkpoint=None):
    """Train until `steps` or a signal, saving in folder. Returns the signal's number or 0."""
    model = build(s, task, device)
    ema = copy.deepcopy(model).requires_grad_(False)  # the moving average: what is evaluated
    table = torch.zeros(task.num_puzzles, s["hidden_size"], device=device)  # puzzle embeddings
    optimizer = torch.optim.AdamW(model.parameters(), s["lr"], (0.9, 0.95),
                                  weight_decay=s["weight_decay"], fused=True)
    puzzle_lr, puzzle_decay = s.get("puzzle_lr", 0), s.get("puzzle_decay", 0)
    average, size, N_sup = get_ema_multi_avg_fn(s["ema"]), s["batch_size"], s["N_sup"]
    mine = slice(RANK * size // WORLD, (RANK + 1) * size // WORLD)

    def fresh():
        return fresh_slots(model, {name: part[mine] for name, part in task.batch(size).items()})

    slots, step, start, sums = fresh(), 0, time.time(), torch.zeros(2, device=device)
    parts = {"model": model, "ema": ema, "optimizer": optimizer}
    generators = {torch, torch.get_device_module(device) if device.type != "cpu" else torch}
    if checkpoint:
        with blaming(folder / "checkpoint.pt", "does not fit this model and these puzzles"):
            for name, part in parts.items():
                part.load_state_dict(checkpoint[name])
            table.copy_(checkpoint["puzzle_embeddings"])
            slots = {name: checkpoint["slots"][name][mine].to(part).view(part.shape)
                     for name, part in slots.items()}
            step, start = int(checkpoint["step"]), start - checkpoint["seconds"]
            for generator in (g for g in generators if g.__name__ in checkpoint["random"]):
                generator.set_rng_state(checkpoint["random"][generator.__name__])
            sums.copy_(checkpoint["sums"] * (RANK == 0))

    def save():
        nonlocal due
        begin, total = time.time(), gather(sums[None]).sum(0)
        whole = {name: gather(part) for name, part in slots.items()}
        if not all(part.isfinite().all() for part in (total, *model.parameters())):
            raise Failure(f"step {step}: the loss is no longer finite (a lower --lr may help); "
                          f"what {folder} holds is from before")
        if RANK == 0:
            state = dict(settings=s, step=step, seconds=begin - start, slots=whole, sums=total,
                         random={g.__name__: g.get_rng_state() for g in generators},
                         puzzle_embeddings=table, **{k: p.state_dict() for k, p in parts.items()})
            write_atomically(folder / "checkpoint.pt", lambda file: torch.save(state, file))
        due = time.time() + max(120, 50 * (time.time() - begin))  # a long table takes seconds

    if s["compile"]:
        model.compile()
    forward = DistributedDataParallel(model) if WORLD > 1 else model
    log, live = Log(folder / "log.csv", shown_steps(N_sup), step), Live(step, s["steps"], size)
    signals, stop, due = noted_signals(), 0, 0
    save()  # rather fail now than after minutes
    while step < s["steps"] and not stop:
        rate = min(1, (step + 1) / s["warmup"], (1 - step / s["steps"]) / max(s["decay"], 1e-9))
        for group in optimizer.param_groups:
            group["lr"] = rate * s["lr"]
        depth = 1 if step < s["shallow"] else N_sup  # attention finds rows and columns sooner so
        new, min_steps = fresh(), exploration(size, depth, s["explore"], device)[mine]
        slots, loss, right = train_step(model, optimizer, slots, new, depth, min_steps, forward,
                                        table, rate * puzzle_lr, puzzle_decay)
        average(list(ema.parameters()), list(model.parameters()), None)
        step += 1
        sums += torch.stack((loss, torch.ones_like(loss)))  # and count, since the last evaluation
        live.tell(step, loss, right)
        if step % max(1, s["steps"] // 10) == 0 or step == s["steps"]:
            total, count = gather(sums[None]).sum(0).tolist()
            if RANK == 0:
                figures = evaluate.glance(ema, task, s, table)
                log.add(step, time.time() - start, total / count, *figures)
            sums.zero_()
            save()
        if WORLD == 1 or step % 10 == 0:  # what one process wishes, all do
            wishes = torch.tensor([[signals[0] if signals else 0, time.time() > due]])
            stop, late = gather(wishes.to(device) if WORLD > 1 else wishes).amax(0).tolist()
            if stop or late:
                save()
    signals_as_usual()
    return stop


def fresh_slots(model, puzzles):
    """Puzzles ({"inputs", "labels", on ARC "ids"}) with the first carry and no step made. As first
    slots of all they only hold the place: marked halted, they are replaced in the first call."""
    z_H, z_L = first_carry(model, puzzles["inputs"])
    steps = torch.zeros_like(puzzles["inputs"][:, 0])
    return {**puzzles, "z_H": z_H, "z_L": z_L, "steps": steps, "halted": steps == 0}


def answer_loss(logits, labels):
    """Stablemax cross-entropy, (B,): the mean over a puzzle's supervised cells (label 0 is none).
    For softmax's exp(x) it has x + 1 where x >= 0 and 1 / (1 - x) below ([H], [J]). The logarithm
    of that is sign(x) log(1 + |x|): so float32 does, where the public codes have float64."""
    x = logits.float()  # (B, S, V)
    squeezed = x.clamp(min=0).log1p() - F.relu(-x).log1p()  # in two terms: slope 1 at 0 as well
    cells = F.cross_entropy(squeezed.transpose(1, 2), labels, ignore_index=0, reduction="none")
    return cells.sum(1) / (labels != 0).sum(1).clamp(min=1)


def exploration(size, N_sup, explore, device):
    """The step before which each slot must not halt, (size,), drawn anew at every training step:
    with probability `explore` one of 2..N_sup, else 0 ([H] section 2)."""
    step = torch.randint(2, max(N_sup, 2) + 1, (size,), device=device)
    return step * (torch.rand(size, device=device) < explore)


@torch.no_grad()
def sign_sgd(table, ids, gradient, lr, weight_decay):
    """row * (1 - lr * weight_decay) - lr * sign(summed gradient), for the distinct rows of a batch:
    ids (B,), gradient (B, D). Of up to a million rows, a batch touches some hundred: no AdamW."""
    ids, gradient = gather(ids), gather(gradient)  # DistributedDataParallel knows no table
    shares = (ids[:, None] == ids).to(gradient.dtype)  # (B, B): who shares a row with whom
    sign = (shares @ gradient).sign()  # sharers get the same sum, and write the same row
    table[ids] = table[ids] * (1 - lr * weight_decay) - lr * sign


def gather(tensor):
    """The tensors of all processes, joined along the first axis."""
    if WORLD == 1:
        return tensor
    parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(WORLD)]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


# ---- recipes and command line --------------------------------------------------------------------
# Small: minutes on a laptop; so short that more halts must wait, for practice in keeping an answer.
# From batches of 16 with 16 steps for each puzzle HRM learned by heart what was in its slots.
# On ARC a single refinement step of two calls learned fastest of what was tried (RESULTS.md).
SMALL = dict(data=None, train_puzzles=None, test_puzzles=None, seed=0, hidden_size=64, num_heads=4,
             layers=1, mixer="mlp", positions="learned", prefix_len=0, T_H=2, T_L=2, N_sup=16,
             shallow=0, batch_size=16, steps=6000, lr=4e-3, warmup=100, decay=1.0, weight_decay=0.1,
             ema=0.98, explore=0.5)
SMALL_HRM = dict(SMALL, N_sup=4, batch_size=32, steps=4000)
SMALL_ARC = dict(SMALL, mixer="attention", prefix_len=1, T_H=1, T_L=1, N_sup=1, batch_size=32,
                 steps=20_000, augmentations=8, canvas=0, puzzle_lr=0.1, puzzle_decay=0.1)
# In steps of 768 puzzles: [H] 20,000 rounds of 1,000, [J] 50,000; both 100,000 of ARC, rounded.
PAPER = dict(SMALL, hidden_size=512, num_heads=8, layers=4, mixer="attention", positions="rotary",
             prefix_len=1, batch_size=768, steps=26_041, lr=1e-4, warmup=2000, decay=0.0,
             weight_decay=1.0, ema=0.0, explore=0.1)
PAPER_TRM = dict(PAPER, layers=2, prefix_len=16, T_H=3, T_L=4, steps=65_104, ema=0.999)
PAPER_ARC = dict(weight_decay=0.1, steps=500_000, augmentations=1000, canvas=30, puzzle_lr=1e-2,
                 puzzle_decay=0.1)
RECIPES = {
    ("hrm", "sudoku", "small"): SMALL_HRM,
    ("trm", "sudoku", "small"): SMALL,
    ("hrm", "maze", "small"): {**SMALL_HRM, "steps": 5000},
    ("trm", "maze", "small"): {**SMALL, "N_sup": 4, "steps": 14_000},
    ("hrm", "arc", "small"): SMALL_ARC,
    ("trm", "arc", "small"): SMALL_ARC,
    ("hrm", "sudoku", "paper"): PAPER,
    ("trm", "sudoku", "paper"): {**PAPER_TRM, "mixer": "mlp", "T_L": 6},
    ("hrm", "maze", "paper"): PAPER,
    ("trm", "maze", "paper"): PAPER_TRM,
    ("hrm", "arc", "paper"): {**PAPER, **PAPER_ARC},
    ("trm", "arc", "paper"): {**PAPER_TRM, **PAPER_ARC},
}


def parse(argv):
    """The settings, the run's folder and the checkpoint to go on from. Raises BadInput."""
    choice = Parser(add_help=False)
    choice.add_argument("--model", choices=["hrm", "trm"], default="trm")
    choice.add_argument("--task", choices=["sudoku", "maze", "arc"], default="sudoku")
    choice.add_argument("--scale", choices=["small", "paper"], default="small")
    choice.add_argument("--resume", metavar="RUN", help="go on with the run in this folder")
    first, _ = choice.parse_known_args(argv)
    checkpoint = evaluate.load_checkpoint(first.resume) if first.resume else None
    known = checkpoint["settings"] if checkpoint else RECIPES[first.model, first.task, first.scale]
    choice.set_defaults(**{k: known[k] for k in ("model", "task", "scale") if checkpoint})
    parser = Parser(prog="train.py", description=__doc__.split(":")[0], parents=[choice])
    parser.add_settings({**known, "device": evaluate.default_device(), "compile": None, "out": ""})
    s = vars(parser.parse_args(argv))
    out, resumed = s.pop("out"), s.pop("resume")
    folder = Path(resumed or out or f"runs/{s['model']}-{s['task']}-{s['scale']}")
    if checkpoint and ("slots" not in checkpoint or folder.is_file()):
        raise BadInput(f"{folder}: not the folder of a run that can go on")
    for name in set(s) - {"steps", "data", "test_puzzles", "device", "compile"}:
        if checkpoint and s[name] != known[name]:
            raise BadInput(f"--{name} {s[name]}: the run has {known[name]}")
    if not checkpoint and (folder / "checkpoint.pt").exists():
        raise BadInput(f"{folder}: holds a run: --resume goes on with it, --out makes another")
    if s["compile"] is None:  # Windows has no triton, and triton no GPU before capability 7.0
        s["compile"] = bool("cuda" in s["device"] and torch.cuda.is_available() and (
            find_spec("triton") and torch.cuda.get_device_capability() >= (7, 0)))
    return s, folder, checkpoint


def cost(s, task):
    """Parameters, and the operations of a puzzle's refinement step in training, torch's count."""
    model = build(s, task, "meta")
    cells = torch.zeros(1, task.seq_len, dtype=torch.long, device="meta")  # without values
    slots = fresh_slots(model, {"inputs": cells, "labels": cells})
    with FlopCounterMode(display=False) as counter:
        train_step(model, torch.optim.SGD(model.parameters()), slots, dict(slots), s["N_sup"])
    return sum(part.numel() for part in model.parameters()), counter.get_total_flops()


def main(argv=None):
    s, folder, checkpoint = parse(argv)
    device = evaluate.pick_device(s["device"])
    if WORLD > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        sys.stdout = sys.stdout if RANK == 0 else open(os.devnull, "w")  # one speaks for all
    if s["batch_size"] % WORLD:
        raise BadInput(f"--batch_size {s['batch_size']}: {WORLD} processes cannot share it equally")
    task = evaluate.load_task(s, device)
    s["puzzles"] = task.fingerprint()
    if checkpoint and s["puzzles"] != checkpoint["settings"]["puzzles"]:
        raise BadInput(f"{s['data'] or 'the bundled puzzles'}: not what the run was trained on")
    shown = "hidden_size", "layers", "mixer", "T_H", "T_L", "N_sup"
    parameters, operations = cost(s, task)
    print(f"{s['model'].upper()} on {s['task']}: {', '.join(f'{k} {s[k]}' for k in shown)}\n"
          f"{parameters:,} parameters; {operations / 1e9:.2f} GFLOP to train one puzzle by one "
          f"refinement step\n{len(task.splits['train']['inputs']):,} training puzzles; {device}, "
          f"{torch.get_num_threads()} threads; the run's folder is {folder}", flush=True)
    torch.manual_seed(s["seed"])
    folder.mkdir(parents=True, exist_ok=True)
    stop = train(s, task, device, folder, checkpoint)
    print(f"\nsaved in {folder}; to go on: python train.py --resume {shlex.quote(str(folder))}")
    if WORLD > 1:
        dist.destroy_process_group()
    if stop:
        return 128 + stop
    few = [f"--test_puzzles={s['test_puzzles']}"] if s["test_puzzles"] else []
    return 0 if RANK else evaluate.main([str(folder), "--device", s["device"], *few])


if __name__ == "__main__":
    sys.exit(in_one_line(main))
