"""Tests of the models, the N_sup loop, evaluation and the command lines: `pytest`. What a test
expects is written plainly. How puzzles are read and drawn is tested in puzzles/test_puzzles.py."""
import contextlib
import csv
import importlib.util
import io
import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close
from torch.utils.benchmark import Timer

import bench
import data
import evaluate
import train
from hrm import HRM
from puzzles import make
from cli import blaming, in_one_line, signals_as_usual
from trm import TRM, truncated_normal

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
    for n in range(6):  # something is offered at every call; it enters free slots
        offered = batches[n // 3] if n % 3 == 0 else puzzles(4, 10 + n)
        fresh = train.fresh_slots(slotted, offered)
        slots, _, _ = train.train_step(slotted, optimizer, slots, fresh, N_sup=3)
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


def test_a_halted_puzzle_leaves_its_slot_and_the_others_go_on():
    model, table, ids = small("trm", prefix_len=1), torch.randn(9, 8), torch.tensor([0, 3, 4])
    model.halts = lambda halt_logits: torch.tensor([False, True, True])
    optimizer, min_steps = torch.optim.SGD(model.parameters(), lr=0.0), torch.tensor([0, 0, 2])
    slots = train.fresh_slots(model, {**puzzles(3, 0), "ids": ids})
    for n in range(1, 5):
        fresh = train.fresh_slots(model, {**puzzles(3, n), "ids": ids + n})
        came = {name: torch.stack([(fresh if slots["halted"][i] else slots)[name][i]
                                   for i in range(3)]) for name in fresh}
        slots, _, _ = train.train_step(model, optimizer, slots, fresh, 3, min_steps, table=table)
        assert all(same(slots[name], came[name]) for name in ("inputs", "labels", "ids"))
        carry, _, _ = model((came["z_H"], came["z_L"]), came["inputs"], table[came["ids"]])
        assert same([slots["z_H"], slots["z_L"], slots["steps"]], [*carry, came["steps"] + 1])
        # at the N_sup-th step, whatever the model says; when it says so; when it also may
        assert slots["halted"].tolist() == [n == 3, True, n % 2 == 0]


def test_trms_halting_asks_whether_the_answer_is_right_and_some_halts_wait():
    q, right = torch.tensor([[2.0], [-1.0], [0.0], [0.5]]), torch.tensor([1, 0, 1, 0])
    assert TRM.halts(None, q).tolist() == [True, False, False, True]
    loss = TRM.halting_loss(None, q, right > 0, None, None, None)  # binary cross-entropy, halved:
    assert_close(loss, 0.5 * ((1 + q[:, 0].exp()).log() - right * q[:, 0]))
    drawn = train.exploration(9000, 4, 0.3, "cpu").bincount() / 9000  # for a step from 2 to 4
    assert_close(drawn, torch.tensor([0.7, 0, 0.1, 0.1, 0.1]), atol=0.02, rtol=0)


def test_hrms_halting_learns_from_one_step_ahead():
    model, inputs = small("hrm", prefix_len=1), torch.ones(20, 5, dtype=torch.long)
    q, embedding, carry = torch.randn(20, 2), torch.randn(20, 8), model.initial_carry(20)
    right, last = torch.arange(20) % 2, torch.arange(20) > 9
    assert model.halts(q).equal(q[:, 0] > q[:, 1])
    loss = model.halting_loss(q.requires_grad_(), right > 0, last, carry, inputs, embedding)
    ahead = model(carry, inputs, embedding)[2]
    target = torch.where(last, ahead[:, 0], torch.maximum(ahead[:, 0], ahead[:, 1])).sigmoid()
    assert_close(loss, 0.5 * ((1 + q.exp()).log() - torch.stack((right, target), 1) * q).sum(1))
    loss.sum().backward()
    assert q.grad is not None and all(p.grad is None for p in model.parameters())


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


def test_puzzle_embeddings_step_by_the_sign_of_the_summed_gradient():
    table, ids = torch.randn(5, 3), torch.tensor([4, 1, 4])
    gradient = torch.tensor([[1.0, 1.0, -3.0], [2.0, 0.0, 1.0], [-2.0, 1.0, 1.0]])
    sign = torch.tensor([[1.0, 0.0, 1.0], [-1.0, 1.0, -1.0]])  # of row 4: those of -1, 2 and -2
    expected = table.index_copy(0, torch.tensor([1, 4]), table[[1, 4]] * 0.95 - 0.1 * sign)
    train.sign_sgd(table, ids, gradient, lr=0.1, weight_decay=0.5)
    assert_close(table, expected)


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


def test_the_shared_blocks_are_the_same_and_each_model_file_stands_alone():
    texts = [(HERE / name).read_text(encoding="utf-8") for name in ("hrm.py", "trm.py")]
    one, other = (text[text.index("# ---- the shared blocks") :] for text in texts)
    assert one == other and len(one.splitlines()) > 100
    for text in texts:
        assert set(re.findall(r"^\s*(?:import|from) (\w+)", text, re.M)) == {"math", "torch"}


def test_training_learns_4x4_sudoku_and_solves_what_it_has_not_seen():
    torch.manual_seed(0)  # trained on 200 of the 288 grids, with 8 of 16 cells blank
    rows = torch.tensor(list(itertools.permutations((2, 3, 4, 5))))
    grids = rows[torch.cartesian_prod(*[torch.arange(24)] * 4)]  # (24**4, 4, 4)
    for axes in ((0, 1, 3, 2, 4), (0, 3, 4, 1, 2)):  # of (N, 2, 2, 2, 2): the boxes, the columns
        units = grids.view(-1, 2, 2, 2, 2).permute(axes).reshape(-1, 4, 4)
        grids = grids[(units.sort(-1).values == rows[0]).all((1, 2))]
    grids = grids.flatten(1)[torch.randperm(288)]

    def questions(solutions, count):
        answers = solutions[torch.randint(len(solutions), (2 * count,))]
        given = torch.rand(2 * count, 16).argsort(1) < 8
        fitting = ((grids == answers[:, None]) | ~given[:, None]).all(2).sum(1)
        one = (fitting == 1).nonzero()[:count, 0]
        return {"inputs": torch.where(given, answers, 1)[one], "labels": answers[one]}

    known = questions(grids[:200], 1000)
    model = TRM(6, 16, hidden_size=32, T_H=2, T_L=2, mixer="mlp")
    optimizer, slots = torch.optim.AdamW(model.parameters(), weight_decay=0.1), None
    for step in range(200):
        pick = torch.randint(1000, (32,))
        fresh = train.fresh_slots(model, {name: part[pick] for name, part in known.items()})
        optimizer.param_groups[0]["lr"] = 4e-3 * (1 - step / 200)
        slots, _, _ = train.train_step(model, optimizer, slots or dict(fresh), fresh, N_sup=4)
    found = evaluate.rollouts(model, questions(grids[200:], 100), 1, 8, 100)
    right, sure = found["right"][:, 0, -1], found["halts"][:, 0, -1] > 0
    assert right.mean() >= 0.9 and sure.float().mean() > 0.5 and right[sure].mean() >= 0.9


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
    table, c, b = torch.zeros(4, 32), torch.arange(16), torch.arange(4)[:, None]
    weights = {**model.state_dict(), "puzzles.rows": table}
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
        slots, loss, right = train.train_step(model, optimizer, slots or dict(fresh), fresh, 4,
                                              table=table, puzzle_lr=0.01, puzzle_decay=0.1)
        assert loss.item() == pytest.approx(float(expected[0]), rel=1e-4)
        for z, checksum in zip((slots["z_H"], slots["z_L"]), expected[1:3]):
            ours = (z.double().flatten() * torch.arange(z.numel()).double().sin()).sum().item()
            assert ours == pytest.approx(float(checksum), abs=0.02)
        parts = slots["steps"], slots["halted"], right, slots["ids"]
        assert ["".join(str(int(x)) for x in part) for part in parts] == expected[3:]
    assert table.sum().item() == pytest.approx(rows, rel=1e-4)
    assert model.embed_tokens.norm().item() == pytest.approx(norm, rel=2e-5)


# ---- the nets against a plain rewriting in float64 -----------------------------------------------

def plain_step(w, carry, inputs, embedding, T_H=2, T_L=3, heads=2):
    """One refinement step. w: the weights by name, in float64. Attention goes one head at a time,
    the rotation (none, where positions are learned) is a product of complex numbers."""
    def norm(h, axis):
        return h / (h.pow(2).mean(axis, keepdim=True) + 1e-5).sqrt()

    def swiglu(name, h):
        gate, up = (h @ part.T for part in w[f"{name}.gate_up.weight"].chunk(2))
        return (gate * torch.sigmoid(gate) * up) @ w[f"{name}.down.weight"].T

    def attention(name, h):
        width, out = h.shape[-1] // heads, []
        q, k, v = (h @ part.T for part in w[f"{name}.qkv.weight"].chunk(3))
        position, pair = torch.arange(h.shape[1]).double(), torch.arange(width // 2).double()
        turn = torch.exp(1j * position[:, None] * 10000.0 ** (-2 * pair / width) * (learned == 0))
        for part in (slice(i * width, (i + 1) * width) for i in range(heads)):
            qh, kh = (torch.complex(*x[..., part].chunk(2, dim=-1)) * turn for x in (q, k))
            score = (qh @ kh.mH).real / math.sqrt(width)
            out.append(score.softmax(-1) @ v[..., part])
        return torch.cat(out, -1) @ w[f"{name}.output.weight"].T

    def net(name, state, injection):
        h = state + injection
        for block in (f"{name}.blocks.{i}" for i in range(2)):
            if f"{block}.mix.down.weight" in w:
                h = norm(h + swiglu(f"{block}.mix", h.mT).mT, axis=1)
            else:
                h = norm(h + attention(f"{block}.attention", h), axis=2)
            h = norm(h + swiglu(f"{block}.mlp", h), axis=2)
        return h

    (z_H, z_L), tokens, learned = carry, w["embed_tokens"][inputs], "embed_positions" in w
    prefix = torch.zeros(len(inputs), z_H.shape[1] - tokens.shape[1], tokens.shape[2]).double()
    prefix[:, :1] = embedding[:, None]
    x = math.sqrt(tokens.shape[-1]) * torch.cat((prefix, tokens), 1)
    x = (x + math.sqrt(tokens.shape[-1]) * w["embed_positions"]) / 2**0.5 if learned else x
    L_net, H_net = ("L_net", "H_net") if any("H_net" in name for name in w) else ("net", "net")
    for call in (["L"] * T_L + ["H"]) * T_H:
        if call == "L":
            z_L = net(L_net, z_L, z_H + x)
        else:
            z_H = net(H_net, z_H, z_L)
    logits = z_H[:, prefix.shape[1] :] @ w["output_head.weight"].T
    return z_H, z_L, logits, z_H[:, 0] @ w["halt_head.weight"].T + w["halt_head.bias"]


def close(ours, theirs):
    """Equal but for float32's rounding, which the norms of the recursion enlarge somewhat."""
    return all((a - b).norm() <= 2e-4 * b.norm() for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("prefix, positions", [(0, "rotary"), (3, "rotary"), (3, "learned")])
@every_kind
def test_logits_and_carry_agree_with_the_plain_rewriting(kind, prefix, positions):
    model, inputs = small(kind, prefix_len=prefix, positions=positions), torch.randint(7, (3, 5))
    w = {name: part.double() for name, part in model.state_dict().items()}
    assert ("embed_positions" in w) == (positions == "learned" and not kind.endswith("mlp"))
    carry, embedding = model.initial_carry(3), torch.randn(3, 8)
    plain = [w[name].expand(3, prefix + 5, 8) for name in ("z_H_init", "z_L_init")]
    for _ in range(2):  # the second step starts from the first one's carry
        carry, *heads = model(carry, inputs, embedding if prefix else None)
        *plain, logits, halt_logits = plain_step(w, plain, inputs, embedding.double())
        assert close((*carry, *heads), (*plain, logits, halt_logits))
    assert model(model.initial_carry(3, torch.bfloat16), inputs)[1].dtype == torch.bfloat16


# ---- evaluation ----------------------------------------------------------------------------------

def scripted(right, sure):
    """In place of a model. right (n, K, N_sup): whether K trajectories answer 2 everywhere after a
    step, or 3; sure: halting logits. Puzzle i begins with i + 2 and i + 1 blanks; the state is
    (steps made, i)."""
    right, sure = torch.tensor(right), torch.tensor(sure).float()

    def model(carry, inputs, puzzle_embedding):
        i, steps = inputs[:, 0] - 2, carry[0].round()
        at = i, torch.arange(len(i)) % sure.shape[1], steps.flatten().long()
        answers = 3 - right[at][:, None].expand(inputs.shape)
        return (steps + 1, i[:, None, None].float()), F.one_hot(answers, 11), sure[at][:, None]

    i, cell = torch.arange(len(right))[:, None], torch.arange(81)
    inputs = torch.where(cell == 0, i + 2, torch.where(cell < i + 2, 1, 5))
    model.puzzles = {"inputs": inputs, "labels": torch.full_like(inputs, 2)}
    model.initial_carry = lambda batch_size, dtype: (torch.zeros(batch_size, 1, 1),) * 2
    model.halts = lambda halt_logits: halt_logits[:, 0] > 0
    return model


ONE = scripted([[[0, 1, 1]], [[1, 0, 1]], [[0, 0, 0]], [[0, 0, 1]]],
               [[[-1, 1, 1]], [[-1, 1, -1]], [[1, -1, -1]], [[-1, -1, -1]]])
TWO = scripted([[[0, 1, 0], [0, 0, 0]], [[1, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 1, 1]]],
               [[[1, 9, 2], [3, 2, 4]], [[2, 1, 1], [1, 3, 1]], [[0, 0, 0], [1, 2, 3]]])
SUDOKU = data.Sudoku(data.bundled("sudoku", "small"))
QUESTION = "".join("?.123456789"[token] for token in SUDOKU.splits["test"]["inputs"][0])


def test_rollouts_are_the_talks_loop_leave_when_sure_and_differ_by_noise():
    model, batch, rows = small("trm"), puzzles(21, 0), []
    steps = list(evaluate.refine(model, batch, 6))
    sure = torch.stack([halt_logits[:, 0] for _, halt_logits in steps], 1).view(7, 3, 6)
    answers = torch.stack([logits.argmax(-1) for logits, _ in steps], 1).view(7, 3, 6, 5)
    batch["labels"] = answers[:, :, 2].flatten(0, 1)
    model.register_forward_hook(lambda _, arguments, out: rows.append(len(arguments[1])))
    whole = evaluate.rollouts(model, batch, 3, 6, batch_size=8)
    assert rows == [6] * 18 + [3] * 6  # two puzzles at a time
    assert_close(whole["sure"], sure)
    assert whole["right"].equal(evaluate.all_right(answers, answers[:, :, 2:3]).float())
    limit, rows[:] = sure.sigmoid().amax((1, 2)).median().item() - 1e-6, []
    few = evaluate.rollouts(model, batch, 3, 6, batch_size=8, halt=limit)
    reached = sure.sigmoid().amax(1) >= limit  # (7, 6)
    made = torch.where(reached.any(1), reached.int().argmax(1) + 1, 6)
    assert few["made"].equal(made.float()[:, None].expand(7, 3))
    assert sum(rows) == few["made"].sum() and 7 < made.sum() < 42
    seen = torch.arange(6) < made[:, None, None]  # of the steps made,
    best, at = sure.where(seen, torch.tensor(-torch.inf)).max(2)  # of each trajectory the surest
    assert_close(few["answer_sure"], best)
    surest = answers.take_along_dim(at[..., None, None], 2)[:, :, 0]
    assert few["answers"].equal(surest.to(torch.uint8))
    alone = evaluate.rollouts(model, batch, 1, 6, 8)  # and of one alone the last
    assert alone["answers"].equal(answers[:, :, -1].flatten(0, 1)[:, None].to(torch.uint8))
    assert_close(alone["answer_sure"], sure[:, :, -1].flatten()[:, None])
    at = torch.arange(6).minimum(made[:, None, None] - 1).expand(7, 3, 6)  # then they stay so
    for name in ("sure", "right", "halts", "change"):
        assert_close(few[name], whole[name].gather(2, at))
    alike = {name: part[:1].repeat_interleave(4, 0) for name, part in batch.items()}
    for noise in (0.0, 0.1):
        sure = evaluate.rollouts(model, alike, 4, 3, 8, noise=noise)["sure"][0]
        assert ((sure[1:] - sure[0]).abs() > 1e-5).all() == (noise > 0)


def test_exact_accuracy_counts_whole_puzzles_and_the_table_says_what_choosing_gains(
        capsys, tmp_path):
    answers = torch.tensor([[1, 2, 3], [1, 2, 4], [5, 2, 4], [1, 1, 1]])
    labels = torch.tensor([[1, 2, 3], [1, 2, 3], [5, 2, 0], [0, 0, 0]])  # 0 is not supervised
    assert evaluate.all_right(answers, labels).tolist() == [True, False, True, True]
    for blank, share in ((1, 7 / 10), (None, 3 / 4)):  # of the cells that are to be filled in
        task = type("Task", (), dict(splits={"valid": ONE.puzzles}, blank=blank))
        exact, blanks = evaluate.glance(ONE, task, dict(N_sup=3, batch_size=3))
        assert exact == [0.25, 0.25, 0.75] and blanks == pytest.approx(share)

    def table(model, batch, *rows, **s):
        found = evaluate.report(model, SUDOKU, batch, dict(N_sup=3, batch_size=4, **s))
        out = re.sub(" +", " ", capsys.readouterr().out)
        assert all(row in out for row in rows), out
        return found

    moves = [[1] + [1 / math.hypot(n, i) for n in (2, 3)] for i in range(4)]  # of puzzle i
    solved = moves[1][0], moves[0][1], (moves[0][2] + moves[1][2] + moves[3][2]) / 3
    index, why = table(ONE, ONE.puzzles, "\n4 test puzzles; exact: every cell right",
                       "refinement steps 1 2 3\n exact accuracy 25.0% 25.0% 75.0%\n",
                       "learned halting 50.0% after 2.0 steps",  # 2, 2, 1 and 3 steps
                       "moves, solved " + " ".join(f"{mean:.4f}" for mean in solved))
    assert index == 1 and "took longest" in why  # right for good from step 3 on
    made = []

    def interrupted(*given):  # by Ctrl-C, in the second of two thousand puzzles
        made.append(given)
        if len(made) > 4:
            raise KeyboardInterrupt
        return ONE(*given)

    vars(interrupted).update(vars(ONE))
    many = {name: part.repeat(500, 1) for name, part in ONE.puzzles.items()}
    for model, count in ((ONE, 2000), (interrupted, 1000)):  # a thousand at a time, in their order
        s = dict(N_sup=3, batch_size=1000, answers=tmp_path / f"{count}.csv")
        with pytest.raises(KeyboardInterrupt) if count < 2000 else contextlib.nullcontext():
            evaluate.report(model, SUDOKU, many, s)
        out = capsys.readouterr().out
        assert f"\n{count:,} test puzzles; exact: every cell right" in out
        assert f"\n{count:,} answers written to {s['answers']}\n" in out
        one = [ONE.puzzles["inputs"][:, 0].tolist(), [1, 1, 0, 1]]  # how it begins; is it right
        found = [(".123456789".index(question[0]) + 1, int(answer == 81 * "1"))
                 for question, answer, _ in zip(*answers_in(s["answers"]))]
        assert found == count // 4 * list(zip(*one))
    unknown = {**ONE.puzzles, "labels": ONE.puzzles["labels"] * torch.tensor([[0], [0], [1], [0]])}
    assert table(ONE, unknown, "\n1 test puzzles; exact", "moves, solved - - -\n") == (0, "")
    # the surest so far: at step 1 puzzle 1's first trajectory; from step 2 on puzzle 0's first and
    # puzzle 2's second, and no more puzzle 1's
    table(TWO, TWO.puzzles, "mean 16.7% 33.3% 16.7%\n the surest 33.3% 66.7% 66.7%\n an oracle",
          " 33.3% 66.7% 33.3%\n state", rollouts=2, noise=1e-9)
    table(TWO, TWO.puzzles, " 0.99 sure: 5.3 of 6 steps", rollouts=2, noise=1e-9, halt=0.99)


def test_watch_shows_the_surest_trajectory_up_to_its_surest_step_and_turns_views_back(capsys):
    model = scripted([[[0] * 4, [0, 1, 0, 0], [0] * 4]], [[[0, 0, 5, 0], [1, 9, 1, 1], [-1] * 4]])
    evaluate.watch(model, SUDOKU, model.puzzles, 0, dict(N_sup=4, rollouts=3, noise=1e-9), "one")
    out = capsys.readouterr().out
    assert "one; trajectory 2 of 3, the surest\n" in out and "step 2: 100% sure" in out
    assert "\nsolved;" in out and "taken at step 2 of 4" in out and "step 3" not in out

    def solver(carry, inputs, puzzle_embedding):  # surest of the last view
        digits = [make.propagate((cells - 1).tolist()) for cells in inputs]
        answers = torch.tensor([[bits.bit_length() for bits in cells] for cells in digits])
        return carry, F.one_hot(answers, 11), torch.arange(len(inputs)).float()[:, None]

    solver.initial_carry = model.initial_carry
    evaluate.watch(solver, SUDOKU, SUDOKU.parse(QUESTION), 0, dict(N_sup=1, rollouts=3), "mine")
    out = capsys.readouterr().out
    assert "mine; trajectory 3 of 3, the surest" in out and "\nsolved;" in out


# ---- command lines -------------------------------------------------------------------------------

SIZES = ("--hidden_size 8 --num_heads 2 --layers 1 --T_H 1 --T_L 1 --N_sup 3 --batch_size 4 "
         "--test_puzzles 3 --device cpu --seed 1")
TRAIN = {"sudoku": f"train --task sudoku --data few/sudoku {SIZES}",
         "maze": f"train --task maze --data few/maze {SIZES}",
         "arc": f"train --task arc --augmentations 1 {SIZES}"}


def call(command, code=0):
    """What a command line writes. If it is to fail with this code, one line to standard error."""
    program, *arguments = command.split()
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        found = in_one_line(sys.modules[program].main, arguments)
    signals_as_usual()
    assert found == code and err.getvalue().count("\n") == (code > 0), (command, err.getvalue())
    return err.getvalue() or out.getvalue()


def load(run):
    return torch.load(Path(run, "checkpoint.pt"), weights_only=True) | {"seconds": 0}


def log_of(run):
    """The rows of log.csv without the times."""
    rows = Path(run, "log.csv").read_text().splitlines()
    return [re.sub(r"^(\w+),[\w.]+", r"\1", row) for row in rows]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Few Sudokus and mazes, other Sudokus, and a run of four steps, in a folder to work in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("here"))
        for file in (HERE / "puzzles").glob("*/small/*.csv"):
            for name, start in (("few", 1), ("others", 8)):
                lines, place = file.read_text().splitlines(), Path(name, file.parts[-3], file.name)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text("\n".join([lines[0], *lines[start : start + 7]]))
        call(f"{TRAIN['sudoku']} --steps 4 --out run")
        yield


@pytest.mark.parametrize("model", ["hrm", "trm"])
@pytest.mark.parametrize("task, own", [
    ("sudoku", QUESTION), ("maze", "SG" + ".." * 31), ("arc", "half_turn")])
def test_train_evaluate_and_watch(here, model, task, own):
    out, run = call(f"{TRAIN[task]} --model {model} --steps 2"), f"runs/{model}-{task}-small"
    assert f"--resume {run}\n" in out and "\n3 test puzzles; " in out and "\ntest puzzle " in out
    log = r"step,loss,exact_1,exact_2,exact_3,blanks 1(,\d\.\d+){5} 2(,\d\.\d+){5}"
    assert re.fullmatch(log, " ".join(log_of(run)))
    assert not load(run)["sums"].any()  # what an evaluation has told is not told again
    out = call(f"evaluate {run} --N_sup 5 --rollouts 2")
    assert re.search(r"after refinement steps +1 +2 +4 +5\n", out)
    assert ("the vote of all views: of " in out) == (task == "arc")
    if task == "arc":
        call(f"evaluate {run} --answers {run}/a.json")
        attempts = json.loads(Path(run, "a.json").read_text())
        for file in (HERE / "puzzles/arc/evaluation").glob("*.json"):
            tests = json.loads(file.read_text())["test"]
            assert [set(entry) for entry in attempts.pop(file.stem)] == [
                {"attempt_1", "attempt_2"}] * len(tests)
        assert not attempts
        shutil.copytree(HERE / "puzzles" / "arc", "other")
        Path("other/evaluation/half_turn.json").rename("other/evaluation/another.json")
        assert "trained on other tasks" in call(f"evaluate {run} --data other", code=2)
        shutil.rmtree("other")
    out = call(f"evaluate {run} --rollouts 2 --noise 0.1 --halt 0.5 --test_puzzles 9")
    assert "the surest" in out and " 0.5 sure: " in out
    Path("x.tmp").write_text("mine")
    out = call(f"evaluate {run} --puzzle {own} --svg x.svg")
    assert Path("x.tmp").read_text() == "mine"
    assert re.search(r"your puzzle[^\0]*step 1: ", out)
    assert Path("x.svg").read_text().startswith("<svg ")
    for place, why in (("no/x", "No such file"), (run, "not a file")):
        assert f"{place} could not be written ({why}" in call(
            f"evaluate {run} --watch --svg {place}", code=1)
    assert "--puzzle" in call(f"evaluate {run} --puzzle nothing", code=2)
    shutil.rmtree("runs")


def answers_in(file):
    """What a csv file of answers says, read with the csv module: its columns but the header."""
    with open(file, newline="") as opened:
        header, *rows = csv.reader(opened)
    os.remove(file)
    assert header == ["question", "answer", "sure"]
    return [list(column) for column in zip(*rows)]


def test_answers_are_written_also_where_no_solution_is_known(here):
    with open(HERE / "puzzles/sudoku/small/test.csv", newline="") as opened:
        known = {row["question"]: row["answer"] for row in itertools.islice(
            csv.DictReader(opened), 30)}
    write = Path("unknown.csv").write_text
    write("n,puzzle\n" + "".join(f"{i},{question}\n" for i, question in enumerate(known)))
    trm = HERE / "puzzles" / "trained" / "trm-sudoku"
    out = call(f"evaluate {trm} --data unknown.csv --answers a.csv --rollouts 4")
    assert "unknown.csv: its 30 puzzles have no answers: all are the test\n" in out
    questions, answers, sure = answers_in("a.csv")
    right = [answer == known[question] for question, answer in zip(questions, answers)]
    told = "\n30 puzzles without a known solution: {} of the answers break no rule\n"
    assert questions == list(known) and 27 < sum(right) and told.format(sum(right)) in out
    assert right == [float(p) > 0.5 for p in sure]  # it knows which
    assert "\nsolved;" in out and "exact accuracy" not in out
    # a single trajectory's are the last ones, as in the table
    out = call(f"evaluate {trm} --test_puzzles 30 --N_sup 3 --answers a.csv")
    right = sum(answer == known[question] for question, answer, _ in zip(*answers_in("a.csv")))
    assert 0 < right < 30 and f"{100 * right / 30:.1f}%\n" in re.search("exact.*%\n", out)[0]
    call(f"{TRAIN['maze']} --steps 1 --out maze")
    lines = Path("few/maze/test.csv").read_text().splitlines()
    asked = [line.split(",")[1] for line in lines[1:]]
    write("question\n" + "".join(f"{text}\n" for text in asked))
    call("evaluate maze --data unknown.csv --answers a.csv")
    questions, answers, _ = answers_in("a.csv")
    assert questions == asked and {len(answer) for answer in answers} == {64}
    refused = call("train --data unknown.csv --task maze --out no", code=2)
    assert "unknown.csv, line 1: the header has no column 'answer'" in refused
    Path("few/maze/test.csv").rename("few/known.csv")
    shutil.copy("unknown.csv", "few/maze/test.csv")
    assert "few/maze: test.csv has no answers\n\n7 puzzles answered" in call("evaluate maze")
    Path("few/known.csv").replace("few/maze/test.csv")
    for flags, complaint in (("no/a.csv", "not a file in a folder that exists"),
                             ("unknown.csv", "unknown.csv exists, and is left as it is"),
                             ("a.csv --watch", "of all test"), ("a.csv --puzzle 1", "of all test")):
        assert complaint in call(f"evaluate {trm} --answers {flags}", code=2)


def test_other_puzzles_are_evaluated_whatever_was_trained_on(here):
    call(f"{TRAIN['sudoku']} --train_puzzles 6 --steps 1 --out some")
    lines = Path("few/sudoku/train.csv").read_text().splitlines()
    Path("three.csv").write_text("\n".join(lines[:4]))
    out = call("evaluate some --data three.csv")
    assert "three.csv: of its 3 puzzles the last 1 are the test; 1 of the end of train" in out
    assert "\n1 test puzzles; " in out


@pytest.mark.parametrize("run, solved", [("trm-sudoku", 94), ("hrm-sudoku", 85), ("trm-maze", 87)])
def test_the_trained_weights_solve_what_they_solved(here, run, solved):
    folder = HERE / "puzzles" / "trained" / run
    out = call(f"evaluate {folder} --test_puzzles 100")
    assert abs(float(re.search(r"exact accuracy .* ([\d.]+)%\n", out)[1]) - solved) <= 1
    assert "not the folder of a run that can go on" in call(f"train --resume {folder}", code=2)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no such signals")
@pytest.mark.parametrize("model, task, number", [("trm", "sudoku", 15), ("hrm", "arc", 2)])
def test_a_run_that_a_signal_stops_goes_on_as_if_nothing_had_been(here, model, task, number):
    train_it, parts = f"{TRAIN[task]} --model {model} --steps 50 --ema 0.9", f"parts-{number}"
    command = [sys.executable, HERE / "train.py", *train_it.split()[1:], "--out", parts]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while not Path(parts, "log.csv").exists() or load(parts)["step"] < 5:
            assert process.poll() is None  # it has not evaluated yet, or not saved since
            time.sleep(0.01)
        process.send_signal(number)
        out, _ = process.communicate(timeout=100)
    assert process.returncode == 128 + number and 5 <= load(parts)["step"] < 50
    assert out.endswith(f"saved in {parts}; to go on: python train.py --resume {parts}\n")
    for seed in (1, 2):
        call(f"{train_it} --seed {seed} --out whole-{number}-{seed}")
    shutil.copy(f"whole-{number}-1/log.csv", parts)  # rows of later steps are of no use
    call(f"train --resume {parts}")
    part, one, two = load(parts), load(f"whole-{number}-1"), load(f"whole-{number}-2")
    assert same(part, one) and part["puzzle_embeddings"].any() == (task == "arc")
    assert not any(same(one[name], two[name]) for name in ("model", "slots"))
    assert log_of(parts) == log_of(f"whole-{number}-1") and len(log_of(parts)) == 11


def test_what_goes_wrong_is_told_in_one_line_and_leaves_the_old_checkpoint_whole(here, capsys):
    rates = "--lr 1e8 --warmup 10000000 --decay 0"  # it rises until numbers overflow
    err = call(f"{TRAIN['sudoku']} --steps 40 {rates} --out bad", code=1)
    found = re.search(r"step (\d+): the loss is no longer finite", err)
    assert 0 < load("bad")["step"] == int(found[1]) - 4  # it saves every fourth
    resource = pytest.importorskip("resource")
    saved = {file: file.read_bytes() for file in Path("run").iterdir()}
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))  # as a full disk
    try:
        err = call("train --resume run --steps 6", code=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    assert "checkpoint.pt could not be written" in err
    assert {file: file.read_bytes() for file in Path("run").iterdir()} == saved
    def main(error):
        with blaming("a file", "damaged"):  # which it then is not
            raise error
    for error in (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), MemoryError(),
                  RuntimeError("DefaultCPUAllocator: can't allocate memory")):
        assert in_one_line(main, error) == 1
        assert "out of memory; a lower --batch_size" in capsys.readouterr().err


