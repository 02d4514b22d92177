"""The Celery app. Broker and result backend come from CELERY_BROKER_URL and CELERY_RESULT_BACKEND, which Celery reads by itself."""

from celery import Celery

celery = Celery("handwritten")
celery.conf.update(task_serializer="json", result_serializer="json", accept_content=["json"])


@celery.task
def noop(text: str) -> str:
    """Return the text."""
    return text
