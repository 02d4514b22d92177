"""Steps: models that run models. What an author's calls mean, and the state of one run; no I/O, no loop, no thread (decision 48)."""
