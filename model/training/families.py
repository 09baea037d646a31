"""Encoders that can be trained: the torch encoders of both families."""

from model.sentence_transformer.encoder import SentenceTransformerEncoder
from model.unified.encoder import UnifiedEncoder

TorchEncoder = UnifiedEncoder | SentenceTransformerEncoder
