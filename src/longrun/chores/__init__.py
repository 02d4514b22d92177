"""Keeps promises over time. Every API and worker process runs all chores; none needs a leader, because each is idempotent."""
