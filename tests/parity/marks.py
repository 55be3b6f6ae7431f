"""What tests against another library run under."""

import pytest

AGAINST_ANOTHER = [
    pytest.mark.torch,
    # What that library warns of is not ours to mend.
    pytest.mark.filterwarnings("ignore"),
]
