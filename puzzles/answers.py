"""What becomes of a net's answers: ARC's votes counted, and the files of `evaluate.py --answers`.

No torch here. sure: how sure the net is of an answer, 0 to 1.
"""
import json

import numpy as np


def csv_text(characters, questions, answers, sure):
    """A csv file's text, `question,answer,sure`. questions, answers: token ids, (N, S); sure: (N,);
    characters: a token's."""
    rows = ["question,answer,sure"]
    for *both, p in zip(questions.tolist(), answers.tolist(), sure.tolist()):
        question, answer = ("".join(characters[token] for token in tokens) for tokens in both)
        rows.append(f"{question},{answer},{p:.4f}")
    return "\n".join([*rows, ""])


def count_votes(tests, grids, sure):
    """Equal grids given as answers to the same test count as votes. tests: to which test each of
    the grids, 2-D uint8 arrays, is an answer. Returns {test: [grid, ...]}, those with most votes
    first, of equally many the one of which the net is surer."""
    votes = {}  # test -> what a grid looks like -> how sure each of its voters is
    for test, grid, p in zip(tests, grids, sure):
        votes.setdefault(test, {}).setdefault((grid.shape, grid.tobytes()), []).append(p)
    ranked = {}
    for test, found in votes.items():
        looks = sorted(found, key=lambda look: (len(found[look]), np.mean(found[look])),
                       reverse=True)
        ranked[test] = [np.frombuffer(cells, np.uint8).reshape(shape) for shape, cells in looks]
    return ranked


def prize_json(names, ranked):
    """The ARC Prize's form, {task: [{"attempt_1": grid, "attempt_2": grid}, ...]}, an entry a test:
    its two answers with most votes; where there is but one, it twice. names: each test's task."""
    tasks = {}
    for test, grids in sorted(ranked.items()):
        attempts = [grid.tolist() if grid.size else [[0]] for grid in grids[:2]]
        entry = {"attempt_1": attempts[0], "attempt_2": attempts[-1]}
        tasks.setdefault(names[test], []).append(entry)
    return json.dumps(tasks)
