"""The compartment model of a drug, fitted to people and adapted to a new one."""
