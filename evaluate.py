"""What a trained net can do: `python evaluate.py RUN` for figures, `--watch` to see it think.

`refine` is the talk's loop at test time. `solve` shows it puzzles through several views. In a
notebook: `model, task, *_ = evaluate.open_run("puzzles/trained/trm-sudoku")`, and then
`evaluate.exact_accuracy(model, task.splits["test"], N_sup=16)`. train.py validates with this file.
"""
import hashlib
import os
import sys
import time
from argparse import Namespace
from pathlib import Path

import torch

import cli
import recipes
from cli import BadInput, blaming
from data import fingerprint, load_task
from hrm import HRM
from puzzles import draw
from trm import TRM

SHOWN_STEPS = 1, 2, 4, 8, 16  # the refinement steps that training shows, whatever it trains with


@torch.no_grad()
def refine(model, puzzles, N_sup, table=None, dtype=torch.float32):
    """The talk's loop at test time, without halting: yields the answer's logits (B, S, V) and the
    halting logits after each of N_sup refinement steps. puzzles: {"inputs": (B, S), on ARC "ids":
    (B,)}. table: the puzzle embeddings, (ids, D), on ARC. dtype: what the nets compute in."""
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


def exact_accuracy(model, puzzles, N_sup=16, batch_size=500, **more):
    """The share of puzzles with every cell right after each of N_sup refinement steps: a list.
    more: the table, which ARC needs, and dtype, as for `refine`."""
    known = (puzzles["labels"] != 0).any(1)  # whose solution is known
    right = []
    for batch in in_batches({name: part[known] for name, part in puzzles.items()}, batch_size):
        steps = refine(model, batch, N_sup, **more)
        answers = torch.stack([logits.argmax(-1) for logits, _ in steps], dim=1)  # (B, N_sup, S)
        right.append(all_right(answers, batch["labels"][:, None]))
    return torch.cat(right).float().mean(0).tolist()


def validate(model, task, N_sup, table, dtype):
    """On about 100 validation puzzles: exact accuracy after each of SHOWN_STEPS, and the share
    of the cells to be filled in that are right after the N_sup-th step (at most the 16th)."""
    puzzles = task.validation(100)
    inputs, labels = puzzles["inputs"], puzzles["labels"]
    steps = refine(model, puzzles, SHOWN_STEPS[-1], table, dtype)
    answers = torch.stack([logits.argmax(-1) for logits, _ in steps], dim=1)  # (B, 16, S)
    exact = all_right(answers, labels[:, None]).float().mean(0).tolist()
    to_fill = labels != 0 if task.blank is None else inputs == task.blank
    last = answers[:, min(N_sup, SHOWN_STEPS[-1]) - 1]
    return [exact[n - 1] for n in SHOWN_STEPS], (last == labels)[to_fill].float().mean().item()


# ---- several views of a puzzle -------------------------------------------------------------------


@torch.no_grad()
def look(model, task, puzzles, k, N_sup, **more):
    """Puzzles through view k. Returns of each refinement step, (B, N_sup): is the answer "right"
    (True where no solution is known), how "sure" is the model of it (0 to 1), would it "stop"
    there; and the "answers", turned back, (B, N_sup, S) uint8 tokens. more: as for `refine`."""
    view, turn_back = task.view(puzzles, k)
    seen = {"right": [], "sure": [], "stop": [], "answers": []}
    for logits, halt_logits in refine(model, view, N_sup, **more):
        answer = logits.argmax(-1)
        seen["right"].append(all_right(answer, view["labels"]))
        seen["sure"].append(halt_logits[:, 0].sigmoid())
        seen["stop"].append(model.halts(halt_logits))
        seen["answers"].append(turn_back(answer).byte())
    return {name: torch.stack(steps, dim=1).cpu() for name, steps in seen.items()}


def solve(model, task, puzzles, N_sup, views=1, halt=1.0, **more):
    """A batch of puzzles, each through so many views. A puzzle with an answer that is surer than
    `halt` (0 to 1) gets no further view. Returns what `look` does, with an axis more: "right",
    "sure", "stop" (B, views, N_sup), where a view that was not asked is 0 sure. Of the
    "answers", (B, views, S), it has a view's surest one, or where task.votes, or with a single view
    as in the papers, its last."""
    asked, seen = torch.arange(len(puzzles["inputs"])), {}
    for k in range(views):
        some = {name: part[asked.to(part.device)] for name, part in puzzles.items()}
        said = look(model, task, some, k, N_sup, **more)
        step = said["sure"].cummax(1).indices[:, -1]  # of equally sure ones the last
        if task.votes or views == 1:
            step = torch.full_like(step, N_sup - 1)
        said["answers"] = said["answers"][torch.arange(len(asked)), step]
        for name, part in said.items():
            if k == 0:
                seen[name] = part.new_zeros(len(part), views, *part.shape[1:])
            seen[name][asked, k] = part
        asked = asked[said["sure"].amax(1) <= halt]
        if not len(asked):
            break
    return seen


