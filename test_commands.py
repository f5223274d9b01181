"""Tests of the command lines, and of what they write: `pytest`."""
import contextlib
import csv
import io
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from argparse import Namespace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.benchmark import Timer

import cli
import evaluate
import recipes
import runs
import train
from cli import blaming, in_one_line, noted_signals
from experiments import bench
from test_models import KINDS, close, every_kind, plain_step, same

HERE = Path(__file__).parent


SIZES = ("--hidden_size 8 --num_heads 2 --layers 1 --T_H 1 --T_L 1 --N_sup 3 --batch_size 4 "
         "--test_puzzles 3 --device cpu --seed 1")
TRAIN = {"sudoku": f"train --task sudoku --data few/sudoku {SIZES}",
         "maze": f"train --task maze --data few/maze {SIZES}",
         "arc": f"train --task arc --data few/arc --augmentations 2 {SIZES}"}
with open(HERE / "puzzles/sudoku/small/test.csv", newline="") as opened:
    KNOWN = {row["question"]: row["answer"]
             for row in itertools.islice(csv.DictReader(opened), 30)}
QUESTION = next(iter(KNOWN))


def call(command, code=0):
    """What a command line writes, on the CPU where it names no device. If it is to fail with this
    code, one line to standard error."""
    program, *arguments = command.split()
    main = {"train": train.main, "evaluate": evaluate.main, "bench": bench.main}[program]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        found = in_one_line(main, ["--device", "cpu", *arguments])
    assert found == code and err.getvalue().count("\n") == (code > 0), (command, err.getvalue())
    return err.getvalue() or out.getvalue()


def load(run):
    return torch.load(Path(run, "checkpoint.pt"), weights_only=True) | {"seconds": 0}


def log_of(run):
    """The rows of log.csv without the times and the running mean of the loss."""
    rows = Path(run, "log.csv").read_text().splitlines()
    return [re.sub(r"^(\w+),[\w.]+,[\w.]+", r"\1", row) for row in rows]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Few puzzles of each kind, other Sudokus, and a run of four steps, in a folder to work in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("here"))
        for file in (HERE / "puzzles").glob("*/small/*.csv"):
            for name, start in (("few", 1), ("others", 8)):
                lines, place = file.read_text().splitlines(), Path(name, file.parts[-3], file.name)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text("\n".join([lines[0], *lines[start : start + 7]]))
        for split, kept in (("training", "[e-h]*"), ("evaluation", "h*")):
            Path("few/arc", split).mkdir(parents=True)
            for file in (HERE / "puzzles/arc" / split).glob(f"{kept}.json"):
                shutil.copy(file, Path("few/arc", split))
        call(f"{TRAIN['sudoku']} --steps 4 --out run")
        call(f"{TRAIN['maze']} --steps 1 --out mazes")
        Path("3x3.csv").write_text("question,answer\n" + "S G # #  ,SoG # #  \n" * 4)
        checkpoint = torch.load(shutil.copytree("run", "moved") + "/checkpoint.pt")
        checkpoint["settings"]["data"] = "gone"
        torch.save(checkpoint, "moved/checkpoint.pt")
        yield


@pytest.mark.parametrize("model", ["hrm", "trm"])
@pytest.mark.parametrize("task, own", [
    ("sudoku", QUESTION), ("maze", "SG" + ".." * 31), ("arc", "half_turn")])
def test_train_evaluate_and_watch(here, model, task, own):
    out, run = call(f"{TRAIN[task]} --model {model} --steps 2"), f"runs/{model}-{task}-small"
    assert f"\nsaved in {run}\n" in out and "--resume" not in out  # it has ended
    assert "\n3 test puzzles with" in out and "\ntest puzzle " in out
    curve = ElementTree.parse(Path(run, "curve.svg")).getroot()
    assert len(curve.findall("{*}polyline")) == 5  # after 1, 2, 4, 8 and 16 refinement steps
    log = r"step,exact_1,exact_2,exact_4,exact_8,exact_16,blanks 1(,\d\.\d+){6} 2(,\d\.\d+){6}"
    assert re.fullmatch(log, " ".join(log_of(run)))
    out = call(f"evaluate {run} --N_sup 5 --views 2 --halt 0.5")
    assert re.search(r"after refinement steps +1 +2 +4 +5\n", out) and "the surest view" in out
    assert ("the vote of the views: of " in out) == (task == "arc")
    out = call(f"evaluate {run} --puzzle {own} --svg {model}-{task}.svg")
    assert re.search(r"your puzzle[^\0]*step 1: ", out)
    assert Path(f"{model}-{task}.svg").read_text().startswith("<svg ")
    assert "--puzzle" in call(f"evaluate {run} --puzzle nothing", code=2)
    shutil.rmtree("runs")


