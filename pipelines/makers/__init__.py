"""What `generate` and `evaluate` make things with: a file for each system, all behind one small protocol."""
