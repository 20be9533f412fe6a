"""Our GGUF files in llama.cpp: logits and greedy continuations beside our own.

    pip download --no-binary llama-cpp-python --no-deps llama-cpp-python && tar xf llama_cpp_python-*.tar.gz
    cd llama_cpp_python-*/vendor/llama.cpp
    cmake -B build -DBUILD_SHARED_LIBS=ON -DGGML_OPENMP=OFF && cmake --build build --target llama
    pip install numpy safetensors gguf llama-cpp-python     or PYTHONPATH=llama_cpp_python-*
    LLAMA_CPP_LIB_PATH=.../build/bin python test/peers/llama_logits.py ./train MODEL...

For the build without half-precision GELU comment out `#define GGML_GELU_FP16` in ggml/src/ggml-cpu/vec.h. The libraries
remember the folder that they were built in and look for each other there: of a copy, as one keeps of two builds, name
the folder in LD_LIBRARY_PATH too, or another build's GELU is measured. Of each
model a file in float32 and one in half precision is written; both are read by the `gguf` package and by llama.cpp,
whose keys and values are kept in float32. Logits are compared with those of `train dump`, which are in double
precision; ten greedy continuations with those of `train sample --temperature 0`: where they part, the two best
logits must be closer than the largest error measured.
"""
import subprocess
import sys
import tempfile

import gguf
import llama_cpp as lc
import numpy as np
from safetensors.numpy import load_file

PROMPTS = ["", "The", "What is", "Once upon a time", "In the morning", "I am", "You shall not", "He said:\n", "No",
           "1234 and 'tis"]


class Model:
    def __init__(self, path):
        params = lc.llama_model_default_params()
        params.use_mmap = False
        self.model = lc.llama_model_load_from_file(path.encode(), params)
        if not self.model:
            sys.exit(f"{path}: llama.cpp does not load it")
        self.vocab = lc.llama_model_get_vocab(self.model)
        self.V, self.ctx = lc.llama_vocab_n_tokens(self.vocab), lc.llama_model_n_ctx_train(self.model)

    def logits(self, ids):
        """(T, V), after each of the ids."""
        params = lc.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = self.ctx, self.ctx, self.ctx
        params.type_k = params.type_v = lc.GGML_TYPE_F32
        params.flash_attn_type = lc.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.n_threads = params.n_threads_batch = 1
        context = lc.llama_init_from_model(self.model, params)
        batch = lc.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, t in enumerate(ids):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = int(t), i, 1, 0, 1
        if lc.llama_decode(context, batch):
            sys.exit("llama_decode failed")
        out = np.ctypeslib.as_array(lc.llama_get_logits(context), shape=(len(ids), self.V)).copy()
        lc.llama_batch_free(batch)
        lc.llama_free(context)
        return out

    def tokenize(self, text):
        """With the end-of-text token that the file asks for before it."""
        data, room = text.encode(), (lc.llama_token * (len(text.encode()) + 8))()
        n = lc.llama_tokenize(self.vocab, data, len(data), room, len(room), True, False)
        return list(room[:n])

    def piece(self, token):
        room = bytes(256)
        n = lc.llama_token_to_piece(self.vocab, token, room, len(room), 0, False)
        return room[:n]


def greedy(model, prompt, count):
    """The bytes of a continuation, and at each of its tokens where it ends and how far the best two were apart."""
    ids, out, gaps = model.tokenize(prompt), b"", []
    for _ in range(count):
        last = model.logits(ids)[-1]
        best = np.sort(last)[-2:]
        token = int(last.argmax())
        if token == lc.llama_vocab_eos(model.vocab):
            gaps.append((len(out) + 1, best[1] - best[0]))
            break
        out += model.piece(token)
        gaps.append((len(out), best[1] - best[0]))
        ids.append(token)
    return out, gaps


def compare(train, path, kind, folder):
    file = f"{folder}/m.gguf"
    run = lambda *words: subprocess.run([train, *words], check=True, capture_output=True).stdout
    run("convert", path, file, "--type", kind)
    fields = gguf.GGUFReader(file).fields
    assert fields["general.architecture"].contents() == "gpt2"
    run("dump", f"{folder}/dump", "--init", path, "--steps", "0")
    dump, model = load_file(f"{folder}/dump"), Model(file)
    error = scale = span = 0
    for ids, want in zip(dump["inputs"], dump["logits"]):
        error = max(error, np.abs(model.logits(ids) - want).max())
        scale, span = max(scale, np.abs(want).max()), max(span, want.max() - want.min())
    count, same, parted = min(48, model.ctx - 16), 0, []
    for prompt in PROMPTS if "tokenizer.ggml.tokens" in fields else []:
        theirs, gaps = greedy(model, prompt, count)
        ours = run("sample", path, "--prompt", prompt, "--tokens", str(count), "--temperature", "0", "--quiet")[:-1]
        same += ours == theirs
        if ours != theirs:
            at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
            parted.append(next(gap for end, gap in gaps if end > at))
    good = all(gap <= 2 * error for gap in parted)
    print(f"{path} {kind}: logits {error / span:.1e} of their range, {error / scale:.1e} of the largest; "
          f"{same} of {len(PROMPTS)} continuations the same" +
          (f", the others part where two are {max(parted):.1e} apart (error {error:.1e})" if parted else ""))
    return good and (kind == "f16" or error <= 0.01 * span)


if __name__ == "__main__":
    quiet = lc.llama_log_callback(lambda *_: None)
    lc.llama_log_set(quiet, None)
    with tempfile.TemporaryDirectory() as folder:
        results = [compare(sys.argv[1], path, kind, folder) for path in sys.argv[2:] for kind in ("f32", "f16")]
    sys.exit(not all(results))
