"""Makes the small models of others in this folder, and the logits that their own programs have for them.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch transformers numpy safetensors gguf
    /tmp/venv/bin/python test/golden/make_models.py test/golden

Last made with torch 2.15.0, transformers 5.24.0 and gguf 0.19.0; `make test` reads the files and never runs this.
Weights are such that bfloat16 and half precision hold them, so every file holds the same numbers.

    sharded/        transformers' save_pretrained in bfloat16, in several files; names begin with "_orig_mod."; two
                    rows of wte more than the vocabulary has tokens, and a token [PAD] that was added
    theirs.gguf     by the `gguf` package: F16, F32 and BF16 side by side, a head that repeats the embedding, the same
                    vocabulary
    models.safetensors      inputs I32 (B, T), logits F32 (B, T, V) of transformers in float32
    choices.jsonl   multiple choice, choices.csv what `train eval --choices --csv` must say of it and sharded/: by
                    ../peers/choices.py in float64
"""
import json
import os
import sys

import gguf
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../peers"))
import choices as peer

L, NH, C, CTX, MERGES, V = 2, 2, 8, 12, ["l o", "lo w", "\u0120 low"], 263
EOT, PAD = 259, 260     # then two rows without a token


def letters():
    """GPT-2's letters of the bytes, in the order of its ids."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(b) for b in own] + [chr(0x100 + n) for n in range(256 - len(own))]


def vocabulary():
    return letters() + [m.replace(" ", "") for m in MERGES]


def tokenizer_json():
    special = [(EOT, "<|endoftext|>"), (PAD, "[PAD]")]
    cut = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [{"id": i, "content": s, "single_word": False, "lstrip": False, "rstrip": False,
                              "normalized": False, "special": True} for i, s in special],
            "normalizer": None, "pre_tokenizer": cut, "post_processor": None, "decoder": cut,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                      "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False,
                      "vocab": {**{s: i for i, s in enumerate(vocabulary())}, "<|endoftext|>": EOT},
                      "merges": [m.split(" ") for m in MERGES]}}


def model():
    torch.manual_seed(1)
    net = GPT2LMHeadModel(GPT2Config(n_layer=L, n_head=NH, n_embd=C, vocab_size=V, n_positions=CTX, bos_token_id=EOT,
                                     eos_token_id=EOT, pad_token_id=PAD)).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.3 * torch.randn(p.shape))
            p.copy_(p.clamp(-4, 4).bfloat16().half().bfloat16().float())
    return net


def sharded(net, folder):
    net.bfloat16().save_pretrained(folder, max_shard_size="4KB")
    net.float()
    index_file = f"{folder}/model.safetensors.index.json"
    index = json.load(open(index_file))
    for file in sorted(set(index["weight_map"].values())):
        tensors = load_file(f"{folder}/{file}")
        save_file({"_orig_mod." + k: t for k, t in tensors.items()}, f"{folder}/{file}", {"format": "pt"})
    index["weight_map"] = {"_orig_mod." + k: v for k, v in index["weight_map"].items()}
    json.dump(index, open(index_file, "w"), indent=1)
    json.dump(tokenizer_json(), open(f"{folder}/tokenizer.json", "w"), ensure_ascii=False)


def theirs(net, path):
    w = gguf.GGUFWriter(path, "gpt2")
    w.add_name("a model of others")
    w.add_block_count(L)
    w.add_context_length(CTX)
    w.add_embedding_length(C)
    w.add_feed_forward_length(4 * C)
    w.add_head_count(NH)
    w.add_layer_norm_eps(1e-5)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    kinds = gguf.TokenType
    w.add_token_list(vocabulary() + ["<|endoftext|>", "[PAD]", "[PAD261]", "[PAD262]"])
    w.add_token_types([kinds.NORMAL] * 259 + [kinds.CONTROL] * 2 + [kinds.UNUSED] * 2)
    w.add_token_merges(MERGES)
    w.add_eos_token_id(EOT)
    w.add_array("a.list", [1.5, -2.5])                  # what nobody knows
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, L)
    for k, t in {**net.transformer.state_dict(), "lm_head.weight": net.lm_head.weight}.items():
        a = t.detach().float()
        if k.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
            a = a.T.contiguous()
        name = names.get_name(k if k.startswith("lm_head") else "transformer." + k, (".weight", ".bias"))
        if k.startswith("h.1.") and a.ndim == 2:
            w.add_tensor(name, (a.numpy().view(np.uint32) >> 16).astype(np.uint16),
                         raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            w.add_tensor(name, a.numpy().astype(np.float16) if a.ndim == 2 else a.numpy())
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def choices(net, folder):
    """Items whose endings fit into 12 tokens; most contexts do not."""
    chosen = [{"ctx": "low, ", "endings": ["low low", "lol", " lo lo"], "label": "1"},
              {"ctx": "A lowly fellow, low", "endings": ["allows", "glows.", "\u00fcber", "\tslow"], "label": 3},
              {"sentence_good": "low lows glow", "sentence_bad": "lows low glow"},
              {"ctx": "", "endings": ["lo", "l o"], "label": 0},
              {"sentence_good": "slow", "sentence_bad": "slow"},
              {"ctx": "yellow", "endings": [" pillow", "\n", "willow"], "label": 0, "ind": 7, "split": "val"},
              {"sentence_good": "the low hill", "sentence_bad": "low hill the", "UID": "order", "pair_id": "7"},
              {"ctx": "q: 1+1?\n", "endings": ["2", "11", "low", "one", "two"], "label": 4}]
    with open(f"{folder}/choices.jsonl", "w") as out:
        out.writelines(json.dumps(item, ensure_ascii=bool(n % 2)) + "\n" for n, item in enumerate(chosen))
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{folder}/sharded/tokenizer.json")
    net.double()
    with open(f"{folder}/choices.csv", "w") as out:
        for item in peer.table(net, tokenizer.encode, EOT, chosen):
            out.writelines(",".join(f"{x:.9g}" for x in line) + "\n" for line in item)


def main(folder):
    os.makedirs(f"{folder}/sharded", exist_ok=True)
    net = model()
    x = torch.randint(V, (2, CTX - 1))
    with torch.no_grad():
        save_file({"inputs": x.int(), "logits": net(x).logits}, f"{folder}/models.safetensors")
    sharded(net, f"{folder}/sharded")
    theirs(net, f"{folder}/theirs.gguf")
    choices(net, folder)


if __name__ == "__main__":
    main(sys.argv[1])
