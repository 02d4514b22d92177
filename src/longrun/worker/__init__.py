"""Runs jobs: a Celery worker whose pool claims, batches, feeds runners and writes outcomes. The worker process itself never runs user code."""
