"""What a trained net can do: `python evaluate.py RUN` for figures, `--watch` to see it think.

`refine` is the talk's test-time loop. `rollouts` is the same for many trajectories: longer (more
steps), wider (several views of a puzzle), only as long as needed. Then the table, the picture and
the checkpoints, the papers' public codes' too. train.py validates with this file.
"""
import os
import sys
import time
import warnings
from pathlib import Path

import torch

import data
import cli
from cli import FLAGS, BadInput, Parser, blaming, in_one_line
from hrm import HRM
from puzzles import draw
from puzzles.read import checkpoint_from
from trm import TRM

# ---- the talk's test time ------------------------------------------------------------------------

@torch.no_grad()
def refine(model, puzzles, N_sup, table=None, noise=0.0):
    """N_sup refinement steps, no halting: yields logits (B, S, V) and halting logits after each.
    puzzles: {"inputs": (B, S), on ARC "ids": (B,)}. table: the puzzle embeddings, (ids, D).
    """
    carry = first_carry(model, puzzles["inputs"])
    for _ in range(N_sup):
        carry, logits, halt_logits = step(model, carry, puzzles, table, noise)
        yield logits, halt_logits


def step(model, carry, puzzles, table, noise):
    """One refinement step. noise: the std of what the carry gets first (arXiv 2605.19943)."""
    if noise:
        carry = tuple(z + noise * torch.randn_like(z) for z in carry)
    puzzle_embedding = table[puzzles["ids"]] if "ids" in puzzles else None
    return model(carry, puzzles["inputs"].long(), puzzle_embedding)


def first_carry(model, inputs):
    """The initial carry for a batch. Its dtype is the one that the nets compute in: bfloat16 on a
    GPU with units for it (not by emulation, as before NVIDIA's Ampere), else float32."""
    fast = inputs.is_cuda and torch.cuda.is_bf16_supported(including_emulation=False)
    return model.initial_carry(len(inputs), torch.bfloat16 if fast else torch.float32)


def glance(model, task, s, table=None, count=100):
    """The first validation puzzles: exact accuracy after each of the shown steps, and the share of
    the cells to be filled in that are right after the last one."""
    puzzles = {name: part[:count] for name, part in task.splits["valid"].items()}
    inputs, labels, parts = puzzles["inputs"], puzzles["labels"], []
    for at in torch.arange(len(inputs), device=inputs.device).split(s["batch_size"]):
        steps = refine(model, {name: part[at] for name, part in puzzles.items()}, s["N_sup"], table)
        parts.append(torch.stack([logits.argmax(-1) for logits, _ in steps], dim=1))
    answers = torch.cat(parts)  # (N, N_sup, S)
    exact = all_right(answers, labels[:, None]).float().mean(0).tolist()
    fill = labels != 0 if task.blank is None else inputs == task.blank
    blanks = (answers[:, -1] == labels)[fill].float().mean().item()
    return [exact[n - 1] for n in shown_steps(s["N_sup"])], blanks


def all_right(answers, labels):
    """Which answers are right in every supervised cell (label 0 is none): (..., S) -> (...)."""
    return ((answers == labels) | (labels == 0)).all(-1)


# ---- many trajectories ---------------------------------------------------------------------------

