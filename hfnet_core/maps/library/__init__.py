"""Several maps in one folder."""
