"""Train HRM or TRM: `python train.py --model trm --task sudoku`.

Read `refill` and `train_step` first: one turn of the N_sup loop, which the papers' codes hide. Then
`train`, which calls them. [H] is HRM's paper, arXiv 2506.21734, [J] is TRM's, arXiv 2510.04871.
"""
import os
import shlex
import sys
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.flop_counter import FlopCounterMode

import cli
import evaluate
import recipes
import runs
from arc import PuzzleEmbeddings
from cli import BadInput
from data import give_hints
from puzzles import chart

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
# Both papers' codes, and this one, make one turn of the inner loop a training step. The batch has
# slots. A slot keeps its puzzle and that puzzle's carry, detached by forward, from one training
# step to the next, until the puzzle halts or has had N_sup refinement steps. Then `refill` gives
# the slot to a fresh puzzle with a fresh carry, while the others go on. Where nothing halts early,
# and halting is not learned, both loops compute the same weights.


def fresh_slots(model, puzzles, dtype=torch.float32):
    """Puzzles ({"inputs", "labels" (B, S), on ARC "ids" (B,)}) with the first carry, (B, positions,
    D) each, and no refinement step made. They are marked as halted: the first slots of all only
    hold the place, and `refill` replaces them before they are used."""
    z_H, z_L = model.initial_carry(len(puzzles["inputs"]), dtype)
    steps = torch.zeros_like(puzzles["inputs"][:, 0])
    return {**puzzles, "z_H": z_H, "z_L": z_L, "steps": steps,
            "halted": torch.ones_like(steps, dtype=torch.bool)}


def refill(slots, fresh):
    """The slots in which the puzzles that halted have left their place to fresh ones."""
    refilled = {}
    for name, new in fresh.items():
        halted = slots["halted"].view([-1] + [1] * (new.ndim - 1))  # (B,) -> (B, 1, ...)
        refilled[name] = torch.where(halted, new, slots[name])  # not `if`: a GPU would have to wait
    return refilled


def train_step(model, optimizer, slots, N_sup, min_steps=0, embeddings=None, embeddings_lr=0.0):
    """One refinement step of every slot, then one optimizer step.

    slots: from `refill`. min_steps: (B,), the step before which each slot must not halt, from
    `exploration`. embeddings: PuzzleEmbeddings, on ARC, which learn with the rate embeddings_lr.
    Changes the weights and the embeddings. Returns the slots after the step, with the new carry,
    step count and who has halted; the loss, a tensor; which answers are right, (B,).
    """
    inputs, labels, carry = slots["inputs"], slots["labels"], (slots["z_H"], slots["z_L"])
    puzzle_embedding = embeddings.rows(slots["ids"]) if embeddings else None  # (B, D)
    carry, logits, halt_logits = model(carry, inputs, puzzle_embedding)
    steps = slots["steps"] + 1
    last = steps >= N_sup  # the talk's range(N_sup)
    right = evaluate.all_right(logits.argmax(-1), labels)
    halting_loss = model.halting_loss(halt_logits, right)
    if model.looks_ahead:  # HRM alone: a second forward, without gradient
        with torch.no_grad():
            _, _, ahead = model(carry, inputs, puzzle_embedding)
        halting_loss = halting_loss + model.going_on_loss(halt_logits, ahead, last)
    loss = (answer_loss(logits, labels) + halting_loss).mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if embeddings:
        embeddings.step(slots["ids"], puzzle_embedding.grad, embeddings_lr)
    halted = last | (model.halts(halt_logits) & (steps >= min_steps))
    slots = {**slots, "z_H": carry[0], "z_L": carry[1], "steps": steps, "halted": halted}
    return slots, loss.detach(), right


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


# ---- training ------------------------------------------------------------------------------------


