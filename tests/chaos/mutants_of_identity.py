"""Mutants of what steps are known by when their parent runs again; shown without a store."""

from __future__ import annotations

from tests.chaos.mutants import Mutant

IDENTITY = "tests/unit/models/steps/test_step_identity.py"
IDENTITY_MUTANTS = [
    Mutant(
        "content before place",
        "models/steps/identity.py",
        "(self._same_call, self._same_content, self._same_place) if sure",
        "(self._same_place, self._same_call, self._same_content) if sure",
        f"{IDENTITY}::test_calls_with_the_same_input_may_come_in_any_order",
    ),
    Mutant(
        "place counts in the same code alone",
        "models/steps/identity.py",
        "            if code and mark.code == code:",
        "            if code:",
        f"{IDENTITY}::test_place_counts_in_the_same_code_alone",
    ),
    Mutant(
        "a replay keeps to the order of ends",
        "models/steps/order.py",
        "self._places.get(step.key, len(self._ends))",
        "0",
        f"{IDENTITY}::test_a_replay_goes_on_in_the_order_in_which_steps_ended",
    ),
    Mutant(
        "a failure of an earlier epoch is done again",
        "models/steps/recorded.py",
        "entry and entry.epoch >= epoch",
        "entry",
        "tests/unit/models/steps/test_replays.py::test_a_failure_is_the_same_in_its_epoch_and_tried_again_in_the_next",
    ),
]
