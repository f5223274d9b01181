"""What a training step costs: `python -m experiments.bench [--scale paper ...]`, with train.py's
flags. Without --model it times every variant, with it that one alone."""
import sys

import torch
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

import data
import evaluate
import recipes
import train
from cli import in_one_line

VARIANTS = [("hrm", "attention", 4), ("hrm", "mlp", 4), ("trm", "attention", 1),
            ("trm", "attention", 2), ("trm", "mlp", 1), ("trm", "mlp", 2), ("hrm", "mlp", 1)]


def cost(s, task):
    """Parameters, and the operations of a puzzle's refinement step in training, torch's count."""
    model = evaluate.build_model(s, task, "meta")  # there tensors have no values
    cells = torch.zeros(1, task.seq_len, dtype=torch.long, device="meta")
    slots = train.fresh_slots(model, {"inputs": cells, "labels": cells})
    with FlopCounterMode(display=False) as counter:
        train.train_step(model, torch.optim.SGD(model.parameters()), slots, s.N_sup)
    return sum(part.numel() for part in model.parameters()), counter.get_total_flops()


def median_seconds(function):
    timer = Timer("function()", globals={"function": function}, num_threads=torch.get_num_threads())
    timer.timeit(3)  # the first calls may compile, and find their memory
    return timer.blocked_autorange(min_run_time=5).median


def step_seconds(s, task, device, dtype):
    """How long a training step takes with its batch, without the moving average of the weights."""
    model = evaluate.build_model(s, task, device)
    optimizer = torch.optim.AdamW(model.parameters(), s.lr, fused=True)
    embeddings = task.new_embeddings(s.hidden_size, s.puzzle_decay) if task.num_puzzles else None
    torch._dynamo.reset()  # else the variants before this one count towards its recompilations
    evaluate.compile_if_asked(s.compile, model, device)
    slots = train.fresh_slots(model, task.batch(s.batch_size), dtype)

    def step():
        nonlocal slots
        slots = train.refill(slots, train.fresh_slots(model, task.batch(s.batch_size), dtype))
        slots, _, _ = train.train_step(model, optimizer, slots, s.N_sup, embeddings=embeddings)

    return median_seconds(step)


def main(argv):
    flags = [f"--model={m} --mixer={mixer} --layers={n}".split() for m, mixer, n in VARIANTS]
    flags = [[]] if any("--model" in flag for flag in argv) else flags
    settings = [recipes.parse([*more, *argv], [*data.TASKS, "arc"])[0] for more in flags]
    device = evaluate.pick_device(settings[0].device)
    dtype = getattr(torch, evaluate.pick_dtype(settings[0].dtype, device))
    task = data.load_task(settings[0], device)
    print(f"{device}, {torch.get_num_threads()} threads, {dtype}\nmodel          layers  "
          "parameters batch  GFLOP/puzzle  ms/step  puzzle steps/s  TFLOP/s  GPU memory")
    for s in settings:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        parameters, operations = cost(s, task)
        seconds, memory = step_seconds(s, task, device, dtype), torch.cuda.max_memory_allocated()
        print(f"{s.model} {s.mixer:10s} {s.layers:6d} {parameters:11,d} {s.batch_size:5d} "
              f"{operations / 1e9:13.2f} {1000 * seconds:8.1f} {s.batch_size / seconds:15.1f} "
              f"{operations * s.batch_size / seconds / 1e12:8.2f} {memory / 2**30:8.1f} G")


if __name__ == "__main__":
    sys.exit(in_one_line(main, sys.argv[1:]))
