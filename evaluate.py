"""What a trained net can do: `python evaluate.py RUN` for figures, `--watch` to see it think.

`refine` is the talk's loop at test time. `solve` shows it puzzles through several views. In a
notebook: `model, task = runs.open_run("puzzles/trained/trm-sudoku")`, and then
`evaluate.exact_accuracy(model, task.splits["test"], N_sup=16)`. train.py validates with this file.
"""
import sys
import time
from argparse import Namespace

import torch

import cli
import recipes
from cli import BadInput
from puzzles import draw
from runs import load_checkpoint, pick_device, pick_dtype, restore

SHOWN_STEPS = 1, 2, 4, 8, 16  # the refinement steps that training shows, whatever it trains with


@torch.no_grad()
def refine(model, puzzles, N_sup, table=None, dtype=torch.float32):
    """The talk's loop at test time, without halting: yields the answer's logits (B, S, V) and the
    halting logits after each of N_sup refinement steps. puzzles: {"inputs": (B, S), on ARC "ids":
    (B,)}. table: the puzzle embeddings, (ids, D). dtype: what the nets compute in."""
    inputs, puzzle_embedding = puzzles["inputs"].long(), None
    if table is not None:
        only_one = torch.zeros_like(inputs[:, 0])  # Sudokus and mazes share one, if they have any
        puzzle_embedding = table[puzzles.get("ids", only_one)]
    carry = model.initial_carry(len(inputs), dtype)
    for _ in range(N_sup):
        carry, logits, halt_logits = model(carry, inputs, puzzle_embedding)
        yield logits, halt_logits


def all_right(answers, labels):
    """Which answers are right in every supervised cell (label 0 is none): (..., S) -> (...)."""
    return ((answers == labels) | (labels == 0)).all(-1)


def in_batches(puzzles, size):
    for parts in zip(*(part.split(size) for part in puzzles.values())):
        yield dict(zip(puzzles, parts))


def answers_after_each_step(model, puzzles, N_sup, table=None, dtype=torch.float32, batch_size=500):
    """(N, N_sup, S) uint8 tokens."""
    found = []
    for batch in in_batches(puzzles, batch_size):
        steps = refine(model, batch, N_sup, table, dtype)
        answers = [logits.argmax(-1).to(torch.uint8) for logits, _ in steps]
        found.append(torch.stack(answers, dim=1))
    return torch.cat(found)


def exact_accuracy(model, puzzles, N_sup=16, **more):
    """The share of puzzles with every cell right after each of N_sup refinement steps: a list.
    more: dtype, batch_size and table; a run that has a `task.table`, as on ARC, needs it."""
    answers, labels = answers_after_each_step(model, puzzles, N_sup, **more), puzzles["labels"]
    right = all_right(answers, labels[:, None])[(labels != 0).any(1)]  # whose solution is known
    return right.float().mean(0).tolist()


def validate(model, task, N_sup, **more):
    """On some hundred validation puzzles: exact accuracy after each of SHOWN_STEPS, and the share
    of the cells to be filled in that are right after the N_sup-th step (at most the 16th)."""
    puzzles = task.validation(100)
    inputs, labels = puzzles["inputs"], puzzles["labels"]
    answers = answers_after_each_step(model, puzzles, SHOWN_STEPS[-1], **more)
    exact = all_right(answers, labels[:, None]).float().mean(0).tolist()
    to_fill = labels != 0 if task.blank is None else inputs == task.blank
    last = answers[:, min(N_sup, SHOWN_STEPS[-1]) - 1]
    return [exact[n - 1] for n in SHOWN_STEPS], (last == labels)[to_fill].float().mean().item()


# ---- several views of a puzzle -------------------------------------------------------------------


@torch.no_grad()
def look(model, task, puzzles, k, N_sup, table=None, dtype=torch.float32):
    """Puzzles through view k. Returns of each refinement step, (B, N_sup), which answers are right,
    how sure the model is of them (0 to 1), and where it would halt; and the answers, turned back,
    (B, N_sup, S) uint8 tokens."""
    view, turn_back = task.view(puzzles, k)
    right, sure, halts, answers = [], [], [], []
    for logits, halt_logits in refine(model, view, N_sup, table, dtype):
        answer = logits.argmax(-1)
        right.append(all_right(answer, view["labels"]))
        sure.append(halt_logits[:, 0].sigmoid())
        halts.append(model.halts(halt_logits))
        answers.append(turn_back(answer).to(torch.uint8))
    return [torch.stack(part, dim=1) for part in (right, sure, halts, answers)]


