"""``python -m codegen.cli``."""

from codegen.cli import main

main()