def test_evaluation_has_16_steps_but_on_arc_as_many_as_were_trained(here):
    assert re.search("after refinement steps +1 +2 +4 +8 +16\n", call("evaluate run"))
    call(f"{TRAIN['arc']} --steps 1 --out arc")
    assert re.search("after refinement steps +1 +2 +3\n", call("evaluate arc"))


def test_watch_shows_another_puzzle_each_time_unless_there_is_a_seed(here):
    trained = HERE / "puzzles/trained/trm-sudoku"
    free = {call(f"evaluate {trained} --N_sup 1 --watch") for _ in range(4)}
    fixed = {call(f"evaluate {trained} --N_sup 1 --watch --seed 3") for _ in range(2)}
    assert len(free) > 1 and len(fixed) == 1


def answers_in(file):
    """What a csv file of answers says: its columns but the header."""
    with open(file, newline="") as opened:
        header, *rows = csv.reader(opened)
    os.remove(file)
    assert header == ["question", "answer", "sure"]
    return [list(column) for column in zip(*rows)]


def test_of_several_views_the_surest_is_watched(here):
    watched = f"evaluate {HERE / 'puzzles/trained/trm-sudoku'} --watch --seed 11"
    assert "\nnot solved; " in call(watched)
    assert "\nsolved; " in call(f"{watched} --views 4")


def test_answers_are_written_also_where_no_solution_is_known(here):
    Path("unknown.csv").write_text("n,puzzle\n" + "".join(f"1,{text}\n" for text in KNOWN))
    trm = HERE / "puzzles" / "trained" / "trm-sudoku"
    out = call(f"evaluate {trm} --data unknown.csv --answers a.csv --views 4")
    assert out.startswith("unknown.csv: its 30 puzzles have no answers: all are the test\n")
    questions, answers, sure = answers_in("a.csv")
    right = [answer == KNOWN[question] for question, answer in zip(questions, answers)]
    assert questions == list(KNOWN) and 27 < sum(right)
    assert f"no solution is known of 30: {sum(right)} answers break no rule\n" in out
    assert right == [float(p) > 0.5 for p in sure]  # it knows which
    assert "\nsolved;" in out and "exact accuracy" not in out
    # a single view's answers are the last ones, as in the table
    out = call(f"evaluate {trm} --test_puzzles 30 --N_sup 3 --answers a.csv")
    right = sum(answer == KNOWN[question] for question, answer, _ in zip(*answers_in("a.csv")))
    assert 0 < right < 30 and f"{100 * right / 30:.1f}%\n" in re.search("exact acc.*%\n", out)[0]
    refused = call("train --data unknown.csv --out no", code=2)
    assert "unknown.csv: no puzzles with answers to train on" in refused


def test_arcs_answers_are_the_prizes_two_attempts_for_every_test(here):
    call(f"{TRAIN['arc']} --steps 1 --out prize")
    call("evaluate prize --answers a.json")
    attempts = json.loads(Path("a.json").read_text())
    for file in Path("few/arc/evaluation").glob("*.json"):
        tests = json.loads(file.read_text())["test"]
        expected = [{"attempt_1", "attempt_2"}] * len(tests)
        assert [set(entry) for entry in attempts.pop(file.stem)] == expected
    assert not attempts


@pytest.mark.parametrize("run, puzzles, solved", [
    ("trm-sudoku", 25, 92), ("hrm-sudoku", 25, 100), ("trm-maze", 25, 88), ("hrm-maze", 25, 96),
    ("trm-sudoku-medium", 50, 22)])
def test_the_trained_weights_solve_what_they_solved(here, run, puzzles, solved):
    folder = HERE / "puzzles" / "trained" / run
    out = call(f"evaluate {folder} --test_puzzles {puzzles}")
    row = re.search("exact accuracy (.*)\n", out)[1]
    exact = [float(share) for share in row.replace("%", "").split()]  # after 1, 2, 4, 8, 16 steps
    assert abs(exact[-1] - solved) <= 4
    assert "not the folder of a run that can go on" in call(f"train --resume {folder}", code=2)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no such signals")
@pytest.mark.parametrize("model, task, number, steps", [
    ("trm", "sudoku", 15, 40), ("hrm", "arc", 2, 8)])
