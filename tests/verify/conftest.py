"""Databases in memory."""

from tests.folders import folder as folder
