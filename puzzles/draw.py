"""Draws a puzzle and a model's answers to it, as text for the terminal or as an animated SVG
picture; and the learning curve of a run, as an SVG picture.

What differs between tasks is data on the task object; this file knows no task by its name.
  characters    str: for each token the character that a cell has in the terminal
  symbols       for each token the text that a cell has in the SVG picture, or ""
  fills         for each token the colour that a cell's square has in the SVG picture, or None
  blank         the token of a cell to be filled in; None: the answer keeps nothing as given
  box           the side of the boxes that lines part in both kinds of picture; 0: no boxes
  separate      True: the answer is a grid of its own; the SVG picture shows it beside the puzzle
  tidy(tokens)  the tokens that are drawn, (S,)
  wrong(inputs, answer, labels=None)  which cells are wrong, (S,) bool, or None where no one can
                know. labels is the solution; without it the rules of the puzzle decide.
A puzzle, an answer and a solution are numpy arrays (S,) of tokens: a square grid, row by row.
"""
import math
import os
import shutil
import sys
from html import escape
from typing import NamedTuple

import numpy as np

# The colours of all SVG pictures, and what takes their place where the reader prefers dark pages.
INK, PAPER, LINE, NEW, WRONG = "#222222", "#ffffff", "#bbbbbb", "#0a7d33", "#d32f2f"
DARK = {INK: "#eeeeee", PAPER: "#0d1117", LINE: "#555555", NEW: "#5bd07f", WRONG: "#ff7b72"}

# ---- the frames of both kinds of picture ---------------------------------------------------------

def is_another_solution(task, inputs, answer, labels=None):
    """Whether an answer differs from the file's solution and breaks no rule: a maze may have
    several shortest paths."""
    if labels is None or not task.wrong(inputs, answer, labels).any():
        return False
    wrong = task.wrong(inputs, answer)
    return wrong is not None and not wrong.any()


class Frame(NamedTuple):
    """One picture: the puzzle, or the answer after a refinement step."""
    step: int  # 0 for the puzzle
    title: str
    sure: float  # how sure the model is that the answer is right, 0 to 1
    tokens: np.ndarray  # (S,), tidied
    given: np.ndarray  # (S,) bool: the cell's symbol stands in the puzzle
    new: np.ndarray  # (S,) bool: the cell differs from the frame before
    wrong: np.ndarray  # (S,) bool


def all_frames(task, inputs, answers, sure, labels=None):
    """A list: the puzzle's frame, then one for each answer that differs from the frame before. The
    arguments are those of `story`. Where the last answer is another solution than the file's, what
    agrees with it is not wrong."""
    another = is_another_solution(task, inputs, answers[-1], labels)
    if another:
        labels = answers[-1]
    shown = task.tidy(inputs)
    none = np.zeros(len(shown), bool)  # no cell
    given = np.array([task.symbols[token] != "" and not task.separate for token in shown])
    frames = [Frame(0, "the puzzle", 0, shown, given, new=none, wrong=none)]
    for i, answer in enumerate(answers):
        shown = task.tidy(answer)
        new = shown != frames[-1].tokens
        if i > 0 and not new.any():
            continue
        if i == 0 and task.separate:
            new = none  # there is no such grid before it
        wrong = task.wrong(inputs, answer, labels)
        title = f"step {i + 1}: {100 * sure[i]:.0f}% sure"
        frames.append(Frame(i + 1, title, sure[i], shown, none if task.blank is None else given,
                            new, wrong=none if wrong is None else wrong))
    if another:
        frames[-1] = frames[-1]._replace(title=f"{frames[-1].title}, another solution")
    return frames


# ---- the terminal --------------------------------------------------------------------------------

MARKS = {  # (new, wrong) -> the mark behind a cell, or the number of its colour
    (False, False): (" ", "0"),
    (True, False): ("+", "32"),  # green
    (False, True): ("x", "31"),  # red
    (True, True): ("*", "30;41"),  # black on red
}
LEGEND = {  # are there colours? -> what the marks or the colours mean
    False: "+ new in this step, x wrong, * new and wrong",
    True: "bold: given, green: new, red: wrong, red background: both; _: a blank",
}
BY_RULES = "\nA cell is wrong if it is blank, breaks the rules, or overwrites the puzzle."


