"""What runs on a worker, without Ray: rendering, engines, the page reader."""
