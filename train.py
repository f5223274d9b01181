"""Train HRM or TRM: `python train.py --model trm --task sudoku`.

In the talk, the N_sup loop trains on each batch N_sup times in a row:

    for x, y in batches:
        carry = model.initial_carry(len(x))
        for _ in range(N_sup):
            carry, logits, halt_logits = model(carry, x)
            loss = answer_loss(logits, y).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

Here, as in both papers' codes, one turn of the inner loop is a training step: `train_step`. The
batch has slots. A slot keeps its puzzle, and that puzzle's carry, detached by forward, until the
puzzle halts, at the latest after N_sup refinement steps. Then `refill` gives the slot to a fresh
puzzle with a fresh carry, while the others go on: so a batch has puzzles of different ages. Where
nothing halts early, and halting is not learned, both loops compute the same weights. [H] is HRM's
paper, arXiv 2506.21734, [J] TRM's, arXiv 2510.04871.
"""
import copy
import io
import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel

import cli
import data
import evaluate
import recipes
from puzzles import draw

RANK = int(os.environ.get("RANK", 0))  # torchrun sets both: which of several processes this is,
WORLD = int(os.environ.get("WORLD_SIZE", 1))  # and how many there are


def fresh_slots(model, puzzles, dtype=torch.float32):
    """Puzzles ({"inputs", "labels" (B, S), on ARC "ids" (B,)}) with the first carry, (B, prefix
    + S, D) each, and no refinement step made. They are marked as halted, so that in a new
    training the first `refill` replaces all of them; `train_step` marks them anew."""
    z_H, z_L = model.initial_carry(len(puzzles["inputs"]), dtype)
    steps = torch.zeros_like(puzzles["inputs"][:, 0])
    return {**puzzles, "z_H": z_H, "z_L": z_L, "steps": steps,
            "halted": torch.ones_like(steps, dtype=torch.bool)}


def refill(slots, fresh):
    """The slots, with the fresh puzzle in place of each that has halted."""
    refilled = {}
    for name, new in fresh.items():
        halted = slots["halted"].view([-1] + [1] * (new.ndim - 1))  # (B,) -> (B, 1, ...)
        refilled[name] = torch.where(halted, new, slots[name])  # an `if` would wait for a GPU
    return refilled


def train_step(model, optimizer, slots, N_sup, min_steps=0, embeddings=None, embeddings_lr=0.0):
    """One refinement step of every slot, then one optimizer step. slots: from `refill`. min_steps:
    (B,), the step before which each slot must not halt, from `exploration`. embeddings: on ARC,
    PuzzleEmbeddings, which learn with the rate embeddings_lr. Changes the weights and embeddings.
    Returns the slots after the step, with the new carry, step count and who has halted; the loss,
    a tensor; which answers are right, (B,)."""
    plain = getattr(model, "module", model)  # without what joins several processes
    inputs, labels, carry = slots["inputs"], slots["labels"], (slots["z_H"], slots["z_L"])
    puzzle_embedding = embeddings.rows(slots["ids"]) if embeddings else None  # (B, D)
    carry, logits, halt_logits = model(carry, inputs, puzzle_embedding)
    steps = slots["steps"] + 1
    last = steps >= N_sup  # the talk's range(N_sup)
    right = evaluate.all_right(logits.argmax(-1), labels)
    halting_loss = plain.halting_loss(halt_logits, right)
    if plain.looks_ahead:  # HRM alone: a second forward, without gradient
        with torch.no_grad():
            _, _, ahead = model(carry, inputs, puzzle_embedding)
        halting_loss = halting_loss + plain.going_on_loss(halt_logits, ahead, last)
    loss = (answer_loss(logits, labels) + halting_loss).mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if embeddings:
        embeddings.step(slots["ids"], puzzle_embedding.grad, embeddings_lr)
    halted = last | (plain.halts(halt_logits) & (steps >= min_steps))
    slots = {**slots, "z_H": carry[0], "z_L": carry[1], "steps": steps, "halted": halted}
    return slots, loss.detach(), right