def colours_work():
    """Whether standard output is a terminal that shows colours; https://no-color.org is heeded."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    if plain or not sys.stdout.isatty():
        return False
    return os.name != "nt" or "WT_SESSION" in os.environ  # on Windows only its Terminal does


def terminal_cell(character, given, new, wrong, colour):
    """One cell, which is two characters wide on the terminal."""
    mark, style = MARKS[new, wrong]
    if not colour:
        return character + mark
    if given and not (new or wrong):
        style = "1"  # bold
    if character == " " and (new or wrong):
        character = "_"  # a blank in green or red would not be seen
    return f"\033[{style}m{character}\033[0m "


def terminal_picture(task, frame, colour, width=0):
    """The lines of a frame, its title first. On the terminal all of them look at least so many
    characters wide. Without boxes the grid is drawn as one box."""
    side = math.isqrt(len(frame.tokens))
    box = task.box or side
    cells = [terminal_cell(task.characters[token], frame.given[i], frame.new[i], frame.wrong[i],
                           colour) for i, token in enumerate(frame.tokens)]
    between_boxes = "+".join(["-" * (2 * box)] * (side // box))
    margin = " " * (width - len(between_boxes))  # a line of cells is as wide as this line
    lines = [frame.title.ljust(width)]
    for row in range(side):
        if row > 0 and row % box == 0:
            lines.append(between_boxes + margin)
        starts = range(row * side, (row + 1) * side, box)
        boxes = ["".join(cells[start : start + box]) for start in starts]
        lines.append("|".join(boxes) + margin)
    return lines


def side_by_side(columns, width):
    """Columns of text, each a list of lines of this width -> text: as many columns beside each
    other as the terminal is wide, and an empty line below them."""
    terminal_width = shutil.get_terminal_size((100, 24)).columns
    at_once = max(1, (terminal_width + 3) // (width + 3))  # three spaces part the columns
    text = ""
    for first in range(0, len(columns), at_once):
        for parts in zip(*columns[first : first + at_once]):
            text += "   ".join(parts).rstrip() + "\n"
        text += "\n"
    return text


def story(title, task, inputs, answers, sure, labels=None):
    """How a puzzle was solved, as text: the puzzle, each answer that is a new one, and a verdict.
    task: see the top of this file. inputs, labels: (S,) tokens of the puzzle and its solution.
    answers: (steps, S) tokens, one answer a refinement step. sure: how sure the model is of each of
    them, 0 to 1."""
    colour = colours_work()
    frames = all_frames(task, inputs, answers, sure, labels)
    width = max(len(line) for frame in frames for line in terminal_picture(task, frame, False))
    columns = [terminal_picture(task, frame, colour, width) for frame in frames]
    wrong = task.wrong(inputs, answers[-1], labels)
    verdict = "no solution known"
    if wrong is not None:
        verdict = "not solved" if wrong.any() else "solved"
    if is_another_solution(task, inputs, answers[-1], labels):
        verdict = "solved: another solution than the file's"
    rules = "" if wrong is None or labels is not None else BY_RULES
    return (f"\n{title}\n{LEGEND[colour]}{rules}\n\n{side_by_side(columns, width)}"
            f"{verdict}; the last change was in step {frames[-1].step} of {len(answers)}")


# ---- the animation -------------------------------------------------------------------------------
# Lengths are in pixels. Light colours, and that only the last frame is visible, are attributes of
# the elements: a program that knows no CSS shows that frame. CSS adds animation and dark colours.

CELL, LETTER = 30, 9  # the side of a cell; as wide as the letters of a title are at most on average
TOP, BOTTOM, MARGIN = 30, 20, 5  # room for the title, for the bar, and at the sides
TITLE = f'<text y="-10" font-size="15" text-anchor="start" fill="{INK}">'


def svg_square(x, y, inset, attributes):
    """A square in the cell whose corner is at (x, y), `inset` pixels away from the cell's sides."""
    side = CELL - 2 * inset
    return f'<rect x="{x + inset}" y="{y + inset}" width="{side}" height="{side}" {attributes}/>'


