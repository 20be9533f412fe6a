"""GPT-2 of transformers in all its shapes, beside this program: logits, exports, and windows of long prompts.

    pip install torch transformers numpy safetensors
    python test/peers/hf_models.py ./train MODEL...

Makes 20 folders with transformers and reads each with `train dump --init`: the logits must be those of transformers,
to 1e-5 of the largest, or the folder must be refused with the words given. What a refusal of pytorch_model.bin says
is run, and must make a folder that can be read; of one in several files too. Then every MODEL, a checkpoint with a vocabulary, is exported, loaded
by transformers, compared in the same way, and continued greedily: after prompts of T - 1, T, T + 1 and 3T tokens, where
transformers is fed the windows that `train sample` says it reads, and with --no-eot, where it must be what `generate`
gives. The same is asked of a model that transformers makes, with random weights, a vocabulary that the `tokenizers`
package trains, and more rows than that has tokens.
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
from tokenizers import ByteLevelBPETokenizer
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


def letters():
    """The byte that each letter of GPT-2's vocabularies stands for."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in own]
    return {**{chr(b): b for b in own}, **{chr(0x100 + n): b for n, b in enumerate(rest)}}


class Continued:
    """A model of ours beside transformers': greedy continuations, byte by byte."""
    def __init__(self, train, path, net, tokenizer, eot):
        self.train, self.path, self.net, self.tokenizer, self.eot = train, path, net, tokenizer, eot
        drawn = set(range(len(tokenizer))) - set(tokenizer.all_special_ids) | {eot}
        self.never = [i for i in range(net.config.vocab_size) if i not in drawn]

    def ours(self, prompt, count, *more):
        return run(self.train, "sample", self.path, "--prompt", prompt, "--tokens", str(count), "--temperature", "0",
                   "--quiet", *more).stdout[:-1]

    def bytes(self, ids):
        of = letters()
        return bytes(of[c] for i in ids if i != self.eot for c in self.tokenizer.convert_ids_to_tokens(int(i)))

    def prompt(self, text, length):
        """A part of the text of exactly so many tokens, whose first is not the text's."""
        ids = self.tokenizer.encode(text)
        for start in range(1, len(ids) - length):
            part = self.tokenizer.decode(ids[start:start + length])
            if self.tokenizer.encode(part) == ids[start:start + length]:
                return part, ids[start:start + length]
        raise ValueError(f"no {length} tokens in the text")

    def window(self, text, length, count=24):
        """After a prompt of that length, the end-of-text id included."""
        T = self.net.config.n_positions
        prompt, ids = self.prompt(text, length - 1)
        have, out = ([self.eot] + ids)[-T:], []
        for _ in range(count):
            if len(have) > T:
                have = have[-((T + 1) // 2):]
            with torch.no_grad():
                logits = self.net(torch.tensor([have])).logits[0, -1]
            logits[self.never] = -torch.inf
            out.append(int(logits.argmax()))
            have.append(out[-1])
            if out[-1] == self.eot:
                break
        return self.ours(prompt, count) == self.bytes(out)

    def generated(self, text, length):
        """With --no-eot, as far as the context goes."""
        prompt, ids = self.prompt(text, length)
        count = self.net.config.n_positions - length
        more = dict(suppress_tokens=self.never) if self.never else {}
        out = self.net.generate(torch.tensor([ids]), attention_mask=torch.ones(1, length), do_sample=False,
                                max_new_tokens=count, eos_token_id=self.eot, pad_token_id=self.eot, **more)[0, length:]
        return self.ours(prompt, count, "--no-eot") == self.bytes(out)


TEXT = "".join(f"{who} {did} {n} {what}, said \u201c{word}\u201d.\n" for n in range(9) for who in ("The miller", "Mia", "He")
               for did in ("sold", "saw") for what in ("old boats", "birds") for word in ("well", "na\u00efve", "no"))


def continued(name, *of):
    """Prints how many continuations are the same; True if all are."""
    both, T = Continued(*of), of[2].config.n_positions
    lengths = (T - 1, T, T + 1, 3 * T)
    same = [both.window(TEXT, n) for n in lengths]
    greedy = [both.generated(TEXT, n) for n in (1, 5, T // 2)]
    print(f"{name}: T = {T}, V = {of[2].config.vocab_size}: after prompts of {', '.join(map(str, lengths))} tokens "
          f"{sum(same)} of {len(same)} continuations the same; with --no-eot {sum(greedy)} of {len(greedy)} as generate")
    return all(same + greedy)


def theirs(train, folder):
    """A random model of theirs with a vocabulary that it does not fill."""
    vocabulary = ByteLevelBPETokenizer()
    vocabulary.train_from_iterator([TEXT], vocab_size=290, special_tokens=["<|endoftext|>", "[PAD]"], show_progress=False)
    net = fresh(7, n_layer=3, n_head=5, n_embd=40, vocab_size=320, n_positions=37, bos_token_id=0, eos_token_id=0)
    net.save_pretrained(folder)
    vocabulary.save(f"{folder}/tokenizer.json")
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{folder}/tokenizer.json", eos_token="<|endoftext|>",
                                        pad_token="[PAD]")
    return continued("a random model of theirs", train, folder, net, tokenizer, 0)


def pickled(train, folder, parts):
    """Runs what the refusal of a pytorch_model.bin, or of several, says; True if the folder can be read then."""
    net = fresh()
    net.save_pretrained(folder)
    os.remove(f"{folder}/model.safetensors")
    weights = list(net.state_dict().items())
    names = ["pytorch_model.bin"] if parts == 1 else [f"pytorch_model-{n + 1:05}-of-{parts:05}.bin" for n in range(parts)]
    where = {}
    for n, name in enumerate(names):
        torch.save(dict(weights[n::parts]), f"{folder}/{name}")
        where.update((key, name) for key, _ in weights[n::parts])
    if parts > 1:
        json.dump({"metadata": {}, "weight_map": where}, open(f"{folder}/pytorch_model.bin.index.json", "w"))
    said = off(train, folder, net)
    line = said[said.index("python3"):].strip()
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, env={**os.environ, "PATH": path})
    error = off(train, folder, net)
    print(f"{said.strip()}\n    was run: status {done.returncode}; then logits off by {error}")
    return isinstance(error, float) and error < 1e-5


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
            print(f"{path}: exported, logits off by {error:.1e} of the largest")
            bad += error >= 1e-5
            bad += not continued(path, train, path, net, tokenizer, eot)
        bad += not theirs(train, f"{folder}/theirs")
        bad += not pickled(train, f"{folder}/pickled again", 1)
        bad += not pickled(train, f"{folder}/pickled in parts", 3)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