def test_a_run_that_a_signal_stops_goes_on_as_if_nothing_had_been(here, model, task, number, steps):
    train_it, parts = f"{TRAIN[task]} --model {model} --steps {steps} --ema 0.9", f"parts-{number}"
    command = [sys.executable, HERE / "train.py", *train_it.split()[1:], "--out", parts]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while not Path(parts, "checkpoint.pt").exists():
            assert process.poll() is None  # it has not evaluated yet
            time.sleep(0.01)
        process.send_signal(number)
        out, _ = process.communicate(timeout=100)
    assert process.returncode == 128 + number and 1 <= load(parts)["step"] < steps
    assert out.endswith(f"saved in {parts}\nto go on: python train.py --resume {parts}\n")
    call(f"{train_it} --out whole-{number}")
    shutil.copy(f"whole-{number}/log.csv", parts)  # rows of later steps are of no use
    call(f"train --resume {parts}")
    part, whole = load(parts), load(f"whole-{number}")
    assert same(part, whole) and (task != "arc" or part["puzzle_embeddings"].any())
    assert log_of(parts) == log_of(f"whole-{number}") and len(log_of(parts)) == 1 + min(steps, 20)


def test_a_signal_in_the_last_evaluation_leaves_nothing_to_go_on_with(here, monkeypatch, capsys):
    validate = evaluate.validate

    def interrupted(*arguments, **more):
        signal.raise_signal(signal.SIGINT)
        return validate(*arguments, **more)

    monkeypatch.setattr(evaluate, "validate", interrupted)
    command = f"{TRAIN['sudoku']} --steps 1 --out last"
    assert in_one_line(train.main, command.split()[1:]) == 130
    assert load("last")["step"] == 1
    assert capsys.readouterr().out.endswith("\nsaved in last\n")


def test_another_seed_gives_another_run(here):
    call(f"{TRAIN['sudoku']} --steps 4 --seed 2 --out seed2")
    one, two = load("run"), load("seed2")
    assert not any(same(one[name], two[name]) for name in ("model", "slots"))


def test_signals_are_as_they_were_after_a_training_that_failed(here):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), noted_signals():
        assert signal.getsignal(signal.SIGINT) != before[0]
        raise ZeroDivisionError
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    found = []
    command = f"{TRAIN['sudoku']} --steps 1 --out thread".split()[1:]
    thread = threading.Thread(target=lambda: found.append(train.main(command)))
    thread.start()  # only the main thread can wait for signals
    thread.join()
    assert found == [0]


def test_a_loss_that_overflows_stops_the_run_and_leaves_the_old_checkpoint(here):
    rates = "--lr 1e8 --warmup 10000000 --decay 0"  # it rises until numbers overflow
    err = call(f"{TRAIN['sudoku']} --steps 40 {rates} --out bad", code=1)
    found = int(re.search(r"step (\d+): the weights are no longer finite", err)[1])
    assert 0 < load("bad")["step"] == found - 2  # it saves every second step
    assert "a lower --lr may help, also with --resume" in err


def test_hints_are_given_in_training_alone_and_as_the_settings_say(here):
    for name, hints in (("none", ""), ("fall", "--hints 1"), ("all", "--hints 1 --hints_end 1")):
        call(f"{TRAIN['sudoku']} --steps 10 --N_sup 1 --batch_size 50 {hints} --out hints-{name}")
    blanks = [(load(f"hints-{name}")["slots"]["inputs"] == 1).float().mean()  # in the last batch
              for name in ("none", "fall", "all")]
    assert blanks[2] < 0.7 * blanks[0] and abs(blanks[1] - blanks[0]) < 0.1
    out = call("evaluate hints-all --watch --seed 1").split("step 1:")
    assert out[0] == call("evaluate hints-none --watch --seed 1").split("step 1:")[0]


def test_a_run_may_go_on_with_another_rate_and_says_so(here):
    shutil.copytree("run", "slower")
    out = call("train --resume slower --steps 6 --lr 0.001 --decay 0.5")
    assert "goes on after step 4; steps 6 (it was 4); lr 0.001 (it was 0.004); decay 0.5" in out
    slower = load("slower")
    assert slower["step"] == 6 and slower["settings"]["lr"] == 0.001
    (group,) = slower["optimizer"]["param_groups"]
    assert group["lr"] == pytest.approx(0.001 * min(6 / 100, (1 / 6) / 0.5))


def test_a_full_disk_is_told_in_one_line_and_leaves_the_old_checkpoint(here):
    resource = pytest.importorskip("resource")
    saved = {file: file.read_bytes() for file in Path("run").iterdir()}
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    try:
        err = call("train --resume run --steps 5", code=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    assert "checkpoint.pt could not be written" in err
    assert Path("run/checkpoint.pt").read_bytes() == saved[Path("run/checkpoint.pt")]
    Path("run/log.csv").write_bytes(saved[Path("run/log.csv")])


@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), MemoryError(),
    RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_too_little_memory_is_no_fault_of_a_file(error, capsys):
    def main(argv):
        with blaming("a file", "damaged"):
            raise error

    assert in_one_line(main) == 1
    assert "out of memory; a lower --batch_size" in capsys.readouterr().err


