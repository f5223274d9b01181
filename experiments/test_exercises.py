"""The exercises: their checks accept this project's own code, and refuse what is nearly right."""
import pytest
import torch

import train
from experiments import exercises


def check_all(monkeypatch, **written):
    for name, function in written.items():
        monkeypatch.setattr(exercises, name, function)
    for T_L in 1, 3:
        exercises.test_latent_recursion(T_L)
    (parametrize,) = exercises.test_hrm_step.pytestmark
    assert parametrize.args[1] == [(1, 1), (2, 3), (3, 2)]
    for T_H, T_L in parametrize.args[1]:
        exercises.test_hrm_step(T_H, T_L)
    exercises.test_refill()
    exercises.test_stablemax_loss()


def latent_recursion(net, z_H, z_L, x, T_L):
    for _ in range(T_L):
        z_L = net(z_L, z_H + x)
    return net(z_H, z_L), z_L


def hrm_step(L_net, H_net, z_H, z_L, x, T_H, T_L):
    with torch.no_grad():
        for i in range(1, T_H * T_L):
            z_L = L_net(z_L, z_H + x)
            if i % T_L == 0:
                z_H = H_net(z_H, z_L)
    z_L = L_net(z_L, z_H + x)
    return H_net(z_H, z_L), z_L


RIGHT = dict(latent_recursion=latent_recursion, hrm_step=hrm_step, refill=train.refill,
             stablemax_loss=train.answer_loss)


def with_x(net, z_H, z_L, x, T_L):
    z_H, z_L = latent_recursion(net, z_H, z_L, x, T_L)
    return net(z_H, z_L + x), z_L


def whole_gradient(L_net, H_net, z_H, z_L, x, T_H, T_L):
    for _ in range(T_H):
        for _ in range(T_L):
            z_L = L_net(z_L, z_H + x)
        z_H = H_net(z_H, z_L)
    return z_H, z_L


def without_gradient(net, z_H, z_L, x, T_L):
    with torch.no_grad():
        return latent_recursion(net, z_H, z_L, x, T_L)


def detached_answer(net, z_H, z_L, x, T_L):
    return latent_recursion(net, z_H.detach(), z_L, x, T_L)


def in_float64(logits, labels):
    return train.answer_loss(logits, labels).double()


def obvious_loss(logits, labels):  # its gradient is not a number where a logit is 1
    numbers = torch.where(logits >= 0, logits + 1, 1 / (1 - logits))
    chances = numbers / numbers.sum(-1, keepdim=True)
    cells = -chances.gather(-1, labels[..., None])[..., 0].log() * (labels > 0)
    return cells.sum(1) / (labels > 0).sum(1).clamp(min=1)


def in_place(slots, fresh):
    for name, new in fresh.items():
        if name != "halted":
            slots[name][slots["halted"]] = new[slots["halted"]]
    return {**slots, "halted": slots["halted"] & fresh["halted"]}


def softmax_loss(logits, labels):
    cells = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=0,
                                              reduction="none")
    return cells.sum(1) / (labels > 0).sum(1).clamp(min=1)


def test_right_answers_pass(monkeypatch):
    check_all(monkeypatch, **RIGHT)
    check_all(monkeypatch, **RIGHT | dict(stablemax_loss=in_float64))


@pytest.mark.parametrize("wrong", [
    dict(latent_recursion=with_x), dict(hrm_step=whole_gradient), dict(stablemax_loss=softmax_loss),
    dict(stablemax_loss=obvious_loss), dict(refill=in_place),
    dict(latent_recursion=without_gradient), dict(latent_recursion=detached_answer),
    dict(refill=lambda slots, fresh: train.refill({**slots, "halted": ~slots["halted"]}, fresh))])
def test_wrong_answers_fail(monkeypatch, wrong):
    with pytest.raises(AssertionError, match="differs from ours"):
        check_all(monkeypatch, **RIGHT | wrong)


def test_what_is_not_written_is_skipped(monkeypatch):
    def refill(slots, fresh):
        raise NotImplementedError

    monkeypatch.setattr(exercises, "refill", refill)
    with pytest.raises(pytest.skip.Exception, match="refill is not written yet"):
        exercises.test_refill()
