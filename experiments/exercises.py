"""Four exercises: write the pieces that make the two papers. Then

    pytest -rpfs --tb=line experiments/exercises.py

says which of them compute what this project's own code does, and what differs. Put your code in
place of the `raise` lines. The solutions are in trm.py, hrm.py and train.py: read them afterwards.
[H] is HRM's paper, arXiv 2506.21734, [J] is TRM's, arXiv 2510.04871.
"""
import pytest
import torch
from torch.testing import assert_close

import train
from hrm import HRM
from trm import TRM


def latent_recursion(net, z_H, z_L, x, T_L):
    """TRM thinks T_L times, and then answers ([J] section 4.1).

    net(state, injection) -> the new state; it begins with their sum. To think, the net renews the
    thoughts z_L, and the sum of the answer and the puzzle, z_H + x, is injected. To answer, it
    renews the answer z_H, and the thoughts alone are injected. All are (B, P, D): puzzles,
    positions, channels. Returns z_H, z_L, with the whole gradient.
    """
    raise NotImplementedError


def hrm_step(L_net, H_net, z_H, z_L, x, T_H, T_L):
    """One refinement step of HRM ([H] section 2; talk: two frequencies).

    L_net(z_L, z_H + x) thinks, T_H * T_L times in all. After every T_L of these H_net(z_H, z_L)
    answers once. All are (B, P, D). Returns z_H, z_L. The last call of each net passes the gradient
    on to all that it is given, and no call before has any: the 1-step gradient.
    """
    raise NotImplementedError


def refill(slots, fresh):
    """Where a puzzle has halted, a fresh one takes its slot ([H] section 2, "deep supervision").

    slots and fresh are dicts of tensors with the same names; the first axis is the slot, (B, ...).
    slots["halted"], (B,) bool, says whose puzzle has halted. Returns a new dict, in which such a
    row is fresh's in every tensor, and the others are as they were. Changes no tensor.
    """
    raise NotImplementedError


def stablemax_loss(logits, labels):
    """Cross-entropy, with stablemax in place of softmax (both papers): where softmax has exp(x) it
    has x + 1 for x >= 0, and 1 / (1 - x) below. logits: (B, S, V). labels: (B, S); 0 is no loss.
    Returns (B,), the mean over a puzzle's cells with a label, or 0. Its gradient is right for each
    logit: also at 1, and at 0, where the slope is 1 on both sides. (torch.where multiplies the
    gradient of the branch that it does not take by 0. If that gradient is infinite, the product is
    not a number. And the gradient of clamp, where it begins to cut, is 1 before torch 2.14, and 0
    since.)
    """
    raise NotImplementedError


def of_yours(function, *arguments):
    try:
        found = function(*arguments)
    except NotImplementedError:
        pytest.skip(f"{function.__name__} is not written yet")
    assert found is not None, f"{function.__name__} returns nothing"
    return found


def agree(what, yours, ours):
    for one, other in zip(yours, ours, strict=True):
        assert_close(one.to(other.dtype), other, rtol=1e-3, atol=1e-4,
                     msg=lambda difference: f"{what}: yours differs from ours. {difference}")


def small(kind, T_H, T_L):
    torch.manual_seed(0)
    model = kind(6, 16, hidden_size=16, num_heads=2, T_H=T_H, T_L=T_L, mixer="mlp")
    carry = [(part + torch.randn_like(part)).requires_grad_() for part in model.initial_carry(3)]
    return model, carry, torch.randint(6, (3, 16))


def agree_on_a_step(model, carry, inputs, yours):
    ours, logits, _ = model(carry, inputs)
    agree("z_H and z_L", yours, ours)
    parts = [*model.parameters(), *carry]
    both = model.output_head(yours[0]), logits
    agree("the gradients", *(torch.autograd.grad(each.square().sum(), parts, materialize_grads=True)
                             for each in both))


@pytest.mark.parametrize("T_L", [1, 3])
def test_latent_recursion(T_L):
    model, (z_H, z_L), inputs = small(TRM, 1, T_L)
    x = model.embedding(inputs)
    yours = of_yours(latent_recursion, model.net, z_H, z_L, x, T_L)
    agree_on_a_step(model, (z_H, z_L), inputs, yours)


@pytest.mark.parametrize("T_H, T_L", [(1, 1), (2, 3), (3, 2)])
def test_hrm_step(T_H, T_L):
    model, (z_H, z_L), inputs = small(HRM, T_H, T_L)
    x = model.embedding(inputs)
    yours = of_yours(hrm_step, model.L_net, model.H_net, z_H, z_L, x, T_H, T_L)
    agree_on_a_step(model, (z_H, z_L), inputs, yours)


def test_refill():
    torch.manual_seed(0)
    slots, fresh = ({"inputs": torch.randint(9, (6, 4)), "z_H": torch.randn(6, 4, 2),
                     "halted": torch.randint(2, (6,)) > 0} for _ in range(2))
    before = [part.clone() for part in (*slots.values(), *fresh.values())]
    ours, yours = train.refill(slots, fresh), of_yours(refill, slots, fresh)
    for name in fresh:
        agree(name, [yours[name]], [ours[name]])
    agree("what was given to refill", [*slots.values(), *fresh.values()], before)


def test_stablemax_loss():
    torch.manual_seed(0)
    logits = (10 * torch.randn(4, 5, 7)).requires_grad_()
    labels = torch.randint(1, 7, (4, 5))
    labels[0, 2:], labels[3], logits.data[1, 0, :2] = 0, 0, torch.tensor([0.0, 1.0])
    yours, ours = of_yours(stablemax_loss, logits, labels), train.answer_loss(logits, labels)
    agree("the loss", [yours], [ours])
    agree("its gradient", *(torch.autograd.grad(loss.sum(), [logits]) for loss in (yours, ours)))
