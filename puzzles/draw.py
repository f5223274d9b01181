"""Puzzles and answers drawn, for the terminal or as SVG; and which cells of an answer are wrong.

A picture is a list of lines, all as wide as each other, a cell two characters. Each task has its
`..._wrong(inputs, answer, labels=None)` and its `..._picture(inputs, answer, before=None,
labels=None, colour=False)`. Inputs, answer and labels are one puzzle, the model's answer and the
solution, tokens (S,). Without `before`, the answer one step ago, nothing is marked; with it, the
cells that changed since then and the cells that are wrong.
"""
import os
import shutil
import sys
from html import escape
from pathlib import Path

import numpy as np

from cli import write_atomically
from puzzles.read import BLACK, MAZE, OPEN, PATH, START, broken_cells, crop, is_shortest

LEGEND = {
    False: "+ new in this step, x wrong, * new and wrong",
    True: "bold: given; green: new in this step; red (_ for a blank): wrong; "
          "red background: new and wrong",
}


def colours_work():
    """Whether standard output is a terminal that shows colours; https://no-color.org is heeded."""
    if not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return False
    return os.name != "nt" or "WT_SESSION" in os.environ  # Windows: its Terminal does


def mark(text, given, changed, wrong, colour):
    """One cell, two characters wide: with a colour, or a mark behind it where there are none."""
    if not colour:
        return text + " +x*"[changed + 2 * wrong]
    if wrong and text == " ":
        text = "_"  # a red blank would not be seen
    style = ("1" if given else "0", "32", "31", "30;41")[changed + 2 * wrong]
    return f"\033[{style}m{text}\033[0m "


def marked_cells(texts, inputs, answer, before, wrong, colour):
    """The cells of a picture: each text with its mark. wrong: (S,) bool, or None where no one knows
    a solution."""
    inputs, answer = np.asarray(inputs), np.asarray(answer)
    changed = np.zeros(len(answer), bool) if before is None else answer != np.asarray(before)
    if before is None or wrong is None:
        wrong = np.zeros(len(answer), bool)
    return [mark(*cell, colour) for cell in zip(texts, inputs > 1, changed, wrong)]


def square(cells):
    """side * side cells -> the lines of a square picture."""
    side = int(len(cells) ** 0.5)
    return ["".join(cells[side * row : side * (row + 1)]) for row in range(side)]


