"""Tests of draw.py, with tiny tasks of their own."""
import re
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

import data
from arc import Arc

from puzzles import draw


def task(characters, symbols, **more):
    """What draw.py asks of a task: its characters, its symbols, and defaults for all the rest."""
    defaults = {"fills": [None] * len(characters), "box": 0, "separate": False, "blank": 1,
                "tidy": lambda tokens: tokens,
                "wrong": lambda _, answer, right=None: None if right is None else answer != right}
    return SimpleNamespace(characters=characters, symbols=symbols, **{**defaults, **more})


LETTERS = task("?.ABC<", ["?", "", *"ABC<"])
SMALL_SUDOKU = task("..1234", ["", "", *"1234"], box=2)
MAZES = task("?# SGo", data.Maze.symbols, fills=data.Maze.fills, wrong=data.Maze.wrong)
COLOURS = task("  .123456789", Arc.symbols, fills=Arc.fills, separate=True,  # as ARC
               tidy=lambda tokens: np.where(tokens > 1, tokens, 0))


def tokens(task, *grids):
    """The characters of some grids, their rows parted by '/' -> (N, S) tokens."""
    return np.array([[task.characters.rindex(character) for character in grid.replace("/", "")]
                     for grid in grids])


PUZZLE, *ANSWERS = tokens(LETTERS, "A./.C", "AC/BC", "AC/BC", "AB/BC")
TOLD = "a <title>", LETTERS, PUZZLE, ANSWERS, [0.2, 0.3, 0.9], ANSWERS[-1]
# In the second answer the first cell is still wrong, the second put right, the third new and wrong.
BEFORE, AFTER, RIGHT = tokens(LETTERS, "BB/BB", "BC/AB", "AC/CB")
MARKED = "", LETTERS, BEFORE, [BEFORE, AFTER], [0, 0], RIGHT
(SMALL,) = tokens(SMALL_SUDOKU, "1234/3412/2143/4321")
MAZE, FIRST, SOLVED, WALL_GONE = tokens(MAZES, *(
    "S   /# # /   #/#  G", "So# /#o# /   #/#  G", "So  /#o# / oo#/# oG", "So  / o# / oo#/# oG"))
LONGER, OPEN_MAZE, FILE_SAYS, ANOTHER = tokens(MAZES, *(  # in OPEN_MAZE two ways are shortest
    "So  /#o# /ooo#/# oG", "S   /    /   #/#  G", "So  / o  / oo#/# oG", "S   /oo  / oo#/# oG"))
ARC = np.array([[3, 2, 4, 4], [4, 5, 2, 3], [4, 4, 2, 3]])
BOXES_TOLD = "small", SMALL_SUDOKU, SMALL * (SMALL > 3), [SMALL], [1.0], SMALL
MAZE_TOLD = "maze", MAZES, MAZE, [FIRST, SOLVED], [0.1, 1.0], SOLVED
ARC_TOLD = "ARC", COLOURS, ARC[0], ARC[1:], [0.1, 1.0], ARC[2]


