"""GPT-2 of transformers in all its shapes, beside this program: logits, exports, and windows of long prompts.

    pip install torch transformers numpy safetensors
    python test/peers/hf_models.py ./train MODEL...

Makes 20 folders with transformers and reads each with `train dump --init`: the logits must be those of transformers,
to 1e-5 of the largest, or the folder must be refused with the words given. Then every MODEL, a checkpoint with a
vocabulary, is exported, loaded by transformers, compared in the same way, and continued greedily after prompts of
T - 1, T, T + 1 and 3T tokens: transformers is fed the windows that `train sample` says it reads.
"""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.numpy import load_file as load_numpy
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast


def run(train, *words):
    return subprocess.run([train, *words], capture_output=True)


def fresh(seed=1, **more):
    torch.manual_seed(seed)
    net = GPT2LMHeadModel(GPT2Config(**{**dict(n_layer=2, n_head=2, n_embd=16, vocab_size=300, n_positions=24), **more}))
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.2 * torch.randn(p.shape))
    return net.eval()


def off(train, folder, net):
    """How far our logits are from transformers', of the largest; or what was said instead."""
    with tempfile.TemporaryDirectory() as temp:
        got = run(train, "dump", f"{temp}/d", "--init", folder, "--steps", "0")
        if got.returncode:
            return got.stderr.decode()
        dump = load_numpy(f"{temp}/d")
        with torch.no_grad():
            want = net(torch.tensor(dump["inputs"]).long()).logits.float().numpy()
        return float(np.abs(dump["logits"] - want).max() / np.abs(want).max())


def edit_config(folder, **change):
    path = f"{folder}/config.json"
    config = json.load(open(path))
    config.update(change)
    json.dump(config, open(path, "w"))


def edit_weights(folder, change):
    path = f"{folder}/model.safetensors"
    save_file({k: v.contiguous() for k, v in change(load_file(path)).items()}, path, {"format": "pt"})


def prefixed(prefix):
    return lambda w: {prefix + k: v for k, v in w.items()}


def stripped(w):
    return {k.removeprefix("transformer."): v for k, v in w.items()}


def shapes(folder):
    """(name, what to save, how, what to change, what is expected: a number or words)"""
    def save(net, name, **how):
        net.save_pretrained(f"{folder}/{name}", **how)
        return f"{folder}/{name}", net

    yield "plain", *save(fresh(), "plain"), 0
    path, net = save(fresh(), "bare")
    edit_weights(path, stripped)
    yield "bare names", path, net, 0
    for prefix in ("_orig_mod.", "module.", "module._orig_mod."):
        path, net = save(fresh(), prefix)
        edit_weights(path, prefixed(prefix))
        yield prefix, path, net, 0
    yield "sharded", *save(fresh(), "sharded", max_shard_size="20KB"), 0
    path, net = save(fresh(), "indexed", max_shard_size="20KB")
    yield "the index named", f"{path}/model.safetensors.index.json", net, 0
    for kind in (torch.float16, torch.bfloat16):
        yield str(kind), *(lambda p: (p[0], p[1].float()))(save(fresh().to(kind), str(kind), max_shard_size="20KB")), 0
    yield "padded to 50304", *save(fresh(vocab_size=50304, n_embd=8), "padded"), 0
    yield "gelu_pytorch_tanh", *save(fresh(activation_function="gelu_pytorch_tanh"), "tanh"), 0
    path, net = save(fresh(), "head")
    edit_weights(path, lambda w: {**w, "lm_head.weight": w["transformer.wte.weight"].clone()})
    yield "a head that repeats the embedding", path, net, 0
    yield "an untied head", *save(fresh(tie_word_embeddings=False), "untied"), "lm_head.weight"
    yield "another activation", *save(fresh(activation_function="gelu"), "gelu"), "activation_function"
    yield "another epsilon", *save(fresh(layer_norm_epsilon=1e-6), "eps"), "layer_norm_epsilon"
    yield "another width of the MLP", *save(fresh(n_inner=48), "inner"), "n_inner"
    yield "scores scaled by layer", *save(fresh(scale_attn_by_inverse_layer_idx=True), "inverse"), "scale_attn_by"
    path, net = save(fresh(), "less")
    edit_weights(path, lambda w: {k: v for k, v in w.items() if not k.endswith("h.1.ln_2.bias")})
    yield "a tensor less", path, net, "h.1.ln_2.bias"
    path, net = save(fresh(), "layers")
    edit_config(path, n_layer=1)
    yield "fewer layers in the configuration", path, net, "others"
    path, net = save(fresh(), "pickled")
    torch.save(net.state_dict(), f"{path}/pytorch_model.bin")
    os.remove(f"{path}/model.safetensors")
    yield "pytorch_model.bin", path, net, "save_pretrained"


def windows(train, path, net, tokenizer, eot):
    """Greedy continuations after long prompts; how many are the same."""
    T, same, count = net.config.n_positions, 0, 24
    text = run(train, "sample", path, "--tokens", str(6 * T), "--quiet", "--seed", "3").stdout.decode(errors="ignore")
    ids = tokenizer.encode(text)
    for length in (T - 1, T, T + 1, 3 * T):
        prompt = tokenizer.decode(ids[:length - 1])
        have, out = [eot] + tokenizer.encode(prompt), []
        have = have[-T:]
        for _ in range(count):
            if len(have) > T:
                have = have[-((T + 1) // 2):]
            with torch.no_grad():
                token = int(net(torch.tensor([have])).logits[0, -1].argmax())
            if token == eot:
                break
            have.append(token)
            out.append(token)
        ours = run(train, "sample", path, "--prompt", prompt, "--tokens", str(count), "--temperature", "0",
                   "--quiet").stdout[:-1]
        same += ours.decode(errors="replace") == tokenizer.decode(out)
    return same


def main(train, models):
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, path, net, want in shapes(folder):
            got = off(train, path, net)
            good = want in got if want and isinstance(got, str) else not want and not isinstance(got, str) and got < 1e-5
            bad += not good
            print(f"{'ok ' if good else 'BAD'} {name}: {got if isinstance(got, float) else got.strip()}")
        for n, path in enumerate(models):
            out = f"{folder}/export{n}"
            assert run(train, "convert", path, out).returncode == 0
            net = GPT2LMHeadModel.from_pretrained(out).eval()
            tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{out}/tokenizer.json")
            error, eot = off(train, path, net), net.generation_config.eos_token_id
            same = windows(train, path, net, tokenizer, eot)
            bad += error >= 1e-5 or same < 4
            print(f"{path}: exported, logits off by {error:.1e} of the largest; {same} of 4 continuations the same")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
