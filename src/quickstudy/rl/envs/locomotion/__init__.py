"""Robots of MuJoCo that walk and run: many tasks of many environments, stepped together in native threads."""
