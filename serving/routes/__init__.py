"""Every route of the service, listed by hand: the list is the surface."""

from fastapi import APIRouter

from serving.routes import embeddings, models

ROUTES: tuple[APIRouter, ...] = (embeddings.router, models.router)
