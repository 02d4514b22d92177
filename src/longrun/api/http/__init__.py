"""Requests and answers, below the routes: the protocol, each form that a body may have, and the way from a path to its handler."""
