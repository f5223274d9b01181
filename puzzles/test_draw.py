"""Tests of puzzles/draw.py, with tiny tasks of their own. Tokens of a cell: 0 pad, 1 blank, 2 and
more the digits of a Sudoku; a maze has the tokens of puzzles/read.py."""
import os
import re
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

import data
from arc import Arc
from cli import Failure
from puzzles import chart, draw


class Letters:
    """A task that says no more than its characters; all the rest are the defaults."""

    characters = "?.ABC<"
    symbols = [character.strip(" .") for character in characters]
    fills = [None] * len(characters)
    box, separate = 0, False

    def tidy(self, tokens):
        return tokens

    def wrong(self, inputs, answer, labels=None):
        return None if labels is None else answer != labels


class SmallSudoku(Letters):
    characters = "..1234"
    symbols = "", "", "1", "2", "3", "4"
    box = 2


class Sudoku(SmallSudoku):
    characters = "..123456789"
    symbols = "", "", *"123456789"
    box = 3
    wrong = staticmethod(data.Sudoku.wrong)


class Maze(Letters):
    characters = "?# SGo"
    symbols, fills = data.Maze.symbols, data.Maze.fills
    wrong = staticmethod(data.Maze.wrong)


class LettersWithoutA(Letters):
    def tidy(self, tokens):
        return np.where(tokens == 2, 0, tokens)


class LettersOnYellow(Letters):
    fills = ["#ffff00"] * 6


class Colours(Letters):
    """As ARC: the answer is a grid of its own. Only tokens of colours are drawn."""

    characters = "  .123456789"
    symbols, fills = Arc.symbols, Arc.fills
    separate = True

    def tidy(self, tokens):
        return np.where(tokens > 1, tokens, 0)


def tokens(task, text):
    """The characters of a grid, its rows parted by '/' -> (S,) tokens."""
    return np.array([task.characters.rindex(character) for character in text.replace("/", "")])


SVG = "http://www.w3.org/2000/svg"
LETTERS = Letters()
PUZZLE, HALF, SOLUTION = (tokens(LETTERS, text) for text in ("A./.C", "AC/BC", "AB/BC"))
TOLD = "a title", LETTERS, PUZZLE, np.stack([HALF, HALF, SOLUTION]), [0.2, 0.3, 0.9], SOLUTION

SMALL, SUDOKU = SmallSudoku(), Sudoku()
SMALL_SOLUTION = tokens(SMALL, "1234/3412/2143/4321")
SMALL_PUZZLE = np.where(np.arange(16) % 3 == 0, SMALL_SOLUTION, 1)

MAZE = Maze()
MAZE_PUZZLE = tokens(MAZE, "S   /# # /   #/#  G")
MAZE_SOLUTION = tokens(MAZE, "So  /#o# / oo#/# oG")

# In AFTER the first cell stays wrong, the second is put right, the third is new and wrong.
BEFORE, AFTER, AFTER_LABELS = (tokens(LETTERS, text) for text in ("BB/BB", "BC/AB", "AC/CB"))

COLOURS = Colours()
COLOURS_PUZZLE, COLOURS_SOLUTION = np.array([3, 2, 4, 4]), np.array([4, 4, 2, 3])

EVERY_KIND = (
    TOLD,
    ("small", SMALL, SMALL_PUZZLE, SMALL_SOLUTION[None], [1.0], SMALL_SOLUTION),
    ("maze", MAZE, MAZE_PUZZLE, np.stack([MAZE_PUZZLE, MAZE_SOLUTION]), [0.1, 1.0], MAZE_SOLUTION),
    ("ARC", COLOURS, COLOURS_PUZZLE, np.stack([COLOURS_PUZZLE, COLOURS_SOLUTION]), [0.1, 1.0],
     COLOURS_SOLUTION),
)


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    """A file of 60 columns as standard output: no colours, unless `coloured` is called."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(draw, "colours_work", lambda: False)
    return SimpleNamespace(
        coloured=lambda: monkeypatch.setattr(draw, "colours_work", lambda: True),
        columns=lambda number: monkeypatch.setenv("COLUMNS", str(number)))


def pictures(text):
    """The lines of a story's first row of pictures, their titles first."""
    return text[text.index("\nthe puzzle") + 1 :].split("\n\n")[0].split("\n")


