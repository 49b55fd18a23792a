"""What torch lacks: bisection to the last digit, and the incomplete beta function."""
