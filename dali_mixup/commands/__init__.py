"""The subcommands of `dali-mixup`: each module has `add_parser` and `run`."""