def last_picture(text):
    """The lines of a story's last picture, without its title; without colours, in one row."""
    titles, *lines = pictures(text)
    return [line[titles.rindex("step") :].rstrip() for line in lines]


def svg(*told):
    """The animation as a tree of elements, their names without the namespace."""
    return ElementTree.fromstring(draw.animation(*told).replace(f'xmlns="{SVG}"', "", 1))


def frames(root):
    """The groups of an SVG picture that are shown one after the other."""
    return [group for group in root.iter("g") if group.get("visibility")]


def texts(element):
    return [text.text for text in element.iter("text")]


# ---- which cells are wrong -----------------------------------------------------------------------

DIGITS = 2 + np.array([(3 * (i % 3) + i // 3 + j) % 9 for i in range(9) for j in range(9)])


def test_with_a_solution_every_cell_that_differs_from_it_is_wrong():
    for wrong, solution in ((data.Sudoku.wrong, DIGITS), (data.Maze.wrong, MAZE_SOLUTION)):
        answer = solution.copy()
        answer[[0, 5]] = 1
        assert np.flatnonzero(wrong(answer, answer, solution)).tolist() == [0, 5]


def test_by_the_rules_a_sudoku_cell_is_wrong_if_blank_or_twice_in_a_unit_or_overwritten():
    inputs = np.where(np.arange(81) < 9, DIGITS, 1)  # the first row is given
    assert not data.Sudoku.wrong(inputs, DIGITS).any()
    blank = DIGITS.copy()
    blank[40] = 1
    assert np.flatnonzero(data.Sudoku.wrong(inputs, blank)).tolist() == [40]
    twice = DIGITS.copy()
    twice[80] = DIGITS[79]
    assert data.Sudoku.wrong(inputs, twice)[[79, 80]].all()
    renamed = 12 - DIGITS  # within the rules, but 9 in place of 1, 8 in place of 2, ...
    overwritten = np.flatnonzero(data.Sudoku.wrong(inputs, renamed)).tolist()
    assert overwritten == [cell for cell in range(9) if DIGITS[cell] != 7 - 1]


def test_by_the_rules_a_maze_cell_is_wrong_if_overwritten_or_on_no_shortest_path():
    assert not data.Maze.wrong(MAZE_PUZZLE, MAZE_SOLUTION).any()
    longer = tokens(MAZE, "So  /#o# /ooo#/# oG")
    assert (data.Maze.wrong(MAZE_PUZZLE, longer) == np.isin(longer, [3, 5])).all()
    without_wall = MAZE_SOLUTION.copy()
    without_wall[4] = 2
    assert np.flatnonzero(data.Maze.wrong(MAZE_PUZZLE, without_wall)).tolist() == [4]


# ---- the terminal --------------------------------------------------------------------------------

def test_a_story_shows_the_puzzle_and_each_answer_that_differs_from_the_one_before():
    assert pictures(draw.story(*TOLD)) == [
        "the puzzle         step 1: 20% sure   step 3: 90% sure",
        "A .                A C*               A B+",
        ". C                B+C                B C",
    ]


def test_a_story_ends_with_a_verdict():
    title, task, inputs, answers, sure, labels = TOLD
    assert draw.story(*TOLD).endswith("\nsolved; no cell changed after step 3 of 3")
    early = draw.story(title, task, inputs, answers[:2], sure, labels)
    assert early.endswith("\nnot solved; no cell changed after step 1 of 2")
    maze = tokens(MAZE, "S   /    /   #/#  G")
    file_says, another = (tokens(MAZE, text) for text in (
        "So  / o  / oo#/# oG", "S   /oo  / oo#/# oG"))
    told = "", MAZE, maze, np.stack([file_says, another]), [0.5, 1.0], file_says
    # the last answer is as short a path: it is right, and so is what agrees with it before
    assert "solved: another solution than the file's; no cell changed" in draw.story(*told)
    assert not any(frame.wrong[another == file_says].any() for frame in draw.all_frames(*told[1:]))
    assert "step 2: 100% sure, another solution" in draw.animation(*told)
    assert "another" not in draw.story(*TOLD)
    unknown = draw.story(title, task, inputs, answers, sure)
    assert unknown.endswith("\nno solution known; no cell changed after step 3 of 3")


def test_a_story_marks_nothing_as_wrong_where_no_one_can_know():
    assert "A C+               A B+\n" in draw.story(*TOLD[:5])


def test_a_story_says_what_is_wrong_by_the_rules_where_they_decide():
    told = "", MAZE, MAZE_PUZZLE, MAZE_SOLUTION[None], [1]
    assert "breaks the rules" in draw.story(*told)
    assert "breaks the rules" not in draw.story(*told, MAZE_SOLUTION)
    assert "breaks the rules" not in draw.story(*TOLD[:5])  # no one can know


def test_the_marks_tell_new_cells_from_wrong_ones_and_from_both():
    text = draw.story("", LETTERS, BEFORE, np.stack([BEFORE, AFTER]), [0, 0], AFTER_LABELS)
    assert last_picture(text) == ["BxC+", "A*B"]


def test_lines_part_the_boxes_of_a_sudoku():
    text = draw.story("", SMALL, SMALL_SOLUTION, SMALL_SOLUTION[None], [1])
    assert last_picture(text) == ["1 2 |3 4", "3 4 |1 2", "----+----", "2 1 |4 3", "4 3 |2 1"]
    lines = last_picture(draw.story("", SUDOKU, DIGITS, DIGITS[None], [1]))
    assert lines[3] == lines[7] == "------+------+------" and len(lines) == 11
    assert lines[0] == "1 2 3 |4 5 6 |7 8 9"


def test_a_long_title_makes_no_column_drift(terminal):
    """Ten steps of a picture that is narrower than 'step 10: 100% sure'."""
    terminal.columns(200)
    answers = np.stack([[HALF, SOLUTION][i % 2] for i in range(10)])
    for colour in (False, True):
        if colour:
            terminal.coloured()
        text = draw.story("", LETTERS, PUZZLE, answers, [1] * 10, SOLUTION)
        plain = [re.sub("\033.*?m", "", line) for line in pictures(text)]
        titles = [match.start() for match in re.finditer("the puzzle|step", plain[0])]
        letters = [match.start() for match in re.finditer("A", plain[1])]
        assert titles == letters and len(set(np.diff(titles))) == 1


def test_as_many_pictures_stand_beside_each_other_as_the_terminal_is_wide(terminal):
    width = len("step 1: 20% sure")
    for columns, beside in ((3 * width + 6, 3), (3 * width + 5, 2), (1, 1)):
        terminal.columns(columns)
        assert len(re.findall("the puzzle|step", pictures(draw.story(*TOLD))[0])) == beside


def test_colours_take_the_place_of_the_marks(terminal):
    terminal.coloured()
    text = draw.story("", LETTERS, BEFORE, np.stack([BEFORE, AFTER]), [0, 0], AFTER_LABELS)
    last = [line.split("   ")[-1] for line in pictures(text)[1:]]
    cells = re.findall("\033\\[([0-9;]+)m(.)\033\\[0m", "".join(last))
    red, green, black_on_red, bold = "31", "32", "30;41", "1"
    assert cells == [(red, "B"), (green, "C"), (black_on_red, "A"), (bold, "B")]


def test_what_the_puzzle_gives_is_bold_and_its_blanks_are_not(terminal):
    terminal.coloured()
    assert re.findall("\033\\[1m(.)", draw.story(*TOLD)) == [*"AAACCC"]
    bold = [text.text for text in svg(*TOLD).iter("text") if text.get("font-weight") == "bold"]
    assert bold == ["A", "C"]  # the frames do not draw them again
    assert "\033[1m" not in draw.story(*EVERY_KIND[3])  # a grid of its own has none


def test_a_wrong_blank_is_seen_in_colour(terminal):
    terminal.coloured()
    answers = np.stack([MAZE_PUZZLE])  # the whole path is missing
    text = draw.story("", MAZE, MAZE_PUZZLE, answers, [0], MAZE_SOLUTION)
    assert re.findall("\033\\[31m(.)", text) == ["_"] * np.sum(MAZE_SOLUTION == 5)


def test_colours_only_on_a_terminal_and_not_with_no_color(monkeypatch):
    monkeypatch.undo()  # here the function itself is tested
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("WT_SESSION", "1")
    for is_terminal in (False, True):
        monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda: is_terminal))
        assert draw.colours_work() == is_terminal
    monkeypatch.setenv("NO_COLOR", "")  # empty is as if it were not there
    assert draw.colours_work()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not draw.colours_work()


def test_what_tidy_leaves_out_is_not_drawn():
    text = draw.story("", COLOURS, COLOURS_PUZZLE, np.array([[1, 3, 1, 2]]), [0])
    assert last_picture(text) == ["  1", "  ."]
    text = draw.story("", LettersWithoutA(), PUZZLE, SOLUTION[None], [0])
    assert last_picture(text) == ["? B+", "B+C"] and pictures(text)[1].startswith("? . ")
    same = draw.story("", COLOURS, COLOURS_PUZZLE, np.array([[1, 3, 1, 2], [0, 3, 0, 2]]), [0, 0])
    assert "step 2" not in same


# ---- the SVG picture -----------------------------------------------------------------------------

def test_a_task_with_only_the_defaults_is_drawn_as_text_and_as_svg():
    told = "", LETTERS, PUZZLE, tokens(LETTERS, "A</.C")[None], [0.5]
    assert last_picture(draw.story(*told)) == ["A <+", ". C"]
    root = svg(*told)
    assert [text.text for text in root.findall("text")] == ["A", "C"]  # the puzzle, always seen
    assert [texts(frame) for frame in frames(root)] == [["the puzzle"], ["step 1: 50% sure", "<"]]


def test_an_svg_picture_has_a_frame_for_each_answer_that_differs_from_the_one_before():
    root = svg(*TOLD)
    assert [texts(frame)[0] for frame in frames(root)] == [
        "the puzzle", "step 1: 20% sure", "step 3: 90% sure"]
    assert svg("<&>", *TOLD[1:]).find("title").text == "<&>"


@pytest.mark.parametrize("told", EVERY_KIND, ids=lambda told: told[0])
def test_without_animation_only_the_last_frame_is_visible(told):
    root = svg(*told)
    visible = [frame.get("visibility") for frame in frames(root)]
    assert visible[-1] == "visible" and set(visible[:-1]) <= {"hidden"}
    assert "visibility" not in re.sub("@keyframes.*?}}", "", root.find("style").text)


@pytest.mark.parametrize("told", EVERY_KIND, ids=lambda told: told[0])
def test_at_each_second_of_the_animation_one_frame_is_visible(told):
    root = svg(*told)
    ends = {name: float(end) for name, end in re.findall(
        r"@keyframes (\w+){0%{visibility:visible}([\d.]+)%{visibility:hidden}}",
        root.find("style").text)}
    count = len(frames(root))
    for later in (0, 0.5):  # as a second begins, and in its middle
        shown = []
        for second in range(count + 2):
            for i, frame in enumerate(frames(root)):
                name, length, delay = re.fullmatch(
                    r"animation:(\w+) (\d+)s (-\d+)s step-end infinite",
                    frame.get("style")).groups()
                assert int(length) == count + 2
                share = (second + later - int(delay)) / int(length) % 1
                if 100 * share < ends[name]:
                    shown.append(i)
        assert shown == [*range(count), count - 1, count - 1]  # the last one for three seconds


@pytest.mark.parametrize("told", EVERY_KIND, ids=lambda told: told[0])
def test_every_colour_is_a_literal_attribute(told):
    root = svg(*told)
    assert "var(" not in draw.animation(*told)
    drawn = [element for element in root.iter() if element.tag in ("rect", "path", "text")]
    assert len(drawn) > 5
    for element in drawn:
        colours = [element.get(name) for name in ("fill", "stroke") if element.get(name)]
        assert element.get("fill") and set(colours) - {"none"}
        assert all(re.fullmatch("#[0-9a-f]{6}|none", colour) for colour in colours)


def test_a_rectangle_of_paper_lies_under_the_whole_picture():
    for told in EVERY_KIND:
        root = svg(*told)
        x, y, width, height = root.get("viewBox").split()
        paper = root.find("rect")
        assert [paper.get(name) for name in ("x", "y", "width", "height")] == [x, y, width, height]
        assert paper.get("fill") == "#ffffff" and root[2] is paper  # only title and style before it
        assert (root.get("width"), root.get("height")) == (width, height)


def test_on_a_dark_page_each_colour_has_its_dark_one():
    light, dark = draw.animation(*EVERY_KIND[2]).split("@media(prefers-color-scheme:dark){")
    for colour in (draw.INK, draw.PAPER, draw.LINE, draw.NEW, draw.WRONG):
        assert colour not in Arc.fills  # those stay as they are
        for attribute in ("fill", "stroke"):
            found = re.search(rf'\[{attribute}="{colour}"\]{{{attribute}:(#\w+)}}', dark)
            assert found and found[1] != colour
    assert "[" not in light  # on a light page no rule changes a colour


def test_symbols_are_green_where_new_and_red_where_wrong():
    frame = frames(svg("", LETTERS, BEFORE, np.stack([BEFORE, AFTER]), [0, 0], AFTER_LABELS))[-1]
    _, *cells = [(text.text, text.get("fill")) for text in frame.iter("text")]
    # the fourth cell is right and as in the puzzle, so it need not be drawn again
    assert cells == [("B", draw.WRONG), ("C", draw.NEW), ("A", draw.WRONG)]


def outlines(frame, colour):
    """The (column, row) of each cell of a frame that has an outline of this colour."""
    return [(int(rect.get("x")) // 30, int(rect.get("y")) // 30)
            for rect in frame.iter("rect") if rect.get("stroke") == colour]


def test_cells_without_a_symbol_are_outlined_where_new_or_wrong():
    missing = frames(svg("", MAZE, MAZE_PUZZLE, MAZE_PUZZLE[None], [0], MAZE_SOLUTION))[-1]
    path = [(cell % 4, cell // 4) for cell in np.flatnonzero(MAZE_SOLUTION == 5)]
    assert outlines(missing, draw.WRONG) == path
    first, second = frames(svg("", COLOURS, COLOURS_PUZZLE, np.array(
        [[4, 5, 2, 3], COLOURS_SOLUTION]), [0, 1], COLOURS_SOLUTION))
    assert outlines(first, draw.WRONG) == [(1, 0)] and outlines(first, draw.NEW) == []
    assert outlines(second, draw.WRONG) == [] and outlines(second, draw.NEW) == [(1, 0)]


def test_cells_with_a_filled_square_are_outlined_even_if_they_have_a_symbol():
    frame = frames(svg("", LettersOnYellow(), PUZZLE, HALF[None], [0], SOLUTION))[-1]
    assert texts(frame)[1:] == ["C", "B"]
    assert outlines(frame, draw.WRONG) == [(1, 0)] and outlines(frame, draw.NEW) == [(0, 1)]


def test_an_overwritten_cell_of_the_puzzle_is_hidden():
    """A path through a wall at (0, 1): paper first, then the disc; no wall shows below it."""
    answer = MAZE_SOLUTION.copy()
    answer[4] = 5
    frame = frames(svg("", MAZE, MAZE_PUZZLE, answer[None], [0], MAZE_SOLUTION))[-1]
    papers = [(rect.get("x"), rect.get("y")) for rect in frame.iter("rect")
              if rect.get("fill") == draw.PAPER]
    assert papers == [("0", "30")]


def test_the_bar_is_as_long_as_the_model_is_sure():
    root = svg(*TOLD)
    bars = [frame.findall("rect")[-1] for frame in frames(root)]
    assert [bar.get("width") for bar in bars] == ["0", "12", "54"]  # of 60 pixels: 0, 20, 90 %


def test_where_the_answer_is_a_grid_of_its_own_it_stands_beside_the_puzzle():
    root = svg(*EVERY_KIND[3])
    fills = [rect.get("fill") for rect in root.findall("rect")[1:]]
    assert fills == [Arc.fills[token] for token in COLOURS_PUZZLE]
    assert texts(root)[0] == "the puzzle" and len(frames(root)) == 2
    left = int(re.fullmatch(r"translate\((\d+)\)", root.find("g").get("transform"))[1])
    assert left > 60 and left > 9 * len("the puzzle")
    assert int(root.get("width")) > left + 9 * len("step 2: 100% sure")
    filled = [rect.get("fill") for rect in frames(root)[-1].iter("rect")
              if rect.get("width") == "30"]
    assert filled == [Arc.fills[token] for token in COLOURS_SOLUTION]


def test_strong_lines_stand_around_boxes_or_around_a_grid_without_boxes():
    for told, distances in ((EVERY_KIND[1], {30: "1", 60: "2"}),
                            (EVERY_KIND[2], {30: "1", 120: "2"})):
        found = {}  # where the second vertical line of each path stands -> how strong it is
        for path in svg(*told).iter("path"):
            places = re.findall(r"M(\d+) 0v120", path.get("d"))
            found[int(places[1])] = path.get("stroke-width")
        assert found == distances


# ---- charts --------------------------------------------------------------------------------------


def test_a_learning_curve_has_a_line_for_each_number_of_refinement_steps():
    log = "step,seconds,loss,exact_1,exact_4,blanks\n50,1,2,0,0.5,0.8\n100,2,1,0.25,1,0.9\n"
    root = ElementTree.fromstring(chart.learning_curve(log).replace(f'xmlns="{SVG}"', "", 1))
    lines = [[tuple(map(float, point.split(","))) for point in line.get("points").split()]
             for line in root.iter("polyline")]
    bottom, top = lines[0][0][1], lines[1][1][1]
    assert bottom > top  # in SVG y grows downwards
    assert [[round((bottom - y) / (bottom - top), 3) for _, y in line] for line in lines] == [
        [0, 0.25], [0.5, 1]]
    assert {"after 1", "after 4", "100"} <= set(texts(root))
    chart.learning_curve(log.splitlines()[0])  # before the first evaluation


# ---- show ----------------------------------------------------------------------------------------

PICTURES = [path for folder in ("puzzles/trained", "experiments")
            for path in (Path(draw.__file__).parents[1] / folder).glob("*.svg")]


@pytest.mark.parametrize("picture", [
    *(pytest.param(path.read_text(), id=path.name) for path in PICTURES),
    *(pytest.param(draw.animation(*told), id=told[0]) for told in EVERY_KIND)])
def test_pictures_are_well_formed_and_need_no_css_for_their_colours(picture):
    fills = [element.get("fill", "") for element in ElementTree.fromstring(picture).iter()]
    assert any(fills) and not any("var(" in fill for fill in fills)
    assert "var(" not in picture


def test_show_prints_the_story_and_writes_the_svg_file(tmp_path, capsys):
    draw.show(*TOLD)
    assert capsys.readouterr().out == draw.story(*TOLD) + "\n" and not os.listdir(tmp_path)
    draw.show(*TOLD, svg=tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text(encoding="utf-8") == draw.animation(*TOLD)
    assert os.listdir(tmp_path) == ["a.svg"]
    with pytest.raises(Failure):
        draw.show(*TOLD, svg=tmp_path)
