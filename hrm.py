"""The Hierarchical Reasoning Model (HRM): a fast low-level net inside a slow high-level net solves a puzzle.

Read `HRM.forward` first: it is one refinement step. Then `diff hrm.py trm.py`: what the diff shows is
what TRM changed. The N_sup loop around it (forward, loss, optimizer step; the carry goes into the next forward) is
`train_step` in train.py. Source: [H] Wang et al., "Hierarchical Reasoning Model", arXiv 2506.21734. The names are
the talk's: the paper's N and T are T_H and T_L here, its f_H and f_L are H_net and L_net.
Shapes: B puzzles, S = prefix_len + seq_len positions, D = hidden_size channels.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

# ---- the shared blocks: the same in hrm.py and trm.py, character for character ------------------------------


def truncated_normal(shape, std):
    """Normal draws cut at 2 sigma, sigma enlarged so that `std` is what remains after the cut.

    jax and flax initialise so, and both public codes with them; torch's trunc_normal_ alone leaves a smaller std.
    """
    sigma = std / 0.87962566103423978  # the std of a standard normal cut at -2 and 2
    return nn.init.trunc_normal_(torch.empty(shape), std=sigma, a=-2 * sigma, b=2 * sigma)


def rms_norm(h):
    """Divide by the root mean square over the last axis; no learned weight; computed in float32."""
    return F.rms_norm(h.float(), h.shape[-1:], eps=1e-5).to(h.dtype)


class Linear(nn.Module):
    """y = x W^T without bias: float32 weights, computed in the input's dtype (bfloat16 on a GPU)."""

    def __init__(self, fan_in, fan_out):
        super().__init__()
        self.weight = nn.Parameter(truncated_normal((fan_out, fan_in), std=fan_in**-0.5))

    def forward(self, x):
        return F.linear(x, self.weight.to(x.dtype))


class SwiGLU(nn.Module):
    """down(silu(gate) * up) over the last axis; gate and up are one fused projection, gate first."""

    def __init__(self, width, expansion):
        super().__init__()
        inner = math.ceil(round(expansion * width * 2 / 3) / 256) * 256
        self.gate_up = Linear(width, 2 * inner)
        self.down = Linear(inner, width)

    def forward(self, h):
        gate, up = self.gate_up(h).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


def rotate(x, cos, sin):
    """Rotary position embedding: turn each pair (x[i], x[i + half]) by an angle that grows with the position."""
    x1, x2 = x.float().chunk(2, dim=-1)
    return torch.cat((x1 * cos - x2 * sin, x2 * cos + x1 * sin), dim=-1).to(x.dtype)


