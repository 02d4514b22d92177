"""The seam to Celery: its pool, its requests, and the start of its worker."""