def surest(seen):
    """What `solve` returns of several views -> which puzzle's surest answer so far is right, after
    each step, (B, N_sup); and in the end the surest answer itself (B, S), and how sure it is."""
    so_far, when = seen["sure"].cummax(2)  # in each view: how sure up to each step; in which step
    right = seen["right"].gather(2, when)
    view = so_far.argmax(1, keepdim=True)  # (B, 1, N_sup)
    each = torch.arange(len(view))
    return (right.gather(1, view)[:, 0], seen["answers"][each, view[:, 0, -1]],
            so_far[:, :, -1].amax(1))


# ---- the table and the picture -------------------------------------------------------------------


def report(model, task, puzzles, args, **more):
    """Solve the puzzles and print what came out. args: N_sup, views, halt, batch_size; answers: the
    file for the answers, or None. Returns of each puzzle in which steps it is right, (N, N_sup)."""
    parts, total, begun = [], len(puzzles["inputs"]), time.time()
    for batch in in_batches(puzzles, args.batch_size):
        parts.append(solve(model, task, batch, args.N_sup, args.views, args.halt, **more))
        cli.overwrite(f"{min(total, len(parts) * args.batch_size):,} of {total:,} puzzles")
    seen = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    puzzles = {name: part.cpu() for name, part in puzzles.items()}
    known = (puzzles["labels"] != 0).any(1)
    print(f"\n{known.sum():,} test puzzles with a known solution; exact: every cell right "
          f"({time.time() - begun:.1f} s)")
    if known.any():
        print_table({name: part[known] for name, part in seen.items()}, task)
    answers, sure = seen["answers"], seen["sure"][:, :, -1]  # on ARC, of all views
    if not task.votes and args.views > 1:
        _, answers, sure = surest(seen)
    elif not task.votes:
        answers, sure = answers[:, 0], sure[:, 0]
    found = {**puzzles, "answers": answers, "sure": sure}
    print(task.summary(found), end="")
    if args.answers:
        cli.write_atomically(args.answers, task.answers_file(found).encode())
        print(f"{len(known):,} answers written to {args.answers}")
    return seen["right"][:, 0] & known[:, None]


def print_table(seen, task):
    """The table of what `solve` returns for puzzles whose solutions are known."""
    size, views, N_sup = seen["right"].shape
    rows = {"exact accuracy": seen["right"][:, 0]}
    if views > 1:
        rows["the surest view"], _, _ = surest(seen)
        rows[task.any_answer] = seen["right"].any(1).cummax(1).values
    shown = sorted({2**i for i in range(N_sup.bit_length())} | {N_sup})
    print("  after refinement steps " + "".join(f"{n:8d}" for n in shown))
    for name, right in rows.items():
        shares = [100 * right[:, n - 1].float().mean() for n in shown]
        print(f"  {name:23s}" + "".join(f"{share:7.1f}%" for share in shares))
    halt = seen["stop"][:, 0].clone()
    halt[:, -1] = True  # the N_sup-th step always halts
    stop = halt.byte().argmax(1, keepdim=True)  # (n, 1): the first step where it would stop
    exact = seen["right"][:, 0].gather(1, stop).float().mean()
    print(f"  with learned halting   {100 * exact:7.1f}%"
          f"  after {stop.float().mean() + 1:.1f} steps on average")
    asked = (seen["sure"][:, :, 0] > 0).float().sum(1).mean()
    if asked < views:
        print(f"  {asked:.1f} of {views} views a puzzle, {asked * N_sup:.0f} steps")


def watch(model, task, puzzles, index, title, views, args, **more):
    """Print a puzzle, and how its answer changes in the view in which the net becomes surest."""
    puzzle = {name: part[index : index + 1] for name, part in puzzles.items()}
    looks = (look(model, task, puzzle, k, args.N_sup, **more) for k in range(views))
    seen = max(looks, key=lambda seen: seen["sure"].max())
    inputs, labels = (puzzle[name][0].cpu().numpy() for name in ("inputs", "labels"))
    told = (title + task.title(puzzle), task, inputs, seen["answers"][0].numpy(),
            seen["sure"][0].tolist(), labels if labels.any() else None)
    print(draw.story(*told))
    if args.svg:
        cli.write_atomically(args.svg, draw.animation(*told).encode())


