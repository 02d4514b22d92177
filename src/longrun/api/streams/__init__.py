"""Answers that go on for long: event streams and waits."""
