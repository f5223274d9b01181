"""Pictures: `python -m experiments.plot` draws claims.svg and heat.svg here, and prints the table
of the claims in README.md. puzzles/draw.py has what the pictures are made of."""
import csv
from pathlib import Path

import torch

import cli
import evaluate
from experiments.run import ARMS, name_of
from puzzles.draw import INK, LINE, NEW, WRONG, svg_page, svg_text

HERE = Path(__file__).parent
# What run.py and results.csv call an arm, and what the picture and the table call it.
CLAIMS = {claim: words for claim, (*_, words) in ARMS.items() if words}
# The table's columns: the words at their head, after how many steps, and by which recipe.
COLUMNS = [("after 4 steps", 4, ""), ("after 16", 16, ""),
           ("older recipe, after 4", 4, "older recipe")]
# 95% of Student's t, for 2, 3, ... 10 trainings.
STUDENT = 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262


def exact_by_seed(rows, claim, steps):
    """{seed: the exact accuracy after so many refinement steps, in percent}."""
    return {row["seed"]: float(row[f"exact_{steps}"]) for row in rows if row["claim"] == claim}


def differences(rows, claim, steps=4, more=""):
    """What each seed gains (or loses) against the reference of the same seed, in points. more: what
    stands behind both names in results.csv."""
    reference, arm = (exact_by_seed(rows, name_of(name, more), steps)
                      for name in ("reference", claim))
    return [arm[seed] - reference[seed] for seed in sorted(arm) if seed in reference]


def interval(gains):
    """The mean of some differences, and half of its 95% interval (a paired t-test)."""
    gains = torch.tensor(gains)
    half = STUDENT[min(len(gains), 10) - 2] * gains.std() / len(gains) ** 0.5
    return gains.mean().item(), half.item()


def claims_table(rows):
    """The lines of a table in Markdown: each arm's mean differences, with their intervals, bold
    where 0 is outside; a dash where there are none."""
    heads = " | ".join(words for words, _, _ in COLUMNS)
    lines = [f"| what is changed | how | {heads} |", "|---|---" + "|---" * len(COLUMNS) + "|"]
    for claim, words in CLAIMS.items():
        model, flags, patch, _ = ARMS[claim]
        how = f"patch `{patch}`" if patch else f"`{flags or f'--model {model}'}`"
        cells = []
        for _, steps, more in COLUMNS:
            gains = differences(rows, claim, steps, more)
            if len(gains) < 2:
                cells.append("–")
                continue
            mean, half = interval(gains)
            text = f"{mean:+.1f} ± {half:.1f}".replace("-", "−")
            cells.append(f"**{text}**" if abs(mean) > half else text)
        lines.append(f"| {words} | {how} | {' | '.join(cells)} |")
    return lines


def claims_picture(rows):
    """For each arm a bar for its mean difference to the reference, and a dot for each seed's. rows:
    those of results.csv, dicts. Returns the text of an SVG picture."""
    gains = {claim: differences(rows, claim) for claim in CLAIMS}
    lowest = min(0, *(min(each) for each in gains.values()))
    highest = max(0, *(max(each) for each in gains.values()))
    left, high, wide = 300, 34, 320  # pixels: room for the words, a row's height, for the bars

    def x_of(gain):
        return left + wide * (gain - lowest) / (highest - lowest)

    parts = [svg_text(x_of(0), 14, "the reference", "middle"),
             f'<path d="M{x_of(0):.1f} 20v{high * len(CLAIMS)}" stroke="{LINE}"/>']
    for i, (claim, words) in enumerate(CLAIMS.items()):
        (mean, _), y = interval(gains[claim]), 20 + high * i
        start, end = sorted((x_of(0), x_of(mean)))
        parts.append(svg_text(left - 20, y + 22, words, "end"))
        parts.append(f'<rect x="{start:.1f}" y="{y + 7}" width="{end - start:.1f}" height="20" '
                     f'fill="{NEW if mean > 0 else WRONG}" fill-opacity="0.45"/>')
        for each in gains[claim]:
            parts.append(f'<circle cx="{x_of(each):.1f}" cy="{y + 17}" r="4" fill="{INK}"/>')
        parts.append(svg_text(left + wide + 16, y + 22, f"{mean:+.1f}"))
    under = 40 + high * len(CLAIMS)
    parts.append(svg_text(left - 20, under, "points after four steps (claims 1, 2: see the text)"))
    return svg_page("Six claims, measured", left + wide + 60, under + 4, parts)


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
    print("\n".join(claims_table(rows)))


if __name__ == "__main__":
    main()
