"""How many random inputs a test tries."""

import hypothesis
from hypothesis import HealthCheck

from tests.settings import LOOPS


def tries(number):
    """Try ``number`` inputs, or LOOPS times as many.

    The normal run tries the same ones each time: a red CI is repeated by running it
    again. A longer run looks elsewhere each time, and prints what repeats a failure.
    """
    return hypothesis.settings(
        max_examples=number * LOOPS,
        derandomize=LOOPS == 1,
        print_blob=True,
        database=None,
        # A slow machine is no fault; and what the examples of a test share, database
        # and folder, each of them leaves as it was.
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
