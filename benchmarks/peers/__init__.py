"""The peers: the same work as Longrun is given, written the way each one's own documentation writes it. Each has an environment of its own."""