class Attention(nn.Module):
    """Every position looks at every other (no causal mask); rotary positions over the flattened sequence."""

    def __init__(self, hidden_size, num_heads, length):
        super().__init__()
        if hidden_size % (2 * num_heads):
            raise ValueError(f"hidden_size {hidden_size} does not divide into {num_heads} heads of an even width")
        self.num_heads = num_heads
        self.qkv = Linear(hidden_size, 3 * hidden_size)  # rows: all of q, all of k, all of v
        self.output = Linear(hidden_size, hidden_size)
        half = hidden_size // num_heads // 2
        angle = torch.outer(torch.arange(length), 10000.0 ** (-torch.arange(half) / half))  # (S, half)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, h):  # (B, S, D)
        q, k, v = self.qkv(h).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, S, width)
        q, k = rotate(q, self.cos, self.sin), rotate(k, self.cos, self.sin)
        h = F.scaled_dot_product_attention(q, k, v)
        return self.output(h.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A transformer layer, post-norm: the norm comes after the residual sum, so the state keeps its size."""

    def __init__(self, hidden_size, num_heads, expansion, length):
        super().__init__()
        self.attention = Attention(hidden_size, num_heads, length)
        self.mlp = SwiGLU(hidden_size, expansion)

    def forward(self, h):  # (B, S, D)
        h = rms_norm(h + self.attention(h))
        return rms_norm(h + self.mlp(h))


class Net(nn.Module):
    """net(state, injection): the injection is added once, before the first block."""

    def __init__(self, blocks):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, state, injection):  # both (B, S, D)
        h = state + injection
        for block in self.blocks:
            h = block(h)
        return h


class PuzzleRows(nn.Module):
    """One learned row per puzzle id, zero at the start (ARC needs them: one per task and augmentation).

    There can be a million rows and a batch touches a few hundred, so the table is a buffer outside autograd and
    the optimizer: forward hands out a batch's rows as a leaf whose gradient is (B, D), `sign_sgd` brings it back.
    """

    def __init__(self, num_puzzles, hidden_size):
        super().__init__()
        self.register_buffer("rows", torch.zeros(num_puzzles, hidden_size))

    def forward(self, puzzle_ids):  # (B,) -> (B, D)
        rows = self.rows[puzzle_ids]
        if torch.is_grad_enabled():
            self.ids, self.leaf = puzzle_ids, rows.requires_grad_()
        return rows

    @torch.no_grad()
    def sign_sgd(self, lr, weight_decay, gather=lambda tensor: tensor):
        """row * (1 - lr * weight_decay) - lr * sign(summed gradient), for the distinct rows of the last batch. gather:
        where several processes train, what joins a tensor (B, ...) of each."""
        ids, gradient = gather(self.ids), gather(self.leaf.grad)  # (B,), (B, D)
        shares = (ids[:, None] == ids).to(gradient.dtype)  # (B, B): who shares a row with whom
        sign = (shares @ gradient).sign()  # (B, D); sharers get the same sum and write the same row below
        self.rows[ids] = self.rows[ids] * (1 - lr * weight_decay) - lr * sign


# ---- the end of the shared blocks ---------------------------------------------------------------------------


class HRM(nn.Module):
    """Two nets: L_net thinks (z_L), H_net answers (z_H). One call is one refinement step.

    vocab_size tokens, seq_len cells; T_L steps of L_net before each step of H_net, T_H times. The paper's sizes
    are the defaults; `layers` is each net's. num_puzzles > 0 gives each puzzle id a learned row, the first of
    prefix_len positions put before the cells. Raises ValueError where sizes do not fit together.
    """

    def __init__(self, vocab_size, seq_len, *, hidden_size=512, num_heads=8, expansion=4, layers=4, T_H=2, T_L=2,
                 num_puzzles=0, prefix_len=0):
        super().__init__()
        if num_puzzles and not prefix_len:
            raise ValueError("num_puzzles needs a prefix_len of at least 1: the puzzle's row is put there")
        self.T_H, self.T_L, self.prefix_len, self.length = T_H, T_L, prefix_len, prefix_len + seq_len
        self.embed_tokens = nn.Parameter(truncated_normal((vocab_size, hidden_size), std=hidden_size**-0.5))
        self.puzzles = PuzzleRows(num_puzzles, hidden_size) if num_puzzles else None
        self.L_net = Net(Block(hidden_size, num_heads, expansion, self.length) for _ in range(layers))
        self.H_net = Net(Block(hidden_size, num_heads, expansion, self.length) for _ in range(layers))
        self.output_head = Linear(hidden_size, vocab_size)
        self.halt_head = nn.Linear(hidden_size, 2)  # the values of halting and of going on
        nn.init.zeros_(self.halt_head.weight)
        nn.init.constant_(self.halt_head.bias, -5)  # so that nothing halts early in training
        # The talk starts the carry at zeros; both public codes use one fixed random vector each, as here.
        self.register_buffer("z_H_init", truncated_normal((hidden_size,), std=1))
        self.register_buffer("z_L_init", truncated_normal((hidden_size,), std=1))

    def initial_carry(self, batch_size, dtype=torch.float32):
        """(z_H, z_L), each (B, S, D). Their dtype is the dtype that the net computes in."""
        shape = (batch_size, self.length, -1)
        return self.z_H_init.to(dtype).expand(shape), self.z_L_init.to(dtype).expand(shape)

    def embed(self, inputs, puzzle_ids=None):
        """x, (B, S, D) in float32: the prefix (the puzzle's row, then zeros) and the cells, times sqrt(D)."""
        x = F.embedding(inputs, self.embed_tokens)  # (B, seq_len, D)
        if self.prefix_len:
            row = x.new_zeros(x[:, 0].shape) if puzzle_ids is None else self.puzzles(puzzle_ids)  # (B, D)
            x = torch.cat((F.pad(row[:, None], (0, 0, 0, self.prefix_len - 1)), x), dim=1)
        return math.sqrt(x.shape[-1]) * x

    def forward(self, carry, inputs, puzzle_ids=None):
        """One refinement step.

        carry: (z_H, z_L), each (B, S, D), from initial_carry or from the step before. inputs: (B, seq_len) token
        ids. puzzle_ids: (B,) or None. Returns the carry, detached, for the next step; the answer's logits
        (B, seq_len, vocab_size); the halting logits (B, 2), in float32: halt, continue.
        """
        z_H, z_L = carry
        x = self.embed(inputs, puzzle_ids).to(z_H.dtype)
        with torch.no_grad():
            for i in range(self.T_H * self.T_L - 1):
                z_L = self.L_net(z_L, z_H + x)
                if (i + 1) % self.T_L == 0:
                    z_H = self.H_net(z_H, z_L)
        z_H, z_L = z_H.detach(), z_L.detach()  # here the gradient stops for z_H and z_L (x keeps its own)
        z_L = self.L_net(z_L, z_H + x)  # the 1-step gradient: through one more call of each net
        z_H = self.H_net(z_H, z_L)
        logits = self.output_head(z_H[:, self.prefix_len :])
        return (z_H.detach(), z_L.detach()), logits, self.halt_head(z_H[:, 0].float())

    def halts(self, halt_logits):
        """Which puzzles stop here, (B,) bool: those for which halting is worth more than going on."""
        return halt_logits[:, 0] > halt_logits[:, 1]

    def halting_loss(self, halt_logits, right, last, carry, inputs, puzzle_ids=None):
        """Q-learning ([H] section 2), (B,). The value of halting: 1 if every supervised cell is right, else 0. The
        value of going on: the larger of the next step's two; where this step was the last, the next one's of halting.

        right, last: (B,) bool. The look ahead is a second forward, without gradient, from the new carry.
        """
        with torch.no_grad():
            _, _, ahead = self(carry, inputs, puzzle_ids)
            target = torch.where(last, ahead[:, 0], ahead.max(dim=-1).values).sigmoid()
        loss = F.binary_cross_entropy_with_logits
        return 0.5 * (loss(halt_logits[:, 0], right.float(), reduction="none")
                      + loss(halt_logits[:, 1], target, reduction="none"))
