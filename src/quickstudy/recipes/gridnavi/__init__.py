"""GridNavi: search for a goal over several episodes."""