def test_rates_rise_and_fall_and_the_moving_average_starts_at_the_initial_weights(here):
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
    s = Namespace(**one["settings"])
    torch.manual_seed(1)
    for name, first in runs.build_model(s, runs.load_task(s, "cpu"), "cpu").state_dict().items():
        after_one = 0.75 * first + 0.25 * one["model"][name]
        after_two = 0.75 * after_one + 0.25 * two["model"][name]
        assert_close((one["ema"][name], two["ema"][name]), (after_one, after_two))


TWO_PROCESSES = """
import os, torch, torch.distributed as dist, runs, train
from arc import PuzzleEmbeddings
from hrm import HRM
dist.init_process_group("gloo")
torch.manual_seed(0)
model, whole = [HRM(7, 5, hidden_size=8, num_heads=2, layers=1, prefix_len=1) for _ in range(2)]
whole.load_state_dict(model.state_dict())
batch = {name: torch.randint(1, 7, (4, 5)) for name in ("inputs", "labels")}
batch["ids"] = torch.tensor([1, 2, 2, 1])
half = {name: part[2 * dist.get_rank() :][:2] for name, part in batch.items()}
tables = []
for net, puzzles in ((runs.Parallel(model, broadcast_buffers=False), half), (whole, batch)):
    embeddings = PuzzleEmbeddings(3, 8, 0.1, "cpu")
    optimizer = torch.optim.SGD(net.parameters(), 1.0)
    slots = train.fresh_slots(net, puzzles)
    slots, _, _ = train.train_step(net, optimizer, slots, 4, 0, embeddings, 0.1)
    tables.append(embeddings.table)
    if net is not whole:
        dist.barrier()
        torch.distributed.destroy_process_group()
for one, two in zip(model.parameters(), whole.parameters()):
    torch.testing.assert_close(one, two)
torch.testing.assert_close(*tables)
"""


