"""`python -m quickstudy` is the command `quickstudy`, where the folder of pip's scripts is not on the path."""

import sys

from quickstudy.cli import main

if __name__ == "__main__":
    sys.exit(main())
