"""Tests of the patches, the pictures, the costs, and of what README.md here and above show."""
import csv
import json
import math
import re
import runpy
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

import cli
import data
import evaluate
import recipes
import train
import trm
from experiments import bench, plot, run

HERE = Path(__file__).parent
PATCHES = sorted(path.stem for path in HERE.glob("*.patch"))
TASKS = "sudoku", "maze", "arc"
FILES = "hrm", "trm", "train", "evaluate"
ROWS = list(csv.DictReader((HERE / "results.csv").read_text("utf-8").splitlines()))
PYTHON = re.compile("```python\n(.*?)```", re.S)  # a block of it on a page
CELLS = torch.arange(2 * 81).view(2, 81)
PUZZLES = {"inputs": 1 + CELLS % 6, "labels": 1 + CELLS % 5}  # any tokens will do


def patched(folder, name):
    """What the FILES define under a patch, which is then taken back: a dict for each."""
    patch, options = HERE / f"{name}.patch", dict(cwd=folder, check=True)
    own = [HERE.parent / f"{file}.py" for file in FILES]
    copies = [Path(shutil.copy(path, folder)) for path in own]
    subprocess.run(["git", "init", "--quiet"], **options)  # inside another it may apply nothing
    subprocess.run(["git", "apply", patch], **options)
    code = {path.stem: runpy.run_path(path) for path in copies}
    subprocess.run(["git", "apply", "-R", patch], **options)
    assert [path.read_bytes() for path in copies] == [path.read_bytes() for path in own]
    return code


def count_weights(module):
    return sum(part.numel() for part in module.parameters())


def small(model_class, **more):
    torch.manual_seed(0)
    return model_class(11, 81, hidden_size=8, num_heads=2, layers=1, T_H=2, T_L=3, **more)


@pytest.mark.parametrize("name", PATCHES)
def test_a_patch_says_what_it_asks_and_a_command_that_can_be_run(name):
    comment = (HERE / f"{name}.patch").read_text("utf-8").split("diff --git")[0]
    assert "\n# The question: " in comment and "\n# Expected: " in comment
    flags = re.search("^#   python train.py (.*)$", comment, re.M)[1].split()
    assert recipes.parse(flags, TASKS)[0].out == f"runs/{name}"  # BadInput where a flag is wrong
    assert name in [row[0] for row in FACTS]


# A refinement step of T_H 2, T_L 3. calls: of TRM's net n, of HRM's l and h, and in capitals where
# the gradient comes back. steps: how many a slot has had after two training steps, if it always
# wants to halt. still: the states that the third training step leaves as they are.
FACTS = [("two-nets", "nnnhnnnhHNNN", 1, ""),
         ("one-state", "nnnnnnnnNNNN", 1, "z_L"),
         ("x-in-every-call", "nnnnnnnnNNNN", 1, ""),
         ("all-recursions", "nnnnnnnnNNNNNNNN", 1, ""),
         ("two-refinement-steps", "nnnnnnnnnnnnnnnnNNNNNNNNNNNNNNNN", 2, ""),
         ("two-refinement-steps-cut", "nnnnnnnnnnnnnnnnNNNNNNNNNNNNNNNN", 2, ""),
         ("one-step-gradient", "nnnnnnnnNN", 1, ""),
         ("no-carry", "nnnnnnnnNNNN", 1, "z_H z_L"),
         ("no-halting", "nnnnnnnnNNNN", 2, ""),
         ("one-logit", "lllhlllhHL", 1, ""),
         ("whole-gradient", "lllhlllhlllhlllhHLLLHLLL", 1, ""),
         ("unit-heads", "nnnnnnnnNNNN", 1, ""),
         ("symmetries", "nnnnnnnnNNNN", 1, "")]


