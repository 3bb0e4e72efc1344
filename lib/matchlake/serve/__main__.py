"""A process of the server, started by `matchlake serve`: python -m matchlake.serve DESCRIPTOR."""

import sys

from matchlake.serve.worker import main

sys.exit(main(int(sys.argv[1])))
