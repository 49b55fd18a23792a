"""How the inner loop handles the user's modules: it copies them, and never writes into them."""
