"""LlamaIndex's OpenAI embeddings against a running service; run by ``test_clients.py`` with a Python that has them.

LlamaIndex's core wants another marshmallow than the project's tools, so it lives in an environment of its own:
``uv venv DIR && uv pip install --python DIR/bin/python llama-index-embeddings-openai``.
"""

import json
import sys
from importlib.metadata import version

from llama_index.embeddings.openai import OpenAIEmbedding

url, dimensions = sys.argv[1], int(sys.argv[2])
client = OpenAIEmbedding(
    model_name="omnivec", api_base=f"{url}/v1", api_key="unused", dimensions=dimensions, max_retries=0
)
print(
    json.dumps(
        {
            "version": version("llama-index-embeddings-openai"),
            "core": version("llama-index-core"),
            "texts": client.get_text_embedding_batch(["four", "a longer one"]),
            "query": client.get_query_embedding("four"),
        }
    )
)
