"""What carries tickets. A ticket says "job J is ready"; it may be lost, doubled or late."""