def solve(model, task, puzzles, N_sup, views=1, halt=1.0, **more):
    """A batch of puzzles through so many views. A puzzle whose surest answer is surer than `halt`
    (0 to 1) gets no further view. Returns a dict with a row a puzzle. After each refinement step,
    (B, N_sup): is the "first" view's answer right, is the "surest" answer so far, is there "any"
    right one so far, and would the model "halt" there in the first view. In the end: the "answers"
    (B, S), how "sure" the model is of them (B,), how many "views" there were (B,), and for ARC
    "votes", of each puzzle a list of (a view's last answer, how sure). more: table, dtype."""
    size, cells = puzzles["inputs"].shape
    device = puzzles["inputs"].device
    found = {name: torch.zeros(size, N_sup, dtype=torch.bool, device=device)
             for name in ("first", "surest", "any", "halt")}
    found["sure"] = torch.full((size, N_sup), -1.0, device=device)
    found["answers"] = torch.zeros(size, cells, dtype=torch.uint8, device=device)
    found["views"] = torch.zeros(size, device=device)
    found["votes"] = [[] for _ in range(size)]
    remaining = torch.arange(size, device=device)  # the puzzles that get another view
    for k in range(views):
        part = {name: values[remaining] for name, values in puzzles.items()}
        right, sure, halts, answers = look(model, task, part, k, N_sup, **more)
        if k == 0:
            found["first"], found["halt"] = right, halts
        found["any"][remaining] |= right.cummax(1).values
        found["views"][remaining] += 1
        keep_the_surest(found, remaining, right, sure, answers)
        if task.votes:
            last = zip(remaining.tolist(), answers[:, -1].tolist(), sure[:, -1].tolist())
            for i, answer, how_sure in last:
                found["votes"][i].append((answer, how_sure))
        remaining = remaining[found["sure"][remaining, -1] <= halt]
        if not len(remaining):
            break
    found["sure"] = found["sure"][:, -1]
    if views == 1:  # then the last answer counts, as in the papers
        found["answers"], found["sure"] = answers[:, -1], sure[:, -1]
    return found


def keep_the_surest(found, remaining, right, sure, answers):
    """Put what `look` has returned for the puzzles `remaining` into `found`, where it is surer
    than what all earlier views had up to the same step."""
    so_far, when = sure.cummax(dim=1)  # (b, N_sup): how sure up to each step, and in which step
    surer = so_far > found["sure"][remaining]
    found["sure"][remaining] = torch.where(surer, so_far, found["sure"][remaining])
    right_so_far = right.gather(1, when)
    found["surest"][remaining] = torch.where(surer, right_so_far, found["surest"][remaining])
    answer = answers[torch.arange(len(remaining), device=remaining.device), when[:, -1]]
    found["answers"][remaining] = torch.where(surer[:, -1:], answer, found["answers"][remaining])


# ---- the table and the picture -------------------------------------------------------------------


def report(model, task, puzzles, args, dtype):
    """Solve the puzzles and print what came out. args: N_sup, views, halt, batch_size, and answers,
    the file to write the answers to, or None. Returns which puzzle is worth a look, and why."""
    start, parts, total = time.time(), [], len(puzzles["inputs"])
    for batch in in_batches(puzzles, args.batch_size):
        found = solve(model, task, batch, args.N_sup, args.views, args.halt,
                      table=task.table, dtype=dtype)
        parts.append({**batch, **found})
        cli.show_progress(min(total, len(parts) * args.batch_size), total, start)
    votes = sum((part.pop("votes") for part in parts), [])
    found = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    known = (found["labels"] != 0).any(1)
    print(f"\n{known.sum():,} test puzzles with a known solution; exact: every cell right "
          f"({time.time() - start:.1f} s)")
    if known.any():
        print_rows({name: part[known].float() for name, part in found.items()}, task, args)
    print(task.summary(found, votes), end="")
    if args.answers:
        cli.write_atomically(args.answers, task.answers_file(found, votes).encode())
        print(f"{len(known):,} answers written to {args.answers}")
    right = found["first"] & known[:, None]
    last_wrong = (~right * torch.arange(1, args.N_sup + 1)).amax(1)  # the last such step, or 0
    index = torch.where(right[:, -1], last_wrong, -1).argmax().item()
    return index, ": of those solved, the one that took longest" if right[index, -1] else ""


