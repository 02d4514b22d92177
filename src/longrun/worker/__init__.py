"""Runs jobs: a Celery worker whose pool claims, batches, feeds runners and writes outcomes. It never runs user code itself."""
