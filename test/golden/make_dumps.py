"""Makes the golden dumps of this folder, whose format is in ../../data/verify/README.md.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch transformers numpy safetensors
    /tmp/venv/bin/python test/golden/make_dumps.py test/golden

Last made with torch 2.15.0 and transformers 5.23.0; `make test` reads the files and never runs this. Nothing
here is taken from the C program: the model is written once more in PyTorch, and for hf.safetensors it is
transformers' own. All is float64 but that one, which is float32 as users have it.

    odd             odd sizes: 5 heads of 3 channels, 53 tokens, 19 positions
    mask_1x1, mask_16x16    linear weights with 7/8 masked, element by element or in blocks
    long            200 positions, large weights: attention is nearly a choice of one token
    hf              transformers' GPT2LMHeadModel, trained by torch.optim.AdamW
    fault_NAME      the model with one fault; NAME is what verify has to call it
"""
import math
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

ADAM = dict(learning_rate=0.01, weight_decay=0.1, beta1=0.9, beta2=0.95, eps=1e-8, grad_clip=0.1)
LINEAR = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


def shapes(L, C, V, ctx):
    """Hugging Face's names without "transformer."; linear weights are (in, out)."""
    out = {"wte.weight": (V, C), "wpe.weight": (ctx, C)}
    for layer in range(L):
        for name, shape in (("ln_1.weight", (C,)), ("ln_1.bias", (C,)),
                            ("attn.c_attn.weight", (C, 3 * C)), ("attn.c_attn.bias", (3 * C,)),
                            ("attn.c_proj.weight", (C, C)), ("attn.c_proj.bias", (C,)),
                            ("ln_2.weight", (C,)), ("ln_2.bias", (C,)),
                            ("mlp.c_fc.weight", (C, 4 * C)), ("mlp.c_fc.bias", (4 * C,)),
                            ("mlp.c_proj.weight", (4 * C, C)), ("mlp.c_proj.bias", (C,))):
            out[f"h.{layer}.{name}"] = shape
    out["ln_f.weight"] = out["ln_f.bias"] = (C,)
    return out


def norm(x, w, b, fault):
    if fault == "norm-gradient-missing":
        w, b = w.detach(), b.detach()
    eps = {"norm-eps-1e-6": 1e-6, "norm-eps-1e-8": 1e-8, "norm-eps-outside": 0}.get(fault, 1e-5)
    var = x.var(-1, keepdim=True, unbiased=fault == "norm-variance")
    root = torch.sqrt(var + eps) + (1e-5 if fault == "norm-eps-outside" else 0)
    return (x - x.mean(-1, keepdim=True)) / root * w + b


def gelu(x, fault):
    if fault == "gelu-quick":
        return x * torch.sigmoid(1.702 * x)
    if fault == "relu":
        return F.relu(x)
    erf, tanh = F.gelu(x), F.gelu(x, approximate="tanh")
    if fault == "gelu-erf-backward":
        return erf + (tanh - erf).detach()
    return erf if fault == "gelu-erf" else tanh


def linear(x, p, name, fault):
    w, b = p[name + ".weight"], p[name + ".bias"]
    if fault == "bias-gradient-missing":
        b = b.detach()
    if fault == "transposed-linear" or (fault == "transposed-c_proj" and name.endswith("attn.c_proj")):
        return x @ w.reshape(w.shape[1], w.shape[0]).T + b
    return x @ w + b


