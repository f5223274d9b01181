"""The Tiny Recursive Model (TRM): one small net, called again and again.

One call of the model is one refinement step. In the talk's names:

    x = embedding(puzzle)
    with no_grad:
        for _ in range(T_H - 1): z_H, z_L = latent_recursion(z_H, z_L, x)
    z_H, z_L = latent_recursion(z_H, z_L, x)                 # the last one, with gradient
    answer, halt = output_head(z_H), halt_head(z_H)
    def latent_recursion(z_H, z_L, x):
        for _ in range(T_L): z_L = net(z_L, z_H + x)         # think
        z_H = net(z_H, z_L)                                  # answer

The N_sup loop around it is in train.py. `diff hrm.py trm.py` shows what TRM changed.
[H] is HRM's paper, arXiv 2506.21734, [J] TRM's, arXiv 2510.04871. In shapes, B is the number of
puzzles, P of positions (prefix and cells), D of channels.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class TRM(nn.Module):
    """One net thinks (z_L) and answers (z_H). The talk has one layer in it, the paper two."""
    looks_ahead = False  # its halting is trained without a second forward ([J] section 4.6)

    def __init__(self, vocab_size, seq_len, *, hidden_size=512, num_heads=8, expansion=4, layers=1,
                 T_H=3, T_L=6, mixer="attention", positions="rotary", prefix_len=0):
        super().__init__()
        self.T_H, self.T_L, self.prefix_len = T_H, T_L, prefix_len
        learned = mixer == "attention" and positions == "learned"
        self.embedding = Embedding(vocab_size, seq_len, hidden_size, prefix_len, learned)
        block = dict(length=prefix_len + seq_len, hidden_size=hidden_size, num_heads=num_heads,
                     expansion=expansion, mixer=mixer, positions=positions)
        self.net = Net(layers, block)
        self.output_head = Linear(hidden_size, vocab_size)
        self.halt_head = halting_head(hidden_size, 1)  # one logit: is the answer right?
        self.z_H_init = nn.Buffer(truncated_normal((hidden_size,), std=1))
        self.z_L_init = nn.Buffer(truncated_normal((hidden_size,), std=1))

    def forward(self, carry, inputs, puzzle_embedding=None):
        """One refinement step. carry: (z_H, z_L), each (B, P, D), `initial_carry`'s or that of the
        step before. inputs: (B, seq_len) token ids. puzzle_embedding: (B, D), or None. Returns the
        carry, detached: each step learns from its own loss, and memory does not grow with N_sup;
        the answer's logits (B, seq_len, vocab_size); halting logits (B, 1), of position 0."""
        z_H, z_L = carry
        x = self.embedding(inputs, puzzle_embedding).to(z_H.dtype)
        with torch.no_grad():
            for _ in range(self.T_H - 1):
                z_H, z_L = self.latent_recursion(z_H, z_L, x)
        z_H, z_L = self.latent_recursion(z_H, z_L, x)
        logits = self.output_head(z_H[:, self.prefix_len :])
        halt_logits = self.halt_head(z_H[:, 0].to(self.halt_head.weight.dtype))  # float32
        return (z_H.detach(), z_L.detach()), logits, halt_logits

    def latent_recursion(self, z_H, z_L, x):
        for _ in range(self.T_L):
            z_L = self.net(z_L, z_H + x)
        z_H = self.net(z_H, z_L)  # without x: that tells the net its job ([J] section 4.3)
        return z_H, z_L

    def initial_carry(self, batch_size, dtype=torch.float32):
        """(z_H, z_L), each (B, P, D), in the dtype to compute in. The talk starts them at zeros;
        both public codes, and this one, use one fixed random vector each."""
        copies = batch_size, self.embedding.length, 1
        return self.z_H_init.to(dtype).repeat(copies), self.z_L_init.to(dtype).repeat(copies)

    def halts(self, halt_logits):
        """Which puzzles stop here, (B,) bool: those whose answer the model believes to be right."""
        return halt_logits[:, 0] > 0

    def halting_loss(self, halt_logits, right):
        """A binary question, (B,): is the answer right? right: (B,) bool, every supervised cell."""
        halt = halt_logits[:, 0]
        return 0.5 * F.binary_cross_entropy_with_logits(halt, right.float(), reduction="none")


# ---- the shared blocks: the same in hrm.py and trm.py, character for character -------------------

class Embedding(nn.Module):
    """Tokens -> x, which tells a net its puzzle. prefix_len positions stand before the cells; the
    first holds the puzzle's embedding, if there is one. learned: each position has a vector too."""

    def __init__(self, vocab_size, seq_len, hidden_size, prefix_len, learned):
        super().__init__()
        self.prefix_len, self.length, std = prefix_len, prefix_len + seq_len, hidden_size**-0.5
        self.tokens = nn.Parameter(truncated_normal((vocab_size, hidden_size), std))
        vectors = truncated_normal((self.length, hidden_size), std) if learned else None
        self.positions = nn.Parameter(vectors) if learned else None

    def forward(self, inputs, puzzle_embedding=None):  # (B, seq_len) token ids; (B, D) or None
        cells = F.embedding(inputs.long(), self.tokens)  # (B, seq_len, D)
        prefix = cells.new_zeros(len(cells), self.prefix_len, cells.shape[-1])
        if puzzle_embedding is not None:
            prefix[:, 0] = puzzle_embedding
        x = torch.cat((prefix, cells), dim=1)  # (B, P, D)
        if self.positions is not None:
            x = math.sqrt(0.5) * (x + self.positions)  # the sum is as large as each of the two
        return math.sqrt(x.shape[-1]) * x


