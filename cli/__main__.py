"""`python -m cli` is `finetune`."""

from cli.main import main

main()