@pytest.mark.parametrize("name, calls, steps, still", FACTS)
def test_a_patch_changes_what_it_is_to_change(tmp_path, name, calls, steps, still):
    code, made = patched(tmp_path, name), []
    model = small(code["hrm"]["HRM"] if "l" in calls else code["trm"]["TRM"])
    for part, net in model.named_children():
        if part in ("net", "L_net", "H_net"):
            net.register_forward_hook(lambda *_, part=part: made.append(part[0].lower()))
            net.register_full_backward_hook(lambda *_, part=part: made.append(part[0].upper()))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    after = fresh = train.fresh_slots(model, PUZZLES)
    for wish, count, N_sup in ((50.0, 2, 2), (-50.0, 3, 9)):  # to halt in each step; in none
        model.halt_head.bias.data = torch.tensor([wish, -wish])[: len(model.halt_head.bias)]
        for _ in range(count):
            before, made[:] = train.refill(after, fresh), []
            after, _, _ = code["train"]["train_step"](model, optimizer, before, N_sup)
        assert after["halted"].tolist() == [wish > 0] * 2
        assert wish < 0 or after["steps"].tolist() == [steps] * 2
    assert "".join(made) == calls
    assert {z for z in ("z_H", "z_L") if torch.equal(before[z], after[z])} == set(still.split())
    carry, _, _ = model((after["z_H"], after["z_L"]), after["inputs"])  # whose gradient goes on?
    assert carry[0].requires_grad == carry[1].requires_grad == (name == "two-refinement-steps")


