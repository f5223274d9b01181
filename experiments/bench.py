"""What a training step costs: `python -m experiments.bench [--scale paper ...]`, with train.py's
flags. Without --model it times every variant, with it that one alone."""
import os
import sys

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.benchmark import Timer

import recipes
import runs
import train
from cli import in_one_line

VARIANTS = [("hrm", "attention", 4), ("hrm", "mlp", 4), ("trm", "attention", 1),
            ("trm", "attention", 2), ("trm", "mlp", 1), ("trm", "mlp", 2), ("hrm", "mlp", 1)]
PEAKS = {"H200": 989, "H100 80GB HBM3": 989, "A100": 312, "L40S": 362}  # TFLOP/s, dense bfloat16


def limit(device, dtype):
    """The most operations a second to expect, and what that figure is: the GPU maker's, or what a
    large matmul reaches here, in the type that the nets compute in."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    for part, tera in PEAKS.items():
        if part in name and dtype == torch.bfloat16:
            return tera * 1e12, f"{tera} TFLOP/s, the maker's figure for {name} in bfloat16"
    size = 8192 if name else 2048
    a = torch.randn(size, size, device=device, dtype=dtype)
    matmul = Timer("a @ a", globals={"a": a}, num_threads=torch.get_num_threads())
    reached = 2 * size**3 / matmul.blocked_autorange(min_run_time=1).median
    return reached, f"{reached / 1e12:.2f} TFLOP/s, a matmul of {size}x{size} here"


def time_step(s, task, device, dtype):
    """Of a training step, with its batch and moving average: the seconds, and bytes on a GPU."""
    run = train.new_run(s, task, device, dtype, s.batch_size)
    average = get_ema_multi_avg_fn(s.ema)
    torch._dynamo.reset()  # else the variants before this one count towards its recompilations
    runs.compile_if_asked(s.compile, run.model, device)

    def step():
        fresh = train.fresh_slots(run.model, task.batch(s.batch_size), dtype)
        run.slots = train.refill(run.slots, fresh)
        min_steps = train.exploration(s.batch_size, s.N_sup, s.explore, device)
        run.slots, _, _ = train.train_step(run.model, run.optimizer, run.slots, s.N_sup, min_steps,
                                           run.embeddings, s.puzzle_lr)
        average(list(run.ema.parameters()), list(run.model.parameters()), None)

    timer = Timer("step()", globals={"step": step}, num_threads=torch.get_num_threads())
    timer.timeit(3)  # the first steps compile, and find their memory
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = timer.blocked_autorange(min_run_time=5).median
    return seconds, torch.cuda.max_memory_allocated() if device.type == "cuda" else 0


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    flags = [f"--model={m} --mixer={mixer} --layers={n}".split() for m, mixer, n in VARIANTS]
    flags = [[]] if any("--model" in flag for flag in argv) else flags
    settings = [recipes.parse([*more, *argv, "--out", os.devnull])[0] for more in flags]
    device = runs.pick_device(settings[0].device)
    dtype = runs.pick_dtype(settings[0].dtype, device)
    task = runs.load_task(settings[0], device)
    peak, meaning = limit(device, dtype)
    print(f"{device}, {torch.get_num_threads()} threads; the limit: {meaning}\n"
          "                                           GFLOP       ms  puzzle   of the     GPU\n"
          "model          layers  parameters batch a puzzle   a step steps/s   limit  memory")
    for s in settings:
        parameters, operations = train.cost(s, task)
        seconds, memory = time_step(s, task, device, dtype)
        print(f"{s.model} {s.mixer:10s} {s.layers:6d} {parameters:11,d} {s.batch_size:5d} "
              f"{operations / 1e9:8.2f} {1000 * seconds:8.1f} {s.batch_size / seconds:8.1f} "
              f"{100 * operations * s.batch_size / seconds / peak:6.1f}% "
              f"{memory / 2**30:5.1f} G", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(in_one_line(main))