class Net(nn.Module):
    """net(state, injection): the injection is added once, before the first block."""

    def __init__(self, layers, block):  # block: what Block takes, by name
        super().__init__()
        self.blocks = nn.ModuleList([Block(**block) for _ in range(layers)])

    def forward(self, state, injection):  # both (B, P, D)
        h = state + injection
        for block in self.blocks:
            h = block(h)
        return h


class Block(nn.Module):
    """A layer: attention or, as in [J], a SwiGLU over the positions mixes them; then a SwiGLU works
    on each. Post-norm: the state keeps its size however often the layer is called."""

    def __init__(self, length, hidden_size, num_heads, expansion, mixer, positions):
        super().__init__()
        if mixer not in ("attention", "mlp") or positions not in ("rotary", "learned"):
            raise ValueError(f"mixer {mixer!r} with positions {positions!r} is not known")
        self.mixer = mixer
        if mixer == "attention":
            self.attention = Attention(hidden_size, num_heads, positions == "rotary", length)
        else:
            self.mix = SwiGLU(length, expansion)  # each position has weights of its own
        self.mlp = SwiGLU(hidden_size, expansion)

    def forward(self, h):  # (B, P, D)
        if self.mixer == "attention":
            h = rms_norm(h + self.attention(h))
        else:
            h = h.transpose(1, 2)  # (B, D, P)
            h = rms_norm(h + self.mix(h))  # this norm runs over the positions, channel by channel
            h = h.transpose(1, 2)  # (B, P, D)
        return rms_norm(h + self.mlp(h))


class Attention(nn.Module):
    """Every position looks at every other: there is no causal mask. Rotary positions count over the
    whole sequence, prefix included; learned ones are in x already."""

    def __init__(self, hidden_size, num_heads, rotary, length):
        super().__init__()
        if hidden_size % (2 * num_heads):
            raise ValueError(f"hidden_size {hidden_size} does not divide into {num_heads} heads")
        self.num_heads, self.rotary = num_heads, rotary
        self.qkv = Linear(hidden_size, 3 * hidden_size)  # rows: all of q, all of k, all of v
        self.output = Linear(hidden_size, hidden_size)
        half = hidden_size // num_heads // 2
        speed = 10000.0 ** (-torch.arange(half) / half)  # (half,), radians a position
        angle = torch.outer(torch.arange(length), speed)  # (P, half)
        self.cos = nn.Buffer(angle.cos(), persistent=False)
        self.sin = nn.Buffer(angle.sin(), persistent=False)

    def forward(self, h):  # (B, P, D)
        qkv = self.qkv(h).unflatten(-1, (3, self.num_heads, -1))  # (B, P, 3, heads, width)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, P, width)
        if self.rotary:
            q, k = rotate(q, self.cos, self.sin), rotate(k, self.cos, self.sin)
        h = F.scaled_dot_product_attention(q, k, v)
        return self.output(h.transpose(1, 2).flatten(2))


def rotate(x, cos, sin):
    """Turn each pair (x[i], x[i + half]) by an angle that grows with the position; in float32."""
    x1, x2 = x.float().chunk(2, dim=-1)
    return torch.cat((x1 * cos - x2 * sin, x2 * cos + x1 * sin), dim=-1).to(x.dtype)


class SwiGLU(nn.Module):
    """down(silu(gate) * up) over the last axis. The inner width is rounded up to a multiple of 256,
    as in the public codes: at width 64 it is 256 for every expansion from 1 to 6."""

    def __init__(self, width, expansion):
        super().__init__()
        inner = math.ceil(round(expansion * width * 2 / 3) / 256) * 256
        self.gate_up = Linear(width, 2 * inner)  # rows: all of gate, all of up
        self.down = Linear(inner, width)

    def forward(self, h):
        gate, up = self.gate_up(h).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


class Linear(nn.Module):
    """y = x W^T, no bias: float32 weights, computed in the input's dtype (bfloat16 on a GPU)."""

    def __init__(self, fan_in, fan_out):
        super().__init__()
        self.weight = nn.Parameter(truncated_normal((fan_out, fan_in), fan_in**-0.5))

    def forward(self, x):
        flat = x.flatten(0, -2)  # else a transposed x may become a batched matmul, far slower
        return F.linear(flat, self.weight.to(x.dtype)).unflatten(0, x.shape[:-1])


def rms_norm(h):
    """Divide by the root mean square over the last axis; no learned weight; in float32."""
    return F.rms_norm(h.float(), h.shape[-1:], eps=1e-5).to(h.dtype)


def halting_head(hidden_size, logits):
    """A linear that starts at 0, with a bias of -5, so that nothing halts early in training."""
    head = nn.Linear(hidden_size, logits)
    nn.init.zeros_(head.weight)
    nn.init.constant_(head.bias, -5)
    return head


def truncated_normal(shape, std):
    """Normal draws cut at 2 sigma, of this std after the cut (torch's have less), as in jax."""
    sigma = std / 0.87962566103423978  # the std of a standard normal cut at -2 and 2
    return nn.init.trunc_normal_(torch.empty(shape), std=sigma, a=-2 * sigma, b=2 * sigma)
