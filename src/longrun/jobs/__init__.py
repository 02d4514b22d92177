"""What a job is: pure data and decisions, no I/O."""
