"""Engines behind the protocol in ``base``, a folder each; ``load`` is the only way to get one."""
