"""Tests of the models, the N_sup loop, test time, the numbers that are printed, and the command
lines: `pytest`. What a test expects is written plainly. puzzles/ and experiments/ have others."""
import contextlib
import csv
import io
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

# The tests, and programs that they start, use no GPU, and one thread: small nets are faster so.
os.environ |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}

import torch
import torch.nn.functional as F
from torch.testing import assert_close

import cli
import data
import evaluate
import recipes
import train
from arc import PuzzleEmbeddings
from experiments import public
from hrm import HRM
from trm import TRM, truncated_normal

torch.set_num_threads(1)
HERE = Path(__file__).parent
KINDS = {"hrm": (HRM, "attention"), "hrm-mlp": (HRM, "mlp"),
         "trm": (TRM, "attention"), "trm-mlp": (TRM, "mlp")}
every_kind = pytest.mark.parametrize("kind", KINDS)


def small(kind, layers=2, T_H=2, T_L=3, **more):
    """A small model with enough of everything to go wrong, its halting head not at its start."""
    model_class, mixer = KINDS[kind]
    torch.manual_seed(0)
    sizes = dict(layers=layers, T_H=T_H, T_L=T_L, **more)
    model = model_class(7, 5, hidden_size=8, num_heads=2, mixer=mixer, **sizes)
    for part in model.halt_head.parameters():
        torch.nn.init.normal_(part)
    return model


def puzzles(size, seed):
    random = torch.Generator().manual_seed(seed)
    return {name: torch.randint(1, 7, (size, 5), generator=random) for name in ("inputs", "labels")}


