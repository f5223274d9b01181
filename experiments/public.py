"""The authors' own weights, for Sudokus or mazes, made into a run that evaluate.py opens:
`python -m experiments.public FILE FOLDER`.
"""
import io
import sys
from pathlib import Path

import torch

import cli
import recipes

# Names of weights in the authors' codes (after "inner."), and what they are here.
NAMES = {
    "embed_tokens.embedding_weight": "embedding.tokens", "lm_head.": "output_head.",
    "embed_pos.embedding_weight": "embedding.positions", "q_head.": "halt_head.",
    "H_level.layers.": "H_net.blocks.", "L_level.layers.": "L_net.blocks.",
    ".self_attn.qkv_proj.": ".attention.qkv.", ".self_attn.o_proj.": ".attention.output.",
    ".mlp_t.": ".mix.", ".gate_up_proj.": ".gate_up.", ".down_proj.": ".down.",
    "H_init": "z_H_init", "L_init": "z_L_init"}


def checkpoint_of(public, path):
    """The authors' weights, {name: tensor} -> a checkpoint of ours. Sizes are read off the weights.
    Heads, T_H, T_L and N_sup are not in them: here stand the papers' and, for learned positions,
    those of the one recipe that has them, HRM's for all Sudokus. Raises BadInput."""
    weights = {}
    for name, tensor in public.items():
        name = name.split("inner.")[-1]
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        weights[name] = tensor.float()
    table = weights.pop("puzzle_emb.weights", None)  # a single row, which all puzzles share
    rows = len(weights.get("embedding.tokens", ()))
    if rows not in (11, 6) or "halt_head.weight" not in weights:
        raise cli.BadInput(f"{path}: not the authors' weights for Sudokus (11 tokens) or mazes "
                           f"(6); it holds {list(public)[:4]}")
    task, cells = ("sudoku", 81) if rows == 11 else ("maze", 900)
    # In TRM's public code its one net is called L_net, too.
    layers = [name for name in weights if "L_net" in name and "mlp.down" in name]
    hrm = any(name.startswith("H_net") for name in weights)
    s = recipes.recipe("hrm" if hrm else "trm", task, "paper")
    s |= dict(hidden_size=weights["embedding.tokens"].shape[1], layers=len(layers),
              mixer="attention")
    if not hrm:
        weights = {name.replace("L_net", "net"): part for name, part in weights.items()}
        for name in ("halt_head.weight", "halt_head.bias"):  # it keeps HRM's second logit, unused
            weights[name] = weights[name][:1]
    if "embedding.positions" in weights:
        s |= dict(positions="learned", T_L=8, N_sup=8)
    if "net.blocks.0.mix.down.weight" in weights:  # as wide as prefix and cells together
        width = len(weights["net.blocks.0.mix.down.weight"])
        s |= dict(mixer="mlp", prefix_len=width - cells)
    checkpoint = {"settings": s, "average": weights}
    return checkpoint if table is None else {**checkpoint, "embeddings": {"table": table}}


def main(argv=None):
    parser = cli.Parser(prog="python -m experiments.public", description=__doc__.split(":")[0])
    parser.add_argument("file", metavar="FILE", help="the authors' checkpoint")
    parser.add_argument("folder", metavar="FOLDER", help="the run's folder, a new one")
    args = parser.parse_args(argv)
    with cli.blaming(args.file, "not a checkpoint, or damaged"):
        public = torch.load(args.file, map_location="cpu", weights_only=True)
        public = public.get("state_dict", public.get("model", public))
        if "settings" in public or "embedding.tokens" in public:
            raise cli.BadInput(f"{args.file}: no weights of the authors, but of this project")
        checkpoint = checkpoint_of(public, args.file)
    s, path = checkpoint["settings"], Path(args.folder, "checkpoint.pt")
    content = io.BytesIO()
    torch.save(checkpoint, content)
    cli.claim(args.folder)
    cli.write_atomically(path, content.getbuffer())
    print(f"{path}: {s['model'].upper()} on {s['task']}; taken for granted: 8 heads, "
          f"T_H {s['T_H']}, T_L {s['T_L']}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.in_one_line(main))
