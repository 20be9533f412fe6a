"""torch_step.py: the time of one training step in PyTorch, of the models that `./train bench` times.

    python test/peers/torch_step.py small middle gpt2 [--threads 2] [--steps 5]

Not part of the tests: it needs PyTorch. GPT-2 as everybody writes it for PyTorch: fused attention, the head tied, the
loss over all tokens at once, gradients clipped, AdamW fused; float32, eager. Prints a line a model: the median step in
milliseconds, after one step to warm up. Run it in turns with `./train bench`, with nothing else running.
"""
import argparse
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

MODELS = {  # layers, heads, width, tokens of the vocabulary, positions, T, B
    "small": (6, 6, 384, 1024, 256, 256, 8),
    "middle": (12, 12, 768, 4096, 256, 256, 8),
    "gpt2": (12, 12, 768, 50257, 1024, 64, 4),
}


class Layer(nn.Module):
    def __init__(self, C, NH):
        super().__init__()
        self.NH = NH
        self.ln_1, self.ln_2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.c_attn, self.c_proj = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.c_fc, self.c_proj2 = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = (t.view(B, T, self.NH, C // self.NH).transpose(1, 2)
                   for t in self.c_attn(self.ln_1(x)).split(C, 2))
        att = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(att.transpose(1, 2).reshape(B, T, C))
        return x + self.c_proj2(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, L, NH, C, V, positions):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(V, C), nn.Embedding(positions, C)
        self.layers = nn.ModuleList(Layer(C, NH) for _ in range(L))
        self.ln_f = nn.LayerNorm(C)

    def forward(self, inputs, targets):
        x = self.wte(inputs) + self.wpe(torch.arange(inputs.shape[1]))
        for layer in self.layers:
            x = layer(x)
        logits = F.linear(self.ln_f(x), self.wte.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def step_ms(name, steps):
    L, NH, C, V, positions, T, B = MODELS[name]
    model = Gpt(L, NH, C, V, positions)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    inputs, targets = torch.randint(V, (B, T)), torch.randint(V, (B, T))
    took = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        model(inputs, targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        took.append(1000 * (time.perf_counter() - start))
    return statistics.median(took[1:])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+", choices=MODELS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    for name in args.models:
        print(f"{name} {step_ms(name, args.steps):.1f} ms", flush=True)


main()