def same(one, other):
    """Whether two checkpoints, or parts of them, hold the same, bit for bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


# ---- the N_sup loop ------------------------------------------------------------------------------

@every_kind
def test_train_step_is_the_talks_loop_where_nothing_halts_early(kind):
    plain, slotted, batches = small(kind), small(kind), [puzzles(4, seed) for seed in (0, 1)]
    for model in (plain, slotted):
        model.halt_head.requires_grad_(False).weight.zero_()
        model.halt_head.bias.copy_(torch.tensor([-50.0, 50.0])[: len(model.halt_head.bias)])
    optimizer = torch.optim.AdamW(plain.parameters(), 1e-2)
    for batch in batches:
        carry = plain.initial_carry(4)
        for _ in range(3):
            carry, logits, halt_logits = plain(carry, batch["inputs"])
            loss = train.answer_loss(logits, batch["labels"]).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    optimizer = torch.optim.AdamW(slotted.parameters(), 1e-2)
    slots = train.fresh_slots(slotted, puzzles(4, 9))
    for n in range(6):  # something is offered at every step; it enters free slots
        offered = batches[n // 3] if n % 3 == 0 else puzzles(4, 10 + n)
        slots = train.refill(slots, train.fresh_slots(slotted, offered))
        slots, _, _ = train.train_step(slotted, optimizer, slots, N_sup=3)
        assert (slots["steps"] == n % 3 + 1).all()
    assert same(slotted.state_dict(), plain.state_dict())


@every_kind
def test_the_gradient_is_where_the_papers_put_it(kind):
    model, calls = small(kind, T_H=3, T_L=4), []
    for name in {"L_net", "H_net", "net"} & set(dict(model.named_children())):
        getattr(model, name).register_forward_hook(lambda *_, letter=name[0].lower(): calls.append(
            letter.upper() if torch.is_grad_enabled() else letter))
    carry, _, _ = model(model.initial_carry(1), torch.ones(1, 5, dtype=torch.long))
    # with the gradient (capitals): one more call of each net; all of the last recursion
    assert "".join(calls) == ("llllhllllhlllLH" if kind.startswith("hrm") else "nnnnnnnnnnNNNNN")
    assert not carry[0].requires_grad and not carry[1].requires_grad


def test_a_puzzle_halts_when_the_model_says_so_and_it_may_and_at_the_last_step():
    model, optimizer = small("trm"), torch.optim.SGD([torch.zeros(1)], lr=0.0)
    model.halts = lambda halt_logits: torch.tensor([False, True, True])
    slots = train.fresh_slots(model, puzzles(3, 0))
    for n in range(1, 5):
        slots = train.refill(slots, train.fresh_slots(model, puzzles(3, n)))
        slots, _, _ = train.train_step(model, optimizer, slots, 3, torch.tensor([0, 0, 2]))
        assert slots["halted"].tolist() == [n == 3, True, n % 2 == 0]


def test_some_halts_wait_for_a_step_drawn_at_random():
    drawn = train.exploration(9000, 4, 0.3, "cpu").bincount() / 9000  # for a step from 2 to 4
    assert_close(drawn, torch.tensor([0.7, 0, 0.1, 0.1, 0.1]), atol=0.02, rtol=0)


def test_stablemax_agrees_with_the_papers_float64():
    x = torch.randn(3, 4, 11).mul(20)
    x[0, 0, :5] = 0  # where its two halves meet
    x, y = x.requires_grad_(), x.double().requires_grad_()
    labels = torch.tensor([[3, 0, 10, 1], [0, 0, 5, 2], [0, 0, 0, 0]])  # 0 is not supervised
    s = torch.where(y >= 0, y + 1, 1 / (1 - y.clamp(max=0)))
    cells = -(s / s.sum(-1, keepdim=True)).gather(-1, labels[..., None])[..., 0].log()
    # a puzzle without a supervised cell adds nothing, rather than 0 / 0
    theirs = torch.stack((cells[0, [0, 2, 3]].mean(), cells[1, [2, 3]].mean(), 0 * cells[2, 0]))
    ours = train.answer_loss(x, labels)
    assert_close(ours.double(), theirs, rtol=1e-6, atol=1e-6)
    gradients = [torch.autograd.grad(loss.sum(), z)[0] for loss, z in ((ours, x), (theirs, y))]
    assert_close(gradients[0].double(), gradients[1], rtol=1e-5, atol=1e-7)
    x = x.bfloat16()  # in which nets may compute, but not their loss
    assert_close(train.answer_loss(x, labels.byte()), train.answer_loss(x.float(), labels))


@pytest.mark.parametrize("model, vocab_size, seq_len, sizes, count", [
    (HRM, 11, 81, {}, 27_275_266), (TRM, 11, 81, {}, 3_420_162 - 513),  # TRM's unused logit: 513
    (TRM, 11, 81, dict(layers=2), 6_828_034 - 513),
    (TRM, 11, 81, dict(layers=2, mixer="mlp", prefix_len=16), 5_028_866 - 513),
    (TRM, 6, 900, dict(layers=2, mixer="mlp", prefix_len=16), 18_795_522 - 513)])
def test_parameter_counts_are_the_papers(model, vocab_size, seq_len, sizes, count):
    with torch.device("meta"):
        assert sum(p.numel() for p in model(vocab_size, seq_len, **sizes).parameters()) == count


def test_initialisation():
    w = truncated_normal((1000, 1000), std=0.1)
    assert abs(w.std() - 0.1) < 4e-4  # a normal cut without correction would have 0.088
    assert 0.226 < w.abs().max() < 0.2275  # cut at 2 sigma, 2.274 of the std that remains
    for model in (TRM(500, 81, positions="learned"), HRM(500, 81, layers=1)):
        w = model.state_dict()  # the buffers included
        assert (w.pop("halt_head.weight") == 0).all() and (w.pop("halt_head.bias") == -5).all()
        for name, tensor in w.items():
            std = 1 if name.endswith("_init") else tensor.shape[-1] ** -0.5
            assert abs(tensor.std() / std - 1) < (0.1 if name.endswith("_init") else 0.01)
        assert set(w) - set(dict(model.named_parameters())) == {"z_H_init", "z_L_init"}
        assert not w["z_H_init"].equal(w["z_L_init"])
        for z, first in zip(model.initial_carry(2), (w["z_H_init"], w["z_L_init"])):
            z[0, 0] += 1  # one may add noise to a first carry, and the next is as before
            assert z[0, 0].equal(first + 1) and z[0, 1].equal(first) and z[1, 0].equal(first)


def test_the_shared_blocks_are_the_same_and_each_model_file_stands_alone():
    texts = [(HERE / name).read_text(encoding="utf-8") for name in ("hrm.py", "trm.py")]
    one, other = (text[text.index("# ---- the shared blocks") :] for text in texts)
    assert one == other and len(one.splitlines()) > 100
    for text in texts:
        assert set(re.findall(r"^\s*(?:import|from) (\w+)", text, re.M)) == {"math", "torch"}
        assert text[: text.index("def forward")].count("\n") < 45  # the recursion comes first


# ---- golden numbers: what the papers' public codes themselves computed ---------------------------

# After each of six training steps: loss; sum over n of z_n sin(n), for z_H and z_L; of each slot:
# steps made, who halts, who is right, whose embedding. At the end: rows, the sum of the embeddings;
# norm, of embed_tokens. Initial weights and puzzles are given by formulas.
@pytest.mark.parametrize("model_class, sizes, bias, rows, norm, numbers", [
    (HRM, dict(T_L=2, prefix_len=1), [-0.6, 0.2], -2.155979054, 1.982805287, """
        2.586617237  3.890411837   14.69824593   1111 0100 0000 0120
        2.698089439  2.320726464   17.20249829   2122 0000 0001 0220
        2.024567984  23.57293552   35.48515465   3233 0000 0001 0220
        2.370313729  31.35284326   31.43870380   4344 1011 0001 0220
        2.919350858  -0.7734403085 -16.26964651  1411 1111 0000 1201
        2.560027853  -4.625844377  14.25455674   1111 0000 0001 2012"""),
    (TRM, dict(T_L=3, prefix_len=2), [-0.5], 2.996706774, 1.935726357, """
        2.309330423 -24.73571853  -35.32658334   1111 0001 0000 0120
        2.312061489 -1.411277664  -4.800139937   2221 0000 0000 0121
        2.019046542 6.899251323   -0.05991870513 3332 0000 0000 0121
        1.861056748 -0.1049558717 1.950844095    4443 1110 0000 0121
        2.284044018 -7.357251809  -0.5152869302  1114 0101 0001 1201
        2.220121595 6.524345202   13.10997109    2121 0000 0000 1002"""),
    (TRM, dict(T_L=3, prefix_len=4, mixer="mlp"), [-0.25], 3.095888257, 1.933669754, """
        2.161241505 2.238142651  6.842681439   1111 1000 0000 0120
        2.252048205 10.36976189  6.795205392   1222 0000 0001 1120
        1.439934227 -3.691113109 -12.65896421  2333 0001 0001 1120
        1.799815011 17.96510266  6.564638965   3441 0110 0001 1120
        2.219819386 41.06319158  21.58752941   4112 1111 0001 1200
        2.406989709 2.634448497  -18.04685588  1111 1000 0001 2012""")])
def test_six_steps_give_the_public_codes_numbers(model_class, sizes, bias, rows, norm, numbers):
    model = model_class(7, 16, hidden_size=32, num_heads=2, layers=2, T_H=2, **sizes)
    embeddings, c, b = PuzzleEmbeddings(4, 32, 0.1), torch.arange(16), torch.arange(4)
    b = b[:, None]
    weights = {**model.state_dict(), "puzzles.rows": embeddings.table}
    for k, name in enumerate(sorted(weights)):  # capitals first
        w, n = weights[name], torch.arange(weights[name].numel()) + 10 * k
        scale = 1 if name.endswith("_init") else w.shape[-1] ** -0.5
        scale *= 2 if name in ("puzzles.rows", "halt_head.weight") else 1
        w.copy_(scale * torch.sin((n * n % 1009).double()).view_as(w))
    weights["halt_head.bias"].copy_(torch.tensor(bias))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2, (0.9, 0.95), weight_decay=0.1)
    slots = None
    for t, line in enumerate(numbers.split("\n")[1:]):
        inputs = (c * c + 11 * b * c + 17 * b + 5 * t) % 31 % 7
        labels = 1 + (2 * c * c + 7 * b * c + 13 * b + 3 * t) % 29 % 6
        labels *= torch.where(b < 3, (b + c + t) % 4 > 0, c == 5)  # the others: not supervised
        offered = {"inputs": inputs, "labels": labels, "ids": (b[:, 0] + t) % 3}
        fresh, expected = train.fresh_slots(model, offered), line.split()
        slots, loss, right = train.train_step(model, optimizer, train.refill(slots or fresh, fresh),
                                              4, embeddings=embeddings, embeddings_lr=0.01)
        assert loss.item() == pytest.approx(float(expected[0]), rel=1e-4)
        for z, checksum in zip((slots["z_H"], slots["z_L"]), expected[1:3]):
            ours = (z.double().flatten() * torch.arange(z.numel()).double().sin()).sum().item()
            assert ours == pytest.approx(float(checksum), abs=0.02)
        parts = slots["steps"], slots["halted"], right, slots["ids"]
        assert ["".join(str(int(x)) for x in part) for part in parts] == expected[3:]
    assert embeddings.table.sum().item() == pytest.approx(rows, rel=1e-4)
    assert model.embedding.tokens.norm().item() == pytest.approx(norm, rel=2e-5)


# ---- what the public codes' numbers above do not reach -------------------------------------------

@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_x_is_the_puzzles_embedding_and_the_tokens_and_positions_that_are_learned(positions):
    model, inputs = small("trm", prefix_len=3, positions=positions), torch.randint(7, (2, 5))
    w, puzzle, learned = model.embedding.state_dict(), torch.randn(2, 8), positions == "learned"
    x = torch.cat((puzzle[:, None], torch.zeros(2, 2, 8), w["tokens"][inputs]), dim=1)
    x = (x + w["positions"]) / 2**0.5 if learned else x
    assert_close(model.embedding(inputs.byte(), puzzle), x * 8**0.5)
    attention = model.net.blocks[0].attention  # it tells positions apart if no vector does
    assert torch.allclose(attention(x.flip(1)).flip(1), attention(x), atol=1e-5) == learned
    assert "positions" not in small("trm-mlp", positions=positions).embedding.state_dict()
    assert model(model.initial_carry(2, torch.bfloat16), inputs)[1].dtype == torch.bfloat16


# ---- test time, and the numbers that are printed -------------------------------------------------

class Scripted:
    """In place of a model and its task. right and sure, (puzzles, views, N_sup): whether the answer
    after a step is 2 everywhere, which is right, or has a 3 in its last cell; the halting logit.
    The first token of a puzzle says which it is, the second which view; two of the other four are
    blank."""

    votes, blank, any_answer = False, 1, "any"

    def __init__(self, right, sure):
        self.script = torch.tensor(right), torch.tensor(sure).float()
        inputs = torch.tensor([[20 + i, 40, 2, 2, 1, 1] for i in range(len(right))])
        self.puzzles = {"inputs": inputs, "labels": torch.full_like(inputs, 2)}
        self.asked = []  # (puzzle, view) of every step made

    def validation(self, count):
        assert count == 100
        return self.puzzles

    def view(self, puzzles, k):
        inputs = puzzles["inputs"].clone()
        inputs[:, 1] = 40 + k
        return {**puzzles, "inputs": inputs}, lambda answers: answers

    def initial_carry(self, batch_size, dtype):
        return torch.zeros(batch_size, 1, 1), torch.zeros(batch_size, 1, 1)

    def __call__(self, carry, inputs, puzzle_embedding):
        assert (inputs[:, 2:] == torch.tensor([2, 2, 1, 1])).all()  # as they are, without hints
        i, k, step = inputs[:, 0] - 20, inputs[:, 1] - 40, carry[0].flatten().long()
        self.asked += zip(i.tolist(), k.tolist())
        right, sure = (part[i, k, step] for part in self.script)
        answers = torch.full_like(inputs, 2)
        answers[:, -1] += ~right.bool()
        halt_logits = torch.stack((sure, sure - 20), dim=1)  # HRM has a second one
        return (carry[0] + 1, carry[1]), F.one_hot(answers, 11), halt_logits

    def halts(self, halt_logits):
        return halt_logits[:, 0] > 0


RIGHT = [[[0, 1, 0], [0, 0, 0]], [[1, 0, 0], [0, 0, 1]], [[0, 0, 0], [0, 1, 1]]]
SURE = [[[1, 9, 2], [3, 2, 4]], [[2, 1, 1], [1, 3, 4]], [[0, 0, 0], [1, 2, 3]]]


def test_the_surest_answer_of_all_views_and_steps_counts(capsys):
    model = Scripted(RIGHT, SURE)
    seen = evaluate.solve(model, model, model.puzzles, 3, views=2)
    assert seen["right"].int().tolist() == RIGHT
    assert_close(seen["sure"], torch.tensor(SURE).float().sigmoid())
    # puzzle 0: view 1 is surer at step 1, view 0 from step 2 on. Puzzle 1: view 0, then view 1
    right, answers, sure = evaluate.surest(seen)
    assert right.tolist() == [[0, 1, 1], [1, 0, 1], [0, 1, 1]]
    assert answers.tolist() == [[2] * 6] * 3
    assert_close(sure, torch.tensor([9.0, 4.0, 3.0]).sigmoid())
    model.asked.clear()  # a logit of 9 is surer than 0.99: the first puzzle gets no second view
    seen = evaluate.solve(model, model, model.puzzles, 3, views=2, halt=0.99)
    evaluate.print_table(seen, model)
    assert "  1.7 of 2 views a puzzle, 5 steps\n" in capsys.readouterr().out
    assert {i for i, k in model.asked if k == 1} == {1, 2}
    assert (seen["sure"][:, :, 0] > 0).sum(1).tolist() == [1, 2, 2]
    assert evaluate.surest(seen)[0].tolist() == right.tolist()
    seen = evaluate.solve(model, model, model.puzzles, 3)  # of one view the last answer counts
    assert seen["answers"][:, 0].tolist() == [[2] * 5 + [3]] * 3  # all wrong after the third step
    assert seen["stop"][:, 0].tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, 0]]


def test_without_halt_every_view_is_asked_and_of_equally_sure_answers_the_last_counts():
    model = Scripted([[[1, 0], [0, 0], [1, 1]]], [[[99, 99], [1, 1], [1, 1]]])
    seen = evaluate.solve(model, model, model.puzzles, 2, views=3)
    assert model.asked == [(0, 0), (0, 0), (0, 1), (0, 1), (0, 2), (0, 2)]
    right, answers, _ = evaluate.surest(seen)
    assert right.tolist() == [[1, 0]] and answers.tolist() == [[2] * 5 + [3]]


@pytest.mark.parametrize("votes, views", [(True, 2), (False, 1)])
def test_where_views_vote_and_of_a_single_view_the_last_answers_count(votes, views):
    model, noted = Scripted(RIGHT, SURE), []
    model.votes, model.summary = votes, lambda found: noted.append(found) or ""
    args = Namespace(N_sup=3, views=views, halt=1.0, batch_size=9, answers=None)
    evaluate.report(model, model, model.puzzles, args)
    last, sure = torch.tensor(RIGHT)[..., -1], torch.tensor(SURE).float()[..., -1].sigmoid()
    which = slice(None) if votes else 0
    assert noted[0]["answers"][..., -1].equal((3 - last[:, which]).byte())
    assert_close(noted[0]["sure"], sure[:, which])


def test_the_printed_tables_are_of_the_steps_that_they_name(capsys):
    # Two puzzles, 16 steps, two views. Right after steps 2 and 8 alone; the second view, one puzzle
    # alone, after step 3. The first puzzle would halt from step 8 on, the second never.
    right = [[[n in (2, 8) for n in range(1, 17)], [n == 3 and i == 0 for n in range(1, 17)]]
             for i in range(2)]
    sure = [[[1 if i == 0 and n >= 8 else -1 for n in range(1, 17)], [-2] * 16] for i in range(2)]
    model = Scripted(right, sure)
    exact, blanks = evaluate.validate(model, model, 4, None, torch.float32)
    assert exact == [0, 1, 0, 1, 0]  # after 1, 2, 4, 8 and 16
    assert blanks == 0.5  # one of two blanks after four steps; of all cells five of six
    for N_sup, found in ((2, 1.0), (16, 0.5)):
        assert evaluate.validate(model, model, N_sup, None, torch.float32)[1] == found
    args = Namespace(N_sup=16, views=2, halt=1.0, batch_size=1, answers=None)
    model.summary = lambda found: ""
    evaluate.report(model, model, model.puzzles, args)
    table = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert table == [
        "after refinement steps 1 2 4 8 16".split(),
        "exact accuracy 0.0% 100.0% 0.0% 100.0% 0.0%".split(),
        "the surest view 0.0% 100.0% 0.0% 100.0% 0.0%".split(),
        "any 0.0% 100.0% 100.0% 100.0% 100.0%".split(),
        "with learned halting 50.0% after 12.0 steps on average".split()]
    model.puzzles["labels"][1] = 0  # its solution is not known
    right = evaluate.report(model, model, model.puzzles, args)
    _, counted, _, exact, *_ = capsys.readouterr().out.split("\n")
    assert counted.startswith("1 test puzzles with") and not right[1].any()
    assert exact.split() == "exact accuracy 0.0% 100.0% 0.0% 100.0% 0.0%".split()
    model.blank, model.puzzles["labels"] = None, torch.tensor([[0, 2, 2, 2, 2, 2]] * 2)
    assert evaluate.validate(model, model, 4, None, torch.float32)[1] == pytest.approx(4 / 5)


def test_exact_accuracy_is_the_share_of_puzzles_with_every_supervised_cell_right():
    answers = torch.tensor([[1, 2, 3], [1, 2, 4], [5, 2, 4], [1, 1, 1]])
    labels = torch.tensor([[1, 2, 3], [1, 2, 3], [5, 2, 0], [0, 0, 0]])  # 0 is not supervised
    assert evaluate.all_right(answers, labels).tolist() == [True, False, True, True]
    model = Scripted([[[0, 1, 1]], [[1, 0, 1]], [[0, 0, 0]], [[0, 0, 1]]], [[[0] * 3]] * 4)
    for size in (1, 3, 500):
        exact = evaluate.exact_accuracy(model, model.puzzles, 3, batch_size=size)
        assert exact == [0.25, 0.25, 0.75]
    model.puzzles["labels"][2] = 0  # its solution is not known
    assert evaluate.exact_accuracy(model, model.puzzles, 3) == pytest.approx([1 / 3, 1 / 3, 1])


# ---- training ------------------------------------------------------------------------------------

SIZES = ("--hidden_size 8 --num_heads 2 --layers 1 --T_H 1 --T_L 1 --N_sup 3 --batch_size 4 "
         "--test_puzzles 3 --seed 1")
TRAIN = {"sudoku": f"train --task sudoku --data few/sudoku {SIZES}",
         "maze": f"train --task maze --data few/maze {SIZES}",
         "arc": f"train --task arc --data few/arc --augmentations 2 {SIZES}"}
with open(HERE / "puzzles/sudoku/small/test.csv", newline="") as opened:
    KNOWN = {row["question"]: row["answer"]
             for row in itertools.islice(csv.DictReader(opened), 30)}
TRAINED = HERE / "puzzles/trained"


def call(command, code=0):
    """What a command line writes, on the CPU where it names no device. If it is to fail with this
    code, one line to standard error."""
    program, *arguments = command.split()
    main = {"train": train.main, "evaluate": evaluate.main, "public": public.main}[program]
    if program != "public" and "--device" not in arguments:
        arguments += ["--device", "cpu"]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        found = cli.in_one_line(main, arguments)
    assert found == code and err.getvalue().count("\n") == (code > 0), (command, err.getvalue())
    return err.getvalue() or out.getvalue()


def load(run):
    return torch.load(Path(run, "checkpoint.pt"), weights_only=True)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A few puzzles of each kind, and a run of four steps, in a folder to work in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("here"))
        for file in (HERE / "puzzles").glob("*/small/*.csv"):
            place = Path("few", file.parts[-3], file.name)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text("\n".join(file.read_text().splitlines()[:8]))
        for split, kept in (("training", "[e-h]*"), ("evaluation", "h*")):
            Path("few/arc", split).mkdir(parents=True)
            for file in (HERE / "puzzles/arc" / split).glob(f"{kept}.json"):
                shutil.copy(file, Path("few/arc", split))
        call(f"{TRAIN['sudoku']} --steps 4 --ema 0.5 --out run")
        yield


class Spy:
    """Calls a function of a module in its place and keeps what `note` makes of the arguments and of
    what it returned."""

    def __init__(self, monkeypatch, module, name, note):
        self.function, self.note, self.noted = getattr(module, name), note, []
        monkeypatch.setattr(module, name, self)

    def __call__(self, *args, **more):
        returned = self.function(*args, **more)
        self.noted.append(self.note(args, more, returned))
        return returned


def weights_of(model):
    return [part.detach().clone() for part in model.parameters()]


def test_training_averages_the_weights_and_validates_and_logs_what_it_says(here, monkeypatch):
    steps = Spy(monkeypatch, train, "train_step", lambda args, _, returned: (
        weights_of(args[0]), args[4], returned[1].item(), dict(args[1].param_groups[0])))
    shown = Spy(monkeypatch, evaluate, "validate",
                lambda args, _, returned: (weights_of(args[0]), returned))
    more = "--ema 0.9 --explore 1 --weight_decay 0.3"
    out = call(f"{TRAIN['sudoku']} --steps 43 {more} --out spied")
    s = Namespace(**load("spied")["settings"])
    torch.manual_seed(1)
    task = data.load_task(s, "cpu")
    assert same(task.validation(100), task.splits["valid"])
    average = weights_of(evaluate.build_model(s, task, "cpu"))
    for n, (weights, min_steps, _, adamw) in enumerate(steps.noted, 1):
        keep = min(0.9, n / (n + 4))  # short at first
        average = [keep * old + (1 - keep) * new for old, new in zip(average, weights)]
        assert min_steps.tolist() and set(min_steps.tolist()) <= {2, 3}  # of N_sup 3
        own = dict(lr=train.lr_share(n - 1, s) * s.lr, betas=(0.9, 0.95), weight_decay=0.3)
        assert adamw | own == adamw
    assert_close(shown.noted[-1][0], average)
    assert_close(weights_of(evaluate.open_run("spied")[0]), average)  # not the raw ones
    rows = [line.split(",") for line in Path("spied/log.csv").read_text().splitlines()[1:]]
    assert [int(row[0]) for row in rows] == [*range(2, 43, 2), 43]  # every twentieth, and the last
    assert load("spied")["step"] == 43
    for row, (_, (exact, blanks)) in zip(rows, shown.noted):
        step = int(row[0])
        losses = [loss for _, _, loss, _ in steps.noted[step - 2 + step % 2 : step]]
        mean = sum(losses) / len(losses)
        assert [float(figure) for figure in row[2:]] == pytest.approx([mean, *exact, blanks],
                                                                      abs=1e-4)
        assert f" {mean:.3f} |" in out and f"% | {100 * blanks:5.1f}%\n" in out


def test_rates_and_hints_fall_and_a_shallow_start_has_one_step(here, monkeypatch):
    s = Namespace(warmup=4, steps=8, decay=0.5)
    shares = [train.lr_share(step, s) for step in range(8)]
    assert shares == [0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25]
    assert train.lr_share(7, Namespace(warmup=4, steps=8, decay=0)) == 1
    given = Spy(monkeypatch, data, "give_hints", lambda args, *_: args[1])
    shown = Spy(monkeypatch, evaluate, "validate", lambda args, *_: args[2])
    steps = Spy(monkeypatch, train, "train_step",
                lambda args, _, returned: (args[3], returned[0]["steps"].max().item()))
    call(f"{TRAIN['sudoku']} --steps 4 --hints 1 --hints_end 0.5 --shallow 2 --out hints")
    assert given.noted == [1, 0.875, 0.75, 0.625] and set(shown.noted) == {3}
    assert steps.noted == [(1, 1), (1, 1), (3, 1), (3, 2)]


def test_arc_is_validated_and_tested_with_its_puzzle_embeddings(here, monkeypatch):
    tables = Spy(monkeypatch, evaluate, "refine",
                 lambda args, more, _: more["table"] if "table" in more else args[3])
    rates = "--warmup 4 --puzzle_lr 1 --puzzle_decay 0"  # so the two steps are 1/4 and 1/2 long
    call(f"{TRAIN['arc']} --steps 2 {rates} --out tables")
    learned = load("tables")["embeddings"]["table"]
    assert {0.25} < set(learned.abs().unique().tolist()) <= {0, 0.25, 0.5, 0.75}
    assert all(same(table, learned) for table in tables.noted[1:])  # the first: after one step


@pytest.mark.parametrize("model, task, number", [("trm", "sudoku", 15), ("hrm", "arc", 2)])
def test_a_stopped_run_goes_on_as_if_nothing_had_been(here, monkeypatch, model, task, number):
    train_it = f"{TRAIN[task]} --model {model} --steps 5 --ema 0.9"
    call(f"{train_it} --out whole-{task}")
    with monkeypatch.context() as patch:
        sent = Spy(patch, train, "train_step",
                   lambda *_: signal.raise_signal(number) if len(sent.noted) == 1 else None)
        err = call(f"{train_it} --out parts-{task}", code=128 + number)
    go_on = f'python train.py --resume "parts-{task}"'  # in quotes, since a name may have blanks
    assert f"stopped after step 2 and saved; to go on: {go_on}\n" in err
    shutil.copy(f"whole-{task}/log.csv", f"parts-{task}")  # rows of later steps are of no use
    torch.save(load(f"parts-{task}") | {"seconds": 1000.0}, f"parts-{task}/checkpoint.pt")
    call(f"train --resume parts-{task}")
    part, whole = load(f"parts-{task}"), load(f"whole-{task}")
    assert part["seconds"] > 1000 > whole["seconds"]
    for run in (part, whole):
        del run["settings"], run["seconds"]
    assert same(part, whole) and part["step"] == 5
    logs = [[line.split(",")[0::2] for line in Path(f"{run}-{task}/log.csv").read_text().split()]
            for run in ("parts", "whole")]
    assert logs[0] == logs[1] and len(logs[0]) == 6


def test_ctrl_c_that_ends_a_compiler_in_the_middle_of_a_step_is_told_in_one_line(here, monkeypatch):
    def step(*args):
        signal.raise_signal(signal.SIGINT)
        raise RuntimeError("the compiler ended early")

    monkeypatch.setattr(train, "train_step", step)
    assert "stopped after step 0 and saved" in call(f"{TRAIN['sudoku']} --out early", code=130)


@pytest.mark.parametrize("place, name", [(os, "replace"), (Path, "write_bytes")])
def test_what_was_saved_stays_whole_where_saving_fails(here, monkeypatch, place, name):
    def full(*args):
        raise OSError(28, "No space left on device")

    before = {file.name: file.read_bytes() for file in Path("run").iterdir()}
    monkeypatch.setattr(place, name, full)
    err = call("train --resume run --steps 5", code=1)
    assert "checkpoint.pt could not be written (No space left on device); what was saved" in err
    assert {file.name: file.read_bytes() for file in Path("run").iterdir()} == before
    call(f"{TRAIN['sudoku']} --out never", code=1)
    assert not list(Path("never").iterdir())  # so that a run can begin there


def test_a_busy_file_is_tried_again_and_a_log_is_written_the_next_time(here, monkeypatch):
    replace, busy = os.replace, {"log.csv": 2, "checkpoint.pt": 1}  # how often each is busy yet

    def maybe_busy(source, target):
        name = Path(target).name
        busy[name] = busy.get(name, 0) - 1
        if busy[name] >= 0:
            raise PermissionError(13, "Permission denied")
        replace(source, target)

    monkeypatch.setattr(os, "replace", maybe_busy)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    out = call(f"{TRAIN['sudoku']} --steps 2 --out busy")
    assert out.count("log.csv could not be written (Permission denied)") == 1
    assert load("busy")["step"] == 2 and len(Path("busy/log.csv").read_text().split()) == 3


def test_a_run_has_its_folder_from_its_start_and_can_go_on_at_once(here, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(train, "train_step", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):  # a crash in the first step
            call(f"{TRAIN['sudoku']} --steps 1 --out claimed")
    assert "claimed: holds a run; " in call(f"{TRAIN['sudoku']} --steps 1 --out claimed", code=2)
    call("train --resume claimed")
    assert load("claimed")["step"] == 1
    Path("claimed/log.csv").write_text("step;seconds\n1;2\n")  # as a spreadsheet may save it
    assert "log.csv: not the log of" in call("train --resume claimed --steps 2", code=2)
    with monkeypatch.context() as patch:  # Ctrl-C even before leaves the folder free
        patch.setattr(evaluate, "compile_if_asked", lambda *_: signal.raise_signal(2))
        assert cli.in_one_line(train.main, [*TRAIN["sudoku"].split()[1:], "--out", "free"]) == 130
    call(f"{TRAIN['sudoku']} --steps 1 --out free")


def test_the_live_line_says_how_fast_it_goes_and_how_long_it_takes(tmp_path, monkeypatch):
    log, now, lines = cli.Log(tmp_path / "log.csv", (1,), 10, 110, blank=1), [0.0], []
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(cli, "overwrite", lines.append)
    for step, now[0] in ((11, 0.0), (61, 5.0)):  # ten steps a second
        log.live(step, torch.tensor(2.0), torch.tensor([True, False]), batch_size=16)
    told = "loss 2.000 | 50% of the slots right | 160 puzzle steps/s | 0:00:04 left"
    assert lines == [f"    61 {told}"]


def test_a_loss_that_overflows_stops_the_run_and_leaves_the_old_checkpoint(here):
    err = call(f"{TRAIN['sudoku']} --steps 40 --lr 1e8 --warmup 10000000 --out bad", code=1)
    stopped = int(re.search(r"step (\d+): the weights are not finite", err)[1])
    assert 0 < load("bad")["step"] == stopped - 2  # it saves every second step


# train.py, in which at each step a batch's halves, one in each process, step as the whole does in
# one; and after it all processes have the same weights, but other puzzles.
TWO_PROCESSES = """
import sys, torch, torch.distributed as dist, train
from arc import PuzzleEmbeddings
from hrm import HRM
train_step = train.train_step

