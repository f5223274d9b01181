"""Charts as plain SVG: the learning curve of a run, and what other charts are made of."""
from html import escape
from pathlib import Path

from cli import write_atomically
from puzzles.draw import INK, LINE, NEW, PAPER, svg_dark_colours


def svg_text(x, y, text, anchor="start"):
    """Words at (x, y); anchor: which part of them stands there, "start", "middle" or "end"."""
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="14" text-anchor="{anchor}" fill="{INK}">'
            f'{escape(text)}</text>')


def svg_page(title, width, height, parts):
    """A picture of these elements, on paper with a margin -> its text."""
    size = f'width="{width + 20}" height="{height + 20}"'
    return (f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" '
            f'viewBox="-10 -10 {width + 20} {height + 20}"><title>{escape(title)}</title>'
            f'<style>{svg_dark_colours()}</style>'
            f'<rect x="-10" y="-10" {size} fill="{PAPER}"/>{"".join(parts)}</svg>\n')


def save_curve(path):
    """Draw the learning curve of a run's log.csv, as curve.svg beside it. Raises cli.Failure."""
    picture = learning_curve(Path(path).read_text())
    write_atomically(Path(path).with_name("curve.svg"), picture.encode())


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