def test_rates_shallow_steps_and_the_moving_average_which_starts_at_the_initial_weights(here):
    for name, steps, rate, flags in (
            ("one", 1, 1 / 4, "--ema 0.75 --decay 0"), ("two", 2, 2 / 4, "--ema 0.75 --decay 0"),
            ("fall", 8, 1 / 4, "--decay 0.5 --ema 0 --shallow 5")):
        rates = "--warmup 4 --lr 0.01 --puzzle_lr 1"
        call(f"{TRAIN['arc']} {rates} --steps {steps} {flags} --out {name}")
        (group,) = load(name)["optimizer"]["param_groups"]
        assert group["lr"] == pytest.approx(0.01 * rate)
        assert [*group["betas"], group["weight_decay"]] == [0.9, 0.95, 0.1]
    one, two, fall = load("one"), load("two"), load("fall")
    assert set(one["puzzle_embeddings"].abs().unique().tolist()) == {0, 1 / 4}
    assert same(fall["ema"], fall["model"])
    assert set(fall["slots"]["steps"].tolist()) == {3}  # of N_sup 3, after 5 steps of one each
    task = evaluate.load_task(one["settings"], "cpu")
    torch.manual_seed(1)
    for name, first in evaluate.build(one["settings"], task, "cpu").state_dict().items():
        after_one = 0.75 * first + 0.25 * one["model"][name]
        after_two = 0.75 * after_one + 0.25 * two["model"][name]
        assert_close((one["ema"][name], two["ema"][name]), (after_one, after_two))


