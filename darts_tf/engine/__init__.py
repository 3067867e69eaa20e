"""Runs tasks: the loop, its reports, memory and monitor, for images and texts alike."""
