"""The models as a library: a model alone, and a net that comes trained, as README.md shows it."""
import torch

import evaluate
from trm import TRM  # trm.py and hrm.py import torch alone, and each can be copied alone

model = TRM(vocab_size=11, seq_len=81, hidden_size=64, num_heads=4, mixer="mlp")
puzzles = torch.randint(1, 11, (4, 81))  # token ids: 1 is a blank, 2 to 10 are the digits
carry = model.initial_carry(batch_size=4)  # z_H and z_L, each (4, 81, 64)
for _ in range(16):  # N_sup refinement steps
    carry, logits, halt_logits = model(carry, puzzles)
answers = logits.argmax(-1)  # (4, 81) tokens
sure = halt_logits[:, 0].sigmoid()  # (4,): how sure the model is that each is right

model, task = evaluate.open_run("puzzles/trained/trm-sudoku")
test = {name: part[:100] for name, part in task.splits["test"].items()}  # README has all of them
exact = evaluate.exact_accuracy(model, test, N_sup=16)  # a list: after each refinement step
print(f"exact accuracy after 16 refinement steps: {100 * exact[-1]:.1f}%")
