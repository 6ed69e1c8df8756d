"""One module per engine behind the protocol in ``base``; ``load`` is the only way to get one."""
