"""Telling callers that a job has ended: signatures, the schedule of tries, and the one client that calls URLs which callers gave."""
