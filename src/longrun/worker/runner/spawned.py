"""The main module of processes that a model has spawned: `multiprocessing` imports it there as it imports the script of plain Python."""

if __name__ == "__mp_main__":
    import longrun.worker.runner.unhidden  # noqa: F401 - it is its import that counts