@pytest.fixture(autouse=True)
def sixty_columns_and_no_colours(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(draw, "colours_work", lambda: False)


def pictures(text):
    """The lines of a story's first row of pictures, their titles first."""
    return text[text.index("\nthe puzzle") + 1 :].split("\n\n")[0].split("\n")


def svg(text):
    """An SVG picture as a tree of elements, their names without the namespace."""
    return ElementTree.fromstring(text.replace('xmlns="http://www.w3.org/2000/svg"', "", 1))


def frames(told):
    return [group for group in svg(draw.animation(*told)).iter("g") if group.get("visibility")]


def texts(element):
    return [text.text for text in element.iter("text")]


def test_by_the_rules_a_cell_is_wrong_if_it_breaks_them_or_overwrites_the_puzzle():
    digits = 2 + np.array([(3 * (i % 3) + i // 3 + j) % 9 for i in range(9) for j in range(9)])
    given = np.where(np.arange(81) < 9, digits, 1)  # the first row
    blank, twice = digits.copy(), digits.copy()
    blank[40], twice[80] = 1, digits[72]  # as one in its column, its box and its row
    for answer, cells in ((digits, []), (blank, [40]), (twice, [8, 60, 72, 80]),
                          (12 - digits, [0, 1, 2, 3, 5, 6, 7, 8])):  # the digit 5 stays as it is
        assert np.flatnonzero(data.Sudoku.wrong(given, answer)).tolist() == cells
    for answer, cells in ((SOLVED, []), (WALL_GONE, [4]), (LONGER, [0, 1, 5, 8, 9, 10, 14])):
        assert np.flatnonzero(data.Maze.wrong(MAZE, answer)).tolist() == cells


def test_a_story_shows_the_puzzle_and_each_answer_that_differs_from_the_one_before():
    assert pictures(draw.story(*TOLD)) == [
        "the puzzle         step 1: 20% sure   step 3: 90% sure",
        "A .                A C*               A B+",
        ". C                B+C                B C"]
    assert [line[36:] for line in pictures(draw.story(*MARKED))[1:]] == ["BxC+", "A*B"]
    assert "A C+               A B+\n" in draw.story(*TOLD[:5])  # no one can know what is wrong
    small = [line.split("   ")[-1].strip() for line in pictures(draw.story(*BOXES_TOLD))]
    assert small[2:5] == ["3 4 |1+2+", "----+----", "2+1+|4 3"]


@pytest.mark.parametrize("told, verdict, by_the_rules", [
    (TOLD, "solved; the last change was in step 3 of 3", False),
    ((*TOLD[:3], ANSWERS[:2], *TOLD[4:]), "not solved; the last change was in step 1 of 2", False),
    (TOLD[:5], "no solution known; the last change was in step 3 of 3", False),
    (("", MAZES, MAZE, [SOLVED], [1]), "solved; the last change was in step 1 of 1", True),
    (("", MAZES, OPEN_MAZE, [FILE_SAYS, ANOTHER], [0.5, 1], FILE_SAYS),
     "solved: another solution than the file's; the last change was in step 2 of 2", False)])
def test_a_story_ends_with_a_verdict(told, verdict, by_the_rules):
    assert draw.story(*told).endswith(f"\n{verdict}")
    assert ("breaks the rules" in draw.story(*told)) == by_the_rules
    if "another" in verdict:  # what agrees with it is right, in the first answer too
        assert draw.all_frames(*told[1:])[1].wrong.tolist() == (ANOTHER != FILE_SAYS).tolist()


def test_as_many_pictures_stand_side_by_side_as_the_terminal_is_wide(monkeypatch):
    told = "", LETTERS, PUZZLE, ANSWERS[1:] * 5, [1] * 10, RIGHT
    for columns, beside in ((1, 1), (59, 2), (60, 3), (300, 11)):
        monkeypatch.setenv("COLUMNS", str(columns))
        for line, start in zip(pictures(draw.story(*told)), ("the puzzle|step", "A")):
            assert [match.start() for match in re.finditer(start, line)] == [
                21 * i for i in range(beside)]  # 'step 10: 100% sure' and three spaces


def test_colours_take_the_place_of_the_marks(monkeypatch):
    monkeypatch.setattr(draw, "colours_work", lambda: True)
    last = [line.split("   ")[-1] for line in pictures(draw.story(*MARKED))[1:]]
    assert re.findall("\033\\[([0-9;]+)m(.)\033\\[0m", "".join(last)) == [
        ("31", "B"), ("32", "C"), ("30;41", "A"), ("1", "B")]  # red, green, black on red, bold
    replaced = draw.all_frames(task("?.ABC<", LETTERS.symbols, blank=None), *MARKED[2:])
    assert [frame.given.any() for frame in replaced] == [True, False, False]  # nothing is kept
    missing = draw.story("", MAZES, MAZE, [MAZE], [0], SOLVED)
    assert re.findall("\033\\[31m(.)", missing) == ["_"] * 5  # a wrong blank is seen, too


def test_an_animation_shows_each_frame_in_turn_and_without_css_the_last_one():
    one, two, last = frames(TOLD)  # for a second, a second, and three seconds
    assert [group.get("visibility") for group in (one, two, last)] == ["hidden"] * 2 + ["visible"]
    for group, name, delay in ((one, "one", -5), (two, "one", -4), (last, "last", -3)):
        assert group.get("style") == f"animation:{name} 5s {delay}s step-end infinite"
    for name, end in (("one", 19.999), ("last", 59.999)):  # percent of the five seconds
        keyframes = f"{name}{{0%{{visibility:visible}}{end}%{{visibility:hidden}}}}"
        assert f"@keyframes {keyframes}" in draw.animation(*TOLD)


def outlines(frame, colour):
    """The (column, row) of each cell of a frame that has an outline or square of this colour."""
    return [(int(rect.get("x")) // 30, int(rect.get("y")) // 30) for rect in frame.iter("rect")
            if colour in (rect.get("stroke"), rect.get("fill")) and rect.get("x")]


def test_an_animation_marks_what_is_new_or_wrong_and_draws_only_what_changed():
    assert [texts(frame)[0][:6] for frame in frames(TOLD)] == ["the pu", "step 1", "step 3"]
    assert [frame[-1].get("width") for frame in frames(TOLD)] == ["0", "12", "54"]  # how sure
    cells = [(text.text, text.get("fill")) for text in frames(MARKED)[-1].iter("text")]
    assert cells[1:] == [("B", draw.WRONG), ("C", draw.NEW), ("A", draw.WRONG)]
    assert outlines(frames(MARKED)[-1], draw.PAPER) == [(0, 0), (1, 0), (0, 1)]  # on what was there
    all_texts = svg(draw.animation(*TOLD)).iter("text")
    assert [text.text for text in all_texts if text.get("font-weight")] == ["A", "C"]  # the givens
    _, first, last = frames(MAZE_TOLD)  # a wall where none is, and half of the path
    assert outlines(first, draw.WRONG) == [(2, 0), (1, 2), (2, 2), (2, 3)]
    assert outlines(last, draw.NEW) == [] and texts(last)[1:] == ["\u25cf"] * 5
    assert 'd="M0 0v120M0 0h120M60 0v120' in draw.animation(*BOXES_TOLD)  # around boxes


def test_an_answer_that_is_a_grid_of_its_own_stands_beside_the_puzzle():
    root = svg(draw.animation(*ARC_TOLD))
    first, last = frames(ARC_TOLD)
    assert [rect.get("fill") for rect in root.findall("rect")[1:]] == [Arc.fills[i] for i in ARC[0]]
    assert root.find("g").get("transform") == "translate(120)" and texts(root)[0] == "the puzzle"
    filled = [rect.get("fill") for rect in last.iter("rect") if rect.get("width") == "30"]
    assert filled == [Arc.fills[token] for token in ARC[2]]
    assert [outlines(frame, draw.NEW) for frame in (first, last)] == [[], [(1, 0)]]
    assert int(root.get("width")) >= 120 + 9 * len("step 1: 10% sure")  # the longest title has room


def test_a_learning_curve_has_a_line_for_each_number_of_refinement_steps():
    log = "step,seconds,loss,exact_1,exact_4,blanks\n50,1,2,0,0.5,0.8\n100,2,1,0.25,1,0.9\n"
    root = svg(draw.learning_curve(log))
    assert [line.get("points") for line in root.iter("polyline")] == [
        "245.0,230.0 445.0,180.0", "245.0,130.0 445.0,30.0"]  # 0 % is at 230, 100 % at 30
    assert {"after 1", "after 4", "100"} <= set(texts(root))
    for end, places in ("0.25", [35, 185]), ("1", [21, 35]):  # at the ends, not on each other
        root = svg(draw.learning_curve(log.replace("0.25", end)))
        y = [float(text.get("y")) for text in root.iter("text") if text.text.startswith("after ")]
        assert sorted(y) == places
