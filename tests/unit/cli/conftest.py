"""A server that answers as a test tells it, and nothing of a server in the environment."""

from tests.unit.scripted import no_server_in_the_environment, server

__all__ = ["no_server_in_the_environment", "server"]
