"""The runner: the spawned process that holds loaded models and runs user code. It knows neither Celery nor Redis nor HTTP."""
