"""What the two clients hand out: jobs, batches and files on a server."""
