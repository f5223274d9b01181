"""The trainings behind README's claims: `python -m experiments.run [--only CLAIM] [--seeds 0 1]`.
With `--more="--task maze"`, or other flags of train.py, every training gets those, too.

Each is README's command with a flag or a patch. All have one thread and the same seeds, and two run
at a time. Their figures go into results.csv. What stands there already is not made again, so that
one may stop with Ctrl-C and go on. But what both --only and --seeds name is made again, and printed
beside what stands there. Two trainings together take about eight minutes on two cores.
"""
import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cli

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).with_name("results.csv")
ARMS = {  # what results.csv calls it: the model, the flags, the patch; what pictures call it
    "reference": ("trm", "", "", ""),
    "one step": ("trm", "--N_sup 1", "", "1. one refinement step in training"),
    "sixteen steps": ("trm", "--N_sup 16", "", "2. sixteen steps in training"),
    "two nets": ("trm", "", "two-nets", "3. two nets in place of one"),
    "one-step gradient": ("trm", "", "one-step-gradient", "4. gradient: the last two calls"),
    "all recursions": ("trm", "", "all-recursions", "4. gradient: all recursions of a step"),
    "no carry": ("trm", "", "no-carry", "5. no carry from step to step"),
    "x in every call": ("trm", "", "x-in-every-call", "6. x in every call"),
    "one state": ("trm", "", "one-state", "6. x in every call, and one state"),
    "HRM": ("hrm", "", "", "HRM in place of TRM"),
}


def name_of(claim, more):
    """What results.csv calls an arm whose trainings got more flags."""
    return f"{claim}, {more}" if more else claim


def row_of(claim, seed, more):
    """Train an arm with a seed and more flags -> its row in results.csv, a list. Raises Failure."""
    model, flags, patch, _ = ARMS[claim]
    command = f"train.py --model {model} --task sudoku {flags} {more} --seed {seed}".split()
    calls = [[sys.executable, *command]]
    if patch:  # git init, since inside another repository it may apply nothing
        calls = [["git", "init"], ["git", "apply", f"experiments/{patch}.patch"], *calls]
    with tempfile.TemporaryDirectory() as folder:
        others = shutil.ignore_patterns(".*", "*env*", "runs", "__pycache__")
        shutil.copytree(ROOT, folder, ignore=others, dirs_exist_ok=True)
        for call in calls:
            done = subprocess.run(call, cwd=folder, text=True, capture_output=True,
                                  env={**os.environ, "OMP_NUM_THREADS": "1"})
            if done.returncode:
                why = (done.stderr.splitlines() or ["stopped"])[-1]
                raise cli.Failure(f"{claim}, seed {seed}: {why}")
    exact = re.findall("([0-9.]+)%", re.search("exact accuracy .*", done.stdout)[0])
    halting = re.search(r"learned halting +([0-9.]+)% +(after [0-9.]+ steps)", done.stdout)
    print(f"{claim}, seed {seed}: {', '.join(exact)}", flush=True)
    exact += [""] * (7 - len(exact))  # after 1, 2, 4, ... 64 steps
    return [name_of(claim, more), f"python {' '.join(command)}", patch, seed, 1, "float32", *exact,
            " ".join(halting.groups())]


def main(argv=None):
    parser = cli.Parser(prog="python -m experiments.run", description=__doc__.split(":")[0])
    parser.add_argument("--only", choices=ARMS, metavar="CLAIM", help="; ".join(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", help="(0 to 4); with --only, again")
    parser.add_argument("--more", default="", metavar="FLAGS", help="flags that all of them get")
    args = parser.parse_args(argv)
    with open(RESULTS, newline="", encoding="utf-8") as file:
        rows = {(row["claim"], row["seed"]): row for row in csv.DictReader(file)}
    claims = [args.only] if args.only else ARMS
    again = args.only and args.seeds
    wanted = [(claim, seed, args.more) for seed in args.seeds or range(5) for claim in claims
              if again or (name_of(claim, args.more), str(seed)) not in rows]
    print(f"{len(wanted)} trainings to make", flush=True)

    def make(arm):
        row = row_of(*arm)
        stands = rows.get((row[0], str(row[3])))
        if stands:
            exact = [stands[f"exact_{n}"] for n in (1, 2, 4, 8, 16)]
            print(f"{row[0]}, seed {row[3]}: {', '.join(exact)} in results.csv", flush=True)
            return
        with open(RESULTS, "a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(row)

    with ThreadPoolExecutor(2) as two:
        for _ in two.map(make, wanted):  # raises what went wrong; then no others begin
            pass
    return 0


if __name__ == "__main__":
    sys.exit(cli.in_one_line(main))