def print_rows(found, task, args):
    """The table of what `solve` has found for puzzles whose solutions are known, as floats, after
    1, 2, 4, ... refinement steps."""
    rows = {"exact accuracy": found["first"].mean(0)}
    if args.views > 1:
        rows["the surest view"] = found["surest"].mean(0)
        rows[task.any_answer] = found["any"].mean(0)
    shown = sorted({2**i for i in range(args.N_sup.bit_length())} | {args.N_sup})
    print("  after refinement steps " + "".join(f"{n:8d}" for n in shown))
    for name, shares in rows.items():
        print(f"  {name:23s}" + "".join(f"{100 * shares[n - 1]:7.1f}%" for n in shown))
    found["halt"][:, -1] = 1  # the N_sup-th step always halts
    stop = found["halt"].argmax(1, keepdim=True)  # (n, 1): the first step where it would stop
    print(f"  with learned halting   {100 * found['first'].gather(1, stop).mean():7.1f}%"
          f"  after {stop.float().mean() + 1:.1f} steps on average")
    if args.halt < 1:
        views = found["views"].mean().item()
        print(f"  {views:.1f} of {args.views} views a puzzle, {views * args.N_sup:.0f} steps")


def watch(model, task, puzzles, index, title, views, args, dtype):
    """Print a puzzle, and how its answer changes in the view in which the net becomes surest."""
    puzzle = {name: part[index : index + 1] for name, part in puzzles.items()}
    looks = (look(model, task, puzzle, k, args.N_sup, task.table, dtype) for k in range(views))
    _, sure, _, answers = max(looks, key=lambda found: found[1].max())
    inputs, labels, answers = (part[0].cpu().numpy()
                               for part in (puzzle["inputs"], puzzle["labels"], answers))
    draw.show(title + task.title(puzzle), task, inputs, answers, sure[0].tolist(),
              labels if labels.any() else None, args.svg)


# ---- the command line ----------------------------------------------------------------------------


def main(argv=None):
    args = recipes.parse_evaluation(argv)
    checkpoint, device = load_checkpoint(args.run), pick_device(args.device)
    s = Namespace(**checkpoint["settings"])
    if args.data:
        s.data, s.train_puzzles = args.data, None  # that number is of the run's own puzzles
    s.T_H, s.T_L = args.T_H or s.T_H, args.T_L or s.T_L
    model, task = restore(checkpoint, args.run, s, device)
    args.N_sup = args.N_sup or (s.N_sup if task.votes else 16)
    args.views = args.views or (task.most_views if task.votes else 1)
    if task.most_views and args.views > task.most_views:
        raise BadInput(f"--views {args.views}: a puzzle has {task.most_views} views")
    dtype = pick_dtype(args.dtype, device)
    if args.watch and args.seed is None:
        torch.seed()  # another puzzle each time
    else:
        torch.manual_seed(args.seed or 0)
    puzzles = {name: part[: args.test_puzzles] for name, part in task.splits["test"].items()}
    title, views = "your puzzle", 1 if task.votes else args.views
    if args.puzzle is not None:
        puzzles, index = task.typed(args.puzzle), 0
    elif args.watch:
        index = torch.randint(len(puzzles["inputs"]), ()).item()
        title = f"test puzzle {index + 1}"
    else:
        index, why = report(model, task, puzzles, args, dtype)
        title, views = f"test puzzle {index + 1}{why}", 1
    watch(model, task, puzzles, index, title, views, args, dtype)
    return 0


if __name__ == "__main__":
    sys.exit(cli.in_one_line(main))
