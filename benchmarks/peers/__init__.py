"""thumbnet beside other generators: the same network, the same counter, the same pictures."""
