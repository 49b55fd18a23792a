"""Neural processes on sawtooth waves."""
