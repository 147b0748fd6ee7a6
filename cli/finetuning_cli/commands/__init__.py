"""The commands' arguments, options and help.

AWS's SDK and the package are imported inside each command, so that help and shell completion load neither.
"""
