"""Writes a language model that knows nothing, so that a real server has one to run: `tiny_model.py PATH`.

Laws of this file:
- It runs in the environment of the server. The same file is written each time.
- It never stops by itself, and says only printable characters: what a test wants to see can be seen.
"""

import sys
from typing import Final

import gguf
import numpy as np

CONTEXT: Final = 131_072
"""Tokens that the model may be given room for; a server decides how much of it there is."""

WIDTH: Final = 64
HIDDEN: Final = 128
BLOCKS: Final = 2
HEADS: Final = 4
BLANK: Final = "\u2581"
"""How a vocabulary of this kind writes a blank."""

NAMED: Final = ("<unk>", "<s>", "</s>")
BYTES: Final = tuple(f"<0x{byte:02X}>" for byte in range(256))
VISIBLE: Final = (BLANK, *map(chr, range(ord("!"), ord("~") + 1)))
TOKENS: Final = (*NAMED, *BYTES, *VISIBLE)


def write(path: str) -> None:
    """Write the model to *path*: two blocks of random weights, and a vocabulary of bytes and characters."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(BLOCKS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(TOKENS)
    writer.add_token_scores([0.0] * len(NAMED + BYTES) + [-1.0] * len(VISIBLE))
    kinds = gguf.TokenType
    named = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL]
    writer.add_token_types([*named, *[kinds.BYTE] * len(BYTES), *[kinds.NORMAL] * len(VISIBLE)])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    _add_weights(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_weights(writer: gguf.GGUFWriter) -> None:
    random = np.random.default_rng(20261126)

    def add(name: str, rows: int, columns: int) -> None:
        writer.add_tensor(f"{name}.weight", random.normal(0.0, columns**-0.5, (rows, columns)).astype(np.float32))

    def add_norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))

    add("token_embd", len(TOKENS), WIDTH)
    for block in range(BLOCKS):
        add_norm(f"blk.{block}.attn_norm")
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{block}.{name}", WIDTH, WIDTH)
        add_norm(f"blk.{block}.ffn_norm")
        add(f"blk.{block}.ffn_gate", HIDDEN, WIDTH)
        add(f"blk.{block}.ffn_up", HIDDEN, WIDTH)
        add(f"blk.{block}.ffn_down", WIDTH, HIDDEN)
    add_norm("output_norm")
    # Of some 95 random numbers the largest is above zero, which all that cannot be seen, and the end, are left with.
    output = random.normal(0.0, 1.0, (len(TOKENS), WIDTH)).astype(np.float32)
    output[: len(NAMED + BYTES)] = 0.0
    writer.add_tensor("output.weight", output)


if __name__ == "__main__":
    write(*sys.argv[1:])
