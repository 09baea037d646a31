"""Initial weights: fetched from pinned packages or a hub, or random; always kept as safetensors and JSON."""
