"""Where tasks run. Every executor gives the same results in any order; the order never matters."""