def svg_cell(x, y, symbol, fill, given, new, wrong):
    """The cell whose corner is at (x, y). Its symbol is red if it is wrong, or green if it is new;
    without a symbol, or on a filled square, an outline is."""
    colour = WRONG if wrong else NEW if new else INK
    parts = []
    if fill:
        parts.append(svg_square(x, y, 0, f'fill="{fill}"'))
    if (new or wrong) and (fill or not symbol):  # on paper: the fill may be red or green, too
        parts.append(svg_square(x, y, 4, f'fill="none" stroke="{PAPER}" stroke-width="5"'))
        parts.append(svg_square(x, y, 4, f'fill="none" stroke="{colour}" stroke-width="3"'))
    if symbol:
        weight = ' font-weight="bold"' if given else ""
        attributes = f'x="{x + 15}" y="{y + 22}" fill="{colour}"{weight}'
        parts.append(f"<text {attributes}>{escape(symbol)}</text>")
    return "".join(parts)


def svg_cells(task, frame, below=None):
    """The cells of a frame. below: (S,) tokens of a grid that is drawn already; only the cells that
    differ from it or are wrong are then drawn, over it."""
    side = math.isqrt(len(frame.tokens))
    parts = []
    for i, token in enumerate(frame.tokens):
        x, y = CELL * (i % side), CELL * (i // side)
        if below is not None:
            if token == below[i] and not frame.wrong[i]:
                continue
            if task.symbols[below[i]] or task.fills[below[i]]:  # paper hides it
                parts.append(svg_square(x, y, 0, f'fill="{PAPER}"'))
        parts.append(svg_cell(x, y, task.symbols[token], task.fills[token], frame.given[i],
                              frame.new[i], frame.wrong[i]))
    return "".join(parts)


def svg_frame(task, frame, below, start, seconds):
    """A frame of an animation of so many seconds: it is shown from second `start` on. The bar under
    its grid is as long as the model is sure. below: as for `svg_cells`."""
    is_last = start == seconds - 3  # the last frame is shown for three seconds
    wide = CELL * math.isqrt(len(frame.tokens))
    bar = f'<rect y="{wide + 8}" width="{wide * frame.sure:.0f}" height="6" fill="{NEW}"/>'
    name, visibility = ("last", "visible") if is_last else ("one", "hidden")
    delay = start - seconds  # below 0: the animation goes on as if it had begun so long ago
    return (f'<g visibility="{visibility}" '
            f'style="animation:{name} {seconds}s {delay}s step-end infinite">'
            f'{TITLE}{frame.title}</text>{svg_cells(task, frame, below)}{bar}</g>')


def svg_lines(side, box):
    """The lines between cells, and stronger ones around boxes; without boxes, around the grid."""
    wide, parts = CELL * side, []
    for distance, colour, stroke in ((CELL, LINE, 1), (CELL * (box or side), INK, 2)):
        lines = "".join(f"M{at} 0v{wide}M0 {at}h{wide}" for at in range(0, wide + 1, distance))
        parts.append(f'<path d="{lines}" fill="none" stroke="{colour}" stroke-width="{stroke}"/>')
    return "".join(parts)


def svg_keyframes(seconds):
    """CSS that shows each frame for one of so many seconds, and the last one for three."""
    keyframes = ""
    for name, shown in (("one", 1), ("last", 3)):
        end = 100 * shown / seconds - 0.001  # a little early, lest two frames be seen at once
        keyframes += f"@keyframes {name}{{0%{{visibility:visible}}{end:.3f}%{{visibility:hidden}}}}"
    return keyframes


def animation(title, task, inputs, answers, sure, labels=None):
    """How a puzzle was solved, as the text of an animated SVG picture. The arguments are those of
    `story`. New is green and wrong is red; the bar says how sure the model is."""
    puzzle, *shown = all_frames(task, inputs, answers, sure, labels)
    side = math.isqrt(len(inputs))
    wide, lines = CELL * side, svg_lines(side, task.box)
    parts = [svg_cells(task, puzzle)]
    if task.separate:
        parts += [lines, f"{TITLE}{puzzle.title}</text>"]
        left, below = max(wide, LETTER * len(puzzle.title)) + CELL, None
    else:  # the frames are drawn over the puzzle, which is the first of them
        shown.insert(0, puzzle)
        left, below = 0, puzzle.tokens
    seconds = len(shown) + 2  # one for each frame, but three for the last
    frames = [svg_frame(task, frame, below, i, seconds) for i, frame in enumerate(shown)]
    parts.append(f'<g transform="translate({left})">{"".join(frames)}{lines}</g>')
    width = left + max(wide, *(LETTER * len(frame.title) for frame in shown))
    fonts = 'font-size="19" text-anchor="middle" '
    return svg_page(title, width, wide, parts, MARGIN, TOP, BOTTOM, fonts, svg_keyframes(seconds))


# ---- the learning curve, and what other charts are made of ---------------------------------------

def svg_page(title, width, height, parts, sides=10, top=10, bottom=10, fonts="", css=""):
    """The text of an SVG picture: these elements on paper, so wide and high, and margins around.
    fonts: more attributes; css: more rules. On a dark page each colour becomes its dark one."""
    dark = "".join(f'[fill="{light}"]{{fill:{dark}}}[stroke="{light}"]{{stroke:{dark}}}'
                   for light, dark in DARK.items())
    width, height = width + 2 * sides, top + height + bottom
    size = f'width="{width}" height="{height}"'
    return (f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" {fonts}'
            f'viewBox="{-sides} {-top} {width} {height}"><title>{escape(title)}</title>'
            f'<style>{css}@media(prefers-color-scheme:dark){{{dark}}}</style>'
            f'<rect x="{-sides}" y="{-top}" {size} fill="{PAPER}"/>{"".join(parts)}</svg>\n')


def svg_text(x, y, text, anchor="start"):
    """Words at (x, y); anchor: which part of them stands there, "start", "middle" or "end"."""
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="14" text-anchor="{anchor}" fill="{INK}">'
            f'{escape(text)}</text>')


