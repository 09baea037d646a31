"""The embedding service: schemas, engine, batcher, routes, capture and drift monitoring."""
