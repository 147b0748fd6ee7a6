"""`python -m finetuning_cli` is `finetune`."""

from finetuning_cli.main import main

main()
