"""Pictures: `python -m experiments.plot` draws claims.svg and heat.svg here. puzzles/draw.py has
what they are made of."""
import csv
from pathlib import Path

import torch

import cli
import evaluate
from puzzles.draw import INK, LINE, NEW, WRONG, svg_page, svg_text

HERE = Path(__file__).parent
# The six claims of README: what results.csv calls the runs, and what the picture calls them.
CLAIMS = [
    ("reference", "the reference: four refinement steps"),
    ("one step", "1. one refinement step"),
    ("two nets", "3. two nets in place of one"),
    ("one-step gradient", "4. gradient through the last call of each net"),
    ("all recursions", "4. gradient through all recursions of a step"),
    ("no carry", "5. no carry from step to step"),
    ("one state", "6. one state in place of two"),
]


def runs_of(rows, claim):
    """The exact accuracy of each run of a claim, in percent, after the last step trained with."""
    column = "exact_1" if claim == "one step" else "exact_4"
    return [float(row[column]) for row in rows if row["claim"] == claim]


def claims_picture(rows):
    """A bar for the mean of each claim's runs, and a dot for each run. rows: those of results.csv,
    dicts. Returns the text of an SVG picture."""
    left, high, wide = 330, 34, 300  # pixels: room for the words, a row's height, 100 percent
    parts = []
    for percent in (0, 50, 100):
        x = left + wide * percent / 100
        parts.append(f'<path d="M{x} 20v{high * len(CLAIMS)}" stroke="{LINE}"/>')
        parts.append(svg_text(x, 14, f"{percent}%", "middle"))
    for i, (claim, words) in enumerate(CLAIMS):
        exact = runs_of(rows, claim)
        mean, y = sum(exact) / len(exact), 20 + high * i
        parts.append(svg_text(left - 10, y + 22, words, "end"))
        parts.append(f'<rect x="{left}" y="{y + 7}" width="{wide * mean / 100:.1f}" height="20" '
                     f'fill="{NEW}" fill-opacity="0.45"/>')
        for share in exact:
            parts.append(f'<circle cx="{left + wide * share / 100:.1f}" cy="{y + 17}" r="4" '
                         f'fill="{INK}"/>')
        parts.append(svg_text(left + wide + 12, y + 22, f"{mean:.0f}%"))
    under = 40 + high * len(CLAIMS)
    parts.append(svg_text(left + wide + 50, under,
                          "exact accuracy on 1,000 test puzzles, after N_sup steps", "end"))
    return svg_page("Six claims, measured", left + wide + 60, under, parts)


def movement(model, puzzles, N_sup):
    """How far the answer's state z_H moves in each refinement step, as a share of its size, and
    which cells are wrong after it: two (N_sup, N, S). puzzles: a dict as in data.py."""
    inputs, moved, wrong = puzzles["inputs"].long(), [], []
    carry = model.initial_carry(len(inputs))
    with torch.no_grad():
        for _ in range(N_sup):
            before = carry[0]
            carry, logits, _ = model(carry, inputs)
            share = (carry[0] - before).norm(dim=-1) / before.norm(dim=-1)  # (N, prefix + S)
            moved.append(share[:, model.prefix_len :])
            wrong.append(logits.argmax(-1) != puzzles["labels"])
    return torch.stack(moved), torch.stack(wrong)


def heat_picture(model, puzzle):
    """Where a net works on a Sudoku: a small board for each refinement step from the second to the
    fifth, its cells the greener the further z_H moves, red where the answer was wrong before."""
    moved, wrong = (part[:, 0] for part in movement(model, puzzle, 5))  # (5, 81)
    parts = [svg_text(0, 8, "Green: how far z_H moves in the step; red: wrong before it")]
    cell = 14  # pixels
    for step in range(1, 5):
        left = (step - 1) * 11 * cell
        parts.append(svg_text(left, 34, f"step {step + 1}"))
        for i in range(81):
            x, y = left + cell * (i % 9), 42 + cell * (i // 9)
            stroke = f'stroke="{LINE}"'
            if wrong[step - 1, i]:
                stroke = f'stroke="{WRONG}" stroke-width="2"'
            parts.append(f'<rect x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}" {stroke} '
                         f'fill="{NEW}" fill-opacity="{min(1, 2 * moved[step, i].item()):.2f}"/>')
    return svg_page("Where the net works", 43 * cell, 46 + 9 * cell, parts)


def main():
    with open(HERE / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    model, task, *_ = evaluate.open_run("puzzles/trained/trm-sudoku")
    puzzle = {name: part[6:7] for name, part in task.splits["test"].items()}  # 5 steps
    pictures = {"claims": claims_picture(rows), "heat": heat_picture(model, puzzle)}
    for name, picture in pictures.items():
        cli.write_atomically(HERE / f"{name}.svg", picture.encode())
        print(f"drawn: {HERE / name}.svg")


if __name__ == "__main__":
    main()