@torch.no_grad()
def rollouts(model, puzzles, K, N_sup, batch_size, table=None, noise=0.0, halt=None):
    """N_sup steps of trajectories: puzzles (n * K, ...), K in a row for each, from `spread`.
    halt: a puzzle leaves when one of its trajectories is so sure (0 to 1) that its answer is right.
    Returns on the CPU "made" (n, K), the steps made; "answers" (n, K, S), the last ones, of several
    trajectories the surest of each, with "answer_sure" (n, K), their halting logit; and after each
    step, (n, K, N_sup), where what has left stays as it was: "right", which are; "halts", where the
    model would stop; "sure", the halting logit; "change", |new state - old| / |new|.
    """
    inputs = puzzles["inputs"]
    found = {name: torch.zeros(len(inputs), N_sup, device=inputs.device)
             for name in ("right", "halts", "sure", "change")}
    found["answers"] = torch.zeros_like(inputs, dtype=torch.uint8)
    found["made"] = torch.zeros(len(inputs), device=inputs.device)
    found["answer_sure"] = torch.full_like(found["made"], -torch.inf)
    size = K * max(1, batch_size // K)  # so that a puzzle's trajectories stay together
    for inside in torch.arange(len(inputs), device=inputs.device).split(size):
        carry = first_carry(model, inputs[inside])
        for n in range(N_sup):
            old, batch = carry, {name: part[inside] for name, part in puzzles.items()}
            carry, logits, halt_logits = step(model, old, batch, table, noise)
            answers, sure = logits.argmax(-1), halt_logits[:, 0]
            moved, length = (sum(z.float().square().sum((1, 2)) for z in state)
                             for state in ([z - z_old for z, z_old in zip(carry, old)], carry))
            now = dict(right=all_right(answers, batch["labels"]), halts=model.halts(halt_logits),
                       sure=sure, change=(moved / length).sqrt())
            for name, values in now.items():
                found[name][inside, n:] = values[:, None].float()
            better = (sure > found["answer_sure"][inside]) | (K == 1)
            found["answers"][inside[better]] = answers[better].to(torch.uint8)
            found["answer_sure"][inside[better]], found["made"][inside] = sure[better], n + 1.0
            if halt is not None:
                stays = (sure.sigmoid().view(-1, K).amax(1) < halt).repeat_interleave(K)
                inside, carry = inside[stays], tuple(z[stays] for z in carry)
            if not len(inside):
                break
    return {name: part.unflatten(0, (-1, K)).cpu() for name, part in found.items()}


def spread(task, puzzles, K, noise):
    """K rows for each puzzle, in a row: K views (symmetries) of it or, with noise, K copies; None
    leaves them as they are. ARC's views are puzzles of their own: there K keeps the first K.
    Returns the puzzles (n * K, ...), K, and what turns their answers back."""
    if K is None or noise:
        K = K or 1
        copies = {name: part.repeat_interleave(K, 0) for name, part in puzzles.items()}
        return copies, K, lambda answers: answers
    seen, back = task.views(puzzles, K)
    return seen, 1 if task.votes else K, back


# ---- the table and the picture -------------------------------------------------------------------

def shown_steps(N_sup):
    """The refinement steps that tables show: the powers of two, and the last."""
    return sorted({2**i for i in range(N_sup.bit_length())} | {N_sup})


def report(model, task, puzzles, s, table=None):
    """Print exact accuracy by refinement steps; with rollouts also what choosing among K
    trajectories gains, and what it misses. Returns which puzzle is worth a look, and why."""
    start, N_sup, noise, halt, found = time.time(), s["N_sup"], s.get("noise"), s.get("halt"), []
    # 1,000 puzzles at a time: the rollouts of a long file do not fit in memory. ARC's views vote.
    chunks = 1 if task.votes else max(1, round(len(puzzles["inputs"]) / 1000))
    try:
        for parts in zip(*(part.tensor_split(chunks) for part in puzzles.values())):
            seen, K, back = spread(task, dict(zip(puzzles, parts)), s.get("rollouts"), noise)
            new = rollouts(model, seen, K, N_sup, s["batch_size"], table, noise, halt)
            new["answer_sure"], k = new["answer_sure"].max(1)  # (n,): whose answer is taken
            answers = back(new["answers"].flatten(0, 1).long().to(seen["inputs"].device)).cpu()
            new["answers"] = answers[torch.arange(len(k)) * K + k]
            found.append({**new, **{name: part[::K].cpu() for name, part in seen.items()}})
            cli.progress(found, chunks, start)
    except KeyboardInterrupt:  # show what there is
        if not found:
            raise
    stopped = len(found) < chunks
    found = {name: torch.cat([part[name] for part in found]) for name in found[0]}
    known = (found["labels"] != 0).any(1)
    taken = found, found["answers"], found["answer_sure"].sigmoid()
    if s.get("answers"):
        cli.save_answers(s["answers"], task.written(*taken), len(known))
    right, halts, sure, change = (found[k][known] for k in ("right", "halts", "sure", "change"))
    what = "test puzzles; exact: every cell right" if len(right) else "puzzles answered"
    print(f"\n{len(right) or len(known):,} {what} ({time.time() - start:.1f} s)")

    def row(name, values, form="7.1f", unit="%"):  # nan does not count; the mean of nothing: -
        if not len(right):
            return  # no solution is known
        means = [values[..., n - 1].nanmean().item() for n in shown_steps(N_sup)]
        texts = [f"{mean:{form}}{unit}" if mean == mean else "       -" for mean in means]
        print(f"  {name:22s}" + "".join(texts))

    row("after refinement steps", torch.arange(1.0, N_sup + 1), "8.0f", "")
    row("exact accuracy" if K == 1 else "one trajectory, mean", 100 * right)
    if K > 1:
        best, k = sure.max(1)  # (n, N_sup): the surest trajectory at each step,
        _, when = best.cummax(1)  # and the step at which it was surest so far
        row("the surest", 100 * right.gather(1, k[:, None])[:, 0].gather(1, when))
        row("an oracle, this step", 100 * right.amax(1))  # pass@K
    row("state moves, solved", change.where(right > 0, torch.nan), "8.4f", "")
    row("state moves, unsolved", change.where(right == 0, torch.nan), "8.4f", "")
    if halt is not None:
        print(f"  halted at {halt:g} sure: {K * found['made'].mean():.1f} of {K * N_sup} steps")
    elif K == 1 and len(right):
        halts[..., -1] = 1  # the N_sup-th step always halts
        stop = halts.argmax(2, keepdim=True)  # (n, 1, 1): the first step where it would stop
        print(f"  with learned halting  {100 * right.gather(2, stop).mean():7.1f}%"
              f"  after {stop.float().mean() + 1:.1f} steps on average")
    print(task.summary(*taken), end="")
    if stopped:
        raise KeyboardInterrupt
    solved = found["right"][:, 0] * known[:, None]  # (N, N_sup)
    last_wrong = ((1 - solved) * torch.arange(1, N_sup + 1)).amax(1)  # the last such step, or 0
    index = torch.where(solved[:, -1] > 0, last_wrong, -1).argmax().item()
    return index, ": of those solved above, the one that took longest" if solved[index, -1] else ""


def watch(model, task, puzzles, index, s, name, table=None):
    """Print one of the puzzles, and its answer after each step that changed it; with rollouts that
    of the surest trajectory, up to the step where it was surest."""
    puzzle = {name: part[index : index + 1] for name, part in puzzles.items()}
    seen, K, back = spread(task, puzzle, s.get("rollouts"), s.get("noise"))
    steps = [(back(logits.argmax(-1)), halt_logits[:, 0].sigmoid())
             for logits, halt_logits in refine(model, seen, s["N_sup"], table, s.get("noise"))]
    answers, sure = (torch.stack(part, dim=1).cpu() for part in zip(*steps))  # (K, N_sup, ...)
    title, k, end = f"{name}{task.title(puzzle)}", 0, s["N_sup"]
    if K > 1:
        k, at = divmod(sure.argmax().item(), s["N_sup"])
        title, end = f"{title}; trajectory {k + 1} of {K}, the surest", at + 1
    inputs, labels = puzzle["inputs"][0].cpu().numpy(), puzzle.get("labels")
    labels = labels[0].cpu().numpy() if labels is not None and labels.any() else None
    draw.show(title, task, inputs, answers[k, :end].numpy(), sure[k].tolist(), labels,
              svg=s.get("svg"))
    if K > 1:
        print(f"taken at step {end} of {s['N_sup']}, where it was surest")


# ---- checkpoints ---------------------------------------------------------------------------------

def load_task(s, device):
    """The task that the settings describe, with its puzzles on the device. Raises BadInput."""
    names = ("train_puzzles", "augmentations", "canvas", "shared_puzzle")
    place = s["data"] or data.bundled(s["task"], s["scale"])
    task = data.TASKS[s["task"]](place, device, **{name: s[name] for name in names if s.get(name)})
    print(f"{place}: {task.note}\n" * bool(task.note), end="")
    return task


def build(s, task, device):
    """The model that the settings describe. Raises BadInput where sizes do not fit together."""
    if task.num_puzzles and not s["prefix_len"]:
        raise BadInput("--prefix_len 0: the puzzle's embedding needs a position before the cells")
    names = "hidden_size", "num_heads", "layers", "mixer", "positions", "T_H", "T_L", "prefix_len"
    try:
        model = {"hrm": HRM, "trm": TRM}[s["model"]]
        return model(task.vocab_size, task.seq_len, **{name: s[name] for name in names}).to(device)
    except ValueError as error:
        raise BadInput(error) from None


def load_checkpoint(path):
    """A run's folder or file, or a public code's -> the checkpoint, loaded without executing."""
    path = Path(path, "checkpoint.pt") if os.path.isdir(path) else Path(path)
    with blaming(path, "not a checkpoint of train.py, or damaged"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about files that are none of ours
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        return checkpoint_from(checkpoint, path)


def restore(checkpoint, path, s, device):
    """The task, the moving average of the weights, the puzzle embeddings. Raises BadInput."""
    with blaming(path, "does not fit this model and these puzzles"):
        task = load_task(s, device)
        model = build(s, task, device).requires_grad_(False)
        model.load_state_dict(checkpoint["ema"])
        table = checkpoint["puzzle_embeddings"].to(device)
        if task.votes and s["puzzles"] != task.fingerprint():
            raise ValueError("trained on other tasks, or other demonstrations of them")
        if table.shape != (task.num_puzzles, s["hidden_size"]):
            raise ValueError(f"{len(table)} puzzle embeddings where {task.num_puzzles} should be")
    return task, model, table


def default_device():
    found = torch.accelerator.is_available()
    return torch.accelerator.current_accelerator().type if found else "cpu"


def pick_device(name):
    """The torch device; several processes take a GPU each. Raises BadInput where there is none."""
    with blaming(f"--device {name}", "torch finds no such device here"):
        device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if name == "cuda" else name)
        torch.zeros(1, device=device).cpu()  # fails for what is no real device, such as meta
        if device.type == "cuda":
            torch.cuda.set_device(device)
        return device


# ---- the command line ----------------------------------------------------------------------------

def main(argv=None):
    parser = Parser(prog="evaluate.py", description="Evaluate a run, or watch it solve a puzzle.")
    parser.add_argument("run", metavar="RUN", help="a run's folder, or a checkpoint's file, also a "
                        "public code's; what is not given below is as it was in training")
    names = ["N_sup", "batch_size", "data", "test_puzzles", "seed", *FLAGS["the evaluation"]]
    parser.add_settings({**dict.fromkeys(names), "device": default_device()})
    args = parser.parse_args(argv)
    if args.answers and (args.watch or args.puzzle is not None):
        raise BadInput("--answers: of all test puzzles, not of the one to --watch or --puzzle")
    device, checkpoint = pick_device(args.device), load_checkpoint(args.run)
    s = checkpoint["settings"] | {k: v for k, v in vars(args).items() if v is not None}
    s["train_puzzles"] = None if args.data else s.get("train_puzzles")  # other puzzles: all
    task, model, table = restore(checkpoint, args.run, s, device)
    torch.manual_seed(s["seed"])
    test = {name: part[: args.test_puzzles] for name, part in task.splits["test"].items()}
    if args.puzzle is not None:
        watch(model, task, task.parse(args.puzzle, device), 0, s, "your puzzle", table)
    elif args.watch:
        index = torch.randint(len(test["inputs"]), ()).item()
        watch(model, task, test, index, s, f"test puzzle {index + 1}", table)
    else:
        index, which = report(model, task, test, s, table)
        watch(model, task, test, index, s, f"test puzzle {index + 1}{which}", table)
    return 0


if __name__ == "__main__":
    sys.exit(in_one_line(main))
