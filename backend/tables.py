"""The modules that declare tables. Add yours here: its import, and its name in MODULES."""

from backend import tags, tasks

MODULES = (tasks, tags)
