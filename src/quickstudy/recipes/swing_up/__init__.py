"""A pendulum and a cart-pole of unknown physics, swung up with a learned model."""
