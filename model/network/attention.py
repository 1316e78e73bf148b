"""Multi-head self-attention: from the output of one Linear (q, k and v) to the concatenated heads.

- q, k and v are 4-D: with 5-D inputs scaled_dot_product_attention falls back to its unfused kernel on CPU and CUDA.
- On CPU, sequences of up to `SHORT_MAX` elements use `ShortAttention`. The fused kernel, or the row-wise softmax,
  takes longer than all other steps of a short attention (`benchmarks.speed`).
- On CPU attention is computed in float32 under autocast too: the bfloat16 backward takes 3-10 times as long.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention

SHORT_MAX = 40
# A sum of exponentials in this range was made of numbers that float32 holds to full precision.
SAFE_SUM = (1e-26, 1e34)


def attend(qkv: Tensor, heads: int) -> Tensor:
    """Return softmax(q k^T / sqrt(D)) v for every head: (N, L, C), dtype of `qkv`.

    `qkv` (N, L, 3 C): q, k and v concatenated, each with `heads` times D = C / heads features.
    """
    if qkv.device.type != "cpu" or torch.compiler.is_compiling():
        return _fused(qkv, heads)
    with torch.autocast("cpu", enabled=False):
        if qkv.shape[1] <= SHORT_MAX:
            attended: Tensor = ShortAttention.apply(qkv, heads)
            return attended
        return _fused(_float(qkv), heads).to(qkv.dtype)


def _fused(qkv: Tensor, heads: int) -> Tensor:
    n, length, width = qkv.shape
    q, k, v = qkv.view(n, length, 3, heads, -1).permute(2, 0, 3, 1, 4)  # (N, H, L, D)
    return scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, length, width // 3)


def _float(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


class ShortAttention(torch.autograd.Function):
    """Attention over short sequences by batched matrix products over (N * H, L, D), with its gradient.

    Exponentials are computed without subtraction of each row's maximum, which takes as long as the softmax. If a sum is
    outside `SAFE_SUM` (logits beyond about ±60), they are computed again with the maximum subtracted. The sums
    divide the output and not the weights, which have L / D times more elements.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, heads: int) -> Tensor:
        q, k, v = parts = _float(_heads_first(qkv, 3, heads))  # (N * H, L, D)
        weights = _matmul(q, k.transpose(1, 2), q.shape[-1] ** -0.5).exp_()
        sums = _row_sums(weights, q.shape[-1])
        smallest, largest = torch.aminmax(sums)
        if not (smallest > SAFE_SUM[0] and largest < SAFE_SUM[1]):
            logits = _matmul(q, k.transpose(1, 2), q.shape[-1] ** -0.5)
            weights = logits.sub_(logits.amax(dim=-1, keepdim=True)).exp_()
            sums = _row_sums(weights, q.shape[-1])
        attended = torch.bmm(weights, v).div_(sums)
        ctx.save_for_backward(parts, weights, sums, attended)
        ctx.heads = heads
        return _features_last(attended.to(qkv.dtype).unsqueeze(0), heads)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        parts, weights, sums, attended = ctx.saved_tensors
        q, k, v = parts
        d_attended = _float(_heads_first(gradient.contiguous(), 1, ctx.heads)[0]).div(sums)
        # softmax: dS = P * (dP - sum over keys of dP * P), and that sum is d_attended . attended
        shift = (d_attended * attended).sum(dim=-1, keepdim=True)
        d_logits = torch.bmm(d_attended, v.transpose(1, 2)).sub_(shift).mul_(weights)
        d_parts, scale = torch.empty_like(parts), q.shape[-1] ** -0.5
        _matmul(d_logits, k, scale, d_parts[0])
        _matmul(d_logits.transpose(1, 2), q, scale, d_parts[1])
        _matmul(weights.transpose(1, 2), d_attended, 1.0, d_parts[2])
        return _features_last(d_parts.to(gradient.dtype), ctx.heads), None


def _matmul(a: Tensor, b: Tensor, scale: float, out: Tensor | None = None) -> Tensor:
    return torch.baddbmm(a.new_empty(()), a, b, beta=0, alpha=scale, out=out)


def _row_sums(weights: Tensor, size: int) -> Tensor:
    """Return sums over keys, repeated D times: (M, L, L) to (M, L, D). A product with ones is the fastest method."""
    length = weights.shape[-1]
    return (weights.view(-1, length) @ weights.new_ones(length, size)).view(-1, length, size)


def _heads_first(x: Tensor, parts: int, heads: int) -> Tensor:
    """Reshape (N, L, parts * H * D) to contiguous (parts, N * H, L, D)."""
    n, length, width = x.shape
    wide = _wide(x.view(n, length, parts, heads, -1)).permute(2, 0, 3, 1, 4).contiguous()
    return wide.view(x.dtype).view(parts, n * heads, length, width // (parts * heads))


def _features_last(x: Tensor, heads: int) -> Tensor:
    """Reshape (parts, N * H, L, D) to (N, L, parts * H * D): the inverse of `_heads_first`."""
    parts, sequences, length, size = x.shape
    wide = _wide(x.view(parts, -1, heads, length, size)).permute(1, 3, 0, 2, 4).contiguous()
    return wide.view(x.dtype).view(sequences // heads, length, parts * heads * size)


def _wide(x: Tensor) -> Tensor:
    """View `x` as 16-byte elements if possible, because copies are then 2 (float32) to 5 times as fast."""
    fits = (x.shape[-1] * x.element_size()) % 16 == 0 and (x.storage_offset() * x.element_size()) % 16 == 0
    return x.view(torch.complex128) if fits else x
