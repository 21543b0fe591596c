"""`python -m ser_keras`, for where the program is not on the path."""

import sys

from ser_keras.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
