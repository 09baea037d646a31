"""sentence-transformers around the weights of a unified model, so that only the execution differs.

Shape legend: N contents, D dimensions.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from model.content import Content

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from model.unified.encoder import UnifiedEncoder


def text_peer(encoder: "UnifiedEncoder", cache: Path) -> "SentenceTransformer":
    """Trunk, word embeddings, mean pooling and head of ``encoder`` as sentence-transformers' own modules."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    directory = cache / "text-peer"
    _write_transformers(encoder, directory)
    head = Dense(encoder.head.in_features, encoder.head.out_features, activation_function=nn.Identity())
    head.linear.load_state_dict(encoder.head.state_dict())
    trunk = Transformer(str(directory), max_seq_length=encoder.config.max_text_tokens + 2)
    return SentenceTransformer(modules=[trunk, Pooling(encoder.head.in_features), head, Normalize()], device="cpu")


def network_peer(encoder: "UnifiedEncoder") -> "SentenceTransformer":
    """Our whole network under sentence-transformers' ``encode``: batches of 32 in turn, each on all threads."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules.input_module import InputModule

    class Network(InputModule):  # type: ignore[misc]
        """Any content through our own preprocessing and network, one padded batch at a time."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def preprocess(self, inputs: Sequence[Content], **_: Any) -> dict[str, Any]:
            return {"batch": self.encoder.preprocess(inputs)}

        def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
            vectors_ND: Tensor = self.encoder.finish(self.encoder.pool(features["batch"], packed=False))
            return {**features, "sentence_embedding": vectors_ND}

        def save(self, output_path: str, *_: Any, **__: Any) -> None:
            raise NotImplementedError(f"a benchmark peer is not written to {output_path}")

    return SentenceTransformer(modules=[Network()], device="cpu")


def _write_transformers(encoder: "UnifiedEncoder", directory: Path) -> None:
    """The text trunk with its word embeddings in fp32, as a checkpoint of transformers with a tokenizer."""
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    model = AutoModel.from_config(AutoConfig.for_model(**encoder.config.trunk))
    fits = model.state_dict()  # the word embeddings of our trunk live outside it, in the table
    own = {name: tensor for name, tensor in encoder.trunk.state_dict().items() if tensor.shape == fits[name].shape}
    model.load_state_dict(own, strict=False)
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(encoder.table.weight)
    model.save_pretrained(directory)
    tokenizer = encoder.preprocessor.tokenizer
    padding = tokenizer.id_to_token(encoder.config.trunk.get("pad_token_id", 0))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=padding).save_pretrained(directory)
