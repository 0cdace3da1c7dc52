"""Makes the shared helpers in this folder (``reference``) importable from every test."""