def two_processes(*command):
    """Run a Python program as torchrun would run it in two processes. Returns what both wrote."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank in ("0", "1"):
        settings = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_PORT": port,
                    "MASTER_ADDR": "127.0.0.1", "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
        started.append(subprocess.Popen(
            [sys.executable, *command], env={**os.environ, **settings}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    written = "".join(process.communicate(timeout=150)[0] for process in started)
    assert [process.returncode for process in started] == [0, 0], written
    return written


def test_two_processes_make_the_step_that_one_makes_with_the_whole_batch(here):
    Path("two.py").write_text(TWO_PROCESSES)
    two_processes("two.py")


def test_two_processes_go_on_with_a_run_and_evaluate_it_once(here):
    call(f"{TRAIN['arc']} --steps 2 --out pair")
    more = "--steps 4 --device cpu".split()
    written = two_processes(HERE / "train.py", "--resume", "pair", *more)
    assert written.count("test puzzles with") == 1
    assert load("pair")["step"] == 4 and len(load("pair")["slots"]["steps"]) == 2


def test_checkpoints_that_do_not_fit_are_refused_and_nothing_in_them_is_executed(here):
    good = torch.load(shutil.copytree("run", "misfit") + "/checkpoint.pt", weights_only=True)
    damaged, misfit = "not a checkpoint of train.py, or damaged", "does not fit this model"
    for command, part, values, complaint in [
            ("evaluate", "an object", [Path()], damaged),  # any could run code
            ("evaluate", "settings", [5, {}, good["settings"] | {"seed": "9"}], damaged),
            ("evaluate", "ema", [good["ema"] | {"z_H_init": torch.zeros(3)}, {}], misfit),
            ("evaluate", "puzzle_embeddings", [torch.zeros(4, 8)], misfit),
            ("train --steps 5 --resume", "slots",
             [{}, good["slots"] | {"z_H": torch.zeros(2)}], misfit),
            ("train --steps 5 --resume", "optimizer",
             [[1], {"state": {}, "param_groups": 3}], misfit)]:
        for value in values:
            torch.save({**good, part: value}, "misfit/checkpoint.pt")
            assert complaint in call(f"{command} misfit", code=2)
    Path("misfit/checkpoint.pt").write_bytes(Path("run/checkpoint.pt").read_bytes()[:-2000])
    assert damaged in call("evaluate misfit", code=2)


def test_a_run_of_an_earlier_version_is_evaluated_and_goes_on(here):
    old = torch.load(shutil.copytree("run", "old") + "/checkpoint.pt", weights_only=True)
    del old["settings"]["positions"], old["settings"]["shallow"], old["settings"]["dtype"]
    del old["settings"]["puzzle_lr"], old["settings"]["hints"]
    for name in ("model", "ema"):
        old[name]["embed_tokens"] = old[name].pop("embedding.tokens")
    old |= {"puzzle_embeddings": torch.zeros(0, 8), "sums": torch.zeros(2)}
    torch.save(old, "old/checkpoint.pt")
    assert call("evaluate old").split("s)")[1] == call("evaluate run").split("s)")[1]
    call("train --resume old --steps 6")


def test_arc_is_evaluated_on_the_tasks_that_it_was_trained_on_alone(here):
    call(f"{TRAIN['arc']} --steps 1 --out known")
    shutil.copytree("few/arc", "other")
    Path("other/evaluation/half_turn.json").rename("other/evaluation/another.json")
    assert "trained on other tasks" in call("evaluate known --data other", code=2)


@pytest.mark.parametrize("command, complaint", [
    ("train --task chess", "invalid choice: 'chess'"), ("train --steps 0", "0 is not between"),
    ("train --lr nan", "nan is not between"), ("train --mixer none", "invalid choice: 'none'"),
    ("train --step 5", "unrecognized"), ("evaluate run --halt 2", "2 is not between 0 and 1"),
    ("train --hidden_size 30 --mixer attention", "30 does not"), ("train --positions x", "invalid"),
    ("train --task arc --prefix_len 0", "--prefix_len 0: the puzzle's embedding needs"),
    ("train --task maze --scale medium", "--scale medium: there is no such recipe for"),
    ("train --task arc --hints 0.5", "--hints: an ARC answer is a grid of its own"),
    ("train --task arc --train_puzzles 5", "--train_puzzles: ARC trains on all of its tasks"),
    ("train --device meta", "torch finds no such device"), ("train --out run", "run: holds a run"),
    ("train --out few/sudoku/test.csv/run", "Not a directory"), ("train --data no", "No such file"),
    ("train --resume nowhere", "No such file"), ("bench --data nowhere", "No such file"),
    ("train --resume run --layers 3", "has 1"),
    ("train --resume run --steps 5 --data others/sudoku", "others/sudoku: not what the run was"),
    ("train --resume run", "--steps 4: the run has made 4 training steps; to go on"),
    ("train --resume run --steps 3", "--steps 3: the run has made 4 training steps"),
    ("train --resume run --out b", "--out b: a run goes on in its own folder"),
    ("evaluate run --svg no/x.svg", "'no/x.svg' is not a file in a folder that exists"),
    ("evaluate run --svg few/sudoku/test.csv", "exists, and is left as it is"),
    ("evaluate mazes --data 3x3.csv", "3x3.csv: its puzzles have 9 cells, and mazes was"),
    ("evaluate moved", "gone: is not there; moved was trained on it, and --data says where"),
    ("train --resume moved --steps 5", "gone: is not there; moved was trained on it"),
    ("train --resume run --model hrm", "--model hrm: the run has trm"),
    ("evaluate few/sudoku/train.csv", "train.csv: not a checkpoint of train.py"),
    ("evaluate run --answers no/a.csv", "not a file in a folder that exists"),
    ("evaluate run --answers few/sudoku/test.csv", "exists, and is left as it is"),
    ("evaluate run --answers a.csv --watch", "of all test puzzles"),
    ("evaluate run --answers a.csv --svg a.csv", "--svg a.csv: the same file as --answers"),
    ("train --task arc --canvas 2000000", "2000000 is not between 0 and 1000000"),
    ("evaluate run --data few/maze", "few/maze")])
def test_bad_input_gets_one_line_and_exit_code_2(here, command, complaint):
    files = {file: file.read_bytes() for file in Path().rglob("*.*") if file.is_file()}
    assert complaint in call(command, code=2)
    assert {file: file.read_bytes() for file in Path().rglob("*.*") if file.is_file()} == files


def test_a_run_whose_puzzles_have_moved_is_told_where_they_are(here):
    assert "exact accuracy" in call("evaluate moved --data few/sudoku")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals")
def test_lines_that_are_overwritten_fit_the_terminal(here):
    pty, columns = pytest.importorskip("pty"), 60
    ours, theirs = pty.openpty()
    command = f"{TRAIN['sudoku']} --steps 120 --hidden_size 32 --out wide"
    with subprocess.Popen([sys.executable, HERE / "train.py", *command.split()[1:]],
                          stdout=theirs, env={**os.environ, "COLUMNS": str(columns)}) as process:
        os.close(theirs)
        written = b""
        with contextlib.suppress(OSError):  # Linux says so when the other side has closed
            while part := os.read(ours, 10_000):
                written += part
    os.close(ours)
    assert process.returncode == 0
    written = written.decode().replace("\r\n", "\n")
    lines = [line for line in written.split("\r") if line and "\n" not in line]
    assert any("of the slots right" in line for line in lines)
    assert {len(line) for line in lines} == {columns - 1}


@pytest.mark.skipif(os.name == "nt", reason="Windows tells of a closed pipe in another way")
def test_a_reader_who_leaves_early_is_no_error_to_tell(here):
    reader, writer = os.pipe()
    os.close(reader)
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    found = subprocess.run([sys.executable, HERE / "evaluate.py", "run"], stdout=writer,
                           stderr=subprocess.PIPE, env=buffered)
    os.close(writer)
    assert (found.returncode, found.stderr) == (1, b"")


def test_help_is_shown_also_where_a_path_has_a_percent_sign(here, capsys):
    shutil.copytree("few/sudoku", "100%")
    call(f"{TRAIN['sudoku']} --data 100% --steps 1 --out percent")
    with pytest.raises(SystemExit):
        train.main(["--resume", "percent", "--help"])
    assert "100%" in capsys.readouterr().out


def test_what_the_encoding_of_the_output_lacks_is_escaped(here):
    shutil.copytree("few/sudoku", "数独")
    shutil.copytree("run", "跑")
    plain = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONPATH": str(HERE)}
    command = [sys.executable, HERE / "evaluate.py", "跑", "--data", "数独/train.csv"]
    found = subprocess.run(command, env=plain, capture_output=True)
    assert found.returncode == 0 and not found.stderr, found.stderr.decode("cp1252")
    assert b"test puzzles with" in found.stdout
    found = subprocess.run([sys.executable, HERE / "evaluate.py", "没有"], env=plain,
                           capture_output=True)
    assert found.returncode == 2 and found.stderr.count(b"\n") == 1 and b"\\u6ca1" in found.stderr


@pytest.mark.parametrize("scale, task", [
    ("small", "sudoku"), ("small", "maze"), ("small", "arc"), ("medium", "sudoku")])
def test_a_recipe_at_home_is_one_for_both_models(scale, task):
    assert recipes.recipe("hrm", task, scale) == recipes.recipe("trm", task, scale)


def test_medium_trains_on_the_bundled_hard_sudokus(here):
    out = call("train --scale medium --hidden_size 8 --batch_size 2 --steps 1 --test_puzzles 5")
    table = re.search(r"guesses needed .*\n  puzzles +(\d+) ", out)
    assert "1,000 training puzzles" in out and "runs/trm-sudoku-medium" in out
    assert table and table[1] == "0"  # none that needs no guess


def test_the_papers_recipes_are_the_papers():
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


def test_bench_prints_a_line_for_each_variant(here, monkeypatch):
    monkeypatch.setattr(Timer, "blocked_autorange", lambda timer, **_: timer.timeit(1))
    sizes = "--hidden_size 8 --num_heads 2 --batch_size 2 --T_H 1 --T_L 1 --data few/sudoku"
    rows = re.findall(r"^(hrm|trm) (attention|mlp) +(\d) ", call(f"bench {sizes}"), re.M)
    assert " ".join(itertools.chain(*rows)) == (
        "hrm attention 4 hrm mlp 4 trm attention 1 trm attention 2 trm mlp 1 trm mlp 2 hrm mlp 1")


@every_kind
def test_operations_are_those_of_the_formula(here, kind):
    hrm, mixer, D, S = kind.startswith("hrm"), KINDS[kind][1], 32, 86
    s = Namespace(**recipes.recipe(kind[:3], "sudoku", "small"))
    vars(s).update(model=kind[:3], task="sudoku", mixer=mixer, T_H=3, T_L=4, hidden_size=D,
                   num_heads=2, layers=2, prefix_len=5, data="few/sudoku", scale="small")
    task = runs.load_task(s, "cpu")
    named = runs.build_model(s, task, "meta").named_parameters()
    weights = {name: part.numel() for name, part in named}
    # a multiply-add is 2; a weight is used at each position, those that mix them in each channel
    net = sum(2 * (D if ".mix." in name else S) * count for name, count in weights.items()
              if name.startswith(("H_net", "net")))
    net += 2 * 2 * 2 * S * S * D if mixer == "attention" else 0  # scores and their sums, two layers
    heads = 2 * (81 * weights["output_head.weight"] + weights["halt_head.weight"])
    forward, calls = 3 * (4 + 1) * net + heads, 2 if hrm else 4 + 1  # calls with gradient
    backward = 2 * (calls * net + heads)  # and HRM makes the forward twice: it looks ahead
    assert train.cost(s, task) == (sum(weights.values()), (1 + hrm) * forward + backward)


@pytest.mark.parametrize("model", ["hrm", "trm"])
def test_a_step_compiles_without_a_graph_break(here, model):
    s, _, _ = recipes.parse(f"{TRAIN['arc']} --model {model} --steps 2".split()[1:])
    task = runs.load_task(s, torch.device("cpu"))
    run = train.new_run(s, task, torch.device("cpu"), torch.float32, 4)
    run.model.compile(backend="eager", fullgraph=True)  # fails where the graph breaks
    train.train(run, run.model, task, torch.float32, [])


@pytest.mark.skipif(os.name == "nt", reason="CXX is no variable of Windows' compiler")
def test_training_goes_on_without_a_compiler_and_says_so(here):
    none = {**os.environ, "CXX": "/nowhere/c++", "TORCHINDUCTOR_CACHE_DIR": os.path.abspath("none")}
    arguments = f"{TRAIN['sudoku']} --compile --steps 1 --out without".split()[1:]
    found = subprocess.run([sys.executable, HERE / "train.py", *arguments], env=none, text=True,
                           capture_output=True)
    assert found.returncode == 0, found.stderr
    assert "\ntorch.compile does not work here, and training goes on without (" in found.stdout
    assert load("without")["step"] == 1 and "compiling:" not in found.stdout


class OnMeta(TorchDispatchMode):
    """Inside, no operation of torch may take or make a tensor that is not on the device meta."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        found = operation(*args, **(kwargs or {}))
        for part in tree_leaves((args, kwargs, found)):
            if isinstance(part, torch.Tensor):
                assert part.is_meta, f"{operation}: a tensor on {part.device}, {part.shape}"
        return found


