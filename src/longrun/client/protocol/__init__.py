"""What the client asks of a server, as flows (see `http.steps`): each step is decided without a socket or a clock."""