def test_two_processes_train_as_one(here):
    call(f"{TRAIN['arc']} --N_sup 9 --explore 1 --steps 1 --out alone")
    first = load("alone")
    first["model"]["halt_head.bias"][:] = 50  # from now on it always wants to halt
    torch.save(first, "alone/checkpoint.pt")
    shutil.copytree("alone", "pair")
    call("train --resume alone --steps 12")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    found = subprocess.run([*torchrun, HERE / "train.py", "--resume", "pair", "--steps", "12"],
                           capture_output=True, text=True, timeout=150)
    assert found.returncode == 0 and found.stdout.count("3 test puzzles;") == 1, found.stderr
    one, two = load("alone"), load("pair")
    for name, start in first["model"].items():
        moved = (one["model"][name] - start).norm()
        assert (two["model"][name] - one["model"][name]).norm() <= 0.05 * moved, name
    for name in ("inputs", "labels", "ids", "steps", "halted"):
        assert same(one["slots"][name], two["slots"][name])
    assert 1 < one["slots"]["steps"].max() < 9  # they halted early, but not at once
    rows = one["puzzle_embeddings"]  # of which a sign may flip
    assert ((rows - two["puzzle_embeddings"]).abs() > 1e-4).sum() <= 0.02 * (rows != 0).sum() > 0