@pytest.mark.parametrize("model", ["hrm", "trm"])
@pytest.mark.parametrize("task", TRAIN)
def test_training_reads_nothing_back_from_its_device_and_has_no_tensor_elsewhere(
        here, monkeypatch, model, task):
    # meta stands for a GPU: as it has no values, what would make a GPU wait for the CPU fails
    optimizer = sys.modules["torch.optim.optimizer"]
    monkeypatch.setattr(optimizer, "_get_fused_kernels_supported_devices", lambda: ["meta"])
    more = f"--model {model} --steps 2 --positions rotary"
    s, _, _ = recipes.parse(f"{TRAIN[task]} {more}".split()[1:])
    task = runs.load_task(s, torch.device("cpu"))
    for part in (vars(task), *task.splits.values()):
        part.update({name: value.to("meta") for name, value in part.items()
                     if isinstance(value, torch.Tensor)})
    run = train.new_run(s, task, torch.device("meta"), torch.bfloat16, 4)
    with OnMeta():
        train.train(run, run.model, task, torch.bfloat16, [])
    assert run.step == 2 and run.slots["z_H"].dtype == torch.bfloat16
    assert (run.embeddings is None) == (s.task != "arc")


# At the papers' sizes, in GiB: the most memory that a step of 768 Sudokus took, compiled, of an
# NVIDIA H200 (torch 2.11).
@pytest.mark.parametrize("model, mixer, measured", [
    ("trm", "mlp", 29.6), ("trm", "attention", 20.8), ("hrm", "attention", 11.2)])