def train(run, model, task, dtype, signals, log=None, path=None):
    """Train until the last step, or until there is a signal in `signals`. model: run.model, or its
    runs.Parallel. log: a cli.Log; without one, evaluating and saving is left to another
    process. path: where to save. Raises Failure."""
    s, size = run.settings, len(run.slots["steps"])
    begin = time.time() - run.seconds
    average = get_ema_multi_avg_fn(s.ema)
    losses, since = 0.0, run.step  # the sum of the losses since that step
    while run.step < s.steps and not signals:
        down = (1 - run.step / s.steps) / max(s.decay, 1e-9)  # it comes to 0 at the end
        scale = min(1, (run.step + 1) / s.warmup, down)  # of both learning rates
        for group in run.optimizer.param_groups:
            group["lr"] = scale * s.lr
        N_sup = 1 if run.step < s.shallow else s.N_sup
        hints = s.hints + (s.hints_end - s.hints) * run.step / s.steps
        puzzles = give_hints(task.batch(size), hints) if hints else task.batch(size)
        run.slots = refill(run.slots, fresh_slots(run.model, puzzles, dtype))
        min_steps = exploration(size, N_sup, s.explore, run.device)
        run.slots, loss, right = train_step(model, run.optimizer, run.slots, N_sup, min_steps,
                                            run.embeddings, scale * s.puzzle_lr)
        average(list(run.ema.parameters()), list(run.model.parameters()), None)
        run.step += 1
        losses += loss
        run.seconds = time.time() - begin
        if not log:
            continue
        log.live(run.step, loss, right, s.batch_size)
        if run.step % max(1, s.steps // 20) == 0 or run.step == s.steps:
            table = run.embeddings.table if run.embeddings else None
            exact, blanks = evaluate.validate(run.ema, task, s.N_sup, table=table, dtype=dtype)
            log.add(run.step, run.seconds, losses.item() / (run.step - since), exact, blanks)
            losses, since = 0.0, run.step
            run.save(path)
            chart.save_curve(log.path)
    if signals:
        run.save(path)


# ---- the command line ----------------------------------------------------------------------------


def cost(s, task):
    """Parameters, and the operations of a puzzle's refinement step in training, torch's count."""
    model = runs.build_model(s, task, "meta")
    cells = torch.zeros(1, task.seq_len, dtype=torch.long, device="meta")  # without values
    slots = fresh_slots(model, {"inputs": cells, "labels": cells})
    with FlopCounterMode(display=False) as counter:
        train_step(model, torch.optim.SGD(model.parameters()), slots, s.N_sup)
    return sum(part.numel() for part in model.parameters()), counter.get_total_flops()


def new_run(s, task, device, dtype, size):
    """A run that has not begun, with `size` slots. Raises BadInput."""
    torch.manual_seed(s.seed)
    model = runs.build_model(s, task, device)
    embeddings = None
    if task.num_puzzles:
        embeddings = PuzzleEmbeddings(task.num_puzzles, s.hidden_size, s.puzzle_decay, device)
    optimizer = torch.optim.AdamW(model.parameters(), s.lr, (0.9, 0.95),
                                  weight_decay=s.weight_decay, fused=True)
    slots = fresh_slots(model, task.batch(size), dtype)
    return runs.Run(s, model, optimizer, slots, embeddings)


def main(argv=None):
    s, folder, checkpoint = recipes.parse(argv)
    device = runs.pick_device(s.device)
    dtype = runs.pick_dtype(s.dtype, device)
    task = runs.load_task(s, device)
    if not len(task.splits["train"]["inputs"]):
        raise BadInput(f"{s.data}: no puzzles with answers to train on")
    s.puzzles = task.fingerprint()
    if checkpoint and s.puzzles != checkpoint["settings"]["puzzles"]:
        raise BadInput(f"{s.data or 'the bundled puzzles'}: not what the run was trained on")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        return one_of_several(s, task, device, dtype, folder, checkpoint)
    introduce(s, task, device, dtype, folder, checkpoint)
    run = new_run(s, task, device, dtype, s.batch_size)
    if checkpoint:
        run.restore(checkpoint, folder / "checkpoint.pt")
    runs.compile_if_asked(s.compile, run.model, device)
    folder.mkdir(parents=True, exist_ok=True)
    log = cli.Log(folder / "log.csv", evaluate.SHOWN_STEPS, run.step, s.steps)
    with cli.noted_signals() as signals:
        train(run, run.model, task, dtype, signals, log, folder / "checkpoint.pt")
    print(f"\nsaved in {folder}")
    if not signals:
        return show_results(s, folder)
    if run.step < s.steps:
        print(f"to go on: python train.py --resume {shlex.quote(str(folder))}")
    return 128 + signals[0]


def one_of_several(s, task, device, dtype, folder, checkpoint):
    """What `main` does in each of the processes that torchrun has started. Each draws its own part
    of the batch. The first one saves, and speaks for all; a signal ends them without saving. A run
    that goes on begins with fresh puzzles in its slots."""
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if s.batch_size % world:
        raise BadInput(f"--batch_size {s.batch_size}: {world} processes cannot share it equally")
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    size = s.batch_size // world
    run = new_run(s, task, device, dtype, size)
    if checkpoint:
        run.restore(checkpoint, folder / "checkpoint.pt")
    torch.manual_seed(s.seed + rank + run.step)
    run.slots = fresh_slots(run.model, task.batch(size), dtype)
    runs.compile_if_asked(s.compile, run.model, device)
    log = None
    if rank == 0:
        introduce(s, task, device, dtype, folder, checkpoint)
        folder.mkdir(parents=True, exist_ok=True)
        log = cli.Log(folder / "log.csv", evaluate.SHOWN_STEPS, run.step, s.steps)
    model = runs.Parallel(run.model, broadcast_buffers=False)
    train(run, model, task, dtype, [], log, folder / "checkpoint.pt")
    dist.destroy_process_group()
    return show_results(s, folder) if rank == 0 else 0


def show_results(s, folder):
    """The table of the test puzzles, and one of them being solved."""
    flags = [f"--{name}={vars(s)[name]}" for name in ("test_puzzles", "dtype") if vars(s)[name]]
    return evaluate.main([str(folder), "--device", s.device, *flags])


def introduce(s, task, device, dtype, folder, checkpoint):
    """Print what will be trained, on what, and where it is saved."""
    runs.tell_note(task)
    parameters, operations = cost(s, task)
    names = "hidden_size", "layers", "mixer", "T_H", "T_L", "N_sup"
    sizes = ", ".join(f"{name} {vars(s)[name]}" for name in names)
    print(f"{s.model.upper()} on {s.task}: {sizes}")
    print(f"{parameters:,} parameters; {operations / 1e9:.2f} GFLOP to train one puzzle by one "
          "refinement step")
    print(f"{len(task.splits['train']['inputs']):,} training puzzles; {device}, "
          f"{torch.get_num_threads()} threads, {str(dtype).split('.')[-1]}\nthe run's folder is "
          f"{folder}", flush=True)
    if checkpoint:
        print(f"the run goes on after step {checkpoint['step']}", *recipes.changes(s, checkpoint),
              sep="; ")
    if device.type == "cuda":
        size = s.batch_size // int(os.environ.get("WORLD_SIZE", 1))
        runs.warn_of_memory(s, task, size, dtype, device)


if __name__ == "__main__":
    sys.exit(cli.in_one_line(main))
