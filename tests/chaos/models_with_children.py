"""A model that has started processes of its own: a program, and a fork that holds the runner's files open."""

import os
import subprocess
import time

from longrun import Model


class Parent(Model):
    def load(self, device: str) -> None:
        self.program = subprocess.Popen(["sleep", "600"])
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)

    def predict(self, text: str, seconds: float) -> str:
        time.sleep(seconds)
        return text