def test_what_the_backward_pass_keeps_is_about_what_was_measured(model, mixer, measured):
    s = Namespace(**recipes.recipe(model, "sudoku", "paper") | {"mixer": mixer}, model=model)
    task = Namespace(vocab_size=11, seq_len=81, num_puzzles=0)
    kept = runs.kept_for_backward(s, task, 768, torch.bfloat16) / 2**30
    assert measured < kept < 1.4 * measured  # compiled, some of it is computed a second time


def test_too_large_a_batch_for_the_gpu_is_told_at_the_start(here, monkeypatch, capsys):
    s, _, _ = recipes.parse(f"{TRAIN['sudoku']} --batch_size 100".split()[1:])
    task, gpu = runs.load_task(s, "cpu"), torch.device("cuda")
    needed = runs.kept_for_backward(s, task, 100, torch.bfloat16)
    for free, processes, told in ((needed, 1, 0), (needed - 1, 1, 1), (needed - 1, 2, 0)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 2 * free))
        monkeypatch.setenv("WORLD_SIZE", str(processes))
        train.introduce(s, task, gpu, torch.bfloat16, "run", None)
        assert capsys.readouterr().out.count("GiB free: a lower --batch_size needs less") == told
    assert "up to 169 GiB, and the GPU has 79 GiB" in runs.memory_warning(169 * 2**30, 79 * 2**30)


