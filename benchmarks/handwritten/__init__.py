"""The peer: FastAPI in front of Celery, written by hand the way tutorials and production code write it."""
