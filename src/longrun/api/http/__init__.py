"""Requests, answers, and the way from a path to its handler."""