def halves_step_as_the_whole():
    model, whole = [HRM(7, 5, hidden_size=8, num_heads=2, layers=1, prefix_len=1) for _ in range(2)]
    whole.load_state_dict(model.state_dict())
    batch = {name: torch.randint(1, 7, (4, 5)) for name in ("inputs", "labels")}
    batch["ids"] = torch.tensor([1, 2, 2, 1])
    half = {name: part[2 * train.RANK :][:2] for name, part in batch.items()}
    parallel, tables = torch.nn.parallel.DistributedDataParallel(model, broadcast_buffers=False), []
    for net, puzzles in ((parallel, half), (whole, batch)):
        embeddings = PuzzleEmbeddings(3, 8, 0.1)
        optimizer = torch.optim.SGD(net.parameters(), 1.0)
        slots = train.fresh_slots(getattr(net, "module", net), puzzles)
        train_step(net, optimizer, slots, 4, 0, embeddings, 0.1)
        tables.append(embeddings.table)
    for one, two in zip(model.parameters(), whole.parameters()):
        torch.testing.assert_close(one, two)
    torch.testing.assert_close(*tables)

def checked(model, optimizer, slots, *more):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        halves_step_as_the_whole()
    done = train_step(model, optimizer, slots, *more)
    weights = torch.cat([part.detach().flatten() for part in model.parameters()])
    for mine, alike in ((weights, True), (slots["inputs"].float(), False)):
        both = [torch.empty_like(mine) for _ in range(2)]
        dist.all_gather(both, mine)
        assert both[0].equal(both[1]) == alike
    return done

