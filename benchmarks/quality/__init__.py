"""How well pages are read: error rates, order and tables on pages whose text is known."""