def test_checkpoints_that_do_not_fit_are_refused_and_nothing_in_them_is_executed(here):
    good = torch.load(shutil.copytree("run", "misfit") + "/checkpoint.pt", weights_only=True)
    damaged, misfit = "not a checkpoint of train.py, or damaged", "does not fit this model"
    for command, part, values, complaint in [
            ("evaluate", "an object", [Path()], damaged),  # any could run code
            ("evaluate", "settings", [5, {}, good["settings"] | {"seed": "9"}], damaged),
            ("evaluate", "ema", [good["ema"] | {"z_H_init": torch.zeros(3)}, {}, 1], misfit),
            ("evaluate", "puzzle_embeddings", [torch.zeros(4, 8), None], misfit),
            ("train --resume", "slots", [{}, good["slots"] | {"steps": torch.zeros(2)}], misfit),
            ("train --resume", "optimizer", [[1], {"state": {}, "param_groups": 3}], misfit)]:
        for value in values:
            torch.save({**good, part: value}, "misfit/checkpoint.pt")
            assert complaint in call(f"{command} misfit", code=2)
    del good["settings"]["positions"], good["settings"]["shallow"]  # as in older runs
    torch.save(good, "misfit/checkpoint.pt")
    assert "\n3 test puzzles;" in call("evaluate misfit --test_puzzles 3")
    Path("misfit/checkpoint.pt").write_bytes(Path("run/checkpoint.pt").read_bytes()[:-2000])
    assert damaged in call("evaluate misfit", code=2)