def learning_curve(log):
    """The exact accuracy on validation puzzles while a net was trained, a line for each number of
    refinement steps, as the text of an SVG picture. log: the text of a run's log.csv."""
    header, *rows = (line.split(",") for line in log.splitlines())
    left, wide, high, top = 45, 400, 200, 30
    last = max([int(row[0]) for row in rows] + [1])
    parts, labels = [], []
    for percent in (0, 50, 100):
        y = top + high * (1 - percent / 100)
        parts.append(f'<path d="M{left} {y}h{wide}" stroke="{LINE}"/>')
        parts.append(svg_text(left - 8, y + 5, f"{percent}%", "end"))
    columns = [i for i, name in enumerate(header) if name.startswith("exact_")]
    for i, column in enumerate(columns):
        points = [(left + wide * int(row[0]) / last, top + high * (1 - float(row[column])))
                  for row in rows]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{NEW}" stroke-width="2" '
                     f'stroke-opacity="{(i + 1) / len(columns):.2f}"/>')
        if points:
            labels.append((points[-1][1], header[column].removeprefix("exact_")))
    lowest = top + high + 14  # labels that would lie upon each other are pushed up
    for y, steps in sorted(labels, reverse=True):
        lowest = min(y + 5, lowest - 14)
        parts.append(svg_text(left + wide + 8, lowest, f"after {steps}"))
    parts.append(svg_text(left, top + high + 24, "training steps"))
    parts.append(svg_text(left + wide, top + high + 24, f"{last:,}", "end"))
    parts.append(svg_text(0, 8, "exact accuracy on validation puzzles, after refinement steps"))
    return svg_page("Learning curve", left + wide + 75, top + high + 30, parts)
