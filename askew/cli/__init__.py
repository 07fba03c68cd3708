"""The commands of ``askew``, one module each: ``HELP``, ``add_arguments(parser)``, ``run(args) -> exit code``."""