@pytest.mark.parametrize("command, complaint", [
    ("train --task chess", "invalid choice: 'chess'"), ("train --steps 0", "0 is not between"),
    ("train --lr nan", "nan is not between"), ("train --mixer none", "invalid choice: 'none'"),
    ("train --step 5", "unrecognized"), ("evaluate run --halt 2", "2 is not between 0 and 1"),
    ("train --hidden_size 30 --mixer attention", "30 does not"), ("train --positions x", "invalid"),
    ("train --task arc --prefix_len 0", "--prefix_len 0: the puzzle's embedding needs"),
    ("train --task arc --train_puzzles 5", "--train_puzzles: ARC trains on all of its tasks"),
    ("train --device meta", "torch finds no such device"), ("train --out run", "run: holds a run"),
    ("train --out few/sudoku/test.csv/run", "Not a directory"), ("train --data no", "No such file"),
    ("train --resume nowhere", "No such file"), ("bench --data nowhere", "No such file"),
    ("train --resume run --layers 3", "has 1"), ("train --resume run --data others/sudoku", "not"),
    ("evaluate few/sudoku/train.csv", "train.csv: not a checkpoint of train.py"),
    ("evaluate run --data few/maze", "line 2: the question is not 81")])
def test_bad_input_gets_one_line_and_exit_code_2(here, command, complaint):
    files = {file: file.read_bytes() for file in Path().rglob("*.*")}
    assert complaint in call(command, code=2)
    assert {file: file.read_bytes() for file in Path().rglob("*.*")} == files