def test_the_shown_speed_leaves_out_the_first_step_which_may_compile(tmp_path, monkeypatch, capsys):
    log = cli.Log(tmp_path / "log.csv", (1,), step=10, steps=50)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for step, now in ((11, 100.0), (12, 100.5), (14, 102.0)):
        monkeypatch.setattr(cli.time, "time", lambda now=now: now)
        log.live(step, torch.tensor(0.5), torch.ones(4), batch_size=4)
    (shown,) = re.findall(r"(\d+) puzzle steps/s \| (\S+) left", capsys.readouterr().out)
    assert shown == ("6", "0:00:24")  # 3 steps of 4 puzzles in 2 seconds, and 36 steps to go


@pytest.mark.parametrize("kind, before, T_L", [
    ("hrm", "_orig_mod.model.inner.", 2), ("hrm", "model.inner.", 8),  # 8 with learned positions
    ("trm", "model.inner.", 6), ("trm-mlp", "inner.", 6)])
def test_public_checkpoints_compute_what_the_papers_say(here, kind, before, T_L):
    hrm, (model_class, mixer) = kind == "hrm", KINDS[kind]
    torch.manual_seed(0)
    sizes = dict(hidden_size=16, num_heads=8, layers=2, mixer=mixer, prefix_len=1 if hrm else 16,
                 positions="learned" if T_L == 8 else "rotary")
    w = {name: torch.randn_like(tensor) / tensor.shape[-1] ** 0.5
         for name, tensor in model_class(11, 81, **sizes).state_dict().items()}
    names = [pair.split("=") for pair in (  # ours = the public codes'
        "embedding.tokens=embed_tokens.embedding_weight output_head=lm_head halt_head=q_head "
        "embedding.positions=embed_pos.embedding_weight z_H_init=H_init z_L_init=L_init "
        "blocks=layers H_net=H_level L_net=L_level net.=L_level. attention.qkv=self_attn.qkv_proj "
        "attention.output=self_attn.o_proj .mix.=.mlp_t. gate_up=gate_up_proj down=down_proj"
        ).split()]
    embedding, theirs = torch.randn(1, 16), {}
    for name, tensor in (w | {"puzzle_emb.weights": embedding}).items():
        if name.startswith("halt_head") and not hrm:
            tensor = torch.cat((tensor, tensor + 1))  # a second logit that nothing uses
        for ours, public in names:
            name = name.replace(ours, public)
        theirs[before + name] = tensor
    torch.save({"epoch": 1, "state_dict": theirs} if hrm else theirs, "public.pt")  # Lightning's
    checkpoint = runs.load_checkpoint("public.pt")
    s = Namespace(**checkpoint["settings"] | {"data": "few/sudoku"})
    net, task = runs.restore(checkpoint, "", s, "cpu")
    inputs, w = task.splits["test"]["inputs"][:2].long(), {k: v.double() for k, v in w.items()}
    carry, *heads = net(net.initial_carry(2), inputs, task.table[[0, 0]])
    plain = [w[name].expand(2, net.embedding.length, 16) for name in ("z_H_init", "z_L_init")]
    plain = plain_step(w, plain, inputs, embedding.double(), 2 if hrm else 3, T_L, heads=8)
    assert close((*carry, *heads), plain)
    few = "--data few/sudoku --test_puzzles 2 --N_sup 1"
    assert "exact accuracy" in call(f"evaluate public.pt {few}")
    assert "public.pt" in call("train --resume public.pt", code=2)
    for rows, complaint in ((12, "Sudoku"), (6, "public.pt")):  # ARC's tokens, mazes'
        theirs[before + "embed_tokens.embedding_weight"] = torch.zeros(rows, 16)
        torch.save(theirs, "public.pt")
        assert complaint in call("evaluate public.pt --data few/maze", code=2)
    for name in ("inner.H_init", "embedding_weight"):
        torch.save({k: v for k, v in theirs.items() if name not in k}, "public.pt")
        assert "public.pt: neither a checkpoint of train.py" in call("evaluate public.pt", code=2)


def test_t_h_and_n_sup_are_one_loop_at_test_time():
    sudoku = HERE / "puzzles/trained/trm-sudoku"
    rows = []
    for flags in ("--N_sup 4", "--N_sup 8 --T_H 1"):  # T_H is 2
        out = call(f"evaluate {sudoku} --test_puzzles 20 {flags}")
        rows.append(re.search("exact accuracy(.*)\n", out)[1].split())
    assert rows[0][-3:] == rows[1][-3:] and rows[0][-1] != "0.0%"