@pytest.mark.parametrize("model", ["hrm", "trm"])
def test_with_unit_heads_a_head_sees_the_row_the_column_or_the_box(tmp_path, model):
    attention = patched(tmp_path, "unit-heads")[model]["Attention"](16, 4, False, 81)
    attention.output.weight.data = torch.eye(16)  # so each head makes four channels of its own
    h = torch.randn(1, 81, 16, requires_grad=True)
    heads = attention(h)[0, 40].view(4, 4).sum(1)  # of the cell in the middle
    row, column = torch.arange(81) // 9, torch.arange(81) % 9
    for head, unit in zip(heads, (row, column, 3 * (row // 3) + column // 3, 0 * row)):
        (slope,) = torch.autograd.grad(head, h, retain_graph=True)
        assert (slope[0] != 0).any(1).equal(unit == unit[40])


@pytest.mark.parametrize("model_name", ["hrm", "trm"])
def test_with_the_patch_symmetries_another_view_of_a_puzzle_gets_that_view_of_the_answer(
        tmp_path, model_name):
    model = small(patched(tmp_path, "symmetries")[model_name][model_name.upper()])
    torch.nn.init.normal_(model.halt_head.weight)
    for block in model.modules():
        if hasattr(block, "column"):  # rows and columns alike, as a puzzle may be turned
            block.column = block.row
    task = data.Sudoku(HERE.parent / "puzzles/sudoku/small")
    puzzle, (tokens, cells) = PUZZLES["inputs"], task.symmetries(2, "cpu")
    view = tokens.gather(1, puzzle.gather(1, cells))
    carry, each = model.initial_carry(2), torch.arange(2)[:, None]
    names = (tokens[:, 2:] - 2).argsort(1)  # of each digit in the view: which it was before
    turned = [z[each[..., None], names[..., None], cells[:, None]] for z in carry]
    (_, logits, halt), (_, other_logits, other_halt) = model(carry, puzzle), model(turned, view)
    logits = logits[:, :, 2:][each[..., None], cells[..., None], names[:, None]]
    assert_close(other_logits[:, :, 2:], logits, atol=1e-3, rtol=0)
    assert_close(other_halt, halt, atol=1e-3, rtol=0)
    answer = other_logits.argmax(-1)
    assert set(answer.unique().tolist()) <= set(range(2, 11))  # neither pad nor blank
    assert len(answer.unique()) > 1


@pytest.mark.parametrize("model_name", ["hrm", "trm"])
def test_with_the_patch_symmetries_all_views_but_the_first_start_three_times_as_far_apart(
        tmp_path, model_name):
    code = patched(tmp_path, "symmetries")
    model, starts = small(code[model_name][model_name.upper()]), []
    model.register_forward_pre_hook(lambda model, given: starts.append(given[0]))
    task = data.Sudoku(HERE.parent / "puzzles/sudoku/small")
    for k in range(3):
        code["evaluate"]["look"](model, task, PUZZLES, k, 1)
    starts.append(model.initial_carry(2))  # as exact_accuracy would start next
    for state in range(2):  # two normal draws differ by the root of 2 times their size
        apart = [(start[state][0] - start[state][1]).std().item() for start in starts]
        assert apart == pytest.approx([size * 2**0.5 for size in (1, 3, 3, 1)], rel=0.05)


def test_the_trained_net_with_the_symmetries_solves_what_it_solved(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "TRM", patched(tmp_path, "symmetries")["trm"]["TRM"])
    folder = HERE.parent / "puzzles/trained/trm-sudoku-symmetries"
    model, task, *_ = evaluate.open_run(folder, data=HERE.parent / "puzzles/sudoku/small")
    torch.manual_seed(0)
    test = {name: part[:20] for name, part in task.splits["test"].items()}
    assert evaluate.exact_accuracy(model, test, 5)[-1] >= 0.9


def test_with_x_in_every_call_the_puzzle_is_shown_to_the_call_that_answers(tmp_path):
    model = small(patched(tmp_path, "x-in-every-call")["trm"]["TRM"])
    z_H, z_L = model.initial_carry(2)
    x = model.embedding(PUZZLES["inputs"])
    after_H, after_L = model.latent_recursion(z_H, z_L, x)
    assert torch.equal(after_H, model.net(z_H, after_L + x))


@pytest.mark.parametrize("name", ["two-refinement-steps", "two-refinement-steps-cut"])
def test_two_refinement_steps_have_the_mean_of_both_answers_losses(tmp_path, name):
    code = patched(tmp_path, name)
    model = small(code["trm"]["TRM"])
    first, second = [train.answer_loss(logits, PUZZLES["labels"]).mean()
                     for logits, _ in evaluate.refine(model, PUZZLES, 2)]
    slots, optimizer = train.fresh_slots(model, PUZZLES), torch.optim.SGD(model.parameters())
    _, loss, right = code["train"]["train_step"](model, optimizer, slots, 9)
    assert not right.any() and first != second  # so the halting loss is of two wrong answers
    assert_close(loss, (first + second + torch.tensor(-5.0).exp().log1p()) / 2)


def test_the_loop_that_readme_shows_trains():
    page = (HERE.parent / "README.md").read_text("utf-8")
    loop = next(code for code in PYTHON.findall(page) if "range(N_sup)" in code)
    batch = PUZZLES["inputs"].byte(), PUZZLES["labels"].byte()  # any whole numbers will do
    names = dict(torch=torch, TRM=trm.TRM, answer_loss=train.answer_loss, vocab_size=11,
                 seq_len=batch[0].shape[1], N_sup=3, batches=20 * [batch])
    exec(loop, names)
    after = train.answer_loss(names["logits"], PUZZLES["labels"]).mean()
    assert after < 1  # a new net is near log(11), 2.4


def test_the_tour_prints_what_it_shows(monkeypatch, capsys):
    monkeypatch.chdir(HERE)
    monkeypatch.setattr(sys, "path", list(sys.path))  # the tour adds to it
    cells, names, pictures = json.loads(Path("tour.ipynb").read_text("utf-8"))["cells"], {}, []
    for cell in cells:
        if cell["cell_type"] == "markdown":
            continue
        code = "".join(cell["source"])
        if "updates = 300" in code:  # a minute and a half
            code = code.replace("updates = 300", "updates = 5").replace("N_sup=4", "N_sup=1")
        exec(code, names)
        shown = "".join("".join(output.get("text", "")) for output in cell["outputs"])
        texts = [shown, capsys.readouterr().out]
        if "updates = 5" in code:
            assert texts[0].count("batches: [") == texts[1].count("batches: [") == 5
            continue
        words = [re.sub(r"\d+", "", text).split() for text in texts]
        assert words[0] == words[1]
        for one, other in zip(*(re.findall(r"\d+", text) for text in texts), strict=True):
            assert abs(int(one) - int(other)) <= 5  # another processor rounds otherwise
        pictures += [output["data"]["image/svg+xml"] for output in cell["outputs"]
                     if "data" in output]
    assert ["".join(lines) for lines in pictures] == [(HERE / "heat.svg").read_text()]


def test_the_pictures_are_what_results_csv_has(tmp_path, monkeypatch):
    monkeypatch.chdir(HERE.parent)
    shutil.copy(HERE / "results.csv", tmp_path)
    monkeypatch.setattr(plot, "HERE", tmp_path)
    plot.main()
    for name in ("claims.svg", "heat.svg"):  # another processor may round the greens
        greens, texts = [], []
        for folder in (tmp_path, HERE):
            text = (folder / name).read_text()
            greens += [list(map(float, re.findall(r'fill-opacity="([\d.]+)"', text)))]
            texts += [re.sub(r'fill-opacity="[\d.]+"', "", text)]
        assert texts[0] == texts[1] and greens[0] == pytest.approx(greens[1], abs=0.02)


def test_the_tables_are_what_results_csv_has():
    assert "\n".join(plot.claims_table(ROWS)) in (HERE / "README.md").read_text("utf-8")
    page = (HERE.parent / "README.md").read_text("utf-8")
    for claim, name in (("reference", "Sudoku, TRM"), ("HRM", "Sudoku, HRM"),
                        ("mazes, TRM", "mazes, TRM"), ("mazes, HRM", "mazes, HRM"),
                        ("mazes, HRM, --layers 4 --lr 0.001",
                         "mazes, HRM, 4 layers, `--lr 0.001`"),
                        ("HRM, --layers 4", "Sudoku, HRM, 4 layers (not tuned, one failed)")):
        each = plot.exact_by_seed(ROWS, claim, 16).values()
        mean = sum(each) / len(each)
        shown = re.escape(f"| {name} | {mean:.1f}% ({min(each)} to {max(each)}) |")
        (weights,) = re.findall(rf"{shown} [0-9]+ \| ([0-9,]+) \|", page)
        (command,) = {row["command"].split(" --seed")[0] for row in ROWS if row["claim"] == claim}
        s, _ = recipes.parse(command.split()[2:], TASKS)
        net = evaluate.build_model(s, data.load_task(s, "cpu"), "meta")
        assert weights == f"{count_weights(net):,}"


def test_the_commands_of_results_csv_can_be_run():
    for row in ROWS:
        assert row["patch"] in ("", *PATCHES)
        if "tour.ipynb" in row["command"]:
            continue
        _, program, *flags = row["command"].split()
        recipes.parse(flags, TASKS) if program == "train.py" else evaluate.parse(flags)
        if row["claim"] in run.ARMS:  # else run.py takes it for one that it has made
            model, more, patch, _ = run.ARMS[row["claim"]]
            made = f"--model {model} --task sudoku {more} --seed {row['seed']}"
            assert (flags, row["patch"], row["threads"]) == (made.split(), patch, "1")


def test_the_table_has_the_differences_of_each_seed(monkeypatch):
    exact = {"reference": "90.0 80.0 70.0", "two nets": "91.0 81.5 72.0", "HRM": "89.0 79.5 75.0",
             "reference, older recipe": "50.0 50.0", "two nets, older recipe": "59.0 61.0"}
    rows = [{"claim": claim, "seed": str(seed), "exact_4": figure, "exact_16": "50.0"}
            for claim, each in exact.items() for seed, figure in enumerate(each.split())]
    monkeypatch.setattr(plot, "CLAIMS", {"two nets": "two", "HRM": "the other"})
    *_, two, other = plot.claims_table(rows[::-1])  # +1, +1.5, +2; -1, -0.5, +5
    assert two == "| two | patch `two-nets` | **+1.5 ± 1.2** | +0.0 ± 0.0 | +10.0 ± 12.7 |"
    assert other == "| the other | `--model hrm` | +1.2 ± 8.3 | +0.0 ± 0.0 | – |"
    assert plot.interval([1.0, 2.0, 3.0, 4.0, 6.0]) == pytest.approx((3.2, 2.388), abs=4e-3)
    assert plot.interval([1.0] * 12) == (1.0, 0.0)  # more seeds than STUDENT has
    for n, t in enumerate(plot.STUDENT, 1):  # the area under Student's density, from -t to t
        x = torch.linspace(-t, t, 100_001, dtype=torch.double)
        factor = math.gamma((n + 1) / 2) / math.gamma(n / 2) / math.sqrt(n * math.pi)
        area = torch.trapezoid(factor * (1 + x * x / n) ** (-(n + 1) / 2), x)
        assert area.item() == pytest.approx(0.95, abs=1e-4)


def test_bench_prints_a_row_for_each_variant(monkeypatch, capsys):
    sizes, train_step = set(), train.train_step

    def noted(model, optimizer, slots, *args, **more):
        sizes.add(len(slots["steps"]))
        return train_step(model, optimizer, slots, *args, **more)

    monkeypatch.setattr(train, "train_step", noted)
    monkeypatch.setattr(bench, "median_seconds", lambda function: [function(), 1.0][1])
    monkeypatch.setattr(bench, "cost", lambda s, task: (7, 4e12))
    bench.main("--device cpu --hidden_size 8 --num_heads 2 --batch_size 2 --T_L 1".split())
    form = r"^(hrm|trm) +(\w+) +(\d) +7 +2 +4000\.00 +1000\.0 +2\.0 +8\.00 "
    rows = re.findall(form, capsys.readouterr().out, re.M)
    assert rows == [(model, mixer, str(layers)) for model, mixer, layers in bench.VARIANTS]
    assert sizes == {2}


def test_bench_counts_two_operations_a_weight_and_cell_and_three_times_with_the_gradient():
    s, _ = recipes.parse("--model trm --T_H 2 --T_L 1".split(), TASKS)
    task = data.load_task(s, "cpu")
    parameters, operations = bench.cost(s, task)
    net = evaluate.build_model(s, task, "meta")
    assert parameters == count_weights(net)
    (block,) = net.net.blocks
    mixing, mlp = 64 * count_weights(block.mix), 81 * count_weights(block.mlp)  # channels; cells
    call = 2 * (mixing + mlp)
    heads = 2 * (81 * count_weights(net.output_head) + 64)  # that of halting sees one position
    assert operations == 2 * call + 3 * (2 * call + heads)  # T_H 2: one recursion without it


def test_run_trains_an_arm_under_its_patch_and_again_only_if_asked(tmp_path, monkeypatch, capsys):
    seen, trained, make = [], [], subprocess.run

    def noted(command, cwd=None, **more):
        if "nothing" in command:  # as its --lr: as if train.py had refused it, a moment later
            seen.append(time.sleep(0.1))
            return subprocess.CompletedProcess(command, 2, "", "train.py: no number")
        if "train.py" in command:
            seen.append((Path(cwd, "trm.py").read_text(), more["env"]["OMP_NUM_THREADS"]))
            if not trained:  # once is enough
                trained.append(make(command, cwd=cwd, **more))
            return trained[0]
        return make(command, cwd=cwd, **more)

    monkeypatch.setattr(subprocess, "run", noted)
    monkeypatch.setattr(run, "RESULTS", tmp_path / "results.csv")
    header = (HERE / "results.csv").read_text().splitlines()[0]
    run.RESULTS.write_text(header + '\n"plain, --task maze",python,,3,1,float32,,,,,,,,\n')
    tiny = "--steps 1 --hidden_size 8 --num_heads 2 --train_puzzles 8 --test_puzzles 4"
    monkeypatch.setattr(run, "ARMS", {"plain": ("trm", "--lr nothing", "", ""),
                                     "two": ("trm", tiny, "two-nets", "")})
    asked = ["--seeds", "3", "--more=--task maze"]
    assert run.main(asked) == run.main(asked) == 0
    assert re.findall("(.*) trainings to make", capsys.readouterr().out) == ["1", "0"]
    ((code, threads),) = seen  # one training
    assert "H_net" in code and threads == "1"
    _, row = csv.DictReader(run.RESULTS.read_text().splitlines())
    flags = f"{tiny} --task maze --seed 3"
    assert row["command"] == f"python train.py --model trm --task sudoku {flags}"
    assert (row["claim"], row["patch"], row["seed"]) == ("two, --task maze", "two-nets", "3")
    assert {row[f"exact_{n}"] for n in (1, 2, 4, 8, 16)} == {"0.0"}
    assert row["exact_32"] == row["exact_64"] == ""
    before = run.RESULTS.read_text()
    assert run.main([*asked, "--only", "two"]) == 0  # made again, and not written again
    zeros = ", ".join(["0.0"] * 5)
    assert capsys.readouterr().out == (f"1 trainings to make\ntwo, seed 3: {zeros}\n"
                                       f"two, --task maze, seed 3: {zeros} in results.csv\n")
    assert run.RESULTS.read_text() == before
    assert re.fullmatch(r"0.0 after [\d.]+ steps", row["halting"])
    monkeypatch.setattr(run, "ARMS", {"none": ("trm", "--lr nothing", "", "")})
    seen.clear()
    with pytest.raises(cli.Failure, match="none, seed [0-9]: train.py: no number"):
        run.main(["--seeds", *"0123456789"])
    assert len(seen) < 10  # those that had not begun did not begin