def test_the_papers_recipes_are_the_papers():
    both = dict(hidden_size=512, num_heads=8, N_sup=16, batch_size=768, lr=1e-4, warmup=2000,
                decay=0, explore=0.1, positions="rotary", shallow=0)
    hrm = both | dict(layers=4, T_H=2, T_L=2, prefix_len=1, mixer="attention", ema=0)
    trm = both | dict(layers=2, T_H=3, T_L=4, prefix_len=16, mixer="attention", ema=0.999)
    arc = dict(puzzle_lr=1e-2, puzzle_decay=0.1, augmentations=1000, canvas=30, weight_decay=0.1)
    for (model, task, _), s in ((key, s) for key, s in train.RECIPES.items() if "paper" in key):
        expected = {"hrm": hrm, "trm": trm}[model] | (arc if task == "arc" else {"weight_decay": 1})
        if (model, task) == ("trm", "sudoku"):
            expected |= {"mixer": "mlp", "T_L": 6}
        assert s | expected == s


def test_bench_prints_a_line_for_each_variant(here, monkeypatch):
    monkeypatch.setattr(Timer, "blocked_autorange", lambda timer, **_: timer.timeit(1))
    sizes = "--hidden_size 8 --num_heads 2 --batch_size 2 --T_H 1 --T_L 1 --data few/sudoku"
    rows = re.findall(r"^(hrm|trm) (attention|mlp) +(\d) ", call(f"bench {sizes}"), re.M)
    assert " ".join(itertools.chain(*rows)) == (
        "hrm attention 4 hrm mlp 4 trm attention 1 trm attention 2 trm mlp 1 trm mlp 2 hrm mlp 1")


