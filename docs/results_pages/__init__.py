"""Writes docs/results.md and the pages of docs/results/ from the JSON in results/, where every number comes from.

`record` reads what a run has left, `experiments/` says of each experiment what was asked and what came out, `page`
and `overview` turn that into Markdown, `files` into CSV, and `pictures` draws what no run has drawn.
"""
