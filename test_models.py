"""Tests of the models, the N_sup loop and the loop at test time: `pytest`. What a test expects is
written plainly. The command lines are tested in test_commands.py, the puzzles in puzzles/."""
import itertools
import math
import os
import re
from pathlib import Path

import pytest

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the tests, and programs that they start, use no GPU

import torch
import torch.nn.functional as F
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

import evaluate
import train
from arc import PuzzleEmbeddings
from hrm import HRM
from trm import TRM, Block, truncated_normal

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


def test_a_halted_puzzle_leaves_its_slot_and_the_others_go_on():
    model = small("trm", prefix_len=1)
    ids, min_steps = torch.tensor([0, 3, 4]), torch.tensor([0, 0, 2])
    embeddings = PuzzleEmbeddings(9, 8, 0.0, "cpu")
    embeddings.table.normal_()
    model.halts = lambda halt_logits: torch.tensor([False, True, True])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    slots = train.fresh_slots(model, {**puzzles(3, 0), "ids": ids})
    for n in range(1, 5):
        fresh = train.fresh_slots(model, {**puzzles(3, n), "ids": ids + n})
        came = {name: torch.stack([(fresh if slots["halted"][i] else slots)[name][i]
                                   for i in range(3)]) for name in fresh}
        refilled = train.refill(slots, fresh)
        assert same(refilled, came)
        slots, _, _ = train.train_step(model, optimizer, refilled, 3, min_steps, embeddings)
        assert all(same(slots[name], came[name]) for name in ("inputs", "labels", "ids"))
        rows = embeddings.table[came["ids"]]
        carry, _, _ = model((came["z_H"], came["z_L"]), came["inputs"], rows)
        assert same([slots["z_H"], slots["z_L"], slots["steps"]], [*carry, came["steps"] + 1])
        # at the N_sup-th step, whatever the model says; when it says so; when it also may
        assert slots["halted"].tolist() == [n == 3, True, n % 2 == 0]


def test_trms_halting_asks_whether_the_answer_is_right():
    q, right = torch.tensor([[2.0], [-1.0], [0.0], [0.5]]), torch.tensor([1, 0, 1, 0])
    model = small("trm")
    assert model.halts(q).tolist() == [True, False, False, True] and not model.looks_ahead
    loss = model.halting_loss(q, right > 0)  # binary cross-entropy, halved
    assert_close(loss, 0.5 * ((1 + q[:, 0].exp()).log() - right * q[:, 0]))


def test_some_halts_wait_for_a_step_drawn_at_random():
    drawn = train.exploration(9000, 4, 0.3, "cpu").bincount() / 9000  # for a step from 2 to 4
    assert_close(drawn, torch.tensor([0.7, 0, 0.1, 0.1, 0.1]), atol=0.02, rtol=0)


def test_hrms_halting_learns_from_one_step_ahead():
    model = small("hrm")
    q, ahead = torch.randn(20, 2), torch.randn(20, 2)
    right, last = torch.arange(20) % 2, torch.arange(20) > 9
    assert model.halts(q).equal(q[:, 0] > q[:, 1]) and model.looks_ahead
    target = torch.where(last, ahead[:, 0], torch.maximum(ahead[:, 0], ahead[:, 1])).sigmoid()
    halting, going_on = 0.5 * ((1 + q.exp()).log() - torch.stack((right, target), 1) * q).T
    assert_close(model.halting_loss(q, right > 0), halting)
    assert_close(model.going_on_loss(q, ahead, last), going_on)


@pytest.mark.parametrize("kind, calls", [("hrm", 2), ("trm", 1)])
def test_only_hrm_pays_for_a_second_forward_without_gradient(kind, calls):
    model, made = small(kind), []
    model.register_forward_hook(lambda *_: made.append(torch.is_grad_enabled()))
    slots = train.fresh_slots(model, puzzles(2, 0))
    train.train_step(model, torch.optim.SGD(model.parameters()), slots, 4)
    assert made == [True, False][:calls]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@every_kind