@every_kind
def test_operations_are_those_of_the_formula(kind):
    hrm, mixer, D, S = kind.startswith("hrm"), KINDS[kind][1], 32, 86
    s = train.RECIPES[kind[:3], "sudoku", "small"] | dict(model=kind[:3], mixer=mixer, T_H=3, T_L=4)
    s |= dict(hidden_size=D, num_heads=2, layers=2, prefix_len=5)
    named = evaluate.build(s, SUDOKU, "meta").named_parameters()
    weights = {name: part.numel() for name, part in named}
    # a multiply-add is 2; a weight is used at each position, those that mix them in each channel
    net = sum(2 * (D if ".mix." in name else S) * count for name, count in weights.items()
              if name.startswith(("H_net", "net")))
    net += 2 * 2 * 2 * S * S * D if mixer == "attention" else 0  # scores and their sums, two layers
    heads = 2 * (81 * weights["output_head.weight"] + weights["halt_head.weight"])
    forward, calls = 3 * (4 + 1) * net + heads, 2 if hrm else 4 + 1  # calls with gradient
    backward = 2 * (calls * net + heads)  # and HRM makes the forward twice: it looks ahead
    assert train.cost(s, SUDOKU) == (sum(weights.values()), (1 + hrm) * forward + backward)


@pytest.mark.parametrize("model, task", [
    ("trm", "sudoku"), ("trm", "maze"), ("hrm", "arc"), ("trm", "arc")])
def test_a_step_reads_nothing_back_and_compiles_without_a_graph_break(here, model, task):
    s, _, _ = train.parse(f"{TRAIN[task]} --model {model}".split()[1:])
    task = evaluate.load_task(s, "cpu")
    for device in ("cpu", "meta"):  # meta has no values: what makes a GPU wait for the CPU fails
        for part in (vars(task), *task.splits.values()):
            part.update({name: value.to(device) for name, value in part.items()
                         if isinstance(value, torch.Tensor)})
        net = evaluate.build(s, task, device)
        if device == "cpu" and task.num_puzzles:
            net.compile(backend="eager", fullgraph=True)  # fails where the graph breaks
        optimizer, table = torch.optim.SGD(net.parameters()), torch.zeros(100, 8, device=device)
        slots = train.fresh_slots(net, task.batch(4))
        for _ in range(2):
            new, wait = train.fresh_slots(net, task.batch(4)), train.exploration(4, 3, 0.1, device)
            train.train_step(net, optimizer, slots, new, 3, wait, table=table, puzzle_lr=0.1)


@pytest.mark.parametrize("kind, before, T_L", [
    ("hrm", "_orig_mod.model.inner.", 2), ("hrm", "model.inner.", 8),  # 8 with learned positions
    ("trm", "model.inner.", 6), ("trm-mlp", "inner.", 6)])
