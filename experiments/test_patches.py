"""Tests of the patches, and of what README.md here and above show: `pytest experiments`."""
import csv
import importlib
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from unittest import mock
from xml.etree import ElementTree

import pytest
import torch
from torch.testing import assert_close

import evaluate
import recipes
import train
import trm
from experiments import plot

HERE = Path(__file__).parent
CODE = [path for path in HERE.parent.glob("*.py") if not path.name.startswith("test_")]
PATCHES = sorted(path.stem for path in HERE.glob("*.patch"))


def git(folder, *arguments):
    """Run git in a folder. Its complaint is the test's."""
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def copy_code(folder):
    """A copy of the code, in a repository of its own: git applies no patch outside of its own."""
    for path in CODE:
        shutil.copy(path, folder)
    git(folder, "init", "--quiet")


def patched(folder, name):
    """The modules hrm, trm and train after `git apply`, {name: module}. They are imported from the
    folder. sys.modules is left as it was, so that other tests see the modules without a patch."""
    copy_code(folder)
    if name:
        git(folder, "apply", HERE / f"{name}.patch")
    path = [str(folder), *sys.path]
    with mock.patch.dict(sys.modules), mock.patch.object(sys, "path", path):
        for file in CODE:
            sys.modules.pop(file.stem, None)
        return {part: importlib.import_module(part) for part in ("hrm", "trm", "train")}


def small(model_class):
    torch.manual_seed(0)
    return model_class(7, 5, hidden_size=8, num_heads=2, layers=1, T_H=2, T_L=3)


def two_puzzles():
    random = torch.Generator().manual_seed(0)
    return {name: torch.randint(1, 7, (2, 5), generator=random) for name in ("inputs", "labels")}


def note_calls(model):
    """A list that notes each call of a net by its first letter, and in capitals where the gradient
    comes back."""
    made = []
    for part, net in model.named_children():
        if part in ("net", "L_net", "H_net"):
            letter = part[0].lower()
            net.register_forward_hook(lambda *_, letter=letter: made.append(letter))
            net.register_full_backward_hook(lambda *_, letter=letter: made.append(letter.upper()))
    return made


def wish(model, to_halt):
    """From now on the model wants to halt in every step, or in none, whatever it sees."""
    bias = model.halt_head.bias
    bias.data = (50.0 if to_halt else -50.0) * torch.tensor([1.0, -1.0])[: len(bias)]