def test_a_model_in_any_number_type_answers_and_learns(kind, dtype):
    model = small(kind).to(dtype)
    for carry_dtype in (torch.float32, dtype):
        carry, inputs = model.initial_carry(2, carry_dtype), torch.ones(2, 5, dtype=torch.long)
        carry, logits, halt_logits = model(carry, inputs)
        assert carry[0].dtype == logits.dtype == carry_dtype
        (logits.float().sum() + halt_logits.float().sum()).backward()


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
    embeddings = PuzzleEmbeddings(5, 3, weight_decay=0.5, device="cpu")
    ids = torch.tensor([4, 1, 4])
    table = embeddings.table.normal_().clone()
    gradient = torch.tensor([[1.0, 1.0, -3.0], [2.0, 0.0, 1.0], [-2.0, 1.0, 1.0]])
    sign = torch.tensor([[1.0, 0.0, 1.0], [-1.0, 1.0, -1.0]])  # of row 4: those of -1, 2 and -2
    expected = table.index_copy(0, torch.tensor([1, 4]), table[[1, 4]] * 0.95 - 0.1 * sign)
    assert embeddings.rows(ids).equal(table[ids]) and embeddings.rows(ids).requires_grad
    embeddings.step(ids, gradient, lr=0.1)
    assert_close(embeddings.table, expected)


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
        assert text[: text.index("def forward")].count("\n") < 45  # the recursion comes first


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
        slots, _, _ = train.train_step(model, optimizer, train.refill(slots or fresh, fresh), 4)
    unseen = questions(grids[200:], 100)
    *_, (logits, halt_logits) = evaluate.refine(model, unseen, 8)
    right, sure = (logits.argmax(-1) == unseen["labels"]).all(1).float(), model.halts(halt_logits)
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
    embeddings, c, b = PuzzleEmbeddings(4, 32, 0.1, "cpu"), torch.arange(16), torch.arange(4)
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

    (z_H, z_L), tokens, learned = carry, w["embedding.tokens"][inputs], "embedding.positions" in w
    prefix = torch.zeros(len(inputs), z_H.shape[1] - tokens.shape[1], tokens.shape[2]).double()
    prefix[:, :1] = embedding[:, None]
    x = math.sqrt(tokens.shape[-1]) * torch.cat((prefix, tokens), 1)
    x = (x + math.sqrt(tokens.shape[-1]) * w["embedding.positions"]) / 2**0.5 if learned else x
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
    assert ("embedding.positions" in w) == (positions == "learned" and not kind.endswith("mlp"))
    carry, embedding = model.initial_carry(3), torch.randn(3, 8)
    plain = [w[name].expand(3, prefix + 5, 8) for name in ("z_H_init", "z_L_init")]
    for _ in range(2):  # the second step starts from the first one's carry
        carry, *heads = model(carry, inputs, embedding if prefix else None)
        *plain, logits, halt_logits = plain_step(w, plain, inputs, embedding.double())
        assert close((*carry, *heads), (*plain, logits, halt_logits))
    assert model(model.initial_carry(3, torch.bfloat16), inputs)[1].dtype == torch.bfloat16


