"""Multiple choice: `train eval --choices` beside a plain computation from the logits of transformers.

    pip install torch transformers numpy
    python test/peers/choices.py ./train MODEL...

Makes 200 items, half of HellaSwag's shape and half of BLiMP's, and for every MODEL, a checkpoint with a vocabulary,
exports it, loads it with transformers, and scores each ending in double precision. Tokens, scores to 1e-5, the endings
picked and both accuracies must be the same, item by item.
"""
import csv
import json
import random
import subprocess
import sys
import tempfile

import torch

WHO = ["The old miller", "Mia", "A small bird", "The captain", "My aunt", "Tom's dog", "Nobody", "Jürgen"]
DID = ["opened the door", "sang", "went home", "counted 17 apples", "waited by the river", "laughed – twice", "slept"]
WHY = ["because it rained.", "and then left.", "while the others slept.", "for a shilling!", "without a word,", "again"]


def sentence(dice):
    return f"{dice.choice(WHO)} {dice.choice(DID)} {dice.choice(WHY)}"


def items(count, long):
    """count items; contexts of some have `long` sentences."""
    dice = random.Random(1)
    for n in range(count):
        if n % 2:
            good = sentence(dice)
            words = good.split(" ")
            dice.shuffle(words)
            yield {"sentence_good": good, "sentence_bad": " ".join(words) + "?", "UID": "order", "pairID": n}
            continue
        context = " ".join(sentence(dice) for _ in range(long if n % 10 == 0 else dice.randrange(1, 4)))
        endings = [f"{dice.choice(['', ' '])}{dice.choice(DID)} {dice.choice(WHY)}" for _ in range(dice.choice([2, 4, 5]))]
        label = dice.randrange(len(endings))
        yield {"ind": n, "ctx": context + dice.choice(["", " ", " \n"]), "endings": endings,
               "label": label if n % 4 else str(label)}


def texts(item):
    """(context, its endings, the right one's place)"""
    if "sentence_good" in item:
        return "", [item["sentence_good"], item["sentence_bad"]], 0
    return item["ctx"].rstrip(" \t\r\n"), item["endings"], int(item["label"])


def row(encode, eot, context, ending):
    """(ids, how many of the last ones are the ending)"""
    if context and ending[0] not in " \t\r\n":
        ending = " " + ending
    before, after = encode(context) if context else [eot], encode(ending)
    return before + after, len(after)


def score(net, ids, scored):
    """The log-probability of the last `scored` ids, from the last n_positions of those before each."""
    ids = torch.tensor(ids[-(net.config.n_positions + 1):])
    with torch.no_grad():
        logits = net(ids[None, :-1]).logits[0].double()
    each = logits.log_softmax(-1)[range(len(ids) - 1), ids[1:]]
    return float(each[-scored:].sum())


def table(net, encode, eot, chosen):
    """A list for each item: its endings' (item, ending, right, tokens, log-probability, picked, picked per token)."""
    for n, item in enumerate(chosen):
        context, endings, right = texts(item)
        rows = [row(encode, eot, context, e) for e in endings]
        nats = [-score(net, *r) for r in rows]
        means = [x / r[1] for x, r in zip(nats, rows)]
        picked = [[int(x == min(of) and of.count(x) == 1) for x in of] for of in (nats, means)]
        yield [(n, k, int(k == right), rows[k][1], -nats[k], picked[0][k], picked[1][k]) for k in range(len(endings))]


def compare(train, path, folder):
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast
    export, file = f"{folder}/export", f"{folder}/items.jsonl"
    subprocess.run([train, "convert", path, export, "--format", "hf"], check=True, capture_output=True)
    net = GPT2LMHeadModel.from_pretrained(export).double().eval()
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{export}/tokenizer.json")
    chosen = list(items(200, 60))
    with open(file, "w") as out:
        out.writelines(json.dumps(item, ensure_ascii=bool(n % 3)) + "\n" for n, item in enumerate(chosen))
    said = subprocess.run([train, "eval", path, "--choices", file, "--csv", f"{folder}/csv", "--json", f"{folder}/json"],
                          check=True, capture_output=True)
    ours = list(csv.DictReader(open(f"{folder}/csv")))
    names, at, worst, right, same = ["right", "tokens", "picked", "picked_norm"], 0, 0, [0, 0], 0
    for item in table(net, tokenizer.encode, net.generation_config.eos_token_id, chosen):
        equal = True
        for n, k, is_right, tokens, log_probability, *picked in item:
            line = ours[at]
            at += 1
            equal &= (int(line["item"]), int(line["ending"])) == (n, k)
            equal &= [int(line[name]) for name in names] == [is_right, tokens, *picked]
            off = abs(float(line["log_probability"]) / log_probability - 1)
            equal &= off < 1e-5
            worst = max(worst, off)
            right = [a + (is_right & b) for a, b in zip(right, picked)]
        same += equal
    results = json.load(open(f"{folder}/json"))
    both = [results[key]["accuracy"] for key in ("acc", "acc_norm")]
    good = at == len(ours) and same == len(chosen) and all(abs(a - b / 200) < 1e-9 for a, b in zip(both, right))
    print(f"{path}: {same} of {len(chosen)} items the same, scores to {worst:.1e}; acc {both[0]}, acc_norm {both[1]}, "
          f"transformers {right[0] / 200} and {right[1] / 200}")
    print("   ", said.stderr.decode().strip())
    return good


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temp:
        done = [compare(sys.argv[1], path, temp) for path in sys.argv[2:]]
    sys.exit(not all(done))