def side_by_side(frames):
    """[(name, picture)], as many beside each other as the terminal is wide -> text. The first
    picture has no colours, so that its width is that of what is seen."""
    width = len(frames[0][1][0])
    at_once = max(1, shutil.get_terminal_size((100, 24)).columns // (width + 3))
    text = []
    for i in range(0, len(frames), at_once):
        names, pictures = zip(*frames[i : i + at_once])
        lines = [[name.ljust(width) for name in names], *zip(*pictures)]
        text.append("\n".join("   ".join(line).rstrip() for line in lines) + "\n")
    return "\n".join(text)


def changes(answers):
    """(step, answer) of the first answer and of each that differs from the one before."""
    for step, answer in enumerate(answers, start=1):
        if step == 1 or (answer != answers[step - 2]).any():
            yield step, answer


def story(title, task, inputs, answers, sure, labels=None):
    """How a puzzle was solved, as text: a picture of it, then one for each answer that differs from
    the one before.

    task: with the `picture` and `wrong` below. inputs, labels: (S,) tokens. answers: (steps, S)
    tokens. sure: how sure the model was of each that it is right, 0 to 1.
    """
    colour = colours_work()
    frames, before = [("the puzzle", task.picture(inputs, inputs))], inputs
    for changed, answer in changes(answers):
        name = f"step {changed}: {100 * sure[changed - 1]:.0f}% sure"
        frames.append((name, task.picture(inputs, answer, before, labels, colour)))
        before = answer
    wrong = task.wrong(inputs, before, labels)
    verdict = "no solution known" if wrong is None else "not solved" if wrong.any() else "solved"
    rules = ("" if labels is not None or wrong is None else
             " (blank, against the rules, or a given overwritten)")
    return (f"\n{title}\n{LEGEND[colour]}{rules}\n\n{side_by_side(frames)}\n"
            f"{verdict}; no cell changed after step {changed} of {len(answers)}")


def show(title, task, inputs, answers, sure, labels=None, svg=None):
    """Print a `story`; svg: the file for it as a moving picture, too. Raises Failure."""
    print(story(title, task, inputs, answers, sure, labels))
    if svg:
        picture = animation(title, task, inputs, answers, sure, labels)
        write_atomically(Path(svg), lambda file: file.write(picture.encode()))


# ---- Sudoku --------------------------------------------------------------------------------------


def sudoku_wrong(inputs, answer, labels=None):
    """Which cells are wrong, (81,) bool; without a solution to compare with, those that break the
    rules, are blank, or overwrite a given."""
    inputs, answer = np.asarray(inputs), np.asarray(answer)
    if labels is not None:
        return answer != np.asarray(labels)
    digits = np.where(answer > 1, answer, 1).astype(int) - 1
    return broken_cells(digits[None])[0] | (digits == 0) | (inputs > 1) & (answer != inputs)


def sudoku_picture(inputs, answer, before=None, labels=None, colour=False):
    """The grid, with lines between its boxes."""
    texts = [".123456789"[max(token - 1, 0)] for token in answer.tolist()]
    wrong = sudoku_wrong(inputs, answer, labels)
    cells = marked_cells(texts, inputs, answer, before, wrong, colour)
    lines = []
    for first in range(0, 81, 9):
        boxes = [cells[first + i : first + i + 3] for i in (0, 3, 6)]
        lines.append("|".join("".join(box) for box in boxes))
    rule = "------+------+------"
    return lines[:3] + [rule] + lines[3:6] + [rule] + lines[6:]


# ---- mazes ---------------------------------------------------------------------------------------


def maze_wrong(inputs, answer, labels=None):
    """Which cells are wrong, (S,) bool; without a solution to compare with, those that overwrite
    the maze and, while what is marked is no shortest path, all marks."""
    inputs, answer = np.asarray(inputs), np.asarray(answer)
    if labels is not None:
        return answer != np.asarray(labels)
    side = int(len(answer) ** 0.5)
    solved = is_shortest(answer.reshape(1, side, side))[0]
    unmarked = np.where(answer == PATH, OPEN, answer)
    return (unmarked != inputs) | (np.isin(answer, [START, PATH]) & ~solved)


def maze_picture(inputs, answer, before=None, labels=None, colour=False):
    """The maze, in the characters of its file."""
    texts = [MAZE[token] for token in answer.tolist()]
    wrong = maze_wrong(inputs, answer, labels)
    return square(marked_cells(texts, inputs, answer, before, wrong, colour))


# ---- ARC -----------------------------------------------------------------------------------------


def tidy(tokens):
    """(S,) tokens of an answer with all that `crop` leaves out set to 0."""
    side = int(len(tokens) ** 0.5)
    grid = np.zeros((side, side), np.uint8)
    kept = crop(tokens)
    grid[: kept.shape[0], : kept.shape[1]] = BLACK + kept
    return grid.ravel()


def arc_wrong(inputs, answer, labels=None):
    """Which cells are wrong, (S,) bool; a cell missing or too many is too. None where no one knows
    a solution."""
    if labels is None or not np.any(np.asarray(labels)):
        return None
    return tidy(answer) != tidy(labels)


def arc_picture(inputs, answer, before=None, labels=None, colour=False):
    """The grid as ARC reads it, black as '.'."""
    wrong = arc_wrong(inputs, answer, labels)
    answer = tidy(answer)
    if before is not None:
        before = tidy(before)
    texts = ["  .123456789"[token] for token in answer]
    return square(marked_cells(texts, inputs, answer, before, wrong, colour))


# ---- a moving picture ----------------------------------------------------------------------------

# ARC's ten colours, as its own pages show them: black, blue, red, green, yellow, grey, ...
PALETTE = ("#000", "#0074d9", "#ff4136", "#2ecc40", "#ffdc00", "#aaa", "#f012be", "#ff851b",
           "#7fdbff", "#870c25")
STYLE = """svg{--ink:#222;--paper:#fff;--line:#bbb;--new:#0a7d33;--wrong:#d32f2f;
font:19px sans-serif}@media(prefers-color-scheme:dark){svg{--ink:#eee;--paper:#0d1117;--line:#555;
--new:#5bd07f;--wrong:#ff7b72}}.paper{fill:var(--paper)}
text{fill:var(--ink);text-anchor:middle}.given{font-weight:bold}.new{fill:var(--new)}
.wrong{fill:var(--wrong)}.bad{fill:none;stroke:var(--wrong);stroke-width:2}
.fresh{fill:none;stroke:var(--new);stroke-width:2}.line{stroke:var(--line);fill:none}
.bold{stroke:var(--ink);stroke-width:2}.name{font-size:15px;text-anchor:start}
.frame{visibility:hidden}"""


def sudoku_cell(token):
    """(text, colour of the square) of a cell; so the other two."""
    return " .123456789"[token].strip("."), None


def maze_cell(token):
    return (MAZE[token], None) if MAZE[token] in "SG" else (
        "\u25cf" if token == PATH else "", "var(--ink)" if MAZE[token] == "#" else None)


def arc_cell(token):
    return "", PALETTE[token - BLACK] if token >= BLACK else None


def svg_cells(cell, tokens, left, classes):
    """The cells of one grid, `left` pixels from the left; classes: (S,) text, CSS classes of each,
    None where nothing is to be drawn."""
    side, parts = int(len(tokens) ** 0.5), []
    for i, (token, name) in enumerate(zip(tokens.tolist(), classes)):
        text, fill = cell(token)
        x, y = left + 30 * (i % side), 30 + 30 * (i // side)
        if fill and name is not None:
            parts.append(f'<rect x="{x}" y="{y}" width="30" height="30" fill="{fill}"/>')
        if text and name is not None:
            parts.append(f'<text x="{x + 15}" y="{y + 22}" class="{name}">{text}</text>')
        for part, box in (("new", "fresh"), ("wrong", "bad")):
            if name and part in name and (fill or not text):
                inset = 3 if box == "fresh" else 6
                parts.append(f'<rect x="{x + inset}" y="{y + inset}" width="{30 - 2 * inset}" '
                             f'height="{30 - 2 * inset}" class="{box}"/>')
    return "".join(parts)


def animation(title, task, inputs, answers, sure, labels=None):
    """How a puzzle was solved, as a moving SVG picture; arguments as for `story`. Green is new in a
    step, red is wrong; the bar says how sure the model is. ARC's input stands at the left."""
    cell = {sudoku_picture: sudoku_cell, maze_picture: maze_cell, arc_picture: arc_cell}[
        task.picture]
    arc, side = cell is arc_cell, int(len(inputs) ** 0.5)
    left, wide = 30 * (side + 1) * arc, 30 * side
    shown = [("the puzzle", 0, inputs)] if not arc else []
    for step, answer in changes(answers):
        name = f"step {step} of {len(answers)}, {100 * sure[step - 1]:.0f}% sure"
        shown.append((name, sure[step - 1], answer))
    seconds = len(shown) + 2  # the last one stays longer
    before = tidy(inputs) if arc else inputs
    parts = [svg_cells(cell, before, 0, np.where(inputs > 1, "given", ""))]
    for i, (name, how_sure, answer) in enumerate(shown):
        now = tidy(answer) if arc else answer
        wrong = task.wrong(inputs, answer, labels) if name != "the puzzle" else None
        wrong = np.zeros(len(now), bool) if wrong is None else wrong  # None: no one knows
        classes = np.where(now != before, "new ", "").astype(object) + np.where(wrong, "wrong", "")
        if not arc:  # what stands in the puzzle is there already
            classes[(now == inputs) & ~wrong] = None
        last, before = i == len(shown) - 1, now
        parts.append(
            f'<g class="frame" style="animation:{"last" if last else "show"} {seconds}s '
            f'{i}s infinite step-end"><text x="{left}" y="20" class="name">{name}'
            f'</text>{svg_cells(cell, now, left, classes)}'
            f'<rect x="{left}" y="{wide + 38}" height="6" '
            f'width="{wide * how_sure:.0f}" style="fill:var(--new)"/></g>')
    lines = "".join(f'<path class="{"bold" if cell is sudoku_cell and i % 3 == 0 else "line"}" '
                    f'd="M{x + 30 * i} 30v{wide}M{x} {30 + 30 * i}h{wide}"/>'
                    for x in {0, left} for i in range(side + 1))
    hide = "".join(f"@keyframes {name}{{0%{{visibility:visible}}{share:.3f}%{{visibility:hidden}}}}"
                   for name, share in (("show", 100 / seconds), ("last", 300 / seconds)))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-2 0 {left + wide + 4} {wide + 50}" '
            f'width="{left + wide + 4}"><title>{escape(title)}</title><style>{STYLE}{hide}</style>'
            f'<rect x="-2" width="100%" height="100%" class="paper"/>{lines}'
            f'{"".join(parts)}</svg>\n')
