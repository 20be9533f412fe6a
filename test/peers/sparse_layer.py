"""sparse_layer.py: a sparse layer's training step on one core: PyTorch with masks, PyTorch with CSR weights, and here.

    pip install torch
    python test/peers/sparse_layer.py ./train [--sparsity 0.5 0.75 0.875 0.9 0.95] [--block 16x4] [--rounds 2]

The layer has 768 inputs and 3072 outputs; the step is that of 256 tokens: forward, the gradient of the input, the
gradient of the weights. Not part of the tests: it needs PyTorch, and nothing else running. Prints one table in
milliseconds, each product the best of 25 runs a round, the four by turns. PyTorch's:

    masked          F.linear(x, weight * mask), autograd
    CSR             weight.to_sparse_csr() @ x, autograd
    CSR by hand     the same, and what a user can call for sparse gradients: the transposed weights as a second CSR
                    matrix for the input's, torch.sparse.sampled_addmm for the weights'

All have the same mask, and results are compared before they are timed. Here `./train bench --products --sparsity S`
is run. What PyTorch lacks for training with CSR weights is tried, and printed under the table.
"""
import argparse
import json
import subprocess
import tempfile
import time
import warnings

import torch
import torch.nn.functional as F

IC, OC, T, RUNS = 768, 3072, 256, 25
PRODUCTS = ["forward", "backward-data", "backward-weight"]


def balanced(sparsity, width):
    """(OC, IC) of 0 and 1: every row of blocks 16 x width keeps equally many, as `train` does."""
    groups = IC // width
    keep = max(1, int((1 - sparsity) * groups + 0.5))
    mask = torch.zeros(OC // 16, groups)
    for row in mask:
        row[torch.randperm(groups)[:keep]] = 1
    return mask.repeat_interleave(16, 0).repeat_interleave(width, 1)


def best_ms(product):
    took = []
    for _ in range(RUNS):
        start = time.perf_counter()
        product()
        took.append(time.perf_counter() - start)
    return 1000 * min(took)


def masked(weight, mask, x, dy):
    """The three products, each as a function that returns it."""
    w, inp = weight.clone().requires_grad_(), x.clone().requires_grad_()
    out = F.linear(inp, w * mask)
    grad = lambda of: torch.autograd.grad(out, of, dy, retain_graph=True)[0]
    return [lambda: F.linear(inp, w * mask), lambda: grad(inp), lambda: grad(w)]


def csr(weight, mask, x, dy):
    w, inp, dout = (weight * mask).to_sparse_csr().requires_grad_(), x.T.contiguous().requires_grad_(), dy.T.contiguous()
    out = w @ inp
    grad = lambda of: torch.autograd.grad(out, of, dout, retain_graph=True)[0]
    return [lambda: w @ inp, lambda: grad(inp), lambda: grad(w)]


def csr_by_hand(weight, mask, x, dy):
    w, turned = (weight * mask).to_sparse_csr(), (weight * mask).T.contiguous().to_sparse_csr()
    inp, dout = x.T.contiguous(), dy.T.contiguous()
    return [lambda: w @ inp, lambda: turned @ dout, lambda: torch.sparse.sampled_addmm(w, dout, x, beta=0)]


def here(train, sparsity, block):
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run([train, "bench", "--products", "--threads", "1", "--sparsity", str(sparsity), "--block", block,
                        "--json", out.name], check=True, capture_output=True)
        results = json.load(open(out.name))["results"]
    begin = f"{IC} -> {OC}, {T} tokens, "
    lines = [r for r in results if r["name"].startswith(begin)]
    return {kind: [next(r["ms"] for r in lines if r["name"].endswith(", " + p) and ("dense" in r["name"]) == dense)
                   for p in PRODUCTS] for kind, dense in (("dense", True), ("here", False))}


def check(ways, weight, mask, x, dy):
    """All ways give the same three products, where the mask keeps a weight."""
    want = [x @ (weight * mask).T, dy @ (weight * mask), (dy.T @ x) * mask]
    for name, products in ways.items():
        for n, product in enumerate(products):
            got = product().detach()
            got = got.to_dense() if got.layout != torch.strided else got
            got = got * mask if n == 2 else got if got.shape == want[n].shape else got.T
            error = float((got - want[n]).abs().max() / want[n].abs().max())
            assert error < 1e-5, f"{name}: {PRODUCTS[n]} is off by {error}"


def lacks(weight, mask, x, dy):
    """What training with CSR weights does not have, tried out."""
    w = (weight * mask).to_sparse_csr().requires_grad_()
    gradient = csr(weight, mask, x, dy)[2]()
    if gradient.layout == torch.strided:
        outside = int(((gradient != 0) & (mask == 0)).sum())
        yield f"autograd's gradient of CSR weights is a dense matrix: {outside} of its numbers lie where nothing is kept"
    try:
        w.grad = (weight * mask).to_sparse_csr()
        torch.optim.AdamW([w]).step()
    except (RuntimeError, AssertionError) as error:
        yield f"torch.optim.AdamW on CSR weights: {str(error).splitlines()[0]}"


def cell(times):
    return f"{times[0]:.2f} + {times[1]:.2f} + {times[2]:.2f} = {sum(times):.2f}"


def row(args, sparsity):
    """Best times by name."""
    mask = balanced(sparsity, int(args.block.split("x")[1]))
    weight, x, dy = torch.randn(OC, IC), torch.randn(T, IC), torch.randn(T, OC)
    ways = {"masked": masked(weight, mask, x, dy), "CSR": csr(weight, mask, x, dy),
            "by hand": csr_by_hand(weight, mask, x, dy)}
    check(ways, weight, mask, x, dy)
    best = {}
    for _ in range(args.rounds):
        round_of = {name: [best_ms(p) for p in products] for name, products in ways.items()}
        round_of.update(here(args.train, sparsity, args.block))
        for name, times in round_of.items():
            best[name] = [min(a, b) for a, b in zip(times, best.get(name, times))]
    return best, list(lacks(weight, mask, x, dy))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("train")
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.5, 0.75, 0.875, 0.9, 0.95])
    parser.add_argument("--block", default="16x4")
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(1)
    print(f"{IC} -> {OC}, {T} tokens, one thread, ms: forward + backward-data + backward-weight = all; PyTorch "
          f"{torch.__version__}; here in blocks of {args.block}\n")
    print("| sparsity | PyTorch, masked | PyTorch, CSR | CSR by hand | here | times masked, times CSR by hand |")
    print("|---|---|---|---|---|---|")
    for sparsity in args.sparsity:
        best, missing = row(args, sparsity)
        ours = sum(best["here"])
        print(f"| {100 * sparsity:g} % | {cell(best['masked'])} | {cell(best['CSR'])} | {cell(best['by hand'])} | "
              f"{cell(best['here'])} | {sum(best['masked']) / ours:.1f}, {sum(best['by hand']) / ours:.1f} |", flush=True)
    print(f"\nhere, dense: {cell(best['dense'])}")
    print("\n".join(missing))


main()