# ---- a run is opened -----------------------------------------------------------------------------


def pick_device(name):
    """The torch device; None: the best that is there. Of several processes each takes a GPU of its
    own. Raises BadInput."""
    found = torch.accelerator.is_available()
    name = name or (torch.accelerator.current_accelerator().type if found else "cpu")
    with blaming(f"--device {name}", "torch cannot use it here; --device cpu will do"):
        device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if name == "cuda" else name)
        torch.zeros(1, device=device).cpu()  # fails for what is no real device, such as meta
        if device.type == "cuda":
            torch.cuda.set_device(device)
        return device


def pick_dtype(name, device):
    """The name of the number type that the nets compute in. None: bfloat16 on a GPU with units for
    it (not by emulation, as before NVIDIA's Ampere), else float32."""
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return name or ("bfloat16" if fast else "float32")


def compile_if_asked(asked, model, device):
    """torch.compile, if it works here. asked: None is yes on an NVIDIA GPU."""
    cuda = device.type == "cuda"
    if not (cuda if asked is None else asked):
        return
    try:  # something small: there may be no C++ compiler, or no triton for this GPU
        torch.compile(lambda x: x.sin() + 1)(torch.ones(64, device=device))
    except Exception as error:  # of many kinds, also from the compiler itself
        why = cli.in_short(error)
        print(f"torch.compile does not work here, and training goes on without ({why})")
        return
    print("compiling: the first step takes a minute or two; --no-compile does without", flush=True)
    torch.set_float32_matmul_precision("high" if cuda else "highest")
    model.compile(options={"force_shape_pad": cuda})  # for a GPU's fast matmuls


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


def describe(s, task, device):
    """Print which net it is, how large, and on what it runs."""
    parameters = sum(part.numel() for part in build_model(s, task, "meta").parameters())
    names = "hidden_size", "layers", "mixer", "T_H", "T_L", "N_sup"
    print(f"{s.model.upper()} on {s.task}:", ", ".join(f"{name} {vars(s)[name]}" for name in names))
    print(f"{parameters:,} parameters; {device}, {torch.get_num_threads()} threads, {s.dtype}")
    if task.note:
        print(task.note)


def open_run(path, device="cpu", **changes):
    """A run's folder, or its checkpoint -> the model, with the moving average of its weights; the
    task; the puzzle embeddings (ids, D), or None; the settings. changes: settings that are to be
    others than the run's, such as T_H=1 or data=PATH. Raises BadInput."""
    checkpoint = load_checkpoint(path)
    if "data" in changes:  # the run's numbers are of its own puzzles
        changes = dict(train_puzzles=None, test_puzzles=None) | changes
    s = Namespace(**{**checkpoint["settings"], **changes})
    task = load_task(s, device)
    puzzles = s.data or "the bundled set"
    with blaming(path, f"does not fit this {s.model}.py (has it a patch?) or puzzles of {puzzles}"):
        model = build_model(s, task, device).requires_grad_(False)
        model.load_state_dict(checkpoint["average"])
        if task.votes and s.puzzles != fingerprint(task):
            raise ValueError("trained on other tasks, or other demonstrations of them")
        if "data" not in changes and getattr(s, "puzzles", fingerprint(task)) != fingerprint(task):
            print(f"{path}: was trained on other puzzles than {puzzles} has now")
        table = None
        if "embeddings" in checkpoint:  # on ARC; the authors' weights have one for all tasks
            table = checkpoint["embeddings"]["table"].to(device)
        return model, task, table, s


def code_of(model):
    """A short text that tells one version of hrm.py or trm.py from another."""
    source = Path(__file__).with_name(f"{model}.py").read_bytes()
    return hashlib.sha256(source).hexdigest()[:16]


def load_checkpoint(path):
    """A run's folder or file -> a dict, loaded without executing anything: "settings", "average"
    (the weights), "embeddings" where there are some, and what train.py needs to go on. Raises
    BadInput."""
    path = Path(path, "checkpoint.pt") if os.path.isdir(path) else Path(path)
    with blaming(path, "not a checkpoint of train.py, or damaged"):
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        if "settings" not in checkpoint:
            raise BadInput(f"{path}: weights without settings. If they are the authors', "
                           "python -m experiments.public makes a run of them; if they are yours, "
                           "build a model of hrm.py or trm.py, and use its load_state_dict")
        s = checkpoint["settings"]
        if s.get("code", code_of(s["model"])) != code_of(s["model"]):
            print(f"{path}: was trained with another {s['model']}.py than the one here")
        return checkpoint