train.train_step = checked
sys.exit(train.main(sys.argv[1:]))
"""


def test_two_processes_step_as_one_and_go_on_with_a_run_and_evaluate_it_once(here):
    shutil.copytree("run", "pair")
    Path("two.py").write_text(TWO_PROCESSES)
    torchrun = "-m torch.distributed.run --standalone --nproc-per-node 2"
    command = f"{torchrun} two.py --resume pair --steps 5 --device cpu"
    done = subprocess.run([sys.executable, *command.split()], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(HERE)})
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test puzzles with") == 1
    assert load("pair")["step"] == 5 and len(load("pair")["slots"]["steps"]) == 2


@pytest.mark.parametrize("model, task", [("hrm", "maze"), ("trm", "sudoku"), ("trm", "arc")])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_step_compiles_as_one_graph_and_reads_nothing_back_from_its_device(
        here, model, task, device):
    more = f"--model {model} --positions rotary --mixer attention"
    s, _ = recipes.parse(f"{TRAIN[task]} {more}".split()[1:], TRAIN)
    task = data.load_task(s, "cpu")
    for part in (vars(task), *task.splits.values()):
        part.update({name: value.to(device) for name, value in part.items()
                     if isinstance(value, torch.Tensor)})
    net = evaluate.build_model(s, task, device)
    embeddings = task.new_embeddings(8, 0.1) if s.task == "arc" else None
    optimizer, slots = torch.optim.SGD(net.parameters()), None
    if device == "cpu":  # meta stands for a GPU: it has no values, so what would have to wait fails
        net.compile(backend="eager", fullgraph=True)  # fails where the graph breaks
    for _ in range(2):
        batch = data.give_hints(task.batch(4), 0.5)
        fresh = train.fresh_slots(net, batch, torch.bfloat16)
        slots = train.refill(slots or fresh, fresh)
        min_steps = train.exploration(4, 3, 0.5, device)
        slots, _, _ = train.train_step(net, optimizer, slots, 3, min_steps, embeddings, 0.1)
    assert slots["z_H"].dtype == torch.bfloat16


def test_training_goes_on_without_a_compiler_and_says_so(here, monkeypatch):
    def fail(*args, **more):
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(torch, "compile", fail)
    out = call(f"{TRAIN['sudoku']} --compile --steps 1 --out without")
    assert "goes on without (RuntimeError: No working C++ compiler found)\n" in out
    assert "saved in" in out


# ---- the command lines ---------------------------------------------------------------------------

@pytest.mark.parametrize("model, task, own", [
    ("trm", "sudoku", next(iter(KNOWN))), ("hrm", "maze", "SG" + ".." * 31),
    ("trm", "arc", "half_turn")])
def test_train_evaluate_and_watch(here, model, task, own):
    out, run = call(f"{TRAIN[task]} --model {model} --steps 2"), f"runs/{model}-{task}-small-1"
    assert out.startswith(f"{model.upper()} on {task}: hidden_size 8, layers 1, mixer ")
    weights = load(run)["model"]
    count = sum(part.numel() for name, part in weights.items() if not name.endswith("_init"))
    assert f"\n{count:,} parameters; cpu, 1 threads, float32\n" in out
    assert f"\nsaved in {run}\n" in out and "\n3 test puzzles with" in out
    assert "was trained with another" not in out
    assert f"steps             | {' cells' if task == 'arc' else 'blanks'}\n" in out
    assert len(ElementTree.parse(Path(run, "curve.svg")).findall("{*}polyline")) == 5
    steps = "1 2 3" if task == "arc" else "1 2 4 8 16"  # on ARC as many as were trained with
    assert re.search(f"after refinement steps {steps}\n", re.sub(" +", " ", out))
    out = call(f"evaluate {run} --N_sup 5 --views 2 --halt 0.5")
    assert re.search(r"after refinement steps +1 +2 +4 +5\n", out) and "the surest view" in out
    out = call(f"evaluate {run} --puzzle {own} --svg {model}-{task}.svg")
    assert re.search(r"your puzzle[^\0]*step 1: ", out)
    assert Path(f"{model}-{task}.svg").read_text().startswith("<svg ")
    for text in ("nothing", "5\udcff"):  # the second: bytes that are no text
        assert "--puzzle" in call(f"evaluate {run} --puzzle {text}", code=2)
    shutil.rmtree("runs")


@pytest.mark.parametrize("run, flags, solved", [
    ("trm-sudoku", "", 100), ("hrm-sudoku", "", 84), ("trm-maze", "", 88), ("hrm-maze", "", 96),
    ("trm-sudoku-medium", f"--data {TRAINED.parent / 'sudoku' / 'small'} --N_sup 1", 72)])
def test_the_trained_weights_solve_what_they_solved(run, flags, solved):
    out = call(f"evaluate {TRAINED / run} --test_puzzles 25 {flags}")
    assert abs(exact_row(out)[-1] - solved) <= 4


@pytest.mark.parametrize("run", ["trm-sudoku", "hrm-sudoku", "trm-maze", "hrm-maze",
                                 "trm-sudoku-medium", "hrm-sudoku-medium"])
def test_the_trained_weights_were_made_by_the_recipes_of_the_bundled_puzzles(run):
    s = Namespace(**evaluate.load_checkpoint(TRAINED / run)["settings"])
    recipe = recipes.recipe(s.model, s.task, s.scale)
    assert vars(s) | recipe | {"seed": s.seed} == vars(s)
    assert data.fingerprint(data.load_task(s, "cpu")) == s.puzzles


def exact_row(out):
    """The row of exact accuracy in a table, in percent."""
    row = re.search("exact accuracy (.*)\n", out)[1]
    return [float(share) for share in row.replace("%", "").split()]


def test_t_h_and_n_sup_are_one_loop_at_test_time_and_t_l_is_another():
    run = f"evaluate {TRAINED / 'trm-sudoku'} --test_puzzles 8"
    whole, halves = (exact_row(call(f"{run} {flags}"))
                     for flags in ("--N_sup 4", "--N_sup 8 --T_H 1"))
    assert whole[-3:] == halves[-3:] and whole[-1] > 50  # its T_H is 2
    assert exact_row(call(f"{run} --N_sup 1 --T_H 3 --T_L 6"))[0] > 40  # by itself it has 0
    model, task, *_ = evaluate.open_run(TRAINED / "trm-sudoku")
    test = {name: part[:8] for name, part in task.splits["test"].items()}
    right = evaluate.solve(model, task, test, 16)["right"][:, 0].tolist()
    slowest = min(range(8), key=lambda i: (right[i][::-1] + [False]).index(False) or 99)
    assert f"\ntest puzzle {slowest + 1}: of those solved, the one that took longest" in call(run)


def test_watch_shows_another_puzzle_each_time_unless_there_is_a_seed_and_the_surest_view():
    watched = f"evaluate {TRAINED / 'trm-sudoku'} --watch"
    assert len({call(f"{watched} --N_sup 1") for _ in range(4)}) > 1
    assert "\ntest puzzle 1\n" in call(f"{watched} --test_puzzles 1 --N_sup 1")
    assert "\nnot solved; " in call(f"{watched} --seed 51")
    assert "\nsolved; " in call(f"{watched} --seed 51 --views 4")


def answers_in(file):
    """What a csv file of answers says: its columns but the header."""
    with open(file, newline="") as opened:
        header, *rows = csv.reader(opened)
    os.remove(file)
    assert header == ["question", "answer", "sure"]
    return [list(column) for column in zip(*rows)]


def test_answers_are_written_also_where_no_solution_is_known(here):
    Path("unknown.csv").write_text("n,puzzle\n" + "".join(f"1,{text}\n" for text in KNOWN))
    trm = TRAINED / "trm-sudoku"
    out = call(f"evaluate {trm} --data unknown.csv --answers a.csv --views 4 --N_sup 6")
    assert "unknown.csv: the test has no answers; no training puzzles, which" in out
    questions, answers, sure = answers_in("a.csv")
    right = [answer == KNOWN[question] for question, answer in zip(questions, answers)]
    assert questions == list(KNOWN) and 27 < sum(right)
    assert f"\n{sum(right)} answers break no rule, and are not the file's\n" in out
    assert right == [float(p) > 0.5 for p in sure]  # it knows which
    assert "\nsolved;" in out and "exact accuracy" not in out
    # a single view's answers are the last ones, as in the table
    out = call(f"evaluate {trm} --test_puzzles 30 --N_sup 3 --answers a.csv")
    right = sum(answer == KNOWN[question] for question, answer, _ in zip(*answers_in("a.csv")))
    assert 0 < right < 30 and exact_row(out)[-1] == round(100 * right / 30, 1)
    refused = call("train --data unknown.csv --out no", code=2)
    assert "unknown.csv: no puzzles to train on. A folder needs" in refused


def test_arc_answers_the_tasks_that_it_was_trained_on(here):
    call(f"{TRAIN['arc']} --steps 1 --out prize")
    call("evaluate prize --answers a.json --test_puzzles 99")
    tests = {file.stem for file in Path("few/arc/evaluation").glob("*.json")}
    assert set(json.loads(Path("a.json").read_text())) == tests
    Path("few/arc/evaluation/half_turn.json").rename("few/arc/evaluation/other.json")
    assert "trained on other tasks" in call("evaluate prize", code=2)


def test_a_flag_says_how_many_test_puzzles_else_the_run_but_of_its_own_data(here):
    for flags, count in (("", 3), ("--test_puzzles 2", 2), ("--data few/sudoku", 7)):
        assert f"\n{count} test puzzles with" in call(f"evaluate run {flags}")


@pytest.mark.parametrize("part, said", [
    ("code", "was trained with another trm.py than the one here"),
    ("puzzles", "was trained on other puzzles than")])
def test_a_run_of_another_model_file_or_of_other_puzzles_says_so(here, part, said):
    run = load("run")
    run["settings"][part] = "another"
    torch.save(run, "other.pt")
    assert said in call("evaluate other.pt") and said not in call("evaluate run")
    assert (part == "code") == (said in call("evaluate other.pt --data few/sudoku"))


def test_a_damaged_checkpoint_is_refused_and_nothing_in_it_is_executed(here):
    good, file = load("run"), Path(shutil.copytree("run", "damaged"), "checkpoint.pt")
    for part, value, complaint in [
            ("an object", Path(), "not a checkpoint"),  # any could run code
            ("average", {}, "does not fit"), ("slots", {}, "cannot go on")]:
        torch.save({**good, part: value}, file)
        command = "train --steps 5 --resume" if complaint == "cannot go on" else "evaluate"
        assert complaint in call(f"{command} damaged", code=2)
    file.write_bytes(Path("run/checkpoint.pt").read_bytes()[:-2000])
    assert "not a checkpoint" in call("evaluate damaged", code=2)


@pytest.mark.parametrize("command, complaint", [
    ("train --task chess", "invalid choice: 'chess'"), ("train --steps 0", "0 is not between"),
    ("train --lr nan", "nan is not between"), ("train --step 5", "unrecognized"),
    ("train --task maze --scale large", "--scale large: there is no such recipe for"),
    ("train --task arc --hints 0.5", "--train_puzzles, --hints: not for ARC"),
    ("train --device meta", "torch cannot use it here; --device cpu"),
    ("train --out run", "run: holds a run"),
    ("train --data no", "No such file"), ("train --resume nowhere", "No such file"),
    ("train --resume run/checkpoint.pt", "checkpoint.pt: "),
    ("train --resume run --lr 1", "--lr: a run goes on as it was, but for steps, data"),
    ("train --resume run --data few/sudoku/test.csv", "no puzzles to train on"),
    (f"train --resume run --data {TRAINED.parent / 'sudoku/small'}", "not what the run was"),
    (f"train --resume {TRAINED / 'trm-sudoku'}", "no training to go on with"),
    ("evaluate run --data few/maze", "few/maze"), ("evaluate few/sudoku/test.csv", "not a checkp"),
    ("train --data=", "--data: is empty"), ("train --resume=", "--resume: is empty"),
    ("evaluate run --answers=", "--answers: is empty"),
    ("evaluate run --answers no/a.csv", "no/a.csv: exists already, or its folder does not")])
def test_bad_input_gets_one_line_and_exit_code_2(here, command, complaint):
    files = {file: file.read_bytes() for file in Path().rglob("*.*") if file.is_file()}
    assert complaint in call(command, code=2)
    assert {file: file.read_bytes() for file in Path().rglob("*.*") if file.is_file()} == files


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc that hands memory back")
def test_a_command_keeps_the_memory_that_a_step_frees():
    import resource  # which Windows does not have

    def main(argv):
        fetched = []  # pages of memory, up to then
        for _ in range(2):
            [np.ones(1 << 21) for _ in range(8)]  # 16 MiB each
            fetched.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
        return fetched[1] - fetched[0]

    assert cli.in_one_line(main) < 1000


def test_too_little_memory_is_told_in_one_line(capsys):
    def on_a_gpu(argv):
        with cli.blaming("a file", "damaged"):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")

    for main in (on_a_gpu, lambda argv: torch.empty(1 << 55), lambda argv: np.empty(1 << 55)):
        assert cli.in_one_line(main) == 1
        assert "out of memory; a lower --batch_size" in capsys.readouterr().err


def test_both_models_have_one_recipe_but_for_weight_decay_and_the_papers_are_the_papers():
    for scale, task in (("small", "sudoku"), ("small", "maze"), ("small", "arc"),
                        ("medium", "sudoku"), ("large", "sudoku")):
        hrm, trm = (recipes.recipe(model, task, scale) for model in ("hrm", "trm"))
        if (scale, task) == ("small", "sudoku"):
            assert (hrm.pop("weight_decay"), trm.pop("weight_decay")) == (0.1, 0.2)
        assert hrm | {"model": "trm"} == trm
    both = dict(hidden_size=512, num_heads=8, N_sup=16, batch_size=768, lr=1e-4, warmup=2000,
                decay=0, explore=0.1, positions="rotary", shallow=0)
    hrm = both | dict(layers=4, T_H=2, T_L=2, prefix_len=1, mixer="attention", ema=0)
    trm = both | dict(layers=2, T_H=3, T_L=4, prefix_len=16, mixer="attention", ema=0.999)
    arc = dict(puzzle_lr=1e-2, puzzle_decay=0.1, augmentations=1000, canvas=30, weight_decay=0.1)
    for model, task in itertools.product(("hrm", "trm"), ("sudoku", "maze", "arc")):
        expected = {"hrm": hrm, "trm": trm}[model] | (arc if task == "arc" else {"weight_decay": 1})
        if (model, task) == ("trm", "sudoku"):
            expected |= {"mixer": "mlp", "T_L": 6}
        s = recipes.recipe(model, task, "paper")
        assert s | expected == s


@pytest.mark.parametrize("kind, before, T_L", [
    ("hrm", "_orig_mod.model.inner.", 2), ("hrm", "model.inner.", 8),  # 8 with learned positions
    ("trm", "model.inner.", 6), ("trm-mlp", "inner.", 6)])
def test_the_authors_weights_become_a_run_with_the_papers_settings(here, kind, before, T_L):
    hrm, (model_class, mixer) = kind == "hrm", KINDS[kind]
    torch.manual_seed(0)
    sizes = dict(hidden_size=16, num_heads=8, layers=2, mixer=mixer, prefix_len=1 if hrm else 16,
                 positions="learned" if T_L == 8 else "rotary")
    w = {name: torch.randn_like(tensor) / tensor.shape[-1] ** 0.5
         for name, tensor in model_class(11, 81, **sizes).state_dict().items()}
    embedding, theirs = torch.randn(1, 16), {}
    for name, tensor in (w | {"puzzle_emb.weights": embedding}).items():
        if name.startswith("halt_head") and not hrm:
            tensor = torch.cat((tensor, tensor + 1))  # a second logit that nothing uses
        name = name.replace("net.", "L_net.") if name.startswith("net.") else name
        for their, ours in public.NAMES.items():
            name = name.replace(ours, their)
        theirs[before + name] = tensor
    for name in ("embed_tokens.embedding_weight", "L_level.layers.1.mlp.gate_up_proj.weight",
                 "q_head.bias", "lm_head.weight", "H_init", "puzzle_emb.weights"):
        assert before + name in theirs
    torch.save({"epoch": 1, "state_dict": theirs} if hrm else theirs, "public.pt")  # Lightning's
    folder = f"{kind}-{T_L}"
    out = call(f"public public.pt {folder}")
    assert f"{kind[:3].upper()} on sudoku; taken for granted: 8 heads, T_H" in out
    net, _, table, s = evaluate.open_run(folder, data="few/sudoku")
    assert same(dict(net.state_dict()), w) and table.equal(embedding)
    assert (net.T_H, net.T_L, s.num_heads) == (2 if hrm else 3, T_L, 8)
    assert "exact accuracy" in call(f"evaluate {folder} --data few/sudoku --N_sup 1")
    assert "no training to go on with" in call(f"train --resume {folder}", code=2)
    torch.save({"model": net.state_dict(), "epoch": 1}, "own.pt")
    assert "own.pt: weights without settings" in call("evaluate own.pt", code=2)
    theirs[before + "embed_tokens.embedding_weight"] = torch.zeros(12, 16)  # ARC's tokens
    torch.save(theirs, "public.pt")
    assert "public.pt: not the authors' weights for" in call("public public.pt other", code=2)
    for own in ("own.pt", "run/checkpoint.pt"):
        assert f"{own}: no weights of the authors" in call(f"public {own} other", code=2)
    assert not Path("other").exists()