class Calls(TorchDispatchMode):
    """Inside, the names of torch's operations that are called."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.names.append(operation.overloadpacket.__name__)
        return operation(*args, **(kwargs or {}))


@torch.no_grad()
def test_the_mlp_mixer_makes_no_batched_matmul_in_bfloat16():
    block, h = Block(16, 2, 4, "mlp", "rotary", length=5), torch.randn(3, 5, 16).bfloat16()
    with Calls() as calls:
        block(h)
    assert calls.names.count("mm") == 4 and "bmm" not in calls.names


# ---- evaluation ----------------------------------------------------------------------------------

class Scripted:
    """In place of a model and its task. right and sure, (puzzles, views, N_sup): whether the answer
    after a step is 2 everywhere, which is right, or 3; and the halting logit. The first token of a
    puzzle says which it is, the second which view."""

    votes = False

    def __init__(self, right, sure):
        self.script = torch.tensor(right), torch.tensor(sure).float()
        inputs = torch.arange(len(right))[:, None].repeat(1, 4)
        self.puzzles = {"inputs": inputs, "labels": torch.full_like(inputs, 2)}
        self.seen = []  # (puzzle, view) of every step made

    def view(self, puzzles, k):
        inputs = puzzles["inputs"].clone()
        inputs[:, 1] = k
        return {**puzzles, "inputs": inputs}, lambda answers: answers

    def initial_carry(self, batch_size, dtype):
        return torch.zeros(batch_size, 1, 1), torch.zeros(batch_size, 1, 1)

    def __call__(self, carry, inputs, puzzle_embedding):
        i, k, step = inputs[:, 0], inputs[:, 1], carry[0].flatten().long()
        self.seen += zip(i.tolist(), k.tolist())
        right, sure = (part[i, k, step] for part in self.script)
        logits = F.one_hot((3 - right)[:, None].expand(inputs.shape), 11)
        return (carry[0] + 1, carry[1]), logits, sure[:, None]

    def halts(self, halt_logits):
        return halt_logits[:, 0] > 0


RIGHT = [[[0, 1, 0], [0, 0, 0]], [[1, 0, 0], [0, 0, 1]], [[0, 0, 0], [0, 1, 1]]]
SURE = [[[1, 9, 2], [3, 2, 4]], [[2, 1, 1], [1, 3, 4]], [[0, 0, 0], [1, 2, 3]]]


def test_the_surest_answer_of_all_views_and_steps_counts():
    model = Scripted(RIGHT, SURE)
    found = evaluate.solve(model, model, model.puzzles, 3, views=2)
    assert found["first"].tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert found["any"].tolist() == [[0, 1, 1], [1, 1, 1], [0, 1, 1]]  # so far
    # puzzle 0: view 1 is surer at step 1, view 0 from step 2 on. Puzzle 1: view 0, then view 1
    assert found["surest"].tolist() == [[0, 1, 1], [1, 0, 1], [0, 1, 1]]
    assert found["answers"].tolist() == [[2] * 4] * 3
    assert_close(found["sure"], torch.tensor([9.0, 4.0, 3.0]).sigmoid())
    assert found["views"].tolist() == [2, 2, 2]


def test_of_one_view_alone_the_last_answer_counts():
    model = Scripted(RIGHT, SURE)
    found = evaluate.solve(model, model, model.puzzles, 3)
    assert found["answers"].tolist() == [[3] * 4] * 3  # all are wrong after the third step
    assert_close(found["sure"], torch.tensor([2.0, 1.0, 0.0]).sigmoid())
    assert found["halt"].tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, 0]]


def test_a_puzzle_with_a_sure_answer_gets_no_further_view():
    model = Scripted(RIGHT, SURE)
    found = evaluate.solve(model, model, model.puzzles, 3, views=2, halt=0.99)  # a logit of 4.6
    assert found["views"].tolist() == [1, 2, 2]
    assert {i for i, k in model.seen if k == 1} == {1, 2}
    assert found["surest"].tolist() == [[0, 1, 1], [1, 0, 1], [0, 1, 1]]


def test_refine_is_the_talks_loop():
    model, batch = small("trm"), puzzles(3, 0)
    carry = model.initial_carry(3)
    for logits, halt_logits in evaluate.refine(model, batch, 4):
        carry, *expected = model(carry, batch["inputs"])
        assert same([logits, halt_logits], expected) and not logits.requires_grad


def test_exact_accuracy_is_the_share_of_puzzles_with_every_supervised_cell_right():
    answers = torch.tensor([[1, 2, 3], [1, 2, 4], [5, 2, 4], [1, 1, 1]])
    labels = torch.tensor([[1, 2, 3], [1, 2, 3], [5, 2, 0], [0, 0, 0]])  # 0 is not supervised
    assert evaluate.all_right(answers, labels).tolist() == [True, False, True, True]
    right = [[[0, 1, 1]], [[1, 0, 1]], [[0, 0, 0]], [[0, 0, 1]]]
    model = Scripted(right, [[[0] * 3]] * 4)
    model.puzzles["inputs"][:, 1] = 0
    for size in (1, 3, 500):
        exact = evaluate.exact_accuracy(model, model.puzzles, 3, batch_size=size)
        assert exact == [0.25, 0.25, 0.75]
