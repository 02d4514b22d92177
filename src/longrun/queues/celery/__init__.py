"""Tickets as Celery messages, so that brokers, routing, `celery inspect` and Flower work as usual."""
