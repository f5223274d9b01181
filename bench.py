"""What a training step costs: `python bench.py [--scale paper ...]`, with train.py's flags.
Without --model it times every variant, with it that one alone."""
import copy
import os
import sys

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.benchmark import Timer

import evaluate
import train
from cli import in_one_line

VARIANTS = [("hrm", "attention", 4), ("hrm", "mlp", 4), ("trm", "attention", 1),
            ("trm", "attention", 2), ("trm", "mlp", 1), ("trm", "mlp", 2), ("hrm", "mlp", 1)]
PEAKS = {"H200": 989, "H100 80GB HBM3": 989, "A100": 312, "L40S": 362}  # TFLOP/s, dense bfloat16


def limit(device):
    """The most operations a second to expect, and what that figure is: the GPU maker's, or what a
    large matmul reaches here, in the type that the nets compute in."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    for tera in (tera for part, tera in PEAKS.items() if part in name):
        return tera * 1e12, f"{tera} TFLOP/s, the maker's figure for {name} in bfloat16"
    fast = name and torch.cuda.is_bf16_supported(including_emulation=False)
    size, dtype = 8192 if name else 2048, torch.bfloat16 if fast else torch.float32
    a = torch.randn(size, size, device=device, dtype=dtype)
    matmul = Timer("a @ a", globals={"a": a}, num_threads=torch.get_num_threads())
    reached = 2 * size**3 / matmul.blocked_autorange(min_run_time=1).median
    return reached, f"{reached / 1e12:.2f} TFLOP/s, a matmul of {size}x{size} here"


def step_of(s, task, device):
    """A function that makes a training step with its batch, exploration and moving average."""
    model, size = evaluate.build(s, task, device), s["batch_size"]
    table = torch.zeros(task.num_puzzles, s["hidden_size"], device=device)
    optimizer = torch.optim.AdamW(model.parameters(), s["lr"], fused=True)
    ema, average = copy.deepcopy(model).requires_grad_(False), get_ema_multi_avg_fn(s["ema"])
    slots = train.fresh_slots(model, task.batch(size))
    if s["compile"]:
        model.compile()

    def step():
        fresh = train.fresh_slots(model, task.batch(size))
        min_steps = train.exploration(size, s["N_sup"], s["explore"], device)
        train.train_step(model, optimizer, slots, fresh, s["N_sup"], min_steps, table=table)
        average(list(ema.parameters()), list(model.parameters()), None)

    return step


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    flags = [f"--model={m} --mixer={mixer} --layers={n}".split() for m, mixer, n in VARIANTS]
    settings = [train.parse([*more, *argv, "--out", os.devnull])[0]
                for more in ([[]] if any("--model" in flag for flag in argv) else flags)]
    device = evaluate.pick_device(settings[0]["device"])
    peak, meaning = limit(device)
    print(f"{device}, {torch.get_num_threads()} threads; the limit: {meaning}\n"
          "                                           GFLOP       ms  puzzle   of the     GPU\n"
          "model          layers  parameters batch a puzzle   a step steps/s   limit  memory")
    for s in settings:
        task, size = evaluate.load_task(s, device), s["batch_size"]
        parameters, operations = train.cost(s, task)
        timer = Timer("step()", globals={"step": step_of(s, task, device)},
                      num_threads=torch.get_num_threads())
        timer.timeit(3)  # the first steps compile, and find their memory
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = timer.blocked_autorange(min_run_time=5).median
        peak_memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0
        print(f"{s['model']} {s['mixer']:10s} {s['layers']:6d} {parameters:11,d} {size:5d} "
              f"{operations / 1e9:8.2f} {1000 * seconds:8.1f} {size / seconds:8.1f} "
              f"{100 * operations * size / seconds / peak:6.1f}% {peak_memory:5.1f} G", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(in_one_line(main))
