#!/bin/sh
# finetune.sh: what is it worth to start from a model that has learned? Trains a GPT on a big text and writes it as
# a directory of Hugging Face's form; goes on from that with a text of its own, shorter sequences, and a rate that
# falls from layer to layer; trains as many steps on that text from nothing, with the same vocabulary; prints both
# losses. A directory that is there is taken as it is, so GPT-2's own would do.
# Usage: test/finetune.sh BIG.txt MINE.txt [FOLDER], from the top of the tree. Not part of make test: it takes minutes.
set -e
big=$1 mine=$2 dir=${3:-finetune} train=${TRAIN:-./train}
mkdir -p "$dir"
if [ ! -d "$dir/gpt2-dir" ]; then
    $train run --text "$big" --context 128 --steps 1000 --stop 396 --quiet --out "$dir/big.ckpt"
    $train convert "$dir/big.ckpt" "$dir/gpt2-dir"
fi

trained() {     # name, options: what a run of 80 steps on the text comes to
    name=$1
    shift
    rm -f "$dir/$name".ckpt*
    $train run --text "$mine" --context 64 --batch 16 --steps 80 --quiet --out "$dir/$name.ckpt" \
        --json "$dir/$name.json" "$@" >"$dir/$name.log"
    echo "$name: $(sed -n 's/.*"bits_per_byte": \([0-9.]*\).*/\1/p' "$dir/$name.json") bits/byte"
}
trained from-nothing --vocab "$dir/gpt2-dir/tokenizer.json"
trained fine-tuned --init "$dir/gpt2-dir" --lr 0.001 --layer-decay 0.8
