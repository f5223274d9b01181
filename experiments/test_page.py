"""The page: it computes what evaluate.py does, and a real browser solves a puzzle with it. Both
tests need a program that is not one of the project's packages, and are skipped where it is not."""
import json
import os
import re
import shutil
import subprocess
import time

import pytest
import torch

import data
import evaluate
from cli import BadInput
from experiments import page

TRAINED = data.BUNDLED / "trained"
NODE, CHROMIUM = shutil.which("node"), shutil.which("chromium")

# What Node runs after the page's own scripts: each model solves 20 puzzles, without a page.
DRIVER = """
const cells = [...Array(81).keys()], digits = [2, 3, 4, 5, 6, 7, 8, 9, 10];
for (const run of data.runs) {
  const model = load(run);
  for (const { question } of data.puzzles.slice(0, 20)) {
    const tokens = Array.from(question, (c) => c === "." ? 1 : Number(c) + 1);
    let carry, steps = [];
    for (let step = 0; step < 2; step++) {
      const seen = one_step(model, { cells, digits }, tokens, carry, run);
      steps.push([seen.answer, seen.sure, seen.stop]);
      carry = seen.carry;
    }
    console.log(JSON.stringify(steps));
  }
}
const trm = load(data.runs[0]), view = {
  cells: cells.map((cell) => 27 * Math.floor(cell / 27) + (cell + 9) % 27), // rows go round
  digits: digits.map((token) => token < 10 ? token + 1 : 2) };
const question = Array.from(data.puzzles[2].question, (c) => c === "." ? 1 : Number(c) + 1);
let seen;
for (let step = 0; step < 5; step++) {
  seen = one_step(trm, view, question, seen && seen.carry, data.runs[0]);
}
console.log(seen.answer.map((token) => token - 1).join(""));
"""


def script(text, name):
    """The page's script of that name."""
    return re.search(f'id="{name}">(.*?)</script>', text, re.DOTALL)[1]


@pytest.mark.skipif(not NODE, reason="there is no node here")
def test_the_page_thinks_as_evaluate_does(tmp_path):
    paths = [TRAINED / "trm-sudoku", TRAINED / "hrm-sudoku"]
    text = page.page(paths)
    parts = ["const self = {};", *(script(text, name) for name in ("models", "worker")),
             "const data = ", script(text, "data"), DRIVER]
    (tmp_path / "all.js").write_text("".join(parts))
    said = subprocess.run([NODE, tmp_path / "all.js"], check=True, capture_output=True,
                          text=True).stdout
    *puzzles, turned = said.splitlines()
    assert turned == page.some_puzzles()[2]["solution"]  # seen through a view, and turned back
    puzzles = [json.loads(line) for line in puzzles]
    assert len(puzzles) == 40
    for path in paths:
        model, task, *_ = evaluate.open_run(path)
        shown = torch.cat([task.typed(puzzle["question"])["inputs"]
                           for puzzle in page.some_puzzles()[:20]])
        steps = list(evaluate.refine(model, {"inputs": shown}, 2))
        for i in range(20):
            for (answer, sure, stop), found in zip(puzzles.pop(0), steps):
                logits, halt_logits = (part[i : i + 1] for part in found)
                assert answer == logits.argmax(-1)[0].tolist()
                assert sure == pytest.approx(halt_logits[0, 0].sigmoid().item(), abs=1e-3)
                assert stop == model.halts(halt_logits).item()


class Browser:
    """A headless Chromium with a page in it, asked over two pipes, as its DevTools are."""

    def __init__(self, url, folder):
        ours, self.to = os.pipe()
        self.back, theirs = os.pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 f"--user-data-dir={folder}", "--remote-debugging-pipe"]
        command = f'exec "$0" "$@" 3<&{ours} 4>&{theirs}'  # it reads from 3 and writes to 4
        self.process = subprocess.Popen(["bash", "-c", command, CHROMIUM, *flags],
                                        pass_fds=(ours, theirs), stderr=subprocess.DEVNULL)
        os.close(ours)
        os.close(theirs)
        self.rest, self.page = b"", {}
        target = self.ask("Target.createTarget", url=url)["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self.page = {"sessionId": attached["sessionId"]}

    def ask(self, method, **parameters):
        message = {"id": 1, "method": method, "params": parameters, **self.page}
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                part = os.read(self.back, 65536)
                assert part, "the browser has ended"
                self.rest += part
            line, self.rest = self.rest.split(b"\0", 1)
            if json.loads(line).get("id"):
                return json.loads(line)["result"]

    def run(self, code):
        """The value of a piece of JavaScript in the page."""
        said = self.ask("Runtime.evaluate", expression=code, returnByValue=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    def wait_for(self, code, seconds=60):
        end = time.time() + seconds
        while not self.run(code):
            assert time.time() < end, (code, self.run("document.body.innerText"))
            time.sleep(0.1)


@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")
def test_a_browser_solves_puzzles_with_the_page(tmp_path):
    file = tmp_path / "page.html"
    assert page.main([str(TRAINED / "trm-sudoku"), "--out", str(file)]) == 0
    browser = Browser(file.as_uri(), tmp_path / "profile")
    board = 'Array.from(document.querySelectorAll("#panels .board td"), (td) => td.innerText)'
    try:
        browser.wait_for('typeof panels === "object" && panels.length')
        browser.run('$("N_sup").value = 8; $("run").click()')
        browser.wait_for("panels[0].frames.length === 9")
        first, *_ = page.some_puzzles()
        assert "".join(browser.run(board)) == first["solution"]
        status = browser.run('document.querySelector("#panels [role=status]").textContent')
        assert status.startswith("Step 8") and "solved: every cell is right" in status
        all_ones = 'wrong_cells(tokens_of("1".repeat(81))).filter(Boolean).length'
        assert browser.run(all_ones) == 72  # by the rules alone it would be all of them
        # One's own puzzle, without a known solution, through several views.
        other = page.some_puzzles()[2]
        browser.run('$("views").value = 3')
        browser.run('$("text").value = "123"; $("use").click()')
        assert "3 characters" in browser.run('$("complaint").textContent')
        browser.run('$("text").value = "%s"; $("use").click()' % ("11" + "0" * 79))
        assert "contradict" in browser.run('$("complaint").textContent')
        browser.run('$("text").value = "%s"; $("use").click(); $("run").click()'
                    % other["question"])
        browser.wait_for("panels[0].frames.length === 9")
        assert "".join(browser.run(board)) == other["solution"]
        browser.run('$("back").click()')
        assert browser.run('panels[0].board.caption.textContent') == "Answer after step 7"
        assert browser.run(all_ones) == 81
    finally:
        browser.process.terminate()
        browser.process.wait()


def test_what_the_page_cannot_compute_is_refused(tmp_path):
    with pytest.raises(BadInput, match="trm-maze: the page computes nets"):
        page.packed(TRAINED / "trm-maze")
    there = tmp_path / "there.html"
    there.write_text("mine")
    for out in there, tmp_path / "no" / "page.html":
        with pytest.raises(BadInput, match=f"{out.name}: exists already, or its folder does not"):
            page.main([str(TRAINED / "trm-sudoku"), "--out", str(out)])
    assert there.read_text() == "mine"


def test_the_shipped_page_has_the_shipped_nets():
    text = (data.BUNDLED.parent / "experiments" / "think.html").read_text()
    names = "trm-sudoku", "hrm-sudoku", "trm-sudoku-medium"
    assert text == page.page([TRAINED / name for name in names])
    assert len(text) < 2_000_000
