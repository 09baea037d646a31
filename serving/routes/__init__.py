"""Every route of the service, listed by hand: the list is the surface."""

from fastapi import APIRouter

from serving.routes import embeddings, gemini, models, native, playground, similarity

ROUTES: tuple[APIRouter, ...] = (
    embeddings.router,
    gemini.router,
    native.router,
    similarity.router,
    models.router,
    playground.router,
)