def answer_loss(logits, labels):
    """Stablemax cross-entropy, (B,): the mean over a puzzle's supervised cells (label 0 is none).
    For softmax's exp(x) it has x + 1 where x >= 0 and 1 / (1 - x) below ([H], [J]). The logarithm
    of that is sign(x) log(1 + |x|): so float32 does, where the public codes have float64."""
    x = logits.float()  # (B, S, V)
    above = x.masked_fill(x < 0, 0)  # not clamp, whose slope at 0 is 1 in one torch, 0 in another
    squeezed = above.log1p() - F.relu(-x).log1p()
    cells = F.cross_entropy(squeezed.transpose(1, 2), labels.long(), ignore_index=0,
                            reduction="none")
    return cells.sum(1) / (labels != 0).sum(1).clamp(min=1)


def exploration(size, N_sup, explore, device):
    """The step before which each slot must not halt, (size,), drawn anew at every training step:
    with probability `explore` one of 2..N_sup, else 0 ([H] section 2)."""
    step = torch.randint(2, max(N_sup, 2) + 1, (size,), device=device)
    return step * (torch.rand(size, device=device) < explore)


def lr_share(step, s):
    """What the learning rates are multiplied by at a training step (the first is 0): it rises to 1
    over the first s.warmup steps, and falls to 0 over the last share s.decay of them all."""
    share = min(1, (step + 1) / s.warmup)
    if s.decay:
        share = min(share, (1 - step / s.steps) / s.decay)
    return share


