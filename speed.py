"""What a refinement step costs: operations, memory, and how near to the device's limit it runs."""
import time

import torch


def operations(model):
    """Floating-point operations of one puzzle's refinement step in training; norms, loss and optimizer left out.

    A multiply-add is 2. A weight is used once for each position (the weights of TRM-MLP's mixing: for each channel), and
    attention takes S multiply-adds a channel for each position's scores, as many for their sum:
        net     = 2 * layers * (S * mlp weights + D * mixing weights)                       TRM-MLP
                  2 * layers * (S * (mlp weights + attention weights) + 2 * S * S * D)      attention
        forward = T_H * (T_L + 1) * net + 2 * (cells * D * vocabulary + D * halting logits)
        backward: twice what has the gradient, which is T_L + 1 calls of the net (HRM: 2) and the heads
    HRM looks ahead: one more forward.
    """
    two_nets = hasattr(model, "H_net")
    blocks = (model.H_net if two_nets else model.net).blocks
    D, S = model.z_H_init.shape[0], model.length

    def weights(part):
        return sum(p.numel() for p in part.parameters())

    if hasattr(blocks[0], "mix"):
        net = 2 * len(blocks) * (S * weights(blocks[0].mlp) + D * weights(blocks[0].mix))
    else:
        net = 2 * len(blocks) * (S * (weights(blocks[0].mlp) + weights(blocks[0].attention)) + 2 * S * S * D)
    heads = 2 * ((S - model.prefix_len) * weights(model.output_head) + model.halt_head.weight.numel())
    forward = model.T_H * (model.T_L + 1) * net + heads
    backward = 2 * ((2 if two_nets else model.T_L + 1) * net + heads)
    return forward + backward + (forward if two_nets else 0)


def limit(device):
    """The most operations a second to expect of a device, and what that figure is, as text.

    For the GPUs in the list their maker's figure for bfloat16 without sparsity, else what a large matmul reaches, in the
    type that the nets compute in.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    for part, tera in (("H200", 989), ("H100 80GB HBM3", 989), ("A100", 312), ("L40S", 362)):
        if part in name:
            return tera * 1e12, f"{tera} TFLOP/s, the maker's figure for {name} in bfloat16"
    size, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (2048, torch.float32)
    a, best = torch.randn(size, size, device=device, dtype=dtype), float("inf")
    for _ in range(4):
        start = time.time()
        (a @ a)[0, 0].item()  # reading a number waits for the device
        best = min(best, time.time() - start)
    return 2 * size**3 / best, f"{2 * size**3 / best / 1e12:.2f} TFLOP/s, a matmul of {size}x{size} here"


def kept(model, carry, puzzles, calls):
    """Bytes that a refinement step keeps for the gradient if it runs through the last `calls` calls of the nets: 2 is
    HRM's 1-step gradient, T_L + 1 TRM's last recursion, T_H * (T_L + 1) the whole step. Without torch.compile.

    carry: (z_H, z_L), each (B, S, D). puzzles: {"inputs": (B, seq_len), maybe "ids"}.
    """
    L_net, H_net = (model.L_net, model.H_net) if hasattr(model, "H_net") else (model.net, model.net)
    weights, found = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor  # held by the graph, so that no storage's place is taken by another

    z_H, z_L = carry
    x = model.embed(puzzles["inputs"], puzzles.get("ids")).to(z_H.dtype)
    order = (["L"] * model.T_L + ["H"]) * model.T_H
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        for i, call in enumerate(order):
            with torch.set_grad_enabled(i >= len(order) - calls):
                if call == "L":
                    z_L = L_net(z_L, z_H + x)
                else:
                    z_H = H_net(z_H, z_L)
    return sum(found.values())