def attention(qkv, NH, fault):
    B, T, C3 = qkv.shape
    C = C3 // 3
    q, k, v = (z.reshape(B, T, NH, C // NH).transpose(1, 2) for z in qkv.split(C, 2))
    by = {"attention-unscaled": 1, "attention-scale-hs": C / NH, "attention-scale-c": math.sqrt(C)}
    s = q @ k.transpose(2, 3) / by.get(fault, math.sqrt(C / NH))
    if fault != "mask-none":
        seen = torch.ones(T, T, dtype=torch.bool).tril(1 if fault == "mask-ahead" else 0)
        s = s.masked_fill(~seen, -math.inf)
    return (s.softmax(-1) @ v).transpose(1, 2).reshape(B, T, C)


def model(p, x, L, NH, fault):
    wte = p["wte.weight"]
    look = wte.detach() if fault == "untied-lookup" else wte
    wpe = p["wpe.weight"].detach() if fault == "wpe-gradient-missing" else p["wpe.weight"]
    h = look[x] + wpe[: x.shape[1]]
    for n in range(L):
        a = f"h.{n}."
        y = norm(h, p[a + "ln_1.weight"], p[a + "ln_1.bias"], fault)
        y = attention(linear(y, p, a + "attn.c_attn", fault), NH, fault)
        h = h + linear(y, p, a + "attn.c_proj", fault)
        y = norm(h, p[a + "ln_2.weight"], p[a + "ln_2.bias"], fault)
        h = h + linear(gelu(linear(y, p, a + "mlp.c_fc", fault), fault), p, a + "mlp.c_proj", fault)
    h = norm(h, p["ln_f.weight"], p["ln_f.bias"], fault)
    return h @ (wte.detach() if fault == "untied-head" else wte).T


class FaultyAdam:
    """AdamW by hand, with eps inside the root or without bias correction."""

    def __init__(self, p, adam, fault):
        self.p, self.a, self.fault, self.t = p, adam, fault, 0
        self.m = {k: torch.zeros_like(w) for k, w in p.items()}
        self.v = {k: torch.zeros_like(w) for k, w in p.items()}

    @torch.no_grad()
    def step(self):
        self.t += 1
        a = self.a
        plain = self.fault == "adam-uncorrected"
        c1, c2 = (1 if plain else 1 - a[b] ** self.t for b in ("beta1", "beta2"))
        for k, w in self.p.items():
            self.m[k].mul_(a["beta1"]).add_(w.grad, alpha=1 - a["beta1"])
            self.v[k].mul_(a["beta2"]).addcmul_(w.grad, w.grad, value=1 - a["beta2"])
            v = self.v[k] / c2
            root = torch.sqrt(v + a["eps"]) if self.fault == "adam-eps-inside" else v.sqrt() + a["eps"]
            if w.dim() == 2:
                w.mul_(1 - a["learning_rate"] * a["weight_decay"])
            w.sub_(a["learning_rate"] * (self.m[k] / c1) / root)


def optimizer(p, adam, fault):
    if fault in ("adam-eps-inside", "adam-uncorrected"):
        return FaultyAdam(p, adam, fault)

    def decays(k):
        if fault == "decay-linear":
            return k.endswith(LINEAR)
        return fault != "decay-none" and (p[k].dim() == 2 or fault == "decay-all")

    groups = [dict(params=[w for k, w in p.items() if decays(k)], weight_decay=adam["weight_decay"]),
              dict(params=[w for k, w in p.items() if not decays(k)], weight_decay=0.0)]
    kind = torch.optim.Adam if fault == "decay-l2" else torch.optim.AdamW
    beta2 = {"adam-beta2-0.999": 0.999, "adam-beta2-0.95": 0.95}.get(fault, adam["beta2"])
    return kind([g for g in groups if g["params"]], lr=adam["learning_rate"], betas=(adam["beta1"], beta2),
                eps=adam["eps"])


def clip(p, most, fault):
    before = torch.sqrt(sum((w.grad ** 2).sum() for w in p.values()))
    if fault == "clip-per-tensor":
        for w in p.values():
            torch.nn.utils.clip_grad_norm_([w], most)
    elif fault != "clip-none":
        torch.nn.utils.clip_grad_norm_(list(p.values()), most)
    return min(before, torch.tensor(most)) if fault == "norm-after-clip" else before


def masks_of(p, block, density, rng):
    """For each block of outputs the same number of blocks of inputs."""
    out = {}
    for k, w in p.items():
        if not k.endswith(LINEAR):
            continue
        rows, cols = -(-w.shape[0] // block), -(-w.shape[1] // block)
        score = torch.rand(rows, cols, generator=rng)
        kept = score.argsort(0).argsort(0) < max(1, round(density * rows))
        kept = kept.repeat_interleave(block, 0).repeat_interleave(block, 1)
        out[k] = kept[: w.shape[0], : w.shape[1]].contiguous()
    return out


def dump(path, L, NH, C, V, ctx, B, T, std=0.05, steps=3, block=0, fault=None, hf=False, seed=1, **adam):
    rng = torch.Generator().manual_seed(seed)
    adam = {**ADAM, **adam}
    torch.set_default_dtype(torch.float32 if hf else torch.float64)
    p = {}
    for k, shape in shapes(L, C, V, ctx).items():
        mean = 1.0 if ("ln_" in k and k.endswith("weight")) else 0.0
        w = mean + std * torch.randn(shape, generator=rng, dtype=torch.float64)
        p[k] = w.float().to(torch.get_default_dtype())      # what float32 holds
    masks = masks_of(p, block, 0.125, rng) if block else {}
    for k, kept in masks.items():
        p[k] = p[k] * kept
    x = torch.randint(V, (B, T + 1), generator=rng)
    x, y = x[:, :-1].contiguous(), x[:, 1:].contiguous()
    out = {"inputs": x.int(), "targets": y.int()}
    out.update({"param." + k: w.float() for k, w in p.items()})
    out.update({"mask." + k: m.to(torch.uint8) for k, m in masks.items()})
    if hf:
        from transformers import GPT2Config, GPT2LMHeadModel
        net = GPT2LMHeadModel(GPT2Config(n_layer=L, n_head=NH, n_embd=C, vocab_size=V, n_positions=ctx,
                                         attn_pdrop=0, embd_pdrop=0, resid_pdrop=0))
        net.transformer.load_state_dict(p, strict=True)
        p = dict(net.transformer.named_parameters())
        run = lambda: net(x).logits
    else:
        for w in p.values():
            w.requires_grad_(True)
        run = lambda: model(p, x, L, NH, fault)
    opt = optimizer(p, adam, fault)
    target = x if fault == "targets-unshifted" else y
    step_loss, step_norm = [], []
    for step in range(max(steps, 1)):
        logits = run()
        loss = F.cross_entropy(logits.reshape(B * T, V), target.reshape(-1),
                               reduction="sum" if fault == "loss-summed" else "mean")
        by = {"gradient-summed": B * T, "gradient-times-b": B, "gradient-over-b": 1 / B,
              "gradient-over-n": 1 / (B * T), "gradient-doubled": 2}.get(fault, 1)
        for w in p.values():
            w.grad = torch.zeros_like(w)
        (loss * by).backward()
        for k, kept in masks.items():
            p[k].grad *= kept
        if step == 0:
            out["logits"], out["loss"] = logits.detach().float(), loss.detach().float().reshape(1)
            for k, w in p.items():
                g = w.grad.float()
                if fault == "gradient-transposed" and k.endswith(LINEAR):
                    g = g.T.reshape(g.shape)
                out["grad." + k] = g.clone()
        if not steps:
            break
        step_norm.append(float(clip(p, adam["grad_clip"], fault)))
        step_loss.append(loss.item())
        opt.step()
    if steps:
        out["step_loss"] = torch.tensor(step_loss, dtype=torch.float32)
        out["step_grad_norm"] = torch.tensor(step_norm, dtype=torch.float32)
        out.update({"after." + k: w.detach().float() for k, w in p.items()})
    kind = "transformers GPT2LMHeadModel float32" if hf else "torch float64"
    meta = dict(format="gpt-reference-dump", version=1, n_layer=L, n_head=NH, n_embd=C, n_ctx=ctx,
                vocab_size=V, steps=steps, weight_decay_on="matrices", sparsity=0.875 if block else 0.0,
                block=f"{block}x{block}" if block else "1x1", **adam,
                source=f"{kind}, torch {torch.__version__}" + (f", fault {fault}" if fault else ""))
    save_file({k: v.contiguous() for k, v in out.items()}, path, {k: str(v) for k, v in meta.items()})


FORWARD = ("gelu-erf gelu-quick relu gelu-erf-backward norm-variance norm-eps-outside norm-eps-1e-6 "
           "norm-eps-1e-8 attention-unscaled attention-scale-hs attention-scale-c mask-ahead mask-none "
           "transposed-c_proj transposed-linear targets-unshifted loss-summed gradient-summed "
           "gradient-times-b gradient-over-b gradient-over-n gradient-doubled bias-gradient-missing "
           "norm-gradient-missing wpe-gradient-missing untied-head untied-lookup gradient-transposed").split()
OPTIMIZER = ("decay-all decay-linear decay-none decay-l2 adam-eps-inside adam-uncorrected adam-beta2-0.999 "
             "adam-beta2-0.95 clip-none clip-per-tensor norm-after-clip").split()


def main(folder):
    dump(f"{folder}/odd.safetensors", 2, 5, 15, 53, 21, 3, 19)
    dump(f"{folder}/mask_1x1.safetensors", 1, 3, 24, 61, 24, 2, 24, block=1)
    dump(f"{folder}/mask_16x16.safetensors", 1, 2, 32, 61, 24, 2, 24, block=16)
    dump(f"{folder}/long.safetensors", 1, 2, 16, 40, 200, 1, 200, std=0.6, grad_clip=1.0)
    dump(f"{folder}/hf.safetensors", 2, 4, 24, 97, 32, 2, 31, std=0.1, learning_rate=0.001, grad_clip=1.0,
         hf=True)
    for fault in FORWARD + OPTIMIZER:
        dump(f"{folder}/fault_{fault}.safetensors", 1, 2, 8, 11, 6, 3, 5, fault=fault,
             beta2=0.999 if fault == "adam-beta2-0.95" else 0.95)


if __name__ == "__main__":
    main(sys.argv[1])