def train(s, task, device, folder, saved=None):
    """Train until the last step, or until Ctrl-C or SIGTERM, and save the run in its folder. s: the
    settings. saved: a checkpoint to go on from. Of WORLD processes each has a part of the batch,
    begins with fresh puzzles, and is ended by a signal without saving. Raises BadInput, Failure."""
    dtype, size = getattr(torch, s.dtype), max(1, s.batch_size // WORLD)
    torch.manual_seed(s.seed)
    model = evaluate.build_model(s, task, device)
    average = copy.deepcopy(model).requires_grad_(False)  # the moving average of the weights
    optimizer = torch.optim.AdamW(model.parameters(), s.lr, (0.9, 0.95),
                                  weight_decay=s.weight_decay, fused=True)
    parts = {"model": model, "average": average, "optimizer": optimizer}
    if task.num_puzzles:
        parts["embeddings"] = task.new_embeddings(s.hidden_size, s.puzzle_decay)
    embeddings = parts.get("embeddings")  # on ARC
    slots, step, seconds = fresh_slots(model, task.batch(size), dtype), 0, 0.0
    if saved:
        slots, step, seconds = go_on(saved, folder, parts, slots)
    evaluate.compile_if_asked(s.compile, model, device)
    if RANK == 0 and not saved:
        cli.claim(folder)
    parallel = model
    if WORLD > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        torch.manual_seed(s.seed + RANK + step)
        slots = fresh_slots(model, task.batch(size), dtype)
        parallel = DistributedDataParallel(model, broadcast_buffers=False)
    if RANK == 0:
        log = cli.Log(folder / "log.csv", evaluate.SHOWN_STEPS, step, s.steps, task.blank)
        save(folder, s, step, seconds, parts, slots)
    begun, losses = time.time() - seconds, []
    with cli.noted_signals(wanted=WORLD == 1) as noted:
        while step < s.steps and not noted:
            for group in optimizer.param_groups:
                group["lr"] = lr_share(step, s) * s.lr
            N_sup = 1 if step < s.shallow else s.N_sup
            hints = s.hints + (s.hints_end - s.hints) * step / s.steps
            puzzles = data.give_hints(task.batch(size), hints)
            slots = refill(slots, fresh_slots(model, puzzles, dtype))
            min_steps = exploration(size, N_sup, s.explore, device)
            slots, loss, right = train_step(parallel, optimizer, slots, N_sup, min_steps,
                                            embeddings, lr_share(step, s) * s.puzzle_lr)
            keep = min(s.ema, (1 + step) / (5 + step))  # short at first: it forgets the start soon
            for kept, weight in zip(average.parameters(), model.parameters()):
                kept.lerp_(weight.detach(), 1 - keep)
            step += 1
            losses.append(loss)
            if RANK > 0:
                continue
            log.live(step, loss, right, s.batch_size)
            seconds = time.time() - begun
            if step % max(1, s.steps // 20) == 0 or step == s.steps:
                table = embeddings.table if embeddings else None
                exact, blanks = evaluate.validate(average, task, s.N_sup, table, dtype)
                save(folder, s, step, seconds, parts, slots)
                log.add(step, seconds, torch.stack(losses).mean().item(), exact, blanks)
                curve = draw.learning_curve("\n".join(log.lines))
                cli.write_or_say(folder / "curve.svg", curve.encode())
                losses = []
    if noted:
        save(folder, s, step, seconds, parts, slots)
        raise cli.Failure(f"stopped after step {step} and saved; to go on: python train.py "
                          f'--resume "{folder.as_posix()}"', code=128 + noted[0])


def random_modules(device):
    """The modules whose random numbers a training on the device draws."""
    return [torch] if device.type == "cpu" else [torch, torch.get_device_module(device)]


def save(folder, s, step, seconds, parts, slots):
    """Raises Failure, also where the weights are no longer finite."""
    if not all(part.isfinite().all() for part in parts["model"].parameters()):
        raise cli.Failure(f"step {step}: the weights are not finite; a lower --lr may help")
    random = [module.get_rng_state() for module in random_modules(slots["steps"].device)]
    state = {"settings": vars(s), "step": step, "seconds": seconds, "slots": slots,
             "random": random, **{name: part.state_dict() for name, part in parts.items()}}
    content = io.BytesIO()
    torch.save(state, content)
    cli.write_atomically(folder / "checkpoint.pt", content.getbuffer())


def go_on(saved, folder, parts, slots):
    """Set all parts to what was saved. Returns the slots (fresh ones where another number of
    processes now shares the batch), the step, and the seconds so far. Raises BadInput."""
    with cli.blaming(folder, "cannot go on with these puzzles"):
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        if len(saved["slots"]["steps"]) == len(slots["steps"]):
            slots = {name: saved["slots"][name].to(part.device) for name, part in slots.items()}
        for module, state in zip(random_modules(slots["steps"].device), saved["random"]):
            module.set_rng_state(state)
        return slots, saved["step"], saved["seconds"]


def main(argv=None):
    s, given = recipes.parse(argv, [*data.TASKS, "arc"])
    device, saved = evaluate.pick_device(s.device), None
    seed = f"-{s.seed}" if s.seed else ""
    folder = Path(s.resume or s.out or f"runs/{s.model}-{s.task}-{s.scale}{seed}")
    if s.resume:
        saved = evaluate.load_checkpoint(folder / "checkpoint.pt")
        if "model" not in saved:
            raise cli.BadInput(f"{folder}: has the weights alone, and no training to go on with")
        vars(s).update(saved["settings"] | given)  # what may be given: recipes.MAY_CHANGE
    task = data.load_task(s, device)
    count = len(task.splits["train"]["inputs"])
    if not count:
        raise cli.BadInput(f"{s.data}: no puzzles to train on. A folder needs a train.csv, and a "
                           "file needs 20 puzzles or more, with answers")
    if saved and s.puzzles != data.fingerprint(task):
        raise cli.BadInput(f"{s.data or 'the bundled puzzles'}: not what the run was trained on")
    s.puzzles, s.dtype = data.fingerprint(task), evaluate.pick_dtype(s.dtype, device)
    s.code = evaluate.code_of(s.model)
    if RANK == 0:
        evaluate.describe(s, task, device)
        print(f"{count:,} training puzzles; the run's folder is {folder}", flush=True)
    train(s, task, device, folder, saved)
    if WORLD > 1:  # not in train: while its DistributedDataParallel is there, this can hang
        dist.barrier()  # no process ends before the others are done
        dist.destroy_process_group()
    if RANK == 0:
        print(f"\nsaved in {folder}")
        return evaluate.main([str(folder), "--device", str(device), "--dtype", s.dtype])


if __name__ == "__main__":
    sys.exit(cli.in_one_line(main))
