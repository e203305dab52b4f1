"""Property tests: the same cases on every machine, and no timing in the verdict."""

from hypothesis import settings

settings.register_profile("network", deadline=None, derandomize=True, max_examples=150)
settings.load_profile("network")
