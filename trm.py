"""The Tiny Recursive Model (TRM): one small net, called again and again.

Read `TRM.forward` first: it is one refinement step. Then `diff hrm.py trm.py`: it shows what TRM
changed. The N_sup loop around it (forward, loss, optimizer step; the carry goes into the next
forward) is `train_step` in train.py. Source: [J] Jolicoeur-Martineau, "Less is More: Recursive
Reasoning with Tiny Networks", arXiv 2510.04871. The names are the talk's: the paper's y and z are
z_H and z_L here, its T and n are T_H and T_L.
Shapes: B puzzles, S = prefix_len + seq_len positions, D = hidden_size channels.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class TRM(nn.Module):
    """One net with two jobs: it thinks (z_L) and it answers (z_H). One call is one refinement step.

    vocab_size tokens, seq_len cells; T_L latent updates before each update of the answer, T_H
    times. The paper's sizes are the defaults, but for `layers`: 1 as in the talk, where the paper's
    best is 2 ([J] section 4.4). mixer: "attention" or "mlp". positions, for attention: "rotary" as
    in both papers, or "learned", the public codes' alternative. prefix_len positions come before
    the cells; the first holds the puzzle's embedding, where there is one. Raises ValueError where
    sizes do not fit together.
    """

    def __init__(self, vocab_size, seq_len, *, hidden_size=512, num_heads=8, expansion=4, layers=1,
                 T_H=3, T_L=6, mixer="attention", positions="rotary", prefix_len=0):
        super().__init__()
        self.T_H, self.T_L, self.prefix_len = T_H, T_L, prefix_len
        self.length = prefix_len + seq_len
        self.embed_tokens = nn.Parameter(
            truncated_normal((vocab_size, hidden_size), std=hidden_size**-0.5))
        if positions not in ("rotary", "learned"):
            raise ValueError(f'positions {positions!r} is neither "rotary" nor "learned"')
        self.embed_positions = None
        if (mixer, positions) == ("attention", "learned"):
            self.embed_positions = nn.Parameter(
                truncated_normal((self.length, hidden_size), std=hidden_size**-0.5))
        self.net = Net(layers, mixer, positions, hidden_size, num_heads, expansion, self.length)
        self.output_head = Linear(hidden_size, vocab_size)
        self.halt_head = nn.Linear(hidden_size, 1)  # one logit: "is my answer right?"
        nn.init.zeros_(self.halt_head.weight)
        nn.init.constant_(self.halt_head.bias, -5)  # so that at first nothing halts
        # The talk starts the carry at zeros; both public codes use one fixed random vector each.
        self.register_buffer("z_H_init", truncated_normal((hidden_size,), std=1))
        self.register_buffer("z_L_init", truncated_normal((hidden_size,), std=1))

    def initial_carry(self, batch_size, dtype=torch.float32):
        """(z_H, z_L), each (B, S, D). Their dtype is the dtype that the net computes in."""
        shape = (batch_size, self.length, -1)
        return self.z_H_init.to(dtype).expand(shape), self.z_L_init.to(dtype).expand(shape)

    def embed(self, inputs, puzzle_embedding=None):
        """x, (B, S, D) in float32: the prefix (the puzzle's embedding (B, D), then zeros) and the
        embedded cells (B, seq_len), with learned positions where there are any; times sqrt(D)."""
        x = F.embedding(inputs, self.embed_tokens)  # (B, seq_len, D)
        if self.prefix_len:
            first = torch.zeros_like(x[:, 0]) if puzzle_embedding is None else puzzle_embedding
            x = torch.cat((F.pad(first[:, None], (0, 0, 0, self.prefix_len - 1)), x), dim=1)
        elif puzzle_embedding is not None:
            raise ValueError("prefix_len 0: a puzzle's embedding needs a prefix_len of 1 or more")
        if self.embed_positions is not None:
            x = math.sqrt(0.5) * (x + self.embed_positions)  # as large as each alone
        return math.sqrt(x.shape[-1]) * x

    def latent_recursion(self, z_H, z_L, x):
        for _ in range(self.T_L):
            z_L = self.net(z_L, z_H + x)  # think: given the puzzle and the answer so far
        z_H = self.net(z_H, z_L)  # answer: without x, which tells the net which of its jobs this is
        return z_H, z_L

    def forward(self, carry, inputs, puzzle_embedding=None):
        """One refinement step.

        carry: (z_H, z_L), each (B, S, D), from initial_carry or from the step before. inputs:
        (B, seq_len) token ids. puzzle_embedding: (B, D) or None. Returns the carry, detached, for
        the next step; the answer's logits (B, seq_len, vocab_size); the halting logit (B, 1), in
        float32.
        """
        z_H, z_L = carry
        x = self.embed(inputs, puzzle_embedding).to(z_H.dtype)
        with torch.no_grad():
            for _ in range(self.T_H - 1):
                z_H, z_L = self.latent_recursion(z_H, z_L, x)
        z_H, z_L = z_H.detach(), z_L.detach()  # no gradient beyond here, but x keeps its own
        z_H, z_L = self.latent_recursion(z_H, z_L, x)  # through all of this one ([J] section 4.1)
        logits = self.output_head(z_H[:, self.prefix_len :])
        # The public codes always have a prefix and read its first position here. Without one it is
        # the first cell, which has to carry its own token as well.
        halt_logits = self.halt_head(z_H[:, 0].float())
        return (z_H.detach(), z_L.detach()), logits, halt_logits

    def halts(self, halt_logits):
        """Which puzzles stop here, (B,) bool: those whose answer the model holds for right."""
        return halt_logits[:, 0] > 0

    def halting_loss(self, halt_logits, right, last, carry, inputs, puzzle_embedding=None):
        """A binary question, (B,): is every supervised cell right? right: (B,) bool.

        The other arguments are for HRM's look ahead, a second forward that TRM does without
        ([J] section 4.6).
        """
        loss = F.binary_cross_entropy_with_logits
        return 0.5 * loss(halt_logits[:, 0], right.float(), reduction="none")


# ---- the shared blocks: the same in hrm.py and trm.py, character for character -------------------


class AttentionBlock(nn.Module):
    """A transformer layer, post-norm: the norm follows the residual sum, so the state keeps its
    size however often the layer is called."""

    def __init__(self, positions, hidden_size, num_heads, expansion, length):
        super().__init__()
        self.attention = Attention(positions, hidden_size, num_heads, length)
        self.mlp = SwiGLU(hidden_size, expansion)

    def forward(self, h):  # (B, S, D)
        h = rms_norm(h + self.attention(h))
        return rms_norm(h + self.mlp(h))


class MLPBlock(nn.Module):
    """[J]'s layer without attention: a SwiGLU over the positions, each of which has its own
    weights, mixes the cells. No position encoding is needed."""

    def __init__(self, hidden_size, expansion, length):
        super().__init__()
        self.mix = SwiGLU(length, expansion)
        self.mlp = SwiGLU(hidden_size, expansion)

    def forward(self, h):  # (B, S, D)
        h = h.transpose(1, 2)  # (B, D, S)
        h = rms_norm(h + self.mix(h))  # this norm runs over the positions, channel by channel
        h = h.transpose(1, 2)  # (B, S, D)
        return rms_norm(h + self.mlp(h))


class Net(nn.Module):
    """net(state, injection): the injection is added once, before the first block."""

    def __init__(self, layers, mixer, positions, hidden_size, num_heads, expansion, length):
        super().__init__()
        if mixer == "attention":
            blocks = [AttentionBlock(positions, hidden_size, num_heads, expansion, length)
                      for _ in range(layers)]
        elif mixer == "mlp":
            blocks = [MLPBlock(hidden_size, expansion, length) for _ in range(layers)]
        else:
            raise ValueError(f'mixer {mixer!r} is neither "attention" nor "mlp"')
        self.blocks = nn.ModuleList(blocks)

    def forward(self, state, injection):  # both (B, S, D)
        h = state + injection
        for block in self.blocks:
            h = block(h)
        return h


class Attention(nn.Module):
    """Every position looks at every other (no causal mask); rotary positions over the flattened
    sequence, prefix included, unless they are learned: then `embed` has added them to x."""

    def __init__(self, positions, hidden_size, num_heads, length):
        super().__init__()
        if hidden_size % (2 * num_heads):
            raise ValueError(f"hidden_size {hidden_size} does not divide into {num_heads} heads "
                             "(num_heads) of an even width")
        self.num_heads, self.rotary = num_heads, positions == "rotary"
        self.qkv = Linear(hidden_size, 3 * hidden_size)  # rows: all of q, all of k, all of v
        self.output = Linear(hidden_size, hidden_size)
        half = hidden_size // num_heads // 2
        speed = 10000.0 ** (-torch.arange(half) / half)  # (half,), radians a position
        angle = torch.outer(torch.arange(length), speed)  # (S, half)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, h):  # (B, S, D)
        qkv = self.qkv(h).unflatten(-1, (3, self.num_heads, -1))  # (B, S, 3, heads, width)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, S, width)
        if self.rotary:
            q, k = rotate(q, self.cos, self.sin), rotate(k, self.cos, self.sin)
        h = F.scaled_dot_product_attention(q, k, v)
        return self.output(h.transpose(1, 2).flatten(2))


def rotate(x, cos, sin):
    """Rotary position embedding: turn each pair (x[i], x[i + half]) by an angle that grows with
    the position. Computed in float32."""
    x1, x2 = x.float().chunk(2, dim=-1)
    return torch.cat((x1 * cos - x2 * sin, x2 * cos + x1 * sin), dim=-1).to(x.dtype)


class SwiGLU(nn.Module):
    """down(silu(gate) * up) over the last axis; one projection makes both, gate first."""

    def __init__(self, width, expansion):
        super().__init__()
        inner = math.ceil(round(expansion * width * 2 / 3) / 256) * 256  # as the public codes
        self.gate_up = Linear(width, 2 * inner)
        self.down = Linear(inner, width)

    def forward(self, h):
        gate, up = self.gate_up(h).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


class Linear(nn.Module):
    """y = x W^T, no bias: float32 weights, computed in the input's dtype (bfloat16 on a GPU)."""

    def __init__(self, fan_in, fan_out):
        super().__init__()
        self.weight = nn.Parameter(truncated_normal((fan_out, fan_in), std=fan_in**-0.5))

    def forward(self, x):
        return F.linear(x, self.weight.to(x.dtype))


def rms_norm(h):
    """Divide by the root mean square over the last axis; no learned weight; in float32."""
    return F.rms_norm(h.float(), h.shape[-1:], eps=1e-5).to(h.dtype)


def truncated_normal(shape, std):
    """Normal draws cut at 2 sigma, sigma enlarged so that `std` remains after the cut: as in
    jax and flax, and in both public codes. torch's trunc_normal_ alone leaves a smaller std."""
    sigma = std / 0.87962566103423978  # the std of a standard normal cut at -2 and 2
    return nn.init.trunc_normal_(torch.empty(shape), std=sigma, a=-2 * sigma, b=2 * sigma)