# ---- the command line ----------------------------------------------------------------------------


def parse(argv):
    """The flags. Raises BadInput."""
    parser = cli.Parser(prog="evaluate.py", description="Evaluate a run, or watch it think.",
                        allow_abbrev=False)
    add, whole, path = parser.add_argument, recipes.whole, recipes.path
    add("run", metavar="RUN", help="a run's folder, or its checkpoint")
    add("--N_sup", type=whole, help="refinement steps for each puzzle (16; on ARC the run's)")
    add("--T_H", type=whole, help="updates of the answer in a refinement step (the run's)")
    add("--T_L", type=whole, help="updates of the thoughts before each (the run's)")
    add("--views", type=whole, help="the number of symmetries through which each puzzle is "
        "seen; the surest answer is kept (1; on ARC all views are asked, and vote)")
    add("--halt", type=recipes.share, default=1.0, metavar="P",
        help="a puzzle whose answer is surer than P, from 0 to 1, gets no further view (1)")
    add("--data", type=path, help="other puzzles: a folder, or a file")
    add("--test_puzzles", type=whole, help="how many test puzzles, the first ones (as the run)")
    add("--answers", metavar="FILE", type=path, help="write the answers to a new file: csv, for "
        "ARC the JSON of the ARC Prize")
    add("--watch", action="store_true", help="show one test puzzle, drawn at random, being solved")
    add("--puzzle", metavar="TEXT", help="watch your own: 81 digits, 0 or . for a blank; a maze's "
        "'#.SG' row by row; the name of an ARC task")
    add("--svg", metavar="FILE", type=path, help="draw what is watched as a moving picture, in a "
        "new file")
    add("--seed", type=recipes.whole_or_0, help="of the random views, and of the puzzle watched")
    add("--batch_size", type=whole, default=500, help="puzzles at a time (500)")
    add("--device", help="cpu, cuda, mps, ... (what is there)")
    add("--dtype", choices=["float32", "bfloat16"], help="what the nets compute in (bfloat16 on a "
        "GPU that has it, else float32)")
    args = parser.parse_args(argv)
    if args.answers and (args.watch or args.puzzle is not None):
        raise BadInput("--answers: of all test puzzles, not of the one to --watch or --puzzle")
    for file in filter(None, (args.answers, args.svg)):
        if os.path.lexists(file) or not os.path.isdir(os.path.dirname(file) or "."):
            raise BadInput(f"{file}: exists already, or its folder does not")
    return args


def main(argv=None):
    args = parse(argv)
    device = pick_device(args.device)
    changes = {name: vars(args)[name] for name in ("T_H", "T_L", "data") if vars(args)[name]}
    model, task, table, s = open_run(args.run, device, **changes)
    if task.note:
        print(task.note)
    args.N_sup = args.N_sup or (s.N_sup if task.votes else 16)
    args.views = args.views or (task.most_views if task.votes else 1)
    if task.most_views and args.views > task.most_views:
        raise BadInput(f"--views {args.views}: a puzzle has {task.most_views} views")
    more = dict(table=table, dtype=getattr(torch, pick_dtype(args.dtype, device)))
    if args.watch and args.seed is None:
        torch.seed()  # another puzzle each time
    else:
        torch.manual_seed(args.seed or 0)
    count = args.test_puzzles or s.test_puzzles
    puzzles = {name: part[:count] for name, part in task.splits["test"].items()}
    title, views = "your puzzle", 1 if task.votes else args.views
    if args.puzzle is not None:
        puzzles, index = task.typed(args.puzzle), 0
    elif args.watch:
        index = torch.randint(len(puzzles["inputs"]), ()).item()
        title = f"test puzzle {index + 1}"
    else:
        right = report(model, task, puzzles, args, **more)
        last_wrong = (~right * torch.arange(1, args.N_sup + 1)).amax(1)  # such a step, or 0
        index = torch.where(right[:, -1], last_wrong, -1).argmax().item()
        why = ": of those solved, the one that took longest" if right[index, -1] else ""
        title, views = f"test puzzle {index + 1}{why}", 1
    watch(model, task, puzzles, index, title, views, args, **more)
    return 0


if __name__ == "__main__":
    sys.exit(cli.in_one_line(main))
