"""Reading requests and writing answers, below the routes: the protocol, and each form that a body may have."""
