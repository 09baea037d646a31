"""What the command line does; every function imports what it needs when it is called, so that ``--help`` is quick."""
