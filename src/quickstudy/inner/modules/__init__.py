"""What the inner loop does with the modules of the user: copies, outputs, settings; it never writes into them."""
