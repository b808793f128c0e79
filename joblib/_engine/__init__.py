"""What happens between ``Parallel.__call__`` and a backend's ``submit``."""