def steps_of_training(modules, model, slots, count, N_sup, made):
    """Refill the slots and make a training step, `count` times, without learning. Returns the slots
    before and after the last one, of which `made` then holds the calls."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    for _ in range(count):
        fresh = modules["train"].fresh_slots(model, two_puzzles())
        before, made[:] = modules["train"].refill(slots, fresh), []
        slots, _, _ = modules["train"].train_step(model, optimizer, before, N_sup)
    return before, slots


@pytest.mark.parametrize("name", PATCHES)
def test_a_patch_applies_and_is_taken_back_without_a_trace(tmp_path, name):
    copy_code(tmp_path)
    git(tmp_path, "apply", HERE / f"{name}.patch")
    assert any((tmp_path / path.name).read_bytes() != path.read_bytes() for path in CODE)
    git(tmp_path, "apply", "-R", HERE / f"{name}.patch")
    assert all((tmp_path / path.name).read_bytes() == path.read_bytes() for path in CODE)


@pytest.mark.parametrize("name", PATCHES)
def test_a_patch_says_what_it_asks_and_a_command_that_can_be_run(name):
    comment = (HERE / f"{name}.patch").read_text("utf-8").split("diff --git")[0]
    assert all(line.startswith("# ") for line in comment.splitlines())
    assert "The question: " in comment
    flags = re.search("^#   python train.py (.*)$", comment, re.M)[1].split()
    assert flags[-2:] == ["--out", f"runs/{name}"]
    recipes.parse([*flags, "--out", os.devnull])  # raises BadInput where a flag is wrong


# A refinement step of T_H 2, T_L 3. calls: of TRM's net n, of HRM's l and h, and in capitals where
# the gradient comes back. steps: how many a slot has had after two training steps, if it always
# wants to halt. still: the states that the third training step leaves as they are.
FACTS = [(None, "nnnnnnnnNNNN", 1, ""),
         (None, "lllhlllhlllhlllhHL", 1, ""),
         ("two-nets", "nnnhnnnhHNNN", 1, ""),
         ("one-state", "nnnnnnnnNNNN", 1, "z_L"),
         ("all-recursions", "nnnnnnnnNNNNNNNN", 1, ""),
         ("two-refinement-steps", "nnnnnnnnnnnnnnnnNNNNNNNNNNNNNNNN", 2, ""),
         ("one-step-gradient", "nnnnnnnnNN", 1, ""),
         ("no-carry", "nnnnnnnnNNNN", 1, "z_H z_L"),
         ("no-halting", "nnnnnnnnNNNN", 2, ""),
         ("one-logit", "lllhlllhHL", 1, ""),
         ("whole-gradient", "lllhlllhlllhlllhHLLLHLLL", 1, ""),
         ("unit-heads", "nnnnnnnnNNNN", 1, "")]


def test_each_patch_has_its_facts_below():
    assert sorted(name for name, *_ in FACTS if name) == PATCHES


@pytest.mark.parametrize("name, calls, steps, still", FACTS)
def test_a_patch_changes_the_calls_the_gradient_the_halting_or_the_carry(
        tmp_path, name, calls, steps, still):
    modules = patched(tmp_path, name)
    model = small(modules["hrm"].HRM if "l" in calls else modules["trm"].TRM)
    made, slots = note_calls(model), modules["train"].fresh_slots(model, two_puzzles())
    wish(model, to_halt=True)
    _, slots = steps_of_training(modules, model, slots, 2, 2, made)
    assert (slots["steps"] == steps).all() and slots["halted"].all()
    wish(model, to_halt=False)
    before, after = steps_of_training(modules, model, slots, 3, 9, made)
    assert "".join(made) == calls and not after["halted"].any()
    assert {z for z in ("z_H", "z_L") if torch.equal(before[z], after[z])} == set(still.split())
    carry, _, _ = model((after["z_H"], after["z_L"]), after["inputs"])  # whose gradient goes on?
    assert carry[0].requires_grad == carry[1].requires_grad == (name == "two-refinement-steps")
    assert not after["z_H"].requires_grad and not after["z_L"].requires_grad


@pytest.mark.parametrize("model", ["hrm", "trm"])
def test_with_unit_heads_a_head_sees_the_row_the_column_or_the_box(tmp_path, model):
    attention = patched(tmp_path, "unit-heads")[model].Attention(16, 4, False, 81)
    attention.output.weight.data = torch.eye(16)  # so each head makes four channels of its own
    h = torch.randn(1, 81, 16)
    other = h.clone()
    other[0, 40] += 1  # the cell in the middle
    moved = (attention(h) != attention(other)).view(81, 4, 4).any(2)  # (cells, heads)
    row, column = torch.arange(81) // 9, torch.arange(81) % 9
    box = (row // 3 == 1) & (column // 3 == 1)
    for head, seen in enumerate((row == 4, column == 4, box, row >= 0)):
        assert moved[:, head].equal(seen)


def test_two_refinement_steps_have_the_mean_of_both_answers_losses(tmp_path):
    modules = patched(tmp_path, "two-refinement-steps")
    model, puzzles = small(modules["trm"].TRM), two_puzzles()
    slots = modules["train"].fresh_slots(model, puzzles)
    logits = [logits for logits, _ in evaluate.refine(model, puzzles, 2)]
    answers = [train.answer_loss(part, puzzles["labels"]).mean() for part in logits]
    wish(model, to_halt=False)  # so that its halting loss is 0 where the answer is wrong
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    _, loss, right = modules["train"].train_step(model, optimizer, slots, 9)
    assert not right.any() and not torch.equal(*answers)
    assert_close(loss, sum(answers) / 2)


@pytest.mark.parametrize("name, halts", [(None, [False, True]), ("one-logit", [True, False])])
def test_one_logit_is_the_first_alone(tmp_path, name, halts):
    model = small(patched(tmp_path, name)["hrm"].HRM)
    assert model.halts(torch.tensor([[1.0, 2.0], [-1.0, -2.0]])).tolist() == halts


def test_one_state_is_given_the_puzzle_in_every_call(tmp_path):
    model, inputs = small(patched(tmp_path, "one-state")["trm"].TRM), two_puzzles()["inputs"]
    injections = []
    model.net.register_forward_hook(lambda net, given, found: injections.append(given[1]))
    model(model.initial_carry(2), inputs)
    x = model.embedding(inputs)
    assert len(injections) == 8 and all(torch.equal(part, x) for part in injections)


def python_in(path):
    """The blocks of Python on a page."""
    return re.findall("```python\n(.*?)```", path.read_text("utf-8"), re.S)


def test_the_loop_that_readme_shows_trains():
    loop = next(code for code in python_in(HERE.parent / "README.md") if "range(N_sup)" in code)
    torch.manual_seed(0)
    model = trm.TRM(7, 5, hidden_size=8, num_heads=2)
    before = [part.clone() for part in model.parameters()]
    puzzles = two_puzzles()
    exec(loop, dict(model=model, batch_size=2, N_sup=3, answer_loss=train.answer_loss,
                    puzzles=puzzles["inputs"], solutions=puzzles["labels"],
                    optimizer=torch.optim.SGD(model.parameters(), 0.1)))
    assert not torch.equal(before[0], next(model.parameters()))


def test_the_experiments_without_training_run_as_they_are_shown(monkeypatch, capsys):
    monkeypatch.chdir(HERE.parent)
    frame, *lines = python_in(HERE / "README.md")
    frame = frame.replace("[:200]", "[:2]").replace("N_sup=16", "N_sup=2")
    frame = frame.replace("(1, 2, 4, 8, 16)", "(1, 2)")
    assert len(lines) == 2
    for part in ("", *lines, "model.z_H_init.zero_(); model.z_L_init.zero_()\n"):
        exec(frame.replace("# the lines of the experiment\n", textwrap.dedent(part)), {})
    assert capsys.readouterr().out.count("[") == 4  # a list for each


def test_movement_is_how_far_a_state_goes_in_each_cell_and_where_the_answer_is_wrong():
    model, puzzles = small(trm.TRM), two_puzzles()
    moved, wrong = plot.movement(model, puzzles, 3)
    assert moved.shape == wrong.shape == (3, *puzzles["inputs"].shape)
    carry, before = model.initial_carry(2), None
    for step in range(3):
        before = carry[0]
        carry, logits, _ = model(carry, puzzles["inputs"])
        change = (carry[0] - before).square().sum(-1).sqrt() / before.square().sum(-1).sqrt()
        assert_close(moved[step], change[:, model.prefix_len :])
        assert torch.equal(wrong[step], logits.argmax(-1) != puzzles["labels"])


def test_the_heat_picture_has_seven_boards_and_marks_wrong_cells():
    model = trm.TRM(11, 81, hidden_size=8, num_heads=2, T_H=1, T_L=1)
    puzzle = {"inputs": torch.ones(1, 81), "labels": torch.full((1, 81), 12)}  # never right
    drawn = plot.heat_picture(model, puzzle), (HERE / "heat.svg").read_text()
    wrong = []
    for picture in drawn:
        cells = ElementTree.fromstring(picture).findall("{*}rect")[1:]  # the first is the paper
        wrong.append([cell.get("stroke") == plot.WRONG for cell in cells])
    assert wrong[0] == [True] * 7 * 81
    assert len(wrong[1]) == 7 * 81 and any(wrong[1][:81]) and not any(wrong[1][-81:])


def test_the_pictures_show_what_results_csv_has(tmp_path, monkeypatch):
    with open(HERE / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert (HERE / "claims.svg").read_text() == plot.claims_picture(rows)
    assert (HERE / "calls.svg").read_text() == plot.calls_picture()
    monkeypatch.chdir(tmp_path)  # where no run is yet
    for row in rows:  # each command is one that train.py or evaluate.py understands
        program, *flags = row["command"].split()[1:]
        parse = {"train.py": recipes.parse, "evaluate.py": recipes.parse_evaluation}[program]
        parse(flags)
        assert row["patch"] in ("", *PATCHES)
