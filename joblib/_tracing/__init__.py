"""A run made visible: from the records of its tasks to a timeline, pictures and words."""
