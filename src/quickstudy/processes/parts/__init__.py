"""The building blocks of processes: attention, set convolutions, grids."""
