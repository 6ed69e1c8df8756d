"""What is made of Ray's errors, without a cluster."""

from __future__ import annotations

from ray.exceptions import RayTaskError

from cluster.failures import own_error
from manifests.errors import ConfigError


def test_an_error_of_ours_is_told_in_its_own_words_not_as_a_traceback():
    raised = ConfigError("engine.lang: tesseract has no language 'xyz' installed")
    wrapped = RayTaskError("start", "Traceback ...", raised).as_instanceof_cause()
    assert isinstance(wrapped, ConfigError) and "xyz" not in str(wrapped)
    assert own_error(wrapped) is raised
    assert own_error(raised) is raised
    assert own_error(ValueError("another")) is None
