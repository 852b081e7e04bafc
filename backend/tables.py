"""The modules that declare tables. Add yours here: its import, and its name in MODULES."""

from sqlmodel import SQLModel

from backend import tags, tasks

MODULES = (tasks, tags)

METADATA = SQLModel.metadata  # of all of them, for migrations and for the check of their isolation
