"""The parts of which processes consist: attention, set convolutions, grids."""
