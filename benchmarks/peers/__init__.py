"""The peers: the same work as Longrun is given, written as its own documentation shows. Each has an environment of its own."""