def test_public_checkpoints_compute_what_the_papers_say(here, kind, before, T_L):
    hrm, (model_class, mixer) = kind == "hrm", KINDS[kind]
    sizes = dict(hidden_size=16, num_heads=8, layers=2, mixer=mixer, prefix_len=1 if hrm else 16,
                 positions="learned" if T_L == 8 else "rotary")
    w = {name: torch.randn_like(tensor) / tensor.shape[-1] ** 0.5
         for name, tensor in model_class(11, 81, **sizes).state_dict().items()}
    names = [pair.split("=") for pair in (  # ours = the public codes'
        "embed_tokens=embed_tokens.embedding_weight embed_positions=embed_pos.embedding_weight "
        "output_head=lm_head halt_head=q_head z_H_init=H_init z_L_init=L_init blocks=layers "
        "H_net=H_level L_net=L_level net.=L_level. attention.qkv=self_attn.qkv_proj down=down_proj "
        "attention.output=self_attn.o_proj .mix.=.mlp_t. gate_up=gate_up_proj").split()]
    embedding, theirs = torch.randn(1, 16), {}
    for name, tensor in (w | {"puzzle_emb.weights": embedding}).items():
        if name.startswith("halt_head") and not hrm:
            tensor = torch.cat((tensor, tensor + 1))  # a second logit that nothing uses
        for ours, public in names:
            name = name.replace(ours, public)
        theirs[before + name] = tensor
    torch.save({"epoch": 1, "state_dict": theirs} if hrm else theirs, "public.pt")  # Lightning's
    checkpoint, few = evaluate.load_checkpoint("public.pt"), {"data": "few/sudoku"}
    task, net, table = evaluate.restore(checkpoint, "", checkpoint["settings"] | few, "cpu")
    inputs, w = task.splits["test"]["inputs"][:2].long(), {k: v.double() for k, v in w.items()}
    carry, *heads = net(net.initial_carry(2), inputs, table[[0, 0]])
    plain = [w[name].expand(2, net.length, 16) for name in ("z_H_init", "z_L_init")]
    plain = plain_step(w, plain, inputs, embedding.double(), 2 if hrm else 3, T_L, heads=8)
    assert close((*carry, *heads), plain)
    out = call("evaluate public.pt --data few/sudoku --test_puzzles 2")
    assert (" 16\n" in out) == (T_L < 8) and "public.pt" in call("train --resume public.pt", code=2)
    for rows, complaint in ((12, "Sudoku"), (6, "does not fit this model")):  # ARC's tokens, mazes'
        theirs[before + "embed_tokens.embedding_weight"] = torch.zeros(rows, 16)
        torch.save(theirs, "public.pt")
        assert complaint in call("evaluate public.pt", code=2)
    for name, complaint in (("inner.H_init", "a public code's weights without H_init"),
                            ("embedding_weight", "neither a checkpoint of train.py (it has no")):
        torch.save({k: v for k, v in theirs.items() if name not in k}, "public.pt")
        assert f"public.pt: {complaint}" in call("evaluate public.pt", code=2)


def test_the_readmes_library_example_runs():
    example = re.search(r"```python\n(.*?)```", (HERE / "README.md").read_text("utf-8"), re.S)[1]
    exec(example, names := {})
    assert names["answers"].shape == (4, 81) and names["sure"].shape == (4,)


# ---- the exercises: README.md's and RESULTS.md's patches -----------------------------------------

def patched(tmp_path, name):
    """The modules hrm, trm and train with one of the patches applied. Fails where a line that it
    takes out does not stand in the file, or more than once."""
    text = "".join((HERE / file).read_text("utf-8") for file in ("README.md", "RESULTS.md"))
    found = re.findall(rf"^# {name}: (\w+\.py).*\n((?:[-+].*\n)+)", text, re.M)
    files = {file: (HERE / file).read_text("utf-8") for file in ("hrm.py", "trm.py", "train.py")}
    for file, lines in found:
        for out, put in re.findall(r"((?:-.*\n)+)((?:\+.*\n)*)", lines):
            old, new = (re.sub("^.", "", part, flags=re.M) for part in (out, put))
            assert files[file].count(old) == 1, (name, file, old)
            files[file] = files[file].replace(old, new)
    assert found or name is None
    modules = {}
    for file, code in files.items():
        (tmp_path / file).write_text(code, "utf-8")
        spec = importlib.util.spec_from_file_location(f"patched_{file[:-3]}", tmp_path / file)
        modules[file[:-3]] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(modules[file[:-3]])
    return modules


@pytest.mark.parametrize("name, calls, steps, still", [
    # a refinement step of T_H 2, T_L 3: calls of TRM's net n, HRM's l and h, and in capitals where
    # the gradient comes back; how many a slot has had that always wants to halt; which states are
    # after the third step what they were after the second
    (None, "nnnnnnnnNNNN", 1, ""),
    ("two nets", "nnnhnnnhHNNN", 1, ""),
    ("1-step gradient", "nnnnnnnnNN", 1, ""),
    ("all recursions", "nnnnnnnnNNNNNNNN", 1, ""),
    ("two refinement steps", "nnnnnnnnnnnnnnnnNNNNNNNNNNNNNNNN", 2, ""),
    ("one state", "nnnnnnnnNNNN", 1, "z_L"),
    ("no carry", "nnnnnnnnNNNN", 1, "z_H z_L"),
    ("no halting", "nnnnnnnnNNNN", 2, ""),
    ("one logit", "lllhlllhHL", 1, "")])
def test_the_exercises_patches_change_what_they_say(tmp_path, name, calls, steps, still):
    modules = patched(tmp_path, name)
    torch.manual_seed(0)
    model_class = modules["hrm"].HRM if "l" in calls else modules["trm"].TRM
    model, made = model_class(7, 5, hidden_size=8, num_heads=2, layers=1, T_H=2, T_L=3), []
    for part, net in model.named_children():
        if part in ("net", "L_net", "H_net"):
            letter = part[0].lower()
            net.register_forward_hook(lambda *_, letter=letter: made.append(letter))
            net.register_full_backward_hook(lambda *_, letter=letter: made.append(letter.upper()))
    optimizer, N_sup = torch.optim.SGD(model.parameters(), lr=0.0), 9
    slots = train.fresh_slots(model, puzzles(2, 0))
    for wish, count in ((50, 2), (-50, 3)):  # to halt, to go on
        model.halt_head.bias.data = torch.tensor([wish, -wish])[: len(model.halt_head.bias)].float()
        for _ in range(count):
            before, made[:] = dict(slots), []
            fresh = train.fresh_slots(model, puzzles(2, 0))
            slots, _, _ = modules["train"].train_step(model, optimizer, slots, fresh, N_sup)
        if wish > 0:
            assert (slots["steps"] == steps).all()
    assert "".join(made) == calls
    assert {z for z in ("z_H", "z_L") if same(slots[z], before[z])} == set(still.split())
    carry, _, _ = model((slots["z_H"], slots["z_L"]), slots["inputs"])  # whose gradient goes on?
    assert carry[0].requires_grad == carry[1].requires_grad == (name == "two refinement steps")
    assert not slots["z_H"].requires_grad and not slots["z_L"].requires_grad
